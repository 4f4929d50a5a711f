"""ONNX files whose weights are mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobileclip_kit.errors import ExportError
from mobileclip_kit.runtime.mapped_onnx import without_weights
from mobileclip_kit.runtime.onnx import open_session

WIDE = 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model ``y = x · W + b``, with a W of 16 kB and a b of 256 bytes."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((WIDE, WIDE)).astype(np.float32), "W")
    bias = numpy_helper.from_array(rng.standard_normal(WIDE).astype(np.float32), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDE])],
        [weight, bias],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_large_weights_are_named_by_their_place_and_the_rest_stays(model: Path) -> None:
    message = without_weights(model)
    assert message is not None
    whole, mapped = onnx.load(model), onnx.load_from_string(message)
    weight, bias = mapped.graph.initializer
    place = {entry.key: entry.value for entry in weight.external_data}
    assert place["location"] == "m.onnx"
    found = model.read_bytes()[int(place["offset"]) : int(place["offset"]) + int(place["length"])]
    assert found == whole.graph.initializer[0].raw_data
    assert weight.data_location == TensorProto.EXTERNAL
    assert bias == whole.graph.initializer[1]
    assert mapped.graph.node == whole.graph.node
    assert len(message) < 1000


def test_the_runtime_computes_the_same(model: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((5, WIDE)).astype(np.float32)
    mapped = open_session(model, threads=1).run(None, {"x": rows})[0]
    copied = open_session(model.read_bytes(), threads=1).run(None, {"x": rows})[0]
    np.testing.assert_array_equal(mapped, copied)


@pytest.mark.parametrize("damage", [b"", b"no model at all", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_model_is_left_to_the_runtime_to_refuse(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(damage)
    with pytest.raises(ExportError, match="cannot load"):
        open_session(tmp_path / "m.onnx")


def test_a_file_that_is_cut_off_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:9000])
    assert without_weights(model) is None
    with pytest.raises(ExportError, match="cannot load"):
        open_session(model)


def test_a_link_to_the_file_is_opened(model: Path, tmp_path: Path) -> None:
    """The hub's cache consists of links; the runtime allows weights in the folder of the message only."""
    link = tmp_path / "snapshot" / "linked.onnx"
    link.parent.mkdir()
    link.symlink_to(model)
    assert open_session(link).get_inputs()[0].name == open_session(model).get_inputs()[0].name


@pytest.mark.parametrize("place", ["../secret.bin", "link.bin", "absolute"])
def test_weights_outside_the_folder_are_not_read(model: Path, tmp_path: Path, place: str) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4 * WIDE * WIDE))
    (folder / "link.bin").symlink_to(secret)
    changed = onnx.load(model)
    weight = changed.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=str(secret) if place == "absolute" else place)
    (folder / "m.onnx").write_bytes(changed.SerializeToString())
    with pytest.raises(ExportError, match=r"cannot load .*m\.onnx"):
        open_session(folder / "m.onnx", threads=1)
