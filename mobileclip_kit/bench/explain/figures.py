"""Drawing: heat over an image, the sheet of heat maps, the map of vectors.

Figures have no background of their own and letters of a middle grey, so that they can be read on a light and on a dark
page.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.bench.explain.embedding_map import EmbeddingMap
from mobileclip_kit.bench.explain.gallery import short
from mobileclip_kit.bench.explain.grad_cam import HeatMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#80868f"
# Ten hues of like strength on white and on black; the classes beyond them stay grey.
HUES = (
    "#e8590c", "#1c7ed6", "#2f9e44", "#ae3ec9", "#e0a100", "#0ca5b8", "#e03131", "#7a6ff0", "#a0703c", "#e64980",
)  # fmt: skip
_REST = "#9aa0a6"
_CELL_INCHES = 1.7
_DPI = 130


def overlay(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """Heat over an image: its cold parts lose colour and light, its hot ones glow.

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
class Named:
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


def draw_map(places: EmbeddingMap, named: Named, path: Path) -> None:
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


def _draw_images(axes: Axes, places: NDArray[np.float32], named: Named) -> None:
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


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(text: str) -> str:
    """The text without what matplotlib would read as a formula."""
    return text.replace("$", r"\$")
