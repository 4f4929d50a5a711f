"""Does a repeated run of the bench differ by less than the spread that it states?

    python benchmarks/repeat.py MODEL … [--runs 3] [--seconds 4] [--rounds 10]

Runs `mckit bench MODEL … --json` several times and holds each pair of runs against each other as
`mckit bench --compare` does: nothing was changed, so every "better" or "worse" is a false alarm. For each figure stands
how far two runs were apart, how far the spread that they state allows them to be, and how many of the pairs gave an
alarm. Writes ``results/repeat.json`` and ``results/repeat.png``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.bench.compare import compare_reports
from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.files import write_json

RESULTS = Path(__file__).parent / "results" / "repeat.json"


def main() -> None:
    """Run, compare, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "mobileclip_kit", "bench", *chosen.models, "--threads", "1", "--json",
               "--seconds", str(chosen.seconds), "--rounds", str(chosen.rounds)]  # fmt: skip
    documents = []
    for _ in range(chosen.runs):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        documents.append(json.loads(done.stdout))
    document = {
        "claim": "A repeated run differs by less than the stated spread.",
        "machine": describe_machine(),
        "loads": [one["machine"]["load"] for one in documents],
        "settings": {"runs": chosen.runs, "seconds": chosen.seconds, "rounds": chosen.rounds, "threads": 1},
        "figures": [{"figure": name, **found} for name, found in alarms(documents).items()],
    }
    write_json(chosen.results, document)
    plot(document, chosen.results.with_suffix(".png"))
    for found in document["figures"]:
        print(
            f"{found['figure']:32} ×{found['largest_ratio']:.3f} at most, ×{found['stated_ratio']:.3f} stated; "
            f"{found['alarms']} of {found['pairs']} pairs differ"
        )


def alarms(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """How every pair of runs of the same thing compares.

    Args:
        documents: Of ``mckit bench --json``.

    Returns:
        For each figure ``largest_ratio`` of two runs; ``stated_ratio``, the median over the pairs of the ratio that
        the runs' own spreads allow; ``pairs``, and ``alarms``, how many of them were called different.
    """
    changes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for before, after in itertools.combinations(documents, 2):
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
    """What two runs differed by at most, inside of what they state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = [found for found in reversed(document["figures"]) if found["stated_ratio"] > 1]
    drawn = Figure(figsize=(7, 0.45 * len(figures) + 1.4), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.add_subplot()
    for place, found in enumerate(figures):
        axes.barh(place, found["stated_ratio"] - 1, left=1, color="0.85")
        axes.plot(found["largest_ratio"], place, "o", color="tab:red" if found["alarms"] else "tab:blue")
    axes.set_yticks(range(len(figures)), [found["figure"] for found in figures])
    axes.set_xlabel("bar: the ratio that stated spreads allow (median)\ndot: the largest of two runs, red: alarms")
    settings, loads = document["settings"], " ".join(f"{load:g}" for load in document["loads"])
    axes.set_title(f"{document['machine']['cpu']}, {settings['runs']} runs, load {loads}", fontsize=9)
    drawn.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
