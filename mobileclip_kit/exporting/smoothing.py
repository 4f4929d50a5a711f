"""Channels after a layer norm brought to one size, so that 8 bits represent all of them.

Activations have one range for the tensor and weights one scale for each output. A channel of an activation that is much
larger than the others, or a row of a weight, therefore takes the steps from all others. Between a layer norm and the
products that read it a factor can move from one to the other: the norm's weight and bias are divided by it, the row of
each product's weight is multiplied. SmoothQuant (arXiv 2211.10438), eq. 4.

*Departures:* Factors are powers of two, so that the float32 graph computes the same bits as before. The exponent is
chosen for each norm by the error of its products on calibration inputs, and may be that of no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from numpy.typing import NDArray

from mobileclip_kit.exporting.onnx import Feeds, copy_message
from mobileclip_kit.exporting.ranges import activation_runner
from mobileclip_kit.exporting.samples import spread

# So many calibration inputs are observed, and so many of their rows (tokens) are kept.
_OBSERVED, _ROWS = 16, 256
# Shares of the difference that the activations give to the weights: 1 gives all channels of the activations one size,
# 0 all rows of the weights.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Channels without values would take infinite factors.
_LEAST, _LARGEST_POWER = 1e-12, 12


def smooth_norms(model: onnx.ModelProto, rows: Feeds) -> onnx.ModelProto:
    """A copy of a float32 graph whose layer norms share the size of their channels with the products that read them.

    Norms that anything else reads, such as a residual sum, stay as they are.

    Args:
        model: Its nodes keep their names.
        rows: Calibration inputs.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {node.output[0]: products for node in model.graph.node if _is_norm(node, weights)
             if (products := _products_of(node.output[0], model.graph, weights))}  # fmt: skip
    smoothed: onnx.ModelProto = copy_message(model)
    if not found:
        return smoothed
    activations = _observe(model, list(found), spread(rows, _OBSERVED))
    nodes = {node.name: node for node in smoothed.graph.node}
    for node in list(smoothed.graph.node):
        if node.output and node.output[0] in found:
            read = [nodes[name] for name in found[node.output[0]]]
            matrices = [_values(weights[product.input[1]]) for product in read]
            power = _best_powers(activations[node.output[0]], np.concatenate(matrices, axis=1))
            for place in [place for place in (1, 2) if place < len(node.input) and node.input[place]]:
                _replace(smoothed.graph, node, place, np.ldexp(_values(weights[node.input[place]]), -power))
            for product, matrix in zip(read, matrices, strict=True):
                _replace(smoothed.graph, product, 1, np.ldexp(matrix, power[:, None]))
    _drop_unread(smoothed.graph)
    return smoothed


def _best_powers(activations: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.int64]:
    """Of two, by which each channel's activations ``(n, channels)`` are divided: those with the least error in int8."""
    sizes = np.log2(np.maximum(np.abs(activations).max(0), _LEAST))
    rows = np.log2(np.maximum(np.abs(weights).max(1), _LEAST))
    tried = [np.zeros(len(sizes), np.int64)]
    for share in _SHARES:
        power = share * sizes - (1 - share) * rows
        tried.append(np.rint(power - np.median(power)).clip(-_LARGEST_POWER, _LARGEST_POWER).astype(np.int64))
    return min(tried, key=lambda power: _int8_error(np.ldexp(activations, -power), np.ldexp(weights, power[:, None])))


def _int8_error(activations: NDArray[Any], weights: NDArray[Any]) -> float:
    """Sum of squares of what a product of integers loses."""
    step = max(float(np.ptp(np.append(activations, 0.0))) / 255, _LEAST)
    steps = np.maximum(np.abs(weights).max(0) / 63, _LEAST)
    rounded = (np.rint(activations / step) * step) @ (np.rint(weights / steps) * steps)
    return float(np.square(rounded - activations @ weights).sum())


def _is_norm(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    known = all(name in weights and len(weights[name].dims) == 1 for name in node.input[1:] if name)
    return node.op_type == "LayerNormalization" and axis == -1 and len(node.input) > 1 and known


def _products_of(name: str, graph: onnx.GraphProto, weights: Mapping[str, onnx.TensorProto]) -> list[str]:
    """The products with weights that read a value's last axis; none if anything else reads it."""
    found: list[str] = []
    if name in {output.name for output in graph.output}:
        return []
    for node in _readers(name, graph):
        if node.op_type == "Reshape" and (width := _last_size(node, weights)) > 0:
            later = _products_of(node.output[0], graph, weights)
            if not later or any(_rows(product, graph, weights) != width for product in later):
                return []
            found += later
        elif node.op_type in ("MatMul", "Gemm") and node.input[0] == name and _is_plain(node, weights):
            found.append(node.name)
        else:
            return []
    return found


def _readers(name: str, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    return (node for node in graph.node if name in node.input)


def _is_plain(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a product's second factor is a matrix of weights whose rows are the channels of the first."""
    turned = any(attribute.name in ("transA", "transB") and attribute.i for attribute in node.attribute)
    return not turned and node.input[1] in weights and len(weights[node.input[1]].dims) == 2


def _rows(name: str, graph: onnx.GraphProto, weights: Mapping[str, onnx.TensorProto]) -> int:
    return int(weights[next(node for node in graph.node if node.name == name).input[1]].dims[0])


def _last_size(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> int:
    """Of a reshape's last axis; 0 where it is not known."""
    shape = weights.get(node.input[1])
    return 0 if shape is None else int(_values(shape)[-1])


def _observe(model: onnx.ModelProto, names: Sequence[str], rows: Feeds) -> dict[str, NDArray[Any]]:
    """Some rows of each activation, ``(n, channels)``, spread over the inputs."""
    run, seen = activation_runner(model, names), {name: list[NDArray[Any]]() for name in names}
    for row in rows:
        for name, values in zip(names, run(row), strict=True):
            flat = values.reshape(-1, values.shape[-1])
            seen[name].append(flat[np.linspace(0, len(flat) - 1, min(len(flat), _ROWS // len(rows)), dtype=int)])
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def _values(tensor: onnx.TensorProto) -> NDArray[Any]:
    values: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return values


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, place: int, values: NDArray[Any]) -> None:
    """Give a node its own tensor: the simplifier lets nodes share equal ones."""
    name = f"{node.name}.{node.input[place]}" if _is_shared(node.input[place], graph) else node.input[place]
    tensor = onnx.numpy_helper.from_array(values, name)
    if name == node.input[place]:
        next(entry for entry in graph.initializer if entry.name == name).CopyFrom(tensor)
    else:
        graph.initializer.append(tensor)
        node.input[place] = name


def _is_shared(name: str, graph: onnx.GraphProto) -> bool:
    return sum(list(node.input).count(name) for node in graph.node) > 1


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
