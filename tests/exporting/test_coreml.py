"""Core ML towers: an image in, normalisation inside, a unit vector out, metadata."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting import coreml
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.metadata import quiet_converters
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.towers import ImageTower, TowerJob
from mobileclip_kit.mil.interpreter import Interpreter
from mobileclip_kit.mil.program import read_program
from mobileclip_kit.networks.model import Model


def test_image_in_unit_vector_out(coreml_export: Export, tiny_model: Model) -> None:
    program = read_program(coreml_export.tower_path("image"))
    assert [feature.name for feature in program.inputs] == ["image"]
    assert program.inputs[0].image is not None
    assert (program.inputs[0].image.height, program.inputs[0].image.color) == (32, "RGB")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    vector = Interpreter(program, arithmetic="float32").run({"image": pixels})["embedding"]
    with torch.no_grad():
        wanted = ImageTower(tiny_model)(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).numpy()
    # The weights were rounded to float16.
    np.testing.assert_allclose(vector, wanted, atol=2e-3)


def test_program_is_for_ios_16(coreml_export: Export) -> None:
    assert read_program(coreml_export.tower_path("text")).specification_version == 7


def test_metadata_names_the_model(coreml_export: Export) -> None:
    metadata = read_program(coreml_export.tower_path("text")).metadata
    assert metadata["model_hash"] == coreml_export.spec.model_hash
    assert json.loads(metadata["model_spec"])["embedding_dim"] == 16
    assert metadata["license"] == "MIT"
    assert "12 token identifiers" in metadata["shortDescription"]


class Masked(nn.Module):
    """As text encoders of the transformers library make their masks."""

    example = torch.tensor([[5, 1, 0]], dtype=torch.int32)

    def forward(self, ids: Tensor) -> Tensor:
        return (ids.new_ones((), dtype=torch.bool) & (ids > 0)).float()


def test_masks_of_transformers_text_encoders_are_converted() -> None:
    ct = pytest.importorskip("coremltools")
    program = coreml._export(Masked())
    assert program.module()(Masked.example).tolist() == [[1.0, 1.0, 0.0]]
    with quiet_converters():
        ct.convert(program, minimum_deployment_target=ct.target.iOS16)


def test_masks_in_the_program_are_finite(coreml_export: Export) -> None:
    program = read_program(coreml_export.tower_path("text"))
    for operation in program.functions["main"].operations:
        for value in operation.inputs.values():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                assert np.isfinite(value).all()
                assert np.abs(value.astype(np.float64)).max(initial=0) <= 65504


def test_converter_is_stated(coreml_export: Export) -> None:
    assert coreml_export.towers["image"].notes["converter"] in ("torch.export", "torch.jit.trace")


def test_what_no_converter_takes_is_named(tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: object) -> None:
        raise RuntimeError("no such operator: sort_of")

    monkeypatch.setattr(coreml, "_CAPTURES", {"torch.export": fail, "torch.jit.trace": fail})
    with pytest.raises(ExportError, match="torch.jit.trace: no such operator: sort_of"):
        coreml.export_coreml(
            TowerJob(tiny_model, "image", tmp_path / "image.mlpackage", ExportOptions(format="coreml"))
        )


@pytest.mark.parametrize("copies", [True, False])
def test_a_full_disk_is_told_as_the_system_tells_it(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    """A package is copied file by file, which gathers names and texts; then the program is written."""

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    def save(place: str) -> None:
        (tmp_path / "from").mkdir()
        (tmp_path / "from/weight.bin").write_bytes(b"1")
        if copies:
            shutil.copytree(tmp_path / "from", place, copy_function=full)
        full("model", place)

    monkeypatch.setattr(coreml, "_set_metadata", lambda *_: None)
    with pytest.raises(ExportError) as refused:
        coreml._save(SimpleNamespace(save=save), "image", tiny_model.spec, tmp_path / "image.mlpackage")
    assert refused.value.message == "image.mlpackage cannot be written: No space left on device."


def test_the_neural_engines_layout_is_verified_like_any_other(tiny_model: Model, tmp_path: Path) -> None:
    """Four dimensions everywhere between the patches and the pooling, 1×1 convolutions in place of linear layers."""
    export = export_model(tiny_model, tmp_path / "ane", ExportOptions(format="coreml", precision="fp16", ane=True))
    assert all(row["cosine_min"] > 0.999 for row in export.rows())
    for tower in ("image", "text"):
        assert export.towers[tower].notes["layout"] == "(n, channels, 1, tokens)"
        operations = read_program(export.tower_path(tower)).main.operations
        kinds = {operation.type for operation in operations}
        assert {"conv", "softmax", "einsum"} <= kinds
        assert not kinds & {"linear", "scaled_dot_product_attention"}
        for operation in operations:
            if operation.type in ("conv", "softmax", "gelu", "einsum"):
                assert len(operation.outputs[0].shape) == 4


@pytest.mark.parametrize(
    "values", [[1.0, -65504.0], [65505.0], [-70000.0, 1.0], [1e39, 1.0], [-np.inf], [np.nan, 3.0], [1e39, 66000.0], []]
)
def test_constants_beyond_float16_are_found_as_coremltools_finds_them(values: list[float]) -> None:
    from coremltools.converters.mil.mil.passes.defs.quantization import FP16ComputePrecision

    constant = SimpleNamespace(op_type="const", val=SimpleNamespace(val=np.array(values, np.float64)))
    var = SimpleNamespace(op=constant, is_tensor_or_scalar_of=lambda dtype: dtype == "fp32")
    other = SimpleNamespace(op=None)
    operation = SimpleNamespace(inputs={"x": other, "values": (var, other)})
    assert coreml._reads_beyond_float16(operation) == FP16ComputePrecision.fp16_overflow(operation)
