"""Layer norms that share the size of their channels with the products that read them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.helper import make_tensor_value_info as value

from mobileclip_kit.exporting.int8 import insert_pairs
from mobileclip_kit.exporting.onnx import OPERATOR_SET, Feeds, run_graph
from mobileclip_kit.exporting.ranges import observe_ranges
from mobileclip_kit.exporting.smoothing import smooth_norms
from mobileclip_kit.metrics import row_cosines

WIDTH, OUT = 32, 16


def norm_and_product(*, residual: bool = False) -> onnx.ModelProto:
    """A norm with a channel that is small beside the others, and a product that weighs it most, as after training."""
    rng = np.random.default_rng(0)
    scale, matrix = np.ones(WIDTH, np.float32), rng.normal(size=(WIDTH, OUT)).astype(np.float32)
    scale[3], matrix[3] = 0.01, 100.0 * matrix[3]
    weights = {"scale": scale, "bias": np.zeros(WIDTH, np.float32), "matrix": matrix, "shape": np.array([-1, WIDTH])}
    nodes = [
        helper.make_node("LayerNormalization", ["image", "scale", "bias"], ["normed"], name="norm", axis=-1),
        helper.make_node("Reshape", ["normed", "shape"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "matrix"], ["product"], name="product"),
        helper.make_node("Sum", ["product", *(["normed"] if residual else [])], ["embedding"], name="end"),
    ]
    if residual:  # of one width then
        weights["matrix"] = np.concatenate([matrix, matrix], axis=1)
    graph = helper.make_graph(
        nodes, "g", [value("image", onnx.TensorProto.FLOAT, ["n", WIDTH])],
        [value("embedding", onnx.TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPERATOR_SET)], ir_version=9)


def inputs() -> Feeds:
    rows = np.random.default_rng(1).normal(size=(24, 1, WIDTH)).astype(np.float32)
    return [{"image": row} for row in rows]


def test_integers_lose_less_and_floats_nothing() -> None:
    model, rows = norm_and_product(), inputs()
    smoothed = smooth_norms(model, rows)
    wanted = run_graph(model, rows)
    assert np.array_equal(run_graph(smoothed, rows), wanted), "powers of two change no bit"
    losses = []
    for graph in (model, smoothed):
        names = {"normed", "flat", "product", "image"}
        vectors = run_graph(insert_pairs(graph, observe_ranges(graph, names, rows)), rows)
        losses.append(1 - row_cosines(wanted, vectors).min())
    assert losses[1] < losses[0] / 5


def test_a_norm_that_a_residual_sum_reads_stays() -> None:
    model = norm_and_product(residual=True)
    assert smooth_norms(model, inputs()).graph == model.graph
