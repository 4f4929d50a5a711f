"""int8: what is reduced, what is kept, and calibrations that cannot work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mobileclip_kit.errors import UsageError
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.int8 import kept_in_float
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import draw_images
from mobileclip_kit.networks.model import Model
from tests.exports import IMAGE


def test_int8_passes_its_threshold(int8_export: Export) -> None:
    assert all(row["passed"] and row["threshold"] == 0.99 for row in int8_export.rows())


@pytest.mark.parametrize("tower", ["image", "text"])
def test_products_with_weights_are_int8_and_the_rest_is_listed(int8_export: Export, tower: str) -> None:
    graph = onnx.load(int8_export.tower_path(tower)).graph  # type: ignore[arg-type]
    makers = {output: node.op_type for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Gemm", "Conv"):
            assert [makers[name] for name in node.input[:2]] == ["DequantizeLinear", "DequantizeLinear"]
        if node.op_type in ("LayerNormalization", "Softmax", "Erf"):
            assert makers[node.input[0]] != "DequantizeLinear" or node.op_type != "LayerNormalization"
    kept = {entry.split(" ")[0] for entry in int8_export.towers[tower].kept_in_float}  # type: ignore[index]
    assert {"LayerNormalization", "Softmax", "Erf", "Add"} <= kept


def test_weights_use_seven_bits(int8_export: Export) -> None:
    """Full-range weights saturate on processors without VNNI."""
    graph = onnx.load(int8_export.tower_path("image")).graph
    weights = [
        numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8
    ]
    largest = max(int(np.abs(array.astype(int)).max()) for array in weights if array.ndim >= 2)
    assert largest <= 64


def test_token_table_is_int8_with_a_scale_a_row(int8_export: Export, tiny_model: Model) -> None:
    tables = {t.name: numpy_helper.to_array(t) for t in onnx.load(int8_export.tower_path("text")).graph.initializer}
    rows = next(array for name, array in tables.items() if name.endswith("_int8") and array.ndim == 2)
    scales = next(array for name, array in tables.items() if name.endswith("_scale") and array.shape == (len(rows), 1))
    wanted = tiny_model.network.token_embedding.weight.detach().numpy()
    assert rows.dtype == np.int8
    # Rounding to the nearest step errs by half a step at most.
    assert np.abs(rows * scales - wanted).max() <= scales.max() / 2 * 1.001


def test_int8_is_smaller(int8_export: Export, onnx_export: Export) -> None:
    for tower in ("image", "text"):
        assert int8_export.towers[tower].size_bytes < onnx_export.towers[tower].size_bytes


def test_a_convolution_of_the_image_counts_as_float_when_it_is() -> None:
    """Neither the graph's input nor a float weight has a maker; dequantised ones have."""
    quantized = [
        helper.make_node("DequantizeLinear", [f"{name}_int8", "scale"], [f"{name}_float"]) for name in ("image", "w")
    ]
    names = (("image", "w"), ("image_float", "w_float"), ("image_float", "w"))
    found = [
        kept_in_float(helper.make_graph([*quantized, helper.make_node("Conv", list(given), ["out"])], "one", [], []))
        for given in names
    ]
    assert found == [("Conv ×1",), (), ("Conv ×1",)]


def test_calibration_is_required(tiny_model: Model, tmp_path: pytest.TempPathFactory) -> None:
    with pytest.raises(UsageError, match="with calibration"):
        export_model(tiny_model, tmp_path / "out", ExportOptions(format="onnx", precision="int8"))


@pytest.mark.parametrize("count", [0, 1])
def test_one_image_shows_no_range(tiny_model: Model, tmp_path: pytest.TempPathFactory, count: int) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        export_model(
            tiny_model,
            tmp_path / "out",
            ExportOptions(format="onnx", precision="int8", calibration=draw_images(IMAGE, count=count)),
        )


@pytest.mark.parametrize(
    ("precision", "said"), [("int8", "holds no sensitivities"), ("fp32", "says nothing of onnx int8")]
)
def test_an_export_that_measured_nothing_is_no_measurement(
    tiny_model: Model, onnx_export: Export, tmp_path: Path, precision: str, said: str
) -> None:
    measured = replace(onnx_export, precision=precision)
    options = ExportOptions(format="onnx", precision="int8", measured=measured, calibration=draw_images(IMAGE, count=2))
    with pytest.raises(UsageError, match=said):
        export_model(tiny_model, tmp_path / "out", options)
