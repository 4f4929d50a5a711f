from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mobileclip_kit.bench.macs import count_onnx, count_program
from mobileclip_kit.mil.graph import Function, Operation, Program, Ref, Tensor


def model(nodes: list[onnx.NodeProto], shape: list[object], weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(size, np.float32), name) for name, size in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_a_convolution_by_hand() -> None:
    """8 × 8 outputs of 4 channels, each from 3 × 2 × 2 weights; the batch counts as one."""
    conv = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2])
    assert count_onnx(model([conv], ["batch", 3, 16, 16], {"w": (4, 3, 2, 2)})) == 8 * 8 * 4 * 12


def test_products_by_hand() -> None:
    """(5, 6) by (6, 7), then the result by its own transpose: 5 · 7 · 6 + 5 · 5 · 7. Adding costs nothing."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["a", "b"], ["c"]),
        helper.make_node("Add", ["c", "c"], ["y"]),
    ]
    assert count_onnx(model(nodes, ["batch", 5, 6], {"w": (6, 7)})) == 210 + 175
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)
    assert count_onnx(model([gemm], [6, 5], {"w": (6, 7)})) == 210


def test_a_shape_that_nobody_knows_is_not_counted() -> None:
    """The length of NonZero's output depends on the data."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["found"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["w", "found"], ["y"]),
    ]
    assert count_onnx(model(nodes, [4, 4], {"w": (3, 2)})) is None


def test_a_core_ml_program_by_hand() -> None:
    """A linear layer (5 · 7 · 6), a product with a transposed factor (5 · 5 · 7), a convolution."""

    def operation(kind: str, out: tuple[int, ...], **inputs: object) -> Operation:
        return Operation(kind, kind, inputs, (Tensor(kind, "fp16", out),), {})  # type: ignore[arg-type]

    program = Program(
        path=Path("p"),
        functions={
            "main": Function(
                inputs=(Tensor("x", "fp16", (None, 5, 6)),),
                operations=(
                    operation("linear", (1, 5, 7), x=Ref("x"), weight=np.zeros((7, 6))),
                    operation("transpose", (1, 7, 5), x=Ref("linear")),
                    operation("matmul", (1, 5, 5), x=Ref("transpose"), y=Ref("linear")),
                    operation("conv", (1, 4, 8, 8), x=Ref("x"), weight=np.zeros((4, 3, 2, 2))),
                    operation("relu", (1, 4, 8, 8), x=Ref("conv")),
                ),
                outputs=("relu",),
                operator_set="CoreML7",
            )
        },
        default_function="main",
        inputs=(),
        outputs=(),
        specification_version=8,
        metadata={},
    )
    assert count_program(program) == 210 + 175 + 8 * 8 * 4 * 12
