"""Sprites: drawings of things and words, prepared once at several sizes, each half the previous one, then placed.

A :class:`Pen` draws in inks instead of colours. An ink is a weight for each of three colours that are chosen later: the
colour of the object, a light colour (windows, eyes) and the accent of the kind (a trunk, a stalk); the remainder is
dark. Mixing is linear, so one antialiased drawing is recoloured by a 3×3 matrix: 40 kinds in 10 colours need 40
drawings.

The fonts are part of packages that mckit depends on (matplotlib, which is not imported for this, and Pillow), so words
look the same on every machine.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mobileclip_kit.errors import DataError
from mobileclip_kit.extras import missing_extra

Point = tuple[float, float]
Ink = tuple[int, int, int, int]

INKS: dict[str, Ink] = {
    "main": (255, 0, 0, 255),
    "shade": (170, 0, 0, 255),
    "tint": (165, 90, 0, 255),
    "light": (0, 255, 0, 255),
    "accent": (0, 0, 255, 255),
    "dark": (0, 0, 0, 255),
    "clear": (0, 0, 0, 0),
}

_MARGIN = 0.1
_OUTLINE = 0.018


class Pen:
    """Draws on a square canvas with coordinates from (0, 0), top left, to (1, 1), bottom right.

    Args:
        canvas_px: Side of the canvas in pixels.
    """

    def __init__(self, canvas_px: int) -> None:
        self.image = Image.new("RGBA", (canvas_px, canvas_px), INKS["clear"])
        self._draw = ImageDraw.Draw(self.image)
        self._offset = canvas_px * _MARGIN
        self._scale = canvas_px * (1 - 2 * _MARGIN)

    def polygon(self, ink: Ink, *points: Point) -> None:
        """Fill the polygon through ``points``."""
        self._draw.polygon([self._at(point) for point in points], fill=ink)

    def oval(self, ink: Ink, x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> None:
        """Fill an ellipse around (x, y), rotated clockwise by ``turn`` degrees."""
        ry = rx if ry is None else ry
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        ring = [(rx * math.cos(step * math.tau / 64), ry * math.sin(step * math.tau / 64)) for step in range(64)]
        self.polygon(ink, *[(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in ring])

    def box(self, ink: Ink, left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> None:
        """Fill a rectangle whose corners are rounded with ``radius``."""
        corners = [self._at((left, top)), self._at((right, bottom))]
        self._draw.rounded_rectangle(corners, radius=radius * self._scale, fill=ink)

    def line(self, ink: Ink, width: float, *points: Point) -> None:
        """Stroke a path with round caps and joins."""
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            dx, dy = (y1 - y0) / length * width / 2, (x0 - x1) / length * width / 2
            self.polygon(ink, (x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))
        for x, y in points:
            self.oval(ink, x, y, width / 2)

    def arc(self, ink: Ink, width: float, x: float, y: float, radius: float, start: float, end: float) -> None:
        """Stroke an arc of a circle; angles are in degrees, clockwise from the right."""
        self.line(ink, width, *arc_points(x, y, radius, start, end))

    def ring(self, ink: Ink, x: float, y: float, radius: float, width: float) -> None:
        """Stroke a circle without filling it."""
        self.arc(ink, width, x, y, radius, 0, 360)

    def blob(self, ink: Ink, *points: Point) -> None:
        """Fill a smooth closed curve through ``points`` (a Catmull-Rom spline)."""
        self.polygon(ink, *smooth(points))

    def _at(self, point: Point) -> Point:
        return self._offset + point[0] * self._scale, self._offset + point[1] * self._scale


def arc_points(x: float, y: float, radius: float, start: float, end: float) -> list[Point]:
    """Points along an arc of a circle, at most 6 degrees apart."""
    steps = max(2, math.ceil(abs(end - start) / 6))
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def smooth(points: Sequence[Point]) -> list[Point]:
    """Points on the closed Catmull-Rom spline through ``points``."""
    curve = []
    for index in range(len(points)):
        a, b, c, d = (points[(index + step - 1) % len(points)] for step in range(4))
        curve += [(_spline(t / 10, a[0], b[0], c[0], d[0]), _spline(t / 10, a[1], b[1], c[1], d[1])) for t in range(10)]
    return curve


def draw_kind(draw: Callable[[Pen], None], side_px: int) -> Image.Image:
    """Draw an object, add its outline, and crop it.

    Args:
        draw: Draws the kind.
        side_px: Side of the unit square in pixels.

    Returns:
        RGBA weights of the inks, of the size of the object with its outline.
    """
    # Large drawings need less supersampling, and the cost grows with the area of the canvas.
    finer = 4 if side_px <= 128 else 2
    canvas_px = round(side_px / (1 - 2 * _MARGIN)) * finer
    pen = Pen(canvas_px)
    draw(pen)
    outlined = Image.new("RGBA", pen.image.size, INKS["clear"])
    # Thresholding the blurred silhouette at a low value dilates it by about the blur radius and rounds its corners.
    grown = pen.image.getchannel("A").filter(ImageFilter.GaussianBlur(canvas_px * _OUTLINE))
    outlined.paste(INKS["dark"], mask=grown.point([255 if value > 24 else 0 for value in range(256)]))
    outlined.alpha_composite(pen.image)
    small = outlined.reduce(finer)
    return small.crop(small.getbbox())


def _spline(t: float, a: float, b: float, c: float, d: float) -> float:
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


_SMALLEST_PX = 8


@dataclass(frozen=True)
class Sprite:
    """A drawing at several sizes.

    Attributes:
        levels: The drawing in a transparent frame, at full size, half the size and so on; colours are premultiplied by
            alpha ("RGBa").
        width: Width of the drawing at the first level in pixels, without the frame.
        height: Height, likewise.
    """

    levels: tuple[Image.Image, ...]
    width: int
    height: int


def make_sprite(drawing: Image.Image) -> Sprite:
    """Prepare a sprite from a drawing ("RGBA" or "L") that fills its image."""
    width, height = drawing.size
    halvings = max(0, int(math.log2(max(width, height) / _SMALLEST_PX)))
    # The frame is a whole number of pixels at every level, so that edges stay transparent and the centre does not move.
    unit = 2**halvings
    framed = (math.ceil(width / unit) + 2) * unit, (math.ceil(height / unit) + 2) * unit
    canvas = Image.new(drawing.mode, framed)
    canvas.paste(drawing, ((framed[0] - width) // 2, (framed[1] - height) // 2))
    if canvas.mode == "RGBA":
        canvas = canvas.convert("RGBa")  # Pillow would do this at each rotation of the sprite
    return Sprite((canvas, *(canvas.reduce(2**level) for level in range(1, halvings + 1))), width, height)


def place(
    sprite: Sprite,
    extent_px: float,
    centre: tuple[float, float],
    *,
    across_only: bool = False,
    angle: float = 0.0,
    mirror: bool = False,
    stretch: float = 1.0,
) -> tuple[Image.Image, tuple[int, int]]:
    """Rotate and scale a sprite.

    Args:
        sprite: The sprite.
        extent_px: Longer side of its bounding box after the rotation, in pixels.
        centre: Position of its centre in pixels.
        across_only: Whether ``extent_px`` is the width of the box instead of its longer side.
        angle: Rotation in degrees, clockwise.
        mirror: Whether to flip it horizontally.
        stretch: Ratio of width to height, relative to the drawing.

    Returns:
        The image, in the mode of the levels, and the position (left, top) at which to paste it.
    """
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    width, height = sprite.width * stretch, sprite.height
    upright = abs(width * cos) + abs(height * sin), abs(width * sin) + abs(height * cos)
    scale = extent_px / (upright[0] if across_only else max(upright))
    # The smallest level that is still larger than the target, so that bilinear sampling skips no pixels.
    level = min(len(sprite.levels) - 1, max(0, math.floor(-math.log2(scale * max(1.0, stretch)))))
    source = sprite.levels[level]
    zoom = 1 / (scale * 2**level)
    box = math.ceil(upright[0] * scale) + 2, math.ceil(upright[1] * scale) + 2
    corner = math.floor(centre[0] - box[0] / 2), math.floor(centre[1] - box[1] / 2)
    across = (-1 if mirror else 1) / stretch * zoom
    a, b, d, e = cos * across, sin * across, -sin * zoom, cos * zoom
    dx, dy = centre[0] - corner[0], centre[1] - corner[1]
    matrix = (a, b, source.width / 2 - a * dx - b * dy, d, e, source.height / 2 - d * dx - e * dy)
    return source.transform(box, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR), corner


TYPEFACES: dict[str, str | None] = {
    "sans": "DejaVuSans.ttf",
    "sans bold": "DejaVuSans-Bold.ttf",
    "sans oblique": "DejaVuSans-BoldOblique.ttf",
    "serif": "DejaVuSerif.ttf",
    "serif bold": "DejaVuSerif-Bold.ttf",
    "serif italic": "DejaVuSerif-BoldItalic.ttf",
    "mono": "DejaVuSansMono.ttf",
    "mono bold": "DejaVuSansMono-Bold.ttf",
    "mono oblique": "DejaVuSansMono-BoldOblique.ttf",
    "times": "STIXGeneral.ttf",
    "times bold": "STIXGeneralBol.ttf",
    "times italic": "STIXGeneralBolIta.ttf",
    "roman": "cmb10.ttf",
    "grotesque": "cmss10.ttf",
    "typewriter": "cmtt10.ttf",
    "round": None,
}
"""Name → file in the font folder of matplotlib; None for the built-in font of Pillow."""

_STROKE = 0.07


@functools.lru_cache(maxsize=1024)
def word_sprite(text: str, typeface: str, side_px: int, *, stroked: bool = False) -> Sprite:
    """The mask ("L") of a word, about ``side_px`` wide.

    Args:
        text: The word.
        typeface: A name in :data:`TYPEFACES`.
        side_px: Width in pixels.
        stroked: Whether to include the outline that makes the letters legible over a scene.

    Raises:
        DataError: The fonts are not installed.
    """
    # The width of a letter is about 0.6 of the font height; the exact width is measured afterwards.
    height_px = max(16, round(side_px / (0.6 * len(text))))
    stroke = max(1, round(height_px * _STROKE)) if stroked else 0
    # Both masks of a word have the same frame, as wide as the outline, so that their centres coincide.
    canvas = Image.new("L", (round(height_px * (len(text) + 2)), height_px * 3))
    pen = ImageDraw.Draw(canvas)
    face = font(typeface, height_px)
    pen.text((height_px, height_px), text, fill=255, font=face)
    ink = canvas.getbbox()
    assert ink is not None
    if stroked:
        pen.text((height_px, height_px), text, fill=255, font=face, stroke_width=stroke)
    edge = max(1, round(height_px * _STROKE))
    return make_sprite(canvas.crop((ink[0] - edge, ink[1] - edge, ink[2] + edge, ink[3] + edge)))


@functools.lru_cache(maxsize=1)
def font_folder() -> Path:
    """The font folder of matplotlib.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise missing_extra("Drawing words with matplotlib's fonts", "bench")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"


@functools.lru_cache(maxsize=256)
def font(typeface: str, height_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A typeface of :data:`TYPEFACES` at a height in pixels.

    Raises:
        DataError: Its file is missing.
        MissingExtraError: matplotlib is not installed.
    """
    file = TYPEFACES[typeface]
    if file is None:
        return ImageFont.load_default(size=height_px)
    path = font_folder() / file
    if not path.is_file():
        raise DataError(f"The font {path} is missing.", hint="Install matplotlib again.")
    return ImageFont.truetype(path, height_px)
