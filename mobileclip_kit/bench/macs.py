"""Multiply-accumulates of one input, counted from the shapes in an export: products of matrices and convolutions.

What is counted is what torch's own counter counts for a model: element-wise work, norms and softmax are left out, and
an unknown dimension (the batch) counts as one. An export may count less than its torch model: where a transformer pools
by its class token, the export computes the last layer's MLP and queries for this token only, and torch for all tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mobileclip_kit.mil.graph import Operation, Program, Ref

Shape = Sequence[int]


def count_onnx(model: Any) -> int | None:
    """Of an ``onnx.ModelProto``; None where the shape of a product is not known."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in single.graph.input:
        for size in value.type.tensor_type.shape.dim:
            size.dim_value = size.dim_value or 1
    # The shapes that are written down are those of any batch.
    del single.graph.value_info[:]
    for value in single.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    shapes: dict[str, Shape] = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [size.dim_value for size in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        places = _ONNX_OPERANDS.get(node.op_type)
        if places is None:
            continue
        found = [shapes.get(node.input[place]) for place in places] + [shapes.get(node.output[0])]
        if not all(shape is not None and all(shape) for shape in found):
            return None
        left, right, out = ([int(size) for size in shape or ()] for shape in found)
        if "Conv" in node.op_type:
            total += math.prod(out) * math.prod(right[1:])  # weights are (out, in / groups, height, width)
        else:
            turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            total += math.prod(out) * left[-2 if turned else -1]
    return total


# Where an operator's two factors stand among its inputs.
_ONNX_OPERANDS = {
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "Gemm": (0, 1),
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearConv": (0, 3),
}


def count_program(program: Program) -> int | None:
    """Of a Core ML program; None where the shape of a product is not known."""
    shapes = {tensor.name: tensor.shape for tensor in program.main.inputs}
    total = 0
    for operation in program.main.operations:
        shapes.update({tensor.name: tensor.shape for tensor in operation.outputs})
        count = _PROGRAM_COUNTS.get(operation.type)
        if count is None:
            continue
        try:
            total += count(operation, shapes)
        except KeyError:
            return None
    return total


def _linear(operation: Operation, shapes: Mapping[str, tuple[int | None, ...]]) -> int:
    return _size(_out(operation)) * _shape(operation, "x", shapes)[-1]


def _matmul(operation: Operation, shapes: Mapping[str, tuple[int | None, ...]]) -> int:
    left, out = _shape(operation, "x", shapes), _out(operation)
    # The factor may stand transposed. Where both its sides are alike, either is the depth.
    depth = left[-1] if len(left) < 2 or left[-2] == out[-2] else left[-2]
    return _size(out) * depth


def _conv(operation: Operation, shapes: Mapping[str, tuple[int | None, ...]]) -> int:
    return _size(_out(operation)) * _size(_shape(operation, "weight", shapes)[1:])


def _attention(operation: Operation, shapes: Mapping[str, tuple[int | None, ...]]) -> int:
    query, key, value = (_shape(operation, name, shapes) for name in ("query", "key", "value"))
    return _size(query[:-1]) * key[-2] * (query[-1] + value[-1])


_PROGRAM_COUNTS: dict[str, Callable[[Operation, Mapping[str, tuple[int | None, ...]]], int]] = {
    "linear": _linear,
    "matmul": _matmul,
    "conv": _conv,
    "scaled_dot_product_attention": _attention,
}


def _shape(operation: Operation, name: str, shapes: Mapping[str, tuple[int | None, ...]]) -> list[int]:
    value = operation.inputs[name]
    shape = shapes[value.name] if isinstance(value, Ref) else value.shape  # type: ignore[union-attr]
    return [size or 1 for size in shape]


def _out(operation: Operation) -> list[int]:
    return [size or 1 for size in operation.outputs[0].shape]


def _size(shape: Sequence[int]) -> int:
    return math.prod(shape)
