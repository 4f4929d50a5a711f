"""Bounds that figures of a bench must keep, so that a build fails when a model becomes slower, larger or worse.

``gates.toml``::

    [[gate]]
    model = "student-onnx-int8"         # a row's name; "*" for every row
    figure = "metrics.overlap_at_10"    # its place in the row of the JSON document
    at_least = 0.85

    [[gate]]
    model = "student-onnx-int8"
    figure = "latency_ms.p50"
    of = "student-onnx-fp32"            # relative to another row, since milliseconds differ between machines
    at_most = 0.8

A figure that was not measured, or whose model failed, misses its gate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.results import BenchRow, current_name, require_figure
from mobileclip_kit.errors import UsageError
from mobileclip_kit.formats import from_document, read_toml, to_document

ANY = "*"
EXAMPLE = '[[gate]] model = "student-onnx-int8", figure = "latency_ms.p50", at_most = 12.0 (each on a line of its own)'


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One bound.

    Attributes:
        model: A row's name, or ``*``.
        figure: See :data:`mobileclip_kit.bench.results.FIGURES`.
        of: The row whose figure it is divided by; None for the figure itself.
        at_least: Least value.
        at_most: Greatest value.
    """

    model: str
    figure: str
    of: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        require_figure(self.figure)
        if self.of == ANY:
            raise UsageError("`of` must be one row's name.")
        if self.at_least is None and self.at_most is None:
            raise UsageError("there is no bound.", hint="Add at_least or at_most, a number.")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise UsageError(f"nothing is at least {self.at_least:g} and at most {self.at_most:g}.")


@dataclass(frozen=True)
class GatesFile:
    """The content of ``gates.toml``."""

    gate: tuple[Gate, ...]

    def __post_init__(self) -> None:
        if not self.gate:
            raise UsageError("there is no [[gate]].", hint="An empty file would let everything pass.")


def read_gates(path: Path) -> tuple[Gate, ...]:
    """Read ``gates.toml``.

    Raises:
        DataError: It is missing or not TOML.
        UsageError: A gate lacks something, has something unknown, or can never be met.
    """
    document = read_toml(path)
    entries = document.get("gate")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("figure"), str):
            entry["figure"] = current_name(entry["figure"])
    hint = f"A gate is written as {EXAMPLE}."
    return from_document(document, GatesFile, where=str(path), error=UsageError, hint=hint).gate


def check_models(gates: Sequence[Gate], names: Collection[str], path: Path) -> None:
    """Refuse gates on models that are not measured, before any work is spent.

    Raises:
        UsageError: Names the model and the rows.
    """
    for gate in gates:
        for name in (gate.model, gate.of):
            if name not in (None, ANY) and name not in names:
                raise UsageError(
                    f"{path} has a gate on {name!r}, which is not measured.", hint=f"The rows are {', '.join(names)}."
                )


def check_gates(gates: Sequence[Gate], rows: Sequence[BenchRow]) -> tuple[dict[str, Any], ...]:
    """Compare rows with gates.

    Args:
        gates: From :func:`read_gates`.
        rows: Of the report; ``*`` leaves out rows that were measured elsewhere.

    Returns:
        For each gate and row: the gate's own keys, ``value`` (None if there is none), ``passed`` and ``reason``.
    """
    by_name = {row.name: row for row in rows}
    ours = [row.name for row in rows if not row.source]
    return tuple(
        _check(replace(gate, model=name), by_name)
        for gate in gates
        for name in (ours if gate.model == ANY else [gate.model])
        if name != gate.of or gate.model != ANY
    )


def missed_gates(checked: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each gate that was missed."""
    return [f"gate missed: {one['reason']}" for one in checked if not one["passed"]]


def _check(gate: Gate, rows: Mapping[str, BenchRow]) -> dict[str, Any]:
    value, reason = _value(gate, rows)
    if value is None:
        reason = f"{gate.model}: {gate.figure} {reason}"
    else:
        relative = f" relative to {gate.of}" if gate.of else ""
        what = f"{gate.model}: {gate.figure}{relative} is {value:.6g}"
        if gate.at_least is not None and value < gate.at_least:
            reason = f"{what}, less than {gate.at_least:.6g}."
        elif gate.at_most is not None and value > gate.at_most:
            reason = f"{what}, more than {gate.at_most:.6g}."
    return {**to_document(gate), "value": value, "passed": not reason, "reason": reason}


def _value(gate: Gate, rows: Mapping[str, BenchRow]) -> tuple[float | None, str]:
    """The figure, or why there is none."""
    values = []
    for row in [rows[name] for name in (gate.model, gate.of) if name is not None]:
        value = row.figure(gate.figure)
        if row.failure:
            return None, f"is missing: {row.name} failed: {row.failure}"
        if value is None:
            return None, f"was not measured for {row.name}."
        values.append(value)
    if len(values) == 1:
        return values[0], ""
    return (values[0] / values[1], "") if values[1] else (None, f"of {gate.of} is zero.")
