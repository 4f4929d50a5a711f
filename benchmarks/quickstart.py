"""What `mckit quickstart` reaches and how long it takes: the figures that the README tells of it.

    python benchmarks/quickstart.py [--tour DIR]

Runs the quickstart as a user does and keeps its figures in ``results/quickstart.json`` with a plot of its models beside
it; with --tour it stays in DIR, and one that lies there already is read, not run again.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from harness import RESULTS, Mckit, parse, write

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.report import plot_report
from mobileclip_kit.bench.results import report_from

# What a reader of the README wants; the long lists (every scale, every hit) stay in the tour.
_WORLD = (
    "precision_at_1",
    "precision_at_1_unseen",
    "reading_precision_at_1",
    "count_precision_at_1",
    "relation_precision_at_1",
    "typographic_error_rate",
)


def main() -> None:
    """Run the quickstart or read a finished one; write the results."""
    chosen = parse(tour=None, out=RESULTS / "quickstart.json")
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="mckit-quickstart-") as temporary:
        tour = chosen.tour or Path(temporary) / "tour"
        if not (tour / "quickstart.json").is_file():
            Mckit()("quickstart", "-o", tour)
        found = json.loads((tour / "quickstart.json").read_text(encoding="utf-8"))
    write(chosen.out, summary(found, machine))
    plot_report(report_from(found["figures"]["bench"], str(tour)), chosen.out.with_suffix(".png"))


def summary(tour: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """The tour's document without its long lists."""
    if not tour["finished"]:
        raise SystemExit("The tour was not finished; walk it again.")
    figures = tour["figures"]
    return {
        "claim": "The whole pipeline on synthetic scenes, offline: how long it takes, and what the student keeps.",
        "machine": machine,
        "plan": tour["plan"],
        "seconds": {"total": round(sum(tour["seconds"].values()), 1), "stages": tour["seconds"]},
        "teacher": _model(figures["teacher"]),
        "student": _model(figures["student"]),
        "exports": [
            {key: row[key] for key in ("path", "tower", "cosine_min", "overlap_at_10", "size_bytes")}
            for row in figures["exports"]["exports"]
        ],
        "textness": {key: figures["textness"][key] for key in ("accuracy", "suppress", "promote")},
        "bundle": {"size_bytes": figures["bundle"]["size_bytes"]},
    }


def _model(figures: dict[str, Any]) -> dict[str, Any]:
    kept = {key: figures[key] for key in ("name", "model_hash", "parameters", *_WORLD) if key in figures}
    return {**kept, **{key: figures[key] for key in ("map_at_20", "overlap_at_10") if key in figures}}


if __name__ == "__main__":
    main()
