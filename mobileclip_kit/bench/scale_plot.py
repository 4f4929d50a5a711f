"""What a textness scale mends and costs, as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Key of a row → its line's name.
LINES = {
    "word_over_thing": "a word found in place of its thing",
    "clean_right_first": "right picture first, without words",
    "reading_right_first": "written word first, for a bare word",
}


def plot_scales(rows: Sequence[Mapping[str, Any]], path: Path, *, chosen: Sequence[float] = ()) -> None:
    """Draw a line for each figure that the rows have.

    Args:
        rows: Of :func:`mobileclip_kit.textness.evaluate.evaluate_scales`.
        path: PNG.
        chosen: Scales to mark.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, name in LINES.items():
        points = [(row["scale"], row[key]) for row in rows if row.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
    for scale in chosen:
        axes.axvline(scale, color="0.6", linestyle=":")
    axes.set_xlabel("textness scale")
    axes.set_ylabel("share of the queries")
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.25)
    axes.legend(loc="center right", fontsize=8)
    figure.savefig(path, dpi=120, format="png")
