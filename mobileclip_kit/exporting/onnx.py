"""Towers to ONNX: one file a tower, dynamic batch, checked and simplified.

The graph is torch.export's (``dynamo=True``); every other ONNX precision is made from it. It takes ``image``, RGB in
0…1, ``(n, 3, height, width)`` float32, or ``ids``, ``(n, context)`` int64, and gives ``embedding``, ``(n, d)`` float32
rows of length 1.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnxsim
import torch
from numpy.typing import NDArray
from torch import nn

from mobileclip_kit import __version__
from mobileclip_kit.arrays import Ids, Pixels
from mobileclip_kit.errors import ExportError, first_line
from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.metadata import describe_tower, quiet_converters, short_description
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.runtime.onnx import open_session
from mobileclip_kit.spec import ModelSpec, Tower

# Inputs of one row each, as a session takes them.
Feeds = Sequence[Mapping[str, NDArray[Any]]]

OPERATOR_SET = 18
_OUTPUT = "mckit_embedding"
INPUTS: dict[Tower, str] = {"image": "image", "text": "ids"}


def write_float32(job: TowerJob) -> ExportedTower:
    """Write one tower in float32.

    Raises:
        ExportError: The tower cannot be converted.
    """
    return ExportedTower.from_file(job.tower, job.path, **_write_float(job, job.path))


@contextlib.contextmanager
def float_graph(job: TowerJob) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The tower's float32 graph as a temporary file, and its notes: what other precisions are made from."""
    source = job.path.with_name(f"{job.tower}-float.onnx")
    notes = _write_float(job, source)
    yield source, notes
    source.unlink()


def save_graph(graph: onnx.ModelProto, tower: Tower, spec: ModelSpec, path: Path) -> None:
    """Write a graph with mckit's metadata.

    Raises:
        ExportError: It is not valid ONNX.
    """
    entries = {**describe_tower(tower, spec), "description": short_description(tower, spec)}
    graph.producer_name, graph.producer_version = "mckit", __version__
    onnx.helper.set_model_props(graph, entries)
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path.name} is not valid ONNX: {first_line(error)}") from error
    path.write_bytes(graph.SerializeToString())


class TowerFeeds(Sequence[Any]):
    """Pixels or token rows as a tower's graph takes them, one at a time; made when they are asked for."""

    def __init__(self, tower: Tower, inputs: Pixels | Ids) -> None:
        self._tower, self._inputs = tower, inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return TowerFeeds(self._tower, self._inputs[place])
        row = self._inputs[place][None]
        if self._tower == "text":
            return {INPUTS["text"]: row.astype(np.int64)}
        return {INPUTS["image"]: row.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)}


def run_graph(model: onnx.ModelProto, feeds: Feeds) -> NDArray[np.float64]:
    """The vectors of some inputs, ``(n, d)``."""
    session = open_session(model.SerializeToString())
    vectors: NDArray[np.float64] = np.concatenate(
        [session.run(["embedding"], dict(row))[0] for row in feeds], dtype=float
    )
    return vectors


def copy_message(message: Any) -> Any:
    """A copy of a protobuf message."""
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Let a graph have these nodes, which may be its own."""
    copied = [copy_message(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copied)


def _write_float(job: TowerJob, path: Path) -> dict[str, Any]:
    base = job.options.base
    if base is None:
        return export_onnx(job.tower, job.module, path, job.model.spec)
    shutil.copyfile(base.tower_path(job.tower), path)
    return dict(base.towers[job.tower].notes)


def export_onnx(tower: Tower, module: nn.Module, path: Path, spec: ModelSpec) -> dict[str, Any]:
    """Write one tower.

    Args:
        tower: ``image`` or ``text``.
        module: An :class:`~mobileclip_kit.exporting.towers.ImageTower` or ``TextTower``.
        path: The file to write.
        spec: Goes into the file's metadata.

    Returns:
        Notes for the manifest: operator set, and how many operators the simplifier removed.

    Raises:
        ExportError: torch cannot export the tower, or the result is not valid ONNX.
    """
    graph = _convert(tower, module)
    before = len(graph.graph.node)
    graph, simplified = _simplify(graph)
    save_graph(graph, tower, spec, path)
    notes = {"converter": "torch.onnx (dynamo)", "operator_set": graph.opset_import[0].version}
    return {**notes, "simplifier": {**simplified, "operators_before": before, "operators": len(graph.graph.node)}}


def _convert(tower: Tower, module: nn.Module) -> onnx.ModelProto:
    name = INPUTS[tower]
    example: torch.Tensor = module.example  # type: ignore[assignment]
    # Two rows: torch.export takes a size of one for a constant.
    example = example.repeat(2, *[1] * (example.ndim - 1))
    if tower == "text":
        example = example.long()
    try:
        with quiet_converters(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[name],
                output_names=[_OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},),
                opset_version=OPERATOR_SET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporters raise dozens of classes; all of them mean that it did not convert
        # The outermost error says only which of three steps failed; the innermost names the operator.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ExportError(f"torch cannot export the {tower} tower to ONNX: {first_line(cause)}") from error
    assert program is not None
    proto = program.model_proto
    assert isinstance(proto, onnx.ModelProto)
    _rename_output(proto.graph)
    _reorder_gelu(proto.graph)
    return proto


def _rename_output(graph: onnx.GraphProto) -> None:
    """Call the output ``embedding``, which torch's exporter also calls the result of its token look-up."""
    names = {"embedding": "tokens_embedded", _OUTPUT: "embedding"}
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for value in [*graph.value_info, *graph.output]:
        value.name = names.get(value.name, value.name)


def _reorder_gelu(graph: onnx.GraphProto) -> None:
    """``x · (½ · (1 + erf))`` to ``(x · (1 + erf)) · ½``: the order in which ONNX Runtime knows GELU and fuses it."""
    makers = {output: node for node in graph.node for output in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    halves = {tensor.name for tensor in graph.initializer if is_half(tensor)}
    halves |= {node.output[0] for node in graph.node if node.op_type == "Constant" and _gives_half(node.attribute[0])}
    for outer in graph.node:
        if outer.op_type != "Mul":
            continue
        for value, product in (tuple(outer.input), tuple(outer.input)[::-1]):
            inner = makers.get(product)
            if inner is None or inner.op_type != "Mul" or readers[product] != 1:
                continue
            half = next((name for name in inner.input if name in halves), None)
            if half is None or not _adds_erf(next(name for name in inner.input if name != half), makers):
                continue
            inner.input[:] = [value, next(name for name in inner.input if name != half)]
            outer.input[:] = [product, half]
            break


def is_half(tensor: onnx.TensorProto) -> bool:
    """Whether a stored value is the single number ½."""
    return math.prod(tensor.dims) == 1 and float(onnx.numpy_helper.to_array(tensor).reshape(())) == 0.5


def _gives_half(attribute: onnx.AttributeProto) -> bool:
    """Whether a Constant is ½, by its attribute: a tensor, or a number as older exporters of torch write it."""
    return attribute.f == 0.5 if attribute.name == "value_float" else attribute.name == "value" and is_half(attribute.t)


def _adds_erf(name: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    node = makers.get(name)
    if node is None or node.op_type != "Add":
        return False
    return any(place in makers and makers[place].op_type == "Erf" for place in node.input)


def _simplify(graph: onnx.ModelProto) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
    try:
        with quiet_converters():
            simplified, equal = onnxsim.simplify(graph)
    except Exception as error:  # the simplifier is an aid: the graph as it was is as good, and the manifest says so
        return graph, {"name": "onnxsim", "applied": False, "reason": first_line(error)}
    if not equal:
        return graph, {"name": "onnxsim", "applied": False, "reason": "its own check found a difference"}
    return simplified, {"name": "onnxsim", "applied": True}
