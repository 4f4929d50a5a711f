"""Smaller ONNX weights: what is stored, what is computed, what float16 cannot hold."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.onnx_weights import halve_weights, quantize_tables, quantize_weights
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.onnx import open_session


def products() -> onnx.ModelProto:
    """A look-up, a MatMul and a transposed Gemm, whose weights have rows of very different size."""
    random = np.random.default_rng(0)
    weights = {
        "table": random.standard_normal((40, 64)),
        "first": random.standard_normal((64, 64)) * np.logspace(-3, 3, 64),
        "second": random.standard_normal((48, 64)) * np.logspace(-2, 2, 48)[:, None],
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "look_up"),
        helper.make_node("MatMul", ["rows", "first"], ["hidden"], "matmul"),
        helper.make_node("Gemm", ["hidden", "second"], ["embedding"], "gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 48])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, *, spread: bool = False) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = open_session(model.SerializeToString(), threads=1, spread_weights=spread)
    vectors: np.ndarray = session.run(None, {"ids": np.arange(40)})[0]
    return vectors


def stored(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def test_each_output_channel_has_its_own_scale() -> None:
    """Rounding to the nearest of 255 steps errs by half a step: 1/254 of the channel's largest weight."""
    model, smaller = products(), quantize_weights(products())
    for name, int8, axis in (("first", "first_1", 0), ("second", "second_0", 1), ("table", "table", 1)):
        full = stored(model, name)
        scale = stored(smaller, f"{int8}_scale")
        rows = stored(smaller, f"{int8}_int8").astype(np.float32)
        largest = np.abs(full).max(axis=axis, keepdims=True)
        error = np.abs(rows * (scale if scale.ndim == 2 else np.expand_dims(scale, axis)) - full)
        assert (error <= largest / 254 * 1.001).all()


@pytest.mark.parametrize("spread", [False, True])
def test_int8_weights_compute_nearly_the_same(spread: bool) -> None:
    """Spread out at load or at every call, the numbers are the same ones."""
    wanted, actual = run(products()), run(quantize_weights(products()), spread=spread)
    assert np.abs(actual - wanted).max() / np.abs(wanted).max() < 0.02


def test_float16_weights_compute_nearly_the_same() -> None:
    model, beyond = halve_weights(products())
    assert beyond == ()
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    np.testing.assert_allclose(run(model), run(products()), rtol=2e-3, atol=2e-3 * np.abs(run(products())).max())


def test_a_weight_beyond_float16_stays_and_is_named() -> None:
    model = products()
    large = stored(model, "second").copy()
    large[0, 0] = 1e5
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(large, "second"))
    smaller, beyond = halve_weights(model)
    assert beyond == ("second",)
    assert np.array_equal(stored(smaller, "second"), large)


def test_the_source_is_left_alone() -> None:
    model = products()
    before = model.SerializeToString()
    quantize_weights(model)
    halve_weights(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.7), ("int8-weights", 0.6)])
def test_exports_from_an_export(
    tiny_model: Model, onnx_export: Export, tmp_path_factory: pytest.TempPathFactory, precision: str, share: float
) -> None:
    """Reduced without converting again: verified, smaller, and told how it was made."""
    place = tmp_path_factory.mktemp("reduced") / precision
    export = export_model(tiny_model, place, ExportOptions(format="onnx", precision=precision, base=onnx_export))
    for tower in ("image", "text"):
        assert export.towers[tower].notes["converter"] == onnx_export.towers[tower].notes["converter"]
        assert export.towers[tower].size_bytes < share * onnx_export.towers[tower].size_bytes
    assert all(row["cosine_min"] > 0.999 for row in export.rows())


def test_a_table_of_two_look_ups_is_stored_once() -> None:
    model = products()
    again = helper.make_node("Gather", ["table", "ids"], ["same_rows"], "look_up_again")
    total = helper.make_node("Add", ["rows", "same_rows"], ["twice"], "total")
    model.graph.node.insert(1, total)
    model.graph.node.insert(1, again)
    model.graph.node[3].input[0] = "twice"
    wanted = run(model)
    assert quantize_tables(model.graph) == ("table",)
    assert np.abs(run(model) - wanted).max() / np.abs(wanted).max() < 0.02
    assert [tensor.name for tensor in model.graph.initializer].count("table_int8") == 1


@pytest.mark.parametrize("other", ["product", "columns"])
def test_a_table_that_is_read_otherwise_stays_float(other: str) -> None:
    """Rows' scales fit rows: neither a product with the table nor a look-up of its columns."""
    model = products()
    if other == "product":
        model.graph.node.append(helper.make_node("MatMul", ["table", "first"], ["all_hidden"], "all"))
    else:
        model.graph.node.append(helper.make_node("Gather", ["table", "ids"], ["columns"], "columns", axis=1))
    assert quantize_tables(model.graph) == ()
    assert stored(model, "table").dtype == np.float32
