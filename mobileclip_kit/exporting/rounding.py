"""A torch program in float16, executed by torch: which operators overflow, and which cost the digits that are missed.

Operators compute in float32 and their results are rounded to float16, as Core ML and Core AI programs store them. A
processor that also sums in float16 loses more. Weights are rounded too, but for those that float16 cannot hold and
those that only operators in float32 read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx.node import map_aggregate, map_arg

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.float16 import fewest_exact
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.mil.values import FLOAT16_MAX

# Operators that round nothing of their own.
_MOVERS = frozenset(
    "view permute transpose expand clone squeeze unsqueeze slice select cat split split_with_sizes unbind alias "
    "reshape getitem _to_copy embedding index as_strided constant_pad_nd".split()
)
# Other inputs than those that were tried may be so much larger.
_RESERVE = 2


class RoundedProgram:
    """A program of torch.export, executed with the results of its operators rounded to float16.

    Args:
        program: In float32; it is not changed.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._program = program

    @cached_property
    def computing(self) -> tuple[str, ...]:
        """Names of the operators that have a precision of their own, in order."""
        return tuple(
            node.name
            for node in self._program.graph.nodes
            if node.op == "call_function" and _kind(node) not in _MOVERS and _is_float(node.meta.get("val"))
        )

    def kinds(self, names: Collection[str]) -> list[str]:
        """``kind name`` of operators, in order."""
        return [f"{_kind(node)} {node.name}" for node in self._program.graph.nodes if node.name in names]

    def run(self, rows: Sequence[NDArray[Any]], exact: Collection[str] | None = None) -> Vectors:
        """The vectors of some inputs, ``(n, d)`` float32.

        Args:
            rows: Of one input each, as the program takes them.
            exact: Operators whose results are not rounded; None for all of them.
        """
        return self._interpret(rows, exact)[0]

    def find_overflows(self, rows: Sequence[NDArray[Any]]) -> frozenset[str]:
        """Operators whose results come near the end of float16's range, and those that read them or larger weights."""
        greatest = self._interpret(rows, None)[1]
        found = {name for name, value in greatest.items() if not value <= FLOAT16_MAX / _RESERVE}
        readers = {user.name for node in self._program.graph.nodes if node.name in found | self._large
                   for user in node.users} - {"output"}  # fmt: skip
        return frozenset(found | readers)

    def with_movers(self, exact: Collection[str]) -> frozenset[str]:
        """Operators in float32, and those that only move values for them: what they give is not rounded either."""
        found = set(exact)
        for node in reversed(self._program.graph.nodes):
            if node.op == "call_function" and _kind(node) in _MOVERS and _all_in(node.users, found):
                found.add(node.name)
        return frozenset(found)

    def kept_weights(self, exact: Collection[str]) -> frozenset[str]:
        """Placeholders of the weights that stay in float32.

        Args:
            exact: Operators in float32, from :meth:`with_movers`.
        """
        return frozenset(
            node.name for node, weight in self._weights()
            if weight is not None and (node.name in self._large or _all_in(node.users, exact))
        )  # fmt: skip

    @cached_property
    def _large(self) -> frozenset[str]:
        """Placeholders of weights that float16 cannot hold; converters keep these in float32."""
        return frozenset(node.name for node, weight in self._weights()
                         if weight is not None and weight.is_floating_point() and weight.numel() > 0
                         and float(weight.detach().abs().max()) > FLOAT16_MAX)  # fmt: skip

    def _weights(self) -> list[tuple[torch.fx.Node, Tensor | None]]:
        """Each placeholder and what it stands for; None for the input."""
        return list(zip(self._program.graph.find_nodes(op="placeholder"), _placed_weights(self._program), strict=True))

    def _interpret(
        self, rows: Sequence[NDArray[Any]], exact: Collection[str] | None
    ) -> tuple[Vectors, dict[str, float]]:
        with torch.no_grad():
            if exact is not None:
                exact = self.with_movers(exact)
            interpreter = _Rounding(self._program.graph_module, exact)
            kept = frozenset() if exact is None else self.kept_weights(exact)
            weights = [weight if weight is None or exact is None or node.name in kept else interpreter.round(weight)
                       for node, weight in self._weights()]  # fmt: skip
            found = []
            for row in rows:
                given = [torch.from_numpy(row) if weight is None else weight for weight in weights]
                found.append(interpreter.run(*given)[0].float().numpy())
        return np.concatenate(found), interpreter.greatest


class _Rounding(torch.fx.Interpreter):
    """Rounds to float16 what an operator reads and gives, but for the exact ones."""

    def __init__(self, graph: Any, exact: Collection[str] | None) -> None:
        super().__init__(graph)
        self._exact = exact
        self.greatest: dict[str, float] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Execute one operator."""
        if n.op != "call_function":
            return super().run_node(n)
        rounds = self._exact is not None and n.name not in self._exact

        def fetch(given: torch.fx.Node) -> Any:
            value = self.env[given]
            # Others were rounded when they were computed.
            return self.round(value) if rounds and self._exact and given.name in self._exact else value

        args, kwargs = map_arg(n.args, fetch), map_arg(n.kwargs, fetch)
        result = self.call_function(n.target, args, kwargs)  # type: ignore[arg-type]
        if self._exact is None and isinstance(result, Tensor) and result.is_floating_point() and result.numel():
            largest = float(result.abs().max())
            self.greatest[n.name] = max(largest, self.greatest.get(n.name, 0.0))
        return map_aggregate(result, self.round) if rounds else result

    @staticmethod
    def round(value: Any) -> Any:
        """A float32 tensor rounded to float16; anything else as it is."""
        return value.half().float() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def choose_float32(program: RoundedProgram, rows: Sequence[NDArray[Any]], *, least_cosine: float) -> frozenset[str]:
    """Operators that have to stay in float32: those that overflow, and the fewest others that a least cosine asks for.

    Args:
        program: The tower.
        rows: Of one input each.
        least_cosine: What every vector has to reach, compared with the program in float32.

    Raises:
        ExportError: Not even all operators in float32 reach it.
    """
    overflowing = program.find_overflows(rows)
    wanted = program.run(rows)

    def loss(exact: Collection[str]) -> float:
        vectors = program.run(rows, overflowing.union(exact))
        return 1 - float(row_cosines(vectors, wanted).min()) if np.isfinite(vectors).all() else 1.0

    allowed = 1 - least_cosine
    if loss(()) <= allowed:
        return overflowing
    chosen = fewest_exact(program.computing, loss, allowed)
    if chosen is None:
        raise ExportError(f"No choice of float32 operators brings the program to a least cosine of {least_cosine:g}.")
    return overflowing.union(chosen)


def _placed_weights(program: torch.export.ExportedProgram) -> list[Tensor | None]:
    """What each placeholder stands for; None for the input."""
    found: list[Tensor | None] = []
    for spec in program.graph_signature.input_specs:
        if spec.target is None:
            found.append(None)
        else:
            stored = program.state_dict.get(spec.target)
            found.append(program.constants[spec.target] if stored is None else stored)  # type: ignore[arg-type]
    return found


def _all_in(users: Collection[torch.fx.Node], names: Collection[str]) -> bool:
    return bool(users) and all(user.name in names for user in users)


def _kind(node: torch.fx.Node) -> str:
    """``mm`` of ``aten.mm.default``."""
    name = getattr(node.target, "__name__", str(node.target))
    return name.partition(".")[0]


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
