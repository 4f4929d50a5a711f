"""What growth.py's curves say: the exponents that they end with, and the image of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Point = dict[str, Any]


def slopes(curves: dict[str, list[Point]]) -> dict[str, float | None]:
    """For each figure the exponent between its last two sizes that are a decade (of batches: an octave) apart."""
    found: dict[str, float | None] = {}
    for curve, points in curves.items():
        whole = [point for point in points if "failure" not in point]
        for key in whole[0] if whole else ():
            if key != "n":
                found[f"{curve} {key}"] = _slope([(point["n"], point[key]) for point in whole])
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    if len(points) < 2:
        return None
    (small, before), (big, after) = points[-2:]
    return math.log(after / before) / math.log(big / small) if before > 0 and after > 0 else None


def plot(document: dict[str, Any], path: Path) -> None:
    """One panel a curve, both axes logarithmic, a dotted line of slope 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {
        "seconds, by vectors": ("vectors", ("build_s", "add_1000_s", "load_s")),
        "ms of one search, by vectors": ("vectors", ("search_ms",)),
        "seconds, by images": ("images", ("index_s", "again_s")),
        "peak memory, bytes, by vectors": ("vectors", ("peak_memory_bytes",)),
        "ms of one image, by batch": ("batch", ("image_ms",)),
        "wall ms of one image, by threads": ("threads", ("image_ms",)),
    }
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, (curve, keys)) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        for key in keys:
            points = [(point["n"], point[key]) for point in document["curves"][curve] if key in point]
            if points:
                axes.loglog(*zip(*points, strict=True), marker="o", label=key)
                (n, _), (last, value) = points[0], points[-1]
                if curve in ("vectors", "images"):
                    axes.loglog([n, last], [value * n / last, value], color="0.8", linestyle=":", zorder=0)
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.25)
        if len(keys) > 1 and axes.lines:
            axes.legend(fontsize=7)
    machine = document["machine"]
    figure.suptitle(f"{machine['cpu']}, one thread, processor time; dotted: in proportion", fontsize=9)
    figure.savefig(path, dpi=110)
