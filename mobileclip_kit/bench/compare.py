"""Two runs of the bench: what changed beyond what two runs of the same thing differ by.

Two runs are two moments of a machine, so a latency is compared twice: as it stands, with the interval that each run's
own rounds gave, and as its ratio to the run's first model, in which a machine that was slower on one day cancels out.
A figure has changed when the two intervals do not touch. Times and rates as they stand are also allowed to have moved
as far as the runs' yardsticks did: so far the machine itself was slower or faster. Shares (accuracy) have the interval
that so many images allow; what is measured once has the tolerance stated in :mod:`.figures`; what is counted is
compared exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.figures import FIGURES, Figure, figure_of, require_finite, with_current_names
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_json

_Z95 = 1.96
_WORTH_TELLING = 1.1
_SAME_MACHINE = ("cpu", "architecture", "usable_cores", "os")


def read_report(path: Path) -> dict[str, Any]:
    """A bench's document: a JSON file, or the folder of a report.

    Raises:
        DataError: It is missing or not a bench's document.
    """
    file = path / "report.json" if path.is_dir() else path
    document: dict[str, Any] = with_current_names(read_json(file))
    rows = document.get("rows")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows
    ):
        raise DataError(f"{file} has no rows of a bench.", hint="Pass the JSON of `mckit bench --json` or its -o.")
    if not isinstance(document.get("machine"), dict):
        raise DataError(f"{file} does not say which machine it was measured on.", hint="Measure it again.")
    require_finite(document, str(file))
    _check_conditions(document, file)
    return document


def _check_conditions(document: Mapping[str, Any], file: Path) -> None:
    """What a comparison reads besides the rows."""
    materials = document.get("material", [])
    kinds = {
        "settings": isinstance(document.get("settings", {}), dict),
        "machine.versions": isinstance(document["machine"].get("versions", {}), dict),
        "yardstick_ms": isinstance(document.get("yardstick_ms"), dict | None),
        "material": isinstance(materials, list)
        and all(isinstance(one, dict) and isinstance(one.get("images"), int) for one in materials),
    }
    for name, fits in kinds.items():
        if not fits:
            raise DataError(f"The {name} of {file} is not what a bench writes.", hint="Measure it again.")


def compare_reports(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Hold two documents of the bench against each other.

    Returns:
        ``changes``: for each model and figure that both have ``model``, ``figure``, ``before``, ``after``, ``ratio``,
        its interval ``low`` and ``high``, and ``verdict`` (``same``, ``better`` or ``worse``); ``only_before`` and
        ``only_after``: names of models; ``conditions``: how the two runs differ; ``failures``: what failed in one.
        Rows from elsewhere (``source``) are left out: two phones' moments say nothing about these two runs.
    """
    old, new = ({row["name"]: row for row in document["rows"] if not row.get("source")} for document in (before, after))
    shared = [name for name in old if name in new]
    comparable = _judged_alike(before, after)
    drift = _drift(before, after)
    images = _judged_images(before)
    changes = []
    for name in shared:
        for figure, known in FIGURES.items():
            values = figure_of(old[name], figure), figure_of(new[name], figure)
            if known.tolerance is None or values[0] is None or values[1] is None:
                continue
            if figure.startswith("metrics.") and not comparable:
                continue
            change = _change(old[name], new[name], figure, known, images, drift)
            if change is not None:
                changes.append({"model": name, "figure": figure, **change})
    return {
        "conditions": _conditions(before, after, comparable),
        "only_before": [name for name in old if name not in new],
        "only_after": [name for name in new if name not in old],
        "failures": _failures(old, new, shared),
        "changes": changes,
    }


def changes_table(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what changed beyond the spread."""
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
    lines = [*comparison["conditions"], *comparison["failures"]]
    lines += [f"{name}: in the first run only." for name in comparison["only_before"]]
    lines += [f"{name}: in the second run only." for name in comparison["only_after"]]
    same = sum(change["verdict"] == "same" for change in comparison["changes"])
    return [*lines, f"{same} of {len(comparison['changes'])} figures differ by no more than their spread."]


def _change(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    figure: str,
    known: Figure,
    images: int,
    drift: tuple[float, float],
) -> dict[str, Any] | None:
    before, after = figure_of(old, figure), figure_of(new, figure)
    assert before is not None and after is not None
    if figure.endswith("_to_first.ratio") and not _same_first(old, new, figure):
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


def _interval(row: Mapping[str, Any], figure: str, known: Figure, images: int) -> tuple[float, float] | None:
    """Between which values another measurement of the same thing is expected; None where a single round cannot tell."""
    value = figure_of(row, figure)
    assert value is not None
    place, _, key = figure.rpartition(".")
    if key in _ENDS:
        low, high = (figure_of(row, f"{place}.{name}") for name in _ENDS[key])
        return None if low is None or high is None else (low, high)
    if figure.startswith("metrics."):
        half = _Z95 * math.sqrt(max(value * (1 - value), 0.0) / images) if images else 0.0
        return value - half, value + half
    # Half of the tolerance on each side of the two.
    share = math.sqrt(1 + (known.tolerance or 0.0))
    return value / share, value * share


def _drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[float, float]:
    """Between which factors the machine's own times moved."""
    (old_low, old_high), (new_low, new_high) = map(_yardstick, (before, after))
    if not (old_low and old_high and new_low and new_high):
        return 1.0, 1.0
    return new_low / old_high, new_high / old_low


def _yardstick(document: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return figure_of(document, "yardstick_ms.p50_low"), figure_of(document, "yardstick_ms.p50_high")


def _judged_images(document: Mapping[str, Any]) -> int:
    """How many images accuracy was judged on: the fewest, where several sources judged."""
    judging = ("captions", "classes", "teacher", "scenes")
    found = document.get("material", [])
    return min((one["images"] for one in found if any(one.get(key) for key in judging)), default=0)


def _drifted(interval: tuple[float, float], figure: str, drift: tuple[float, float]) -> tuple[float, float]:
    (low, high), least, most = interval, min(1.0, drift[0]), max(1.0, drift[1])
    if figure.endswith(".p50") or figure == "load_ms":
        return low * least, high * most
    if figure in ("images_per_s", "queries_per_s"):
        return low / most, high / least
    return interval


_ENDS = {"p50": ("p50_low", "p50_high"), "ratio": ("low", "high")}


def _same_first(old: Mapping[str, Any], new: Mapping[str, Any], figure: str) -> bool:
    key = figure.rpartition(".")[0]
    return bool(old[key]["model"] == new[key]["model"])


def _judged_alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether both judged accuracy on as many images and captions, against the same teacher."""

    def told(document: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{key: value for key, value in one.items() if key != "skipped"} for one in document.get("material", [])]

    return told(before) == told(after)


def _conditions(before: Mapping[str, Any], after: Mapping[str, Any], comparable: bool) -> list[str]:
    lines = []
    for key in _SAME_MACHINE:
        values = before["machine"].get(key), after["machine"].get(key)
        if values[0] != values[1]:
            lines.append(f"Another machine: {key} was {values[0]}, is {values[1]}; times and rates compare machines.")
    old, new = (document["machine"].get("versions", {}) for document in (before, after))
    for library in sorted(old.keys() | new.keys()):
        if old.get(library) != new.get(library):
            lines.append(f"{library}: {old.get(library, 'none')} before, {new.get(library, 'none')} after.")
    drift = _drift(before, after)
    if max(drift[1], 1 / drift[0]) > _WORTH_TELLING:
        lines.append(
            f"The same piece of work took ×{drift[0]:.2f} … ×{drift[1]:.2f} as long in the second run: so much of a "
            "change is the machine's own; ratios within a run are not moved by it."
        )
    settings = [document.get("settings", {}) for document in (before, after)]
    if 1 in [one.get("rounds") for one in settings]:
        lines.append("A run of one round states no spread, so latencies are not compared; measure more --rounds.")
    threads = [one.get("threads") for one in settings]
    if threads[0] != threads[1]:
        lines.append(f"Threads a model: {threads[0]} before, {threads[1]} after.")
    if not comparable:
        lines.append("Accuracy was judged on other material, so it is not compared.")
    return lines


def _failures(old: Mapping[str, Any], new: Mapping[str, Any], shared: Sequence[str]) -> list[str]:
    lines = []
    for name in shared:
        before, after = old[name].get("failure"), new[name].get("failure")
        if after and not before:
            lines.append(f"{name} failed in the second run: {after}")
        elif before and not after:
            lines.append(f"{name} failed in the first run only: {before}")
    return lines


def _ratio(a: float, b: float) -> float | None:
    return a / b if b > 0 else None


def _factor(value: float | None) -> str:
    return "–" if value is None else f"×{value:.3f}"
