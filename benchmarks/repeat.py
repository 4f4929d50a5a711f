"""Does a repeated run of the bench differ by less than the spread that it states?

    python benchmarks/repeat.py MODEL … [--runs 3] [--seconds 4] [--rounds 10]

Runs `mckit bench MODEL … --json` several times and holds each pair of runs against each other as
`mckit bench --compare` does: nothing was changed, so every "better" or "worse" is a false alarm. For each figure stands
how far two runs were apart, how far the spread that they state allows them to be, and how many of the pairs gave an
alarm. Writes ``results/repeat.json`` and ``results/repeat.png``.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, Bar, Chart, Mckit, draw, parse, write

from mobileclip_kit.bench.compare import compare_reports
from mobileclip_kit.bench.results import BenchReport, report_from


def main() -> None:
    """Run, compare, write, print."""
    chosen = parse("models*", runs=3, seconds=4.0, rounds=10, out=RESULTS / "repeat.json")
    options = ["--threads", 1, "--seconds", chosen.seconds, "--rounds", chosen.rounds]
    reports = [report_from(Mckit()("bench", *chosen.models, *options), "mckit bench") for _ in range(chosen.runs)]
    document = write(
        chosen.out,
        {
            "claim": "A repeated run differs by less than the stated spread.",
            "loads": [one.machine["load"] for one in reports],
            "settings": {"runs": chosen.runs, "seconds": chosen.seconds, "rounds": chosen.rounds, "threads": 1},
            "figures": [{"figure": name, **found} for name, found in alarms(reports).items()],
        },
    )
    plot(document, chosen.out.with_suffix(".png"))
    for found in document["figures"]:
        print(
            f"{found['figure']:32} ×{found['largest_ratio']:.3f} at most, ×{found['stated_ratio']:.3f} stated; "
            f"{found['alarms']} of {found['pairs']} pairs differ"
        )


def alarms(reports: list[BenchReport]) -> dict[str, dict[str, Any]]:
    """How every pair of runs of the same thing compares.

    Args:
        reports: Of ``mckit bench --json``.

    Returns:
        For each figure ``largest_ratio`` of two runs; ``stated_ratio``, the median over the pairs of the ratio that
        the runs' own spreads allow; ``pairs``, and ``alarms``, how many of them were called different.
    """
    changes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for before, after in itertools.combinations(reports, 2):
        for change in compare_reports(before, after)["changes"]:
            changes[change["figure"]].append(change)
    return {
        name: {
            "largest_ratio": max(apart(change) for change in found),
            "stated_ratio": float(np.median([allowed(change) for change in found])),
            "pairs": len(found),
            "alarms": sum(change["verdict"] != "same" for change in found),
        }
        for name, found in changes.items()
    }


def apart(change: dict[str, Any]) -> float:
    """The ratio of two runs, the greater to the less."""
    ratio = change["ratio"] or 1.0
    return max(ratio, 1 / ratio)


def allowed(change: dict[str, Any]) -> float:
    """The ratio from which on the intervals of two runs, as wide as these are, would no longer touch."""
    ratio = change["ratio"] or 1.0
    return ratio / (change["low"] or ratio) if ratio > 1 else (change["high"] or ratio) / ratio


def plot(document: dict[str, Any], path: Path) -> None:
    """What two runs differed by at most, beside what they state."""
    bars = [
        Bar(found["figure"], found["largest_ratio"], f"×{found['stated_ratio']:.3f} stated", not found["alarms"],
            (1.0, found["stated_ratio"]))
        for found in reversed(document["figures"])
        if found["stated_ratio"] > 1
    ]  # fmt: skip
    settings, loads = document["settings"], " ".join(f"{load:g}" for load in document["loads"])
    axis = "bar: the largest ratio of two runs, grey: alarms\nline: the ratio that stated spreads allow (median)"
    draw([Chart(f"{settings['runs']} runs, load {loads}", axis, bars, (1,))], document["machine"], path)


if __name__ == "__main__":
    main()
