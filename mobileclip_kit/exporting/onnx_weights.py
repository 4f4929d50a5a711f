"""ONNX weights in 8 or 16 bits, computed with in float32: smaller files that need no calibration.

In 8 bits a product's weight becomes int8 with a scale for each output channel, and a DequantizeLinear before the
product; a look-up table becomes int8 rows with a scale each. All 8 bits are used: nothing is multiplied in integers
here. Which weights are too sensitive for it is chosen by :mod:`mobileclip_kit.exporting.int8_weights`.

In 16 bits every large weight becomes float16 with a Cast behind it, which runtimes carry out once, when they load the
file. Arithmetic stays float32 on purpose: CPUs compute float16 graphs in float32 all the same, with casts around each
operator, and ONNX Runtime 1.31 crashes while it optimises an attention block in float16 (its NCHWc pass, after the
fusion of transposes into products).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.onnx import copy_message, float_graph, replace_nodes, save_graph
from mobileclip_kit.exporting.towers import TowerJob

# A float32 graph to its reduced copy, and the names of what stays in float32.
Reduce = Callable[[onnx.ModelProto], tuple[onnx.ModelProto, tuple[str, ...]]]

# Smaller weights are no saving.
_LEAST_ELEMENTS = 2048
_STEPS = 127
# float16 rounds by at most 2⁻¹¹ where it does not lose small or large values.
HALF_ROUNDING = 2e-3


def write_half_weights(job: TowerJob) -> ExportedTower:
    """Write a tower with float16 weights."""
    return write_reduced(job, halve_weights)


def write_reduced(job: TowerJob, reduce: Reduce) -> ExportedTower:
    """Write a tower whose float32 graph a function reduces.

    Raises:
        ExportError: The tower cannot be converted, or the result is not valid ONNX.
    """
    with float_graph(job) as (source, notes):
        smaller, kept = reduce(onnx.load(str(source)))
    save_graph(smaller, job.tower, job.model.spec, job.path)
    notes["weight_bits"] = job.options.row.weight_bits
    return ExportedTower.from_file(job.tower, job.path, kept_in_float=kept, **notes)


def quantize_weights(model: onnx.ModelProto, kept: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of a float32 graph whose products read int8 weights and whose look-up tables are int8.

    Args:
        model: In float32.
        kept: Names of weights and tables that stay as they are.
    """
    smaller = copy_message(model)
    graph = smaller.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    done: set[tuple[str, int]] = set()
    makers: list[onnx.NodeProto] = []
    for node in graph.node:
        axis, tensor = _channel_axis(node), _weight(node, tensors)
        if axis is None or tensor is None or tensor.name in kept:
            continue
        name = f"{tensor.name}_{axis}"
        if (tensor.name, axis) not in done:
            done.add((tensor.name, axis))
            rows, scales = _in_steps(numpy_helper.to_array(tensor), axis)
            graph.initializer.extend(
                [
                    numpy_helper.from_array(rows, f"{name}_int8"),
                    numpy_helper.from_array(scales.reshape(-1), f"{name}_scale"),
                ]
            )
            stored, spread = [f"{name}_int8", f"{name}_scale"], [f"{name}_float"]
            makers.append(onnx.helper.make_node("DequantizeLinear", stored, spread, f"{name}_spread", axis=axis))
        node.input[1] = f"{name}_float"
    replace_nodes(graph, (*makers, *graph.node))
    quantize_tables(graph, kept)
    _drop_unread(graph)
    return smaller


def reducible(model: onnx.ModelProto) -> dict[str, str]:
    """The weights and tables that :func:`quantize_weights` reduces, each with an operator that reads it."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {name: "Gather" for name in _tables(model.graph)}
    for node in model.graph.node:
        weight = _weight(node, tensors)
        if weight is not None:
            found[weight.name] = node.op_type
    return found


def halve_weights(
    model: onnx.ModelProto, names: Collection[str] | None = None
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy of a float32 graph whose large weights are float16, and the weights that float16 cannot hold.

    Args:
        model: In float32.
        names: Of the weights; None for all.
    """
    smaller = copy_message(model)
    graph = smaller.graph
    large = {tensor.name: tensor for tensor in graph.initializer
             if _worth_it(tensor) and (names is None or tensor.name in names)}  # fmt: skip
    beyond = tuple(name for name, tensor in large.items() if not _fits_half(numpy_helper.to_array(tensor)))
    for name in beyond:
        del large[name]
    for tensor in large.values():
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, f"{tensor.name}_half"))
    nodes: list[onnx.NodeProto] = []
    cast: set[str] = set()
    for node in graph.node:
        is_table = node.op_type == "Gather" and node.input[0] in large
        for place, name in enumerate(node.input):
            if name in large and name not in cast and not is_table:
                cast.add(name)
                nodes.append(
                    onnx.helper.make_node("Cast", [f"{name}_half"], [name], f"{name}_spread", to=TensorProto.FLOAT)
                )
            elif name in large and is_table:
                node.input[place] = f"{name}_half"
        nodes.append(node)
        if is_table:  # only the rows that are looked up are spread
            out = node.output[0]
            node.output[0] = f"{out}_half"
            nodes.append(
                onnx.helper.make_node("Cast", [f"{out}_half"], [out], f"{node.name}_spread", to=TensorProto.FLOAT)
            )
    replace_nodes(graph, nodes)
    return smaller, beyond


def quantize_tables(graph: onnx.GraphProto, kept: Collection[str] = ()) -> tuple[str, ...]:
    """Replace each float look-up table by int8 rows and one scale a row: ``Gather → Cast → Mul(Gather(scales))``.

    Returns:
        The names of the tables; one that is also read otherwise than row by row stays as it is.
    """
    tables = {name: table for name, table in _tables(graph).items() if name not in kept}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        table = tables.get(node.input[0]) if _takes_rows(node) else None
        if table is None:
            nodes.append(node)
            continue
        ids, out = node.input[1], node.output[0]
        # The quantiser calls an activation's own scale "…_scale".
        names = {kind: f"{out}_row_{kind}" for kind in ("int8", "float", "scale")}
        nodes += [
            onnx.helper.make_node("Gather", [f"{table.name}_int8", ids], [names["int8"]], f"{node.name}_int8"),
            onnx.helper.make_node("Cast", [names["int8"]], [names["float"]], f"{node.name}_cast", to=TensorProto.FLOAT),
            onnx.helper.make_node("Gather", [f"{table.name}_scale", ids], [names["scale"]], f"{node.name}_scale"),
            onnx.helper.make_node("Mul", [names["float"], names["scale"]], [out], f"{node.name}_scaled"),
        ]
    replace_nodes(graph, nodes)
    for name, table in tables.items():
        rows, scales = _in_steps(numpy_helper.to_array(table), 0)
        graph.initializer.remove(table)
        graph.initializer.extend(
            [numpy_helper.from_array(rows, f"{name}_int8"), numpy_helper.from_array(scales, f"{name}_scale")]
        )
    return tuple(tables)


def _tables(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The float matrices of which nothing but rows is taken, by name."""
    matrices = {
        tensor.name: tensor
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
    }
    rows: set[str] = set()
    otherwise = {value.name for value in graph.output}
    for node in graph.node:
        for place, name in enumerate(node.input):
            (rows if place == 0 and _takes_rows(node) else otherwise).add(name)
    return {name: tensor for name, tensor in matrices.items() if name in rows - otherwise}


def _takes_rows(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gather" and not any(entry.name == "axis" and entry.i for entry in node.attribute)


def _weight(node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]) -> onnx.TensorProto | None:
    """A product's weight, where it is large and its output channels are known."""
    axis = _channel_axis(node)
    tensor = tensors.get(node.input[1]) if axis is not None else None
    return None if tensor is None or not _worth_it(tensor) or (axis == 1 and len(tensor.dims) > 2) else tensor


def _channel_axis(node: onnx.NodeProto) -> int | None:
    """Which axis of a product's weight holds its output channels; None for other operators."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return 1  # of two dimensions; open_clip's towers multiply with no others
    if node.op_type == "Gemm":
        return 0 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 1
    return None


def _worth_it(tensor: onnx.TensorProto) -> bool:
    large = len(tensor.dims) >= 2 and int(np.prod(tensor.dims)) >= _LEAST_ELEMENTS
    return large and tensor.data_type == TensorProto.FLOAT


def _fits_half(array: NDArray[np.float32]) -> bool:
    """Whether float16 holds a weight's values, none of them too large and most of them not too small."""
    with np.errstate(over="ignore"):
        error = np.linalg.norm(array.astype(np.float16).astype(np.float32) - array)
    return bool(error <= HALF_ROUNDING * np.linalg.norm(array))


def _in_steps(array: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers in −127…127 and one scale for each place along ``axis``, of the array's number of dimensions."""
    others = tuple(place for place in range(array.ndim) if place != axis)
    scales = np.maximum(np.abs(array).max(axis=others, keepdims=True) / _STEPS, 1e-12).astype(np.float32)
    return np.rint(array / scales).astype(np.int8), scales


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [copy_message(tensor) for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
