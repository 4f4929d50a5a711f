"""Least and greatest figures that a bench must keep: a build that fails when a model becomes slower, bigger or worse.

``gates.toml``::

    [[gate]]
    model = "student-onnx-int8"         # a row's name; "*" for every row
    figure = "metrics.overlap_at_10"    # its place in the row of the JSON document
    at_least = 0.85

    [[gate]]
    model = "student-onnx-int8"
    figure = "latency_ms.p50"
    of = "student-onnx-fp32"            # its share of another row's: milliseconds differ between machines
    at_most = 0.8

A figure that was not measured, or whose model failed, misses its gate: nothing passes unseen.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.figures import current_name, figure_of, require_figure
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import read_text

ANY = "*"
_KEYS = ("model", "figure", "of", "at_least", "at_most")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One demand.

    Attributes:
        model: A row's name, or ``*``.
        figure: See :data:`mobileclip_kit.bench.figures.FIGURES`.
        of: The row whose figure it is divided by; None for the figure itself.
        at_least: Least value.
        at_most: Greatest value.
    """

    model: str
    figure: str
    of: str | None = None
    at_least: float | None = None
    at_most: float | None = None


def read_gates(path: Path) -> list[Gate]:
    """Read ``gates.toml``.

    Raises:
        DataError: It is missing or not TOML.
        UsageError: A gate lacks something, has something unknown, or can never be met.
    """
    try:
        document = tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from error
    unknown = sorted(set(document) - {"gate"})
    entries = document.get("gate", [])
    if unknown or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        held = f"{unknown[0]!r}" if unknown else "a gate that is not a table"
        raise UsageError(f"{path} has {held}.", hint="Write each gate as a [[gate]] table.")
    if not entries:
        raise UsageError(f"{path} has no [[gate]].", hint="An empty file would let everything pass.")
    return [_gate(entry, f"Gate {number} of {path}") for number, entry in enumerate(entries, start=1)]


def check_models(gates: Sequence[Gate], names: Collection[str], path: Path) -> None:
    """Refuse gates on models that are not measured, before any work is spent.

    Raises:
        UsageError: Names the model and the ones there are.
    """
    for gate in gates:
        for name in (gate.model, gate.of):
            if name not in (None, ANY) and name not in names:
                raise UsageError(
                    f"{path} has a gate on {name!r}, which is not measured.", hint=f"The rows are {', '.join(names)}."
                )


def judge(gates: Sequence[Gate], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Hold rows against gates.

    Args:
        gates: From :func:`read_gates`.
        rows: Of the bench's document; rows that were measured elsewhere (``source``) are not meant by ``*``.

    Returns:
        For each gate and row: the gate's own keys, ``value`` (None when there is none), ``passed`` and ``reason``.
    """
    by_name = {row["name"]: row for row in rows}
    ours = [row["name"] for row in rows if not row.get("source")]
    return [
        _judged(gate, name, by_name)
        for gate in gates
        for name in (ours if gate.model == ANY else [gate.model])
        if name != gate.of or gate.model != ANY
    ]


def missed(judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each gate that was missed."""
    return [f"gate missed: {one['reason']}" for one in judged if not one["passed"]]


def _judged(gate: Gate, name: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    value, reason = _value(gate, rows[name], None if gate.of is None else rows[gate.of])
    what = f"{name}: {gate.figure}" + (f" is of {gate.of}'s" if gate.of else " is")
    passed = value is not None
    if value is None:
        reason = f"{name}: {gate.figure} {reason}"
    elif gate.at_least is not None and value < gate.at_least:
        passed, reason = False, f"{what} {value:.6g}, less than {gate.at_least:.6g}."
    elif gate.at_most is not None and value > gate.at_most:
        passed, reason = False, f"{what} {value:.6g}, more than {gate.at_most:.6g}."
    return {**asdict(gate), "model": name, "value": value, "passed": passed, "reason": reason if not passed else ""}


def _value(gate: Gate, row: Mapping[str, Any], other: Mapping[str, Any] | None) -> tuple[float | None, str]:
    """The figure, or why there is none."""
    values = []
    for one in (row,) if other is None else (row, other):
        value = figure_of(one, gate.figure)
        if one.get("failure"):
            return None, f"is not to be had: {one['name']} failed: {one['failure']}"
        if value is None:
            return None, f"was not measured for {one['name']}."
        values.append(value)
    if len(values) == 1:
        return values[0], ""
    return (values[0] / values[1], "") if values[1] else (None, f"of {gate.of} is zero.")


def _gate(entry: Mapping[str, Any], where: str) -> Gate:
    unknown = sorted(set(entry) - set(_KEYS))
    if unknown:
        raise UsageError(f"{where} has the unknown key {unknown[0]!r}.", hint=f"Known are {', '.join(_KEYS)}.")
    for key in ("model", "figure"):
        if not isinstance(entry.get(key), str):
            raise UsageError(f"{where} has no {key}.", hint=f'Add {key} = "…".')
    if not isinstance(entry.get("of", ""), str) or entry.get("of") == ANY:
        raise UsageError(f"{where} has an `of` that is no row's name.")
    bounds = {key: entry[key] for key in ("at_least", "at_most") if key in entry}
    if not bounds or any(isinstance(value, bool) or not isinstance(value, int | float) for value in bounds.values()):
        raise UsageError(f"{where} demands nothing that can be measured.", hint="Add at_least or at_most, a number.")
    for key, value in bounds.items():
        if not math.isfinite(value):  # nothing is less than NaN: it would let everything pass
            raise UsageError(f"{where} has the {key} {value}, which nothing can miss or meet.", hint="Add a number.")
    if len(bounds) == 2 and bounds["at_least"] > bounds["at_most"]:
        raise UsageError(f"{where} wants at least {bounds['at_least']} and at most {bounds['at_most']}.")
    figure = current_name(entry["figure"])
    require_figure(figure, where)
    return Gate(**{**entry, "figure": figure})
