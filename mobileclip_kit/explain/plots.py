"""Plots: heat over an image, the sheet of heat maps, the map of vectors, accuracy against latency, textness scales.

The sheet and the map have no background and grey letters, so that they can be read on a light and on a dark page.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.explain.embedding_map import EmbeddingMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mobileclip_kit.explain.grad_cam import HeatMaps

INK = "#80868f"
# Ten hues that are equally strong on white and on black; classes beyond them are grey.
HUES = (
    "#e8590c", "#1c7ed6", "#2f9e44", "#ae3ec9", "#e0a100", "#0ca5b8", "#e03131", "#7a6ff0", "#a0703c", "#e64980",
)  # fmt: skip
_REST = "#9aa0a6"
_CELL_INCHES = 1.7
_DPI = 130
# Shares nearer than this look alike in the plot of accuracy.
_LEAST_SPAN = 0.1
# Key of a row → its line's name. First hits above; below, the price of a scale further down the list.
_SCALE_LINES: dict[str, dict[str, str]] = {
    "first hit": {
        "typographic_error_rate": "“a photo of a car” finds the word (error rate)",
        "clean_precision_at_1": "“a photo of a car” finds a car, no words in the index",
        "reading_precision_at_1": "“car” finds the word",
    },
    "share of the first ten": {
        "typographic_right_in_ten": "“a photo of a car”: cars",
        "clean_right_in_ten": "“a photo of a car”: cars, no words in the index",
        "reading_right_in_ten": "“car”: written words",
    },
}


def overlay(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """Heat over an image: cold parts lose colour and light, hot parts glow.

    Args:
        pixels: ``(height, width, 3)`` uint8.
        heat: ``(height, width)`` in 0…1.

    Returns:
        ``(height, width, 3)`` uint8.
    """
    from matplotlib import colormaps

    image = pixels.astype(np.float32) / 255
    grey = image.mean(axis=2, keepdims=True)
    share = heat[..., None]
    muted = 0.35 * image + 0.45 * grey
    lit = share * image + (1 - share) * muted
    glow = colormaps["inferno"](0.25 + 0.65 * heat)[..., :3]
    strength = 0.55 * share
    return np.asarray(np.rint(255 * ((1 - strength) * lit + strength * glow)), dtype=np.uint8)


def draw_sheet(pixels: Pixels, texts: Sequence[str], maps: HeatMaps, path: Path) -> None:
    """A row for each image, a column for each text; an image's greatest cosine stands in bold.

    Args:
        pixels: ``(n, height, width, 3)``.
        texts: ``q`` of them.
        maps: Of these images and texts.
        path: The PNG.
    """
    rows, columns = len(pixels), len(texts) + 1
    figure = _figure(_CELL_INCHES * columns, (_CELL_INCHES + 0.2) * rows + 0.35)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        best = int(np.argmax(maps.cosines[row]))
        for column in range(columns):
            axes: Axes = grid[row, column]
            axes.set_axis_off()
            text = column - 1
            image = pixels[row] if text < 0 else overlay(pixels[row], maps.heat[row, text])
            axes.imshow(image, interpolation="bicubic")
            if row == 0:
                title = "image" if text < 0 else "\n".join(textwrap.wrap(short(_plain(texts[text])), 20))
                axes.set_title(title, fontsize=10, color=INK)
            if text >= 0:
                axes.text(
                    0.5, -0.03, f"{maps.cosines[row, text]:.3f}", transform=axes.transAxes, ha="center", va="top",
                    fontsize=10, color=INK, weight="bold" if text == best else "normal",
                )  # fmt: skip
    figure.savefig(path, dpi=_DPI, transparent=True)


@dataclass(frozen=True)
class PointNames:
    """What the points of a map are called.

    Attributes:
        labels: The class of each image, ``""`` where none is known.
        written: Whether an image shows only its class's name.
        texts: What each star is called.
        classes: The class of each star, ``""`` for none.
    """

    labels: Sequence[str]
    written: Sequence[bool]
    texts: Sequence[str]
    classes: Sequence[str]

    def colours(self) -> dict[str, str]:
        """The classes that have a star, or else the most frequent ones, each with its hue."""
        counts = Counter(label for label in self.labels if label)
        starred = [name for name in self.classes if name in counts]
        return dict(zip(starred or [name for name, _ in counts.most_common()], HUES, strict=False))


def draw_map(places: EmbeddingMap, named: PointNames, path: Path) -> None:
    """Dots for images, squares for those of a written name, stars for texts.

    Args:
        places: Where everything stands.
        named: What it is.
        path: The PNG.
    """
    figure = _figure(6.0, 6.8)
    axes = figure.add_subplot()
    axes.set(aspect="equal", xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(color=INK, alpha=0.4)
    _draw_images(axes, places.images, named)
    for place, text, name in zip(places.texts, named.texts, named.classes, strict=True):
        colour = named.colours().get(name, INK)
        axes.scatter([place[0]], [place[1]], s=230, marker="*", color=colour, edgecolors=INK, linewidths=0.8, zorder=3)
        axes.annotate(
            _plain(short(text, 28)),
            place,
            xytext=(8, 5),
            textcoords="offset points",
            fontsize=10,
            color=colour,
            zorder=4,
        )
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=10, labelcolor=INK, handletextpad=0.2)
    figure.savefig(path, dpi=_DPI, transparent=True)


def _draw_images(axes: Axes, places: NDArray[np.float32], named: PointNames) -> None:
    colours, written = named.colours(), np.asarray(named.written, dtype=bool)
    labels = np.asarray(named.labels)
    rest = places[~np.isin(labels, list(colours))]
    if len(rest):
        axes.scatter(
            rest[:, 0],
            rest[:, 1],
            s=14,
            color=_REST,
            alpha=0.55,
            linewidths=0,
            label="others" if colours else "images",
        )
    for name, colour in colours.items():
        for marker, alone in (("o", False), ("s", True)):
            group = places[(labels == name) & (written == alone)]
            title = f"{_plain(name)} ({len(group)})" if not alone else None
            axes.scatter(
                group[:, 0], group[:, 1], s=26, marker=marker, color=colour, alpha=0.85, linewidths=0, label=title
            )
    if written[np.isin(labels, list(colours))].any():
        axes.scatter([], [], s=26, marker="s", color=_REST, label="name written")


@dataclass(frozen=True)
class Point:
    """A model in the plot of accuracy.

    Attributes:
        label: Its name.
        latency_ms: Of one image.
        height: Accuracy, or MB.
        size_mb: The disc's area.
        on_front: Whether it may be part of the Pareto front.
    """

    label: str
    latency_ms: float
    height: float
    size_mb: float
    on_front: bool = True


def plot_accuracy(points: Sequence[Point], path: Path, *, title: str, height: str | None) -> None:
    """Plot latency against accuracy, or against size.

    The line joins the models that no other model beats in both; the area of a disc is the size on disk.

    Args:
        points: The models.
        path: The PNG.
        title: Above the plot.
        height: The metric of the vertical axis; None for the size.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = _figure(8, 5)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of one image, median, ms (log scale)")
    axes.set_ylabel(height or "size on disk, MB")
    axes.set_title(_plain(title), fontsize=7, loc="left")
    axes.grid(alpha=0.25)
    candidates = [point for point in points if point.on_front]
    sign = 1 if height else -1
    front = [candidates[index] for index in pareto([(point.latency_ms, sign * point.height) for point in candidates])]
    axes.plot([point.latency_ms for point in front], [point.height for point in front], color="0.7", zorder=1)
    for place, point in enumerate(sorted(points, key=lambda point: point.latency_ms)):
        below, further = place % 2 == 1, 24 * (place // 2 % 2)  # neighbours' labels lie apart
        axes.scatter([point.latency_ms], [point.height], s=30 + 4 * point.size_mb, alpha=0.6, zorder=2)
        axes.annotate(
            _plain(point.label),
            (point.latency_ms, point.height),
            xytext=(0, -10 - further if below else 10 + further),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            fontsize=7,
        )
    if points:
        _frame(axes, points, is_share=height is not None)
    figure.savefig(path, dpi=120)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, worth) that no other point beats in both, by rising cost."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _frame(axes: Axes, points: Sequence[Point], *, is_share: bool) -> None:
    """Space for the labels, without magnifying differences that mean nothing."""
    latencies, heights = [point.latency_ms for point in points], [point.height for point in points]
    axes.set_xlim(min(latencies) / 2, 2 * max(latencies))
    middle, span = (min(heights) + max(heights)) / 2, max(heights) - min(heights)
    half = 0.9 * max(span, _LEAST_SPAN if is_share else 0.1 * middle)
    axes.set_ylim(middle - half, middle + half)


def plot_scales(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    chosen: Sequence[float] = (),
    projection: Mapping[str, Any] | None = None,
) -> None:
    """Plot the effect of a textness scale: first hits above, shares of the first ten below.

    Args:
        rows: Of :func:`mobileclip_kit.textness.evaluate.evaluate_scales`; figures that they lack are left out.
        path: The PNG.
        chosen: Scales to mark.
        projection: The same figures of the projection, drawn as crosses beside the lines.
    """
    figure = _figure(6, 8)  # narrow, so that it can be read on a phone
    above, below = figure.subplots(2, 1, sharex=True)
    rightmost = max((row["scale"] for row in rows), default=0.0)
    for axes, (title, lines) in zip((above, below), _SCALE_LINES.items(), strict=True):
        for key, name in lines.items():
            points = [(row["scale"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                (line,) = axes.plot(*zip(*points, strict=True), marker=".", label=name)
                if projection is not None and projection.get(key) is not None:
                    axes.plot(rightmost + 0.35, projection[key], marker="x", color=line.get_color(), linestyle="none")
        for scale in chosen:
            axes.axvline(scale, color="0.6", linestyle=":")
        axes.set_ylabel(title, fontsize=12)
        axes.tick_params(labelsize=11)
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.25)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, frameon=False, fontsize=11)
    crosses = "" if projection is None else "   (×: the directions projected out)"
    below.set_xlabel(f"textness scale{crosses}", fontsize=12)
    figure.savefig(path, dpi=_DPI, format="png")


def short(text: str, most: int = 60) -> str:
    """A text cut to a label's length."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(text: str) -> str:
    """The text without what matplotlib would read as a formula."""
    return text.replace("$", r"\$")
