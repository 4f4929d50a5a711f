"""Two runs of the bench: which figures changed by more than two runs of the same models differ.

A latency is compared twice: as it is, with the interval from the run's own rounds, and relative to the run's first
model, which a slower machine does not change. A figure has changed when the two intervals do not touch. Times and rates
may also have moved as far as the reference workload did, that is, as far as the machine itself became slower or faster.
Where the machine was busy, a run was very short, or a median waited for the processor, a changed time is ``unclear``.
Shares (accuracy) have the interval of their number of images; what is measured once has the tolerance in
:data:`~mobileclip_kit.bench.results.FIGURES`; what is counted is compared exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mobileclip_kit.bench.results import FIGURES, BenchReport, BenchRow, Figure

_Z95 = 1.96
_NOTABLE_DRIFT = 1.1
# Shorter runs see too little of what else the machine does: their intervals are too narrow.
_LEAST_SECONDS = 2.0
_SAME_MACHINE = ("cpu", "architecture", "usable_cores", "os")
_ENDS = {"p50": ("p50_low", "p50_high"), "ratio": ("low", "high")}
_RATES = ("images_per_s", "queries_per_s")

Interval = tuple[float, float]


def compare_reports(before: BenchReport, after: BenchReport) -> dict[str, Any]:
    """Compare two reports of the bench.

    Returns:
        ``identical``: whether both are the same run; ``changes``: for each model and figure that both have ``model``,
        ``figure``, ``before``, ``after``, ``ratio``, its interval ``low`` and ``high``, and ``verdict`` (``same``,
        ``better``, ``worse``, or ``unclear`` for a time that is not reliable); ``only_before`` and ``only_after``:
        names of models; ``conditions``: how the two runs differ, and why times are unclear; ``failures``: what failed
        in one of them. Rows that were measured elsewhere are left out.
    """
    old, new = ({row.name: row for row in report.rows if not row.source} for report in (before, after))
    shared = [name for name in old if name in new]
    comparable = _without_skipped(before) == _without_skipped(after)
    drift = _drift(before, after)
    doubts = _doubts(before, after)
    images = min((one.images for one in before.inputs if one.judges), default=0)
    changes: list[dict[str, Any]] = []
    unclear: dict[str, None] = {}  # the reasons, in order
    for name in shared:
        for figure, known in FIGURES.items():
            if known.tolerance is None or (figure.startswith("metrics.") and not comparable):
                continue
            change = _change(old[name], new[name], figure, known, images, drift)
            if change is not None:
                if change["verdict"] != "same" and _is_time(figure):
                    reasons = [*doubts, *_waited(old[name], new[name], figure)]
                    unclear |= dict.fromkeys(reasons)
                    change["verdict"] = "unclear" if reasons else change["verdict"]
                changes.append({"model": name, "figure": figure, **change})
    return {
        "identical": before == after,
        "conditions": [*_conditions(before, after, comparable), *unclear],
        "only_before": [name for name in old if name not in new],
        "only_after": [name for name in new if name not in old],
        "failures": [line for name in shared for line in _failures(name, old[name], new[name])],
        "changes": changes,
    }


def changes_table(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the figures that changed by more than their spread."""
    header = ["model", "figure", "before", "after", "ratio", "spread", ""]
    cells = [
        [
            change["model"],
            change["figure"],
            f"{change['before']:.6g}",
            f"{change['after']:.6g}",
            _factor(change["ratio"]),
            f"{_factor(change['low'])} … {_factor(change['high'])}",
            change["verdict"],
        ]
        for change in comparison["changes"]
        if change["verdict"] != "same"
    ]
    return header, cells


def notes(comparison: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the table."""
    if comparison["identical"]:
        return ["Both reports are the same run."]
    lines = [*comparison["conditions"], *comparison["failures"]]
    lines += [f"{name}: in the first run only." for name in comparison["only_before"]]
    lines += [f"{name}: in the second run only." for name in comparison["only_after"]]
    same = sum(change["verdict"] == "same" for change in comparison["changes"])
    if any(change["verdict"] == "unclear" for change in comparison["changes"]):
        lines.append("So an unclear difference says nothing about the models; measure both again on a quiet machine.")
    return [*lines, f"{same} of {len(comparison['changes'])} figures differ by no more than their spread."]


def _change(
    old: BenchRow, new: BenchRow, figure: str, known: Figure, images: int, drift: Interval
) -> dict[str, Any] | None:
    before, after = old.figure(figure), new.figure(figure)
    if before is None or after is None:
        return None
    place = figure.removesuffix(".ratio")
    if place != figure and getattr(old, place).model != getattr(new, place).model:
        return None
    first, second = (_interval(row, figure, known, images) for row in (old, new))
    if first is None or second is None:
        return None
    first = _drifted(first, figure, drift)
    verdict = "same"
    if first[1] < second[0] or second[1] < first[0]:
        verdict = "better" if (after < before) == (known.better == "less") else "worse"
    return {
        "before": before,
        "after": after,
        "ratio": _ratio(after, before),
        "low": _ratio(second[0], first[1]),
        "high": _ratio(second[1], first[0]),
        "verdict": verdict,
    }


def _doubts(before: BenchReport, after: BenchReport) -> list[str]:
    """Why differences of times between the two runs say nothing about the models."""
    lines = []
    for which, report in (("first", before), ("second", after)):
        if report.load_warning:
            lines.append(f"{which.capitalize()} run: {report.load_warning}")
        seconds = report.settings.get("seconds")
        if isinstance(seconds, int | float) and seconds < _LEAST_SECONDS:
            lines.append(
                f"The {which} run measured each model for {seconds:g} s, too short to compare times: take --seconds "
                f"{_LEAST_SECONDS:g} or more."
            )
    return lines


def _is_time(figure: str) -> bool:
    return figure.endswith((".p50", ".ratio")) or figure in (*_RATES, "load_ms")


def _waited(old: BenchRow, new: BenchRow, figure: str) -> list[str]:
    tower = figure.partition(".")[0].removesuffix("_to_first")
    return [
        f"{row.name} waited for the processor in the {which} run: its median is {times:.1f} times its fastest call."
        for which, row in (("first", old), ("second", new))
        if (times := row.waited(tower)) is not None
    ]


def _interval(row: BenchRow, figure: str, known: Figure, images: int) -> Interval | None:
    """The range in which another measurement of the same model is expected; None where a single round cannot tell."""
    value = row.figure(figure) or 0.0
    place, _, key = figure.rpartition(".")
    if key in _ENDS:
        low, high = (row.figure(f"{place}.{name}") for name in _ENDS[key])
        return None if low is None or high is None else (low, high)
    if figure.startswith("metrics."):
        half = _Z95 * math.sqrt(max(value * (1 - value), 0.0) / images) if images else 0.0
        return value - half, value + half
    # Half of the tolerance on each side of the two.
    share = math.sqrt(1 + (known.tolerance or 0.0))
    return value / share, value * share


def _drift(before: BenchReport, after: BenchReport) -> Interval:
    """The range of the factor by which the machine's own times moved."""
    first, second = before.reference_ms, after.reference_ms
    if first is None or second is None:
        return 1.0, 1.0
    if not (first.p50_low and first.p50_high and second.p50_low and second.p50_high):
        return 1.0, 1.0
    return second.p50_low / first.p50_high, second.p50_high / first.p50_low


def _drifted(interval: Interval, figure: str, drift: Interval) -> Interval:
    (low, high), least, most = interval, min(1.0, drift[0]), max(1.0, drift[1])
    if figure.endswith(".p50") or figure == "load_ms":
        return low * least, high * most
    if figure in _RATES:
        return low / most, high / least
    return interval


def _without_skipped(report: BenchReport) -> list[Any]:
    return [replace(one, skipped=()) for one in report.inputs]


def _conditions(before: BenchReport, after: BenchReport, comparable: bool) -> list[str]:
    lines = []
    for key in _SAME_MACHINE:
        values = before.machine.get(key), after.machine.get(key)
        if values[0] != values[1]:
            lines.append(f"Another machine: {key} was {values[0]}, is {values[1]}; times and rates compare machines.")
    old, new = (report.machine.get("versions", {}) for report in (before, after))
    for library in sorted(old.keys() | new.keys()):
        if old.get(library) != new.get(library):
            lines.append(f"{library}: {old.get(library, 'none')} before, {new.get(library, 'none')} after.")
    lines += _drift_note(_drift(before, after))
    if 1 in [report.settings.get("rounds") for report in (before, after)]:
        lines.append("A run of one round has no spread, so latencies are not compared; measure more --rounds.")
    threads = [report.settings.get("threads") for report in (before, after)]
    for what, old_one, new_one in (("Threads a model", *threads), ("Device", before.device, after.device)):
        if old_one != new_one:
            lines.append(f"{what}: {old_one} before, {new_one} after.")
    if not comparable:
        lines.append("Accuracy was measured on other inputs, so it is not compared.")
    return lines


def _drift_note(drift: Interval) -> list[str]:
    least, most = drift
    if least > 1 or most < 1:
        return [
            f"The machine was {'slower' if least > 1 else 'faster'} in the second run: the reference workload took "
            f"×{least:.2f} … ×{most:.2f} as long. Times may differ by that much; ratios within a run are not affected."
        ] * (max(most, 1 / least) > _NOTABLE_DRIFT)
    if max(most, 1 / least) <= _NOTABLE_DRIFT:
        return []
    return [
        "The machine was busy: the reference workload was equally fast in both runs only within "
        f"×{least:.2f} … ×{most:.2f}. Smaller changes of times are not reported; ratios within a run are not affected."
    ]


def _failures(name: str, old: BenchRow, new: BenchRow) -> list[str]:
    if new.failure and not old.failure:
        return [f"{name} failed in the second run: {new.failure}"]
    return [f"{name} failed in the first run only: {old.failure}"] if old.failure and not new.failure else []


def _ratio(a: float, b: float) -> float | None:
    return a / b if b > 0 else None


def _factor(value: float | None) -> str:
    return "–" if value is None else f"×{value:.3f}"
