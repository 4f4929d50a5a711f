from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest

from mobileclip_kit.bench.models import describe_models, phone_students, random_students
from mobileclip_kit.exporting.folder import Export, ExportedTower
from mobileclip_kit.networks.model import load_model, tower_parameters
from mobileclip_kit.spec import WEIGHTS_FILE, ImageSpec, ModelSpec


def write_export(folder: Path, file: str) -> None:
    spec = ModelSpec(name="tiny", embedding_dim=3, image=ImageSpec(), text=None, model_hash="0" * 64)
    tower = ExportedTower.from_file("image", folder / file)
    Export(path=folder, spec=spec, format="onnx", precision="int8", towers={"image": tower}).write()


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    (student,) = random_students(["vit-t4-64"], tmp_path_factory.mktemp("students"))
    return student.model


def test_a_model_folder_is_counted_from_its_header(student: str) -> None:
    (model,) = describe_models([student])
    network = load_model(student).network
    assert model.row.parameters == tower_parameters(network)["image"]
    assert model.row.size_bytes == (Path(student) / "open_clip_model.safetensors").stat().st_size
    assert model.row.kind == "torch fp32"
    assert model.row.model_hash


def test_one_model_named_twice_makes_two_rows(student: str) -> None:
    first, second = describe_models([student, student])
    assert (first.name, second.name) == ("vit-t4-64", "vit-t4-64 (2)")


def test_names_do_not_tell_where_things_lie(student: str) -> None:
    (model,) = describe_models([student + "/"])
    assert "/" not in model.name


def test_a_damaged_model_becomes_a_row_with_its_reason(tmp_path: Path, student: str) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "open_clip_model.safetensors").write_bytes(struct.pack("<Q", 5) + b"{oops")
    export = tmp_path / "export"
    export.mkdir()
    (export / "export.json").write_text(json.dumps({"format_version": 99}))
    models = describe_models([str(broken), str(export), student])
    assert [model.row.failure is None for model in models] == [False, False, True]
    assert "format version 99" in (models[1].row.failure or "")


def test_scales_and_zero_points_are_no_parameters(tmp_path: Path) -> None:
    def tensor(name: str, values: np.ndarray) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(values, name)

    weights = [
        tensor("w", np.zeros((4, 3), np.int8)),
        tensor("scale", np.ones(3, np.float32)),
        tensor("zero", np.zeros(3, np.int8)),
        tensor("bias", np.zeros(3, np.float32)),
    ]
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"], axis=1),
        onnx.helper.make_node("Gemm", ["x", "d", "bias"], ["y"]),
    ]
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None]) for name in "xy")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [x], [y], weights)), tmp_path / "image.onnx")
    write_export(tmp_path, "image.onnx")
    (model,) = describe_models([str(tmp_path)])
    assert model.row.parameters == 4 * 3 + 3
    assert model.row.kind == "onnx int8"
    assert model.row.size_bytes == (tmp_path / "image.onnx").stat().st_size


def test_a_file_that_is_no_onnx_model_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "image.onnx").write_bytes(b"not a model")
    write_export(tmp_path, "image.onnx")
    (model,) = describe_models([str(tmp_path)])
    assert "image.onnx is not a readable ONNX model" in (model.row.failure or "")


def test_students_for_photos_take_224_pixels() -> None:
    assert {"vit-s6-h12", "vit-s6-h24"} <= set(phone_students())
    assert "vit-t4-64" not in phone_students()


@pytest.mark.parametrize(
    "header", [b"[]", b"{", b'{"visual.w": {}}', b'{"visual.w": 3}', b'{"visual.w": {"shape": 3}}']
)
def test_weights_with_an_odd_header_are_a_row_with_its_reason(tmp_path: Path, header: bytes) -> None:
    (tmp_path / WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(header)) + header)
    (model,) = describe_models([str(tmp_path)])
    assert "cannot be read" in (model.row.failure or "")
