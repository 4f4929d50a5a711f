"""ONNX towers: names, types, dynamic batch, validity, metadata."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.onnx import _convert, _reorder_gelu
from mobileclip_kit.runtime.onnx import open_session


def dimensions(value: onnx.ValueInfoProto) -> list[str | int]:
    return [entry.dim_param or entry.dim_value for entry in value.type.tensor_type.shape.dim]


def test_inputs_and_outputs(onnx_export: Export) -> None:
    image, text = (onnx.load(onnx_export.tower_path(tower)).graph for tower in ("image", "text"))
    assert [(v.name, dimensions(v)) for v in image.input] == [("image", ["n", 3, 32, 32])]
    assert [(v.name, dimensions(v)) for v in text.input] == [("ids", ["n", 12])]
    assert text.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    for graph in (image, text):
        assert [(v.name, dimensions(v)) for v in graph.output] == [("embedding", ["n", 16])]


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_batch_is_dynamic_and_rows_are_unit(onnx_export: Export, batch: int) -> None:
    images = np.random.default_rng(0).random((batch, 3, 32, 32), np.float32)
    vectors = open_session(onnx_export.tower_path("image"), threads=1).run(None, {"image": images})[0]
    assert vectors.shape == (batch, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_graph_is_valid_with_strict_shapes(onnx_export: Export, tower: str) -> None:
    graph = onnx.load(onnx_export.tower_path(tower))  # type: ignore[arg-type]
    onnx.checker.check_model(graph, full_check=True)
    onnx.shape_inference.infer_shapes(graph, strict_mode=True, check_type=True, data_prop=True)


def test_metadata_names_the_model(onnx_export: Export, int8_export: Export) -> None:
    for export in (onnx_export, int8_export):
        properties = {entry.key: entry.value for entry in onnx.load(export.tower_path("image")).metadata_props}
        assert properties["model_hash"] == export.spec.model_hash
        assert json.loads(properties["model_spec"]) == json.loads(json.dumps(export.spec.to_json()))
        assert properties["licence"] == "MIT"
        assert properties["mckit_tower"] == "image"


def test_effect_of_the_simplifier_is_stated(onnx_export: Export) -> None:
    notes = onnx_export.towers["image"].notes["simplifier"]
    assert notes["applied"]
    assert notes["operators"] <= notes["operators_before"]


class Unlowered(nn.Module):
    """Has an operator that ONNX does not."""

    example = torch.ones(1, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_that_onnx_does_not_have_is_named() -> None:
    with pytest.raises(ExportError, match=r"cannot export the image tower to ONNX: No ONNX function .*bessel_j0"):
        _convert("image", Unlowered().eval())


def test_a_gelu_whose_numbers_are_no_tensors_is_reordered_as_well() -> None:
    """As older exporters of torch write constants."""
    nodes = [
        onnx.helper.make_node("Constant", [], ["half"], value_float=0.5),
        onnx.helper.make_node("Constant", [], ["one"], value_float=1.0),
        onnx.helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        onnx.helper.make_node("Erf", ["x"], ["erf"]),
        onnx.helper.make_node("Add", ["erf", "one"], ["sum"]),
        onnx.helper.make_node("Mul", ["half", "sum"], ["inner"]),
        onnx.helper.make_node("Mul", ["x", "inner"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "gelu", [], [])
    _reorder_gelu(graph)
    assert [list(node.input) for node in graph.node[-2:]] == [["x", "sum"], ["inner", "half"]]
