"""Which products of a quantised tower cost accuracy, and which of them to keep in float32 under a budget.

Measuring and choosing are two steps with a file between: the table of sensitivities can be read, kept and chosen from
again. A product's sensitivity is what the vectors lose when it alone is int8. The choice keeps the most sensitive ones
in float, as few as the budget allows; since losses of several products do not simply add up, every candidate set is
executed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from mobileclip_kit import formats
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.onnx import Feeds, copy_message, replace_nodes, run_graph
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.progress import track
from mobileclip_kit.spec import Tower

QUANTIZED = ("MatMul", "Gemm", "Conv")


@dataclass(frozen=True)
class Sensitivity:
    """What one product costs in integers.

    Attributes:
        node: Its name in the graph.
        operator: ``MatMul``, ``Gemm`` or ``Conv``.
        weight: The name of its weight, or "two activations".
        loss: 1 − the least cosine to the float32 vectors when it alone is reduced.
        bits: Of its integers.
    """

    node: str
    operator: str
    weight: str
    loss: float
    bits: int = 8


@dataclass(frozen=True)
class SensitivityTable:
    """``int8-sensitivity-TOWER.json``: what was measured, and on which inputs."""

    products: tuple[Sensitivity, ...]
    measured_on: str = ""


def measure_sensitivity(float_model: onnx.ModelProto, int8_model: onnx.ModelProto, inputs: Feeds) -> list[Sensitivity]:
    """The sensitivity of each product, the greatest first.

    Args:
        float_model: The graph that was quantised.
        int8_model: The same graph with quantise/dequantise pairs; its nodes have kept their names.
        inputs: Of one row each.
    """
    wanted = run_graph(float_model, inputs)
    products = quantized_products(float_model, int8_model)
    weights = {tensor.name for tensor in float_model.graph.initializer}
    found = []
    for node in track(list(products.values()), "int8, one product alone", "products"):
        alone = keep_float(float_model, int8_model, products.keys() - {node.name})
        weight = next((name for name in node.input if name in weights), "two activations")
        loss = 1 - float(row_cosines(wanted, run_graph(alone, inputs)).min())
        found.append(Sensitivity(node.name, node.op_type, weight, loss))
    return sorted(found, key=lambda entry: -entry.loss)


def choose_float(
    sensitivities: Sequence[Sensitivity], accepts: Callable[[Sequence[Sensitivity]], bool]
) -> tuple[Sensitivity, ...] | None:
    """The fewest of the first products that have to stay as they were, found by bisection.

    Args:
        sensitivities: From :func:`measure_sensitivity`, in the order in which they are to be kept.
        accepts: Whether the graph without these reductions is good enough. To be asked of other inputs than those that
            the sensitivities were measured on.

    Returns:
        None if not even all of them are enough.
    """

    def reaches(count: int) -> bool:
        return accepts(sensitivities[:count])

    low, high = 0, len(sensitivities)
    if not reaches(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle + 1, high)
    return tuple(sensitivities[:low])


def keep_float(float_model: onnx.ModelProto, int8_model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """A copy of a quantised graph in which some products take their float32 inputs again.

    A value stays quantised where a product that is still int8 makes or takes it.
    """
    mixed: onnx.ModelProto = copy_message(int8_model)
    originals = {node.name: node for node in float_model.graph.node}
    makers = {output: node.name for node in float_model.graph.node for output in node.output}
    still = quantized_products(float_model, int8_model).keys() - set(kept)
    for node in mixed.graph.node:
        original = originals.get(node.name)
        if original is None or node.name in still:
            continue
        for place, name in enumerate(original.input):
            if makers.get(name) not in still:
                node.input[place] = name
    _drop_unread_biases(mixed.graph, float_model.graph, still)
    _prune(mixed.graph, float_model.graph)
    return mixed


def quantized_products(float_model: onnx.ModelProto, int8_model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The products that a quantised graph computes in int8, as they were before, by name."""
    quantized = {node.name: node for node in int8_model.graph.node if node.op_type in QUANTIZED}
    return {
        node.name: node
        for node in float_model.graph.node
        if node.name in quantized and list(quantized[node.name].input[:2]) != list(node.input[:2])
    }


def write_sensitivities(path: Path, sensitivities: Sequence[Sensitivity], inputs: str) -> None:
    """Write the table between measuring and choosing."""
    formats.write(path, SensitivityTable(tuple(sensitivities), inputs))


def read_sensitivities(path: Path) -> list[Sensitivity]:
    """Read :func:`write_sensitivities`' table, the greatest loss first.

    Raises:
        DataError: The file is missing or no JSON.
        ExportError: It is no such table.
    """
    table = formats.read(path, SensitivityTable, error=ExportError, hint="Measure again: omit --sensitivity.")
    return sorted(table.products, key=lambda entry: -entry.loss)


def table_path(folder: Path, tower: Tower) -> Path:
    """Where an int8 export keeps the sensitivities of a tower; a tower that needed nothing in float has no table."""
    return folder / f"int8-sensitivity-{tower}.json"


def _drop_unread_biases(graph: onnx.GraphProto, source: onnx.GraphProto, still: Collection[str]) -> None:
    """Drop the makers of dequantised biases that no int8 product reads: they bear the float32 bias's own name."""
    weights = {tensor.name for tensor in source.initializer}
    read = {name for node in graph.node if node.name in still for name in node.input}
    replace_nodes(graph, [node for node in graph.node if not (weights - read).intersection(node.output)])


def _prune(graph: onnx.GraphProto, source: onnx.GraphProto) -> None:
    """Drop what nothing reads any more, and bring in the float32 weights that are read again."""
    wanted = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):  # a graph lists makers before takers
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    wanted -= {name for node in nodes for name in node.output}
    tensors = {tensor.name: tensor for tensor in (*source.initializer, *graph.initializer) if tensor.name in wanted}
    kept = [copy_message(tensor) for tensor in tensors.values()]
    replace_nodes(graph, nodes[::-1])
    del graph.initializer[:]
    graph.initializer.extend(kept)
