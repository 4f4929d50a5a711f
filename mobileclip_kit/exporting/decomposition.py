"""Decompositions of a ``torch.export`` program, each kind of call traced once.

``ExportedProgram.run_decompositions`` traces the whole program three times, which is the largest part of an export to
Core AI: a tower of twelve layers has thousands of operators. Its layers repeat, so there are only some dozens of
different calls (an operator with the shapes and types of its arguments). Here each of these is traced once, and every
node is replaced by a copy of what its kind gave.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._decomp.decompositions import native_batch_norm_decomposition
from torch._guards import detect_fake_mode
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

# A call's arguments with a tensor's facts in the place of each tensor.
_Key = tuple[Any, ...]


def decompose(program: torch.export.ExportedProgram, table: dict[Any, Any]) -> torch.export.ExportedProgram:
    """Replace operators by their decompositions.

    Programs that write into tensors or branch are left to torch's own pass.

    Args:
        program: Its graph may be changed in place.
        table: Operator to decomposition, as ``run_decompositions`` takes it.
    """
    if not _is_plain(program):
        return _by_torch(program, table)
    table = {torch.ops.aten.native_batch_norm.default: native_batch_norm_decomposition, **table}
    known = torch.export.default_decompositions()
    nodes = [node for node in program.graph.nodes if node.target in table or _is_composite(node, known)]
    keys = [_key(node) for node in nodes]
    kinds: dict[_Key, torch.fx.GraphModule] = {}
    # Tensors that a decomposition makes have to be of the program's own mode.
    values = [node.meta["val"] for node in program.graph.find_nodes(op="placeholder")]
    with detect_fake_mode(values) or contextlib.nullcontext():
        for key, node in zip(keys, nodes, strict=True):
            if key not in kinds:
                kinds[key] = _trace(node, table)
    # Copies of nodes would lose the constants of a kind.
    if any(kind.graph.find_nodes(op="get_attr") for kind in kinds.values()):
        return _by_torch(program, table)
    for key, node in zip(keys, nodes, strict=True):
        _replace(program.graph, node, kinds[key])
    (output,) = program.graph.find_nodes(op="output")
    for spec, result in zip(program.graph_signature.output_specs, output.args[0], strict=True):
        spec.arg.name = result.name  # type: ignore[union-attr]
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def average_pool(
    images: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Average pooling without its rarer options: a decomposition of ``aten.avg_pool2d``.

    coreai-torch 1.0 counts the padding although ``count_include_pad`` is false, and refuses ``ceil_mode``. Here the
    input is padded first, and every average is scaled to the elements that torch counts.
    """
    if not ceil_mode and (count_include_pad or not any(padding)):
        return NotImplemented
    sides = images.shape[-2:]
    kernel, stride, padding = (tuple(given) * (2 // len(given)) for given in (kernel, stride or kernel, padding))
    beyond = [_beyond(*each, ceil_mode=ceil_mode) for each in zip(sides, kernel, stride, padding, strict=True)]
    outer = [padding[1], padding[1] + beyond[1], padding[0], padding[0] + beyond[0]]
    pooled = torch.ops.aten.avg_pool2d.default(
        torch.ops.aten.constant_pad_nd.default(images, outer), list(kernel), list(stride)
    )
    elements = float(kernel[0] * kernel[1])
    if divisor_override is not None:
        return pooled * (elements / divisor_override)
    # What lies beyond the padding never counts.
    ring = [padding[1], padding[1], padding[0], padding[0]]
    counted = torch.ops.aten.constant_pad_nd.default(images.new_ones(1, 1, *sides), ring, float(count_include_pad))
    counted = torch.ops.aten.constant_pad_nd.default(counted, [0, beyond[1], 0, beyond[0]])
    return pooled / torch.ops.aten.avg_pool2d.default(counted, list(kernel), list(stride))


def _beyond(side: int, kernel: int, stride: int, padding: int, *, ceil_mode: bool) -> int:
    """Elements behind the padding that the last window covers; it starts in the input or in the padding before it."""
    if not ceil_mode:
        return 0
    windows = -((kernel - side - 2 * padding) // stride) + 1
    if (windows - 1) * stride >= side + padding:
        windows -= 1
    return max(0, (windows - 1) * stride + kernel - side - 2 * padding)


def _by_torch(program: torch.export.ExportedProgram, table: dict[Any, Any]) -> torch.export.ExportedProgram:
    decomposed: torch.export.ExportedProgram = program.run_decompositions(table)
    return decomposed


def _is_plain(program: torch.export.ExportedProgram) -> bool:
    """Whether there are operators without effects alone, no graphs inside the graph, and no dynamic shapes."""
    calls = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]
    return not program.range_constraints and all(
        node.op == "call_function"
        and not isinstance(node.target, torch._ops.HigherOrderOperator)
        and not (isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable)
        for node in calls
    )


def _is_composite(node: torch.fx.Node, known: Mapping[Any, Any]) -> bool:
    """Whether an operator is made of others but has no entry in torch's table, as those that give views."""
    target: Any = node.target
    return (
        isinstance(target, torch._ops.OpOverload)
        and target not in known
        and torch._C._dispatch_has_kernel_for_dispatch_key(target._name, "CompositeImplicitAutograd")
    )


def _key(node: torch.fx.Node) -> _Key:
    def facts(value: Any) -> Any:
        if not isinstance(value, torch.fx.Node):
            return (type(value), value)
        held = value.meta["val"]
        return ("tensor", tuple(held.shape), held.stride(), held.dtype) if isinstance(held, torch.Tensor) else value

    leaves, structure = pytree.tree_flatten((node.args, node.kwargs))
    # The same tensor twice is another kind of call.
    places: dict[Any, int] = {}
    order = tuple(places.setdefault(leaf, len(places)) for leaf in leaves if isinstance(leaf, torch.fx.Node))
    return (node.target, structure, order, *map(facts, leaves))


def _trace(node: torch.fx.Node, table: dict[Any, Any]) -> torch.fx.GraphModule:
    """What a call becomes, as a graph of its tensors."""
    from torch.fx.experimental.proxy_tensor import make_fx

    def call(*tensors: Any) -> Any:
        values = dict(zip(node.all_input_nodes, tensors, strict=True))
        args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    given = [each.meta["val"] for each in node.all_input_nodes]
    return make_fx(call, decomposition_table=table)(*given)


def _replace(graph: torch.fx.Graph, node: torch.fx.Node, kind: torch.fx.GraphModule) -> None:
    placeholders = kind.graph.find_nodes(op="placeholder")
    found: dict[torch.fx.Node, torch.fx.Node] = dict(zip(placeholders, node.all_input_nodes, strict=True))
    with graph.inserting_before(node):
        for inner in kind.graph.nodes:
            if inner.op == "call_function":
                found[inner] = graph.node_copy(inner, found.__getitem__)
    (output,) = kind.graph.find_nodes(op="output")
    result = map_arg(output.args[0], found.__getitem__)
    if isinstance(result, torch.fx.Node):
        node.replace_all_uses_with(result)
    else:
        for user in list(node.users):  # operator.getitem
            user.replace_all_uses_with(result[user.args[1]])  # type: ignore[index]
            graph.erase_node(user)
    graph.erase_node(node)
