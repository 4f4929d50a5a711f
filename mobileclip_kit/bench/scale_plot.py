"""What a textness scale mends and costs, as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Key of a row → its line's name. Above: what people notice first; below: what a scale costs further down the list.
FIRST = {
    "typographic_error_rate": "a word found in place of its thing",
    "clean_precision_at_1": "right image first, without words",
    "reading_precision_at_1": "written word first, for a bare word",
}
IN_TEN = {
    "typographic_right_in_ten": "things among words",
    "clean_right_in_ten": "things, without words",
    "reading_right_in_ten": "written words",
}


def plot_scales(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    chosen: Sequence[float] = (),
    projection: Mapping[str, Any] | None = None,
) -> None:
    """Draw a line for each figure that the rows have: first hits above, shares of the first ten below.

    Args:
        rows: Of :func:`mobileclip_kit.textness.evaluate.evaluate_scales`.
        path: PNG.
        chosen: Scales to mark.
        projection: The same figures of the projection, drawn as crosses beside the lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, lines, title in ((above, FIRST, "share of the queries"), (below, IN_TEN, "right among the first ten")):
        _draw(axes, rows, lines, projection)
        for scale in chosen:
            axes.axvline(scale, color="0.6", linestyle=":")
        axes.set_ylabel(title)
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.25)
        axes.legend(loc="best", fontsize=8)
    below.set_xlabel("textness scale" + ("" if projection is None else "   (×: the directions projected out)"))
    figure.savefig(path, dpi=120, format="png")


def _draw(
    axes: Any, rows: Sequence[Mapping[str, Any]], lines: Mapping[str, str], projection: Mapping[str, Any] | None
) -> None:
    rightmost = max((row["scale"] for row in rows), default=0.0)
    for key, name in lines.items():
        points = [(row["scale"], row[key]) for row in rows if row.get(key) is not None]
        if not points:
            continue
        (line,) = axes.plot(*zip(*points, strict=True), marker=".", label=name)
        if projection is not None and projection.get(key) is not None:
            axes.plot(rightmost + 0.35, projection[key], marker="x", color=line.get_color(), linestyle="none")
