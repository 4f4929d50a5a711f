"""Drawing one kind of object in the unit square, in inks instead of colours.

An ink is a weight for each of three colours that are chosen later: the object's own colour, a light one (windows, eyes)
and the kind's accent (a trunk, a stalk); the rest is dark. Mixing is linear, so one antialiased drawing serves every
colour by a 3×3 matrix, and 40 kinds in 10 colours cost 40 drawings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Ink = tuple[int, int, int, int]

MAIN: Ink = (255, 0, 0, 255)
SHADE: Ink = (170, 0, 0, 255)
TINT: Ink = (165, 90, 0, 255)
LIGHT: Ink = (0, 255, 0, 255)
ACCENT: Ink = (0, 0, 255, 255)
DARK: Ink = (0, 0, 0, 255)
CLEAR: Ink = (0, 0, 0, 0)

_MARGIN = 0.1
_OUTLINE = 0.018


class Pen:
    """Draws on a square canvas; coordinates run from (0, 0) top left to (1, 1) bottom right.

    Args:
        canvas_px: Side of the canvas in pixels.
    """

    def __init__(self, canvas_px: int) -> None:
        self.image = Image.new("RGBA", (canvas_px, canvas_px), CLEAR)
        self._draw = ImageDraw.Draw(self.image)
        self._offset = canvas_px * _MARGIN
        self._scale = canvas_px * (1 - 2 * _MARGIN)

    def polygon(self, ink: Ink, *points: Point) -> None:
        """Fill the polygon through ``points``."""
        self._draw.polygon([self._at(point) for point in points], fill=ink)

    def oval(self, ink: Ink, x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> None:
        """Fill an ellipse around (x, y), turned clockwise by ``turn`` degrees."""
        ry = rx if ry is None else ry
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        ring = [(rx * math.cos(step * math.tau / 64), ry * math.sin(step * math.tau / 64)) for step in range(64)]
        self.polygon(ink, *[(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in ring])

    def box(self, ink: Ink, left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> None:
        """Fill a rectangle with corners rounded by ``radius``."""
        corners = [self._at((left, top)), self._at((right, bottom))]
        self._draw.rounded_rectangle(corners, radius=radius * self._scale, fill=ink)

    def line(self, ink: Ink, width: float, *points: Point) -> None:
        """Stroke a path with round ends and joints."""
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            dx, dy = (y1 - y0) / length * width / 2, (x0 - x1) / length * width / 2
            self.polygon(ink, (x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))
        for x, y in points:
            self.oval(ink, x, y, width / 2)

    def arc(self, ink: Ink, width: float, x: float, y: float, radius: float, start: float, end: float) -> None:
        """Stroke a circle's arc; degrees run clockwise from the right."""
        self.line(ink, width, *arc_points(x, y, radius, start, end))

    def ring(self, ink: Ink, x: float, y: float, radius: float, width: float) -> None:
        """Stroke a full circle, leaving its inside as it is."""
        self.arc(ink, width, x, y, radius, 0, 360)

    def blob(self, ink: Ink, *points: Point) -> None:
        """Fill a smooth closed curve through ``points`` (a Catmull-Rom spline)."""
        self.polygon(ink, *smooth(points))

    def _at(self, point: Point) -> Point:
        return self._offset + point[0] * self._scale, self._offset + point[1] * self._scale


def arc_points(x: float, y: float, radius: float, start: float, end: float) -> list[Point]:
    """Points along a circle's arc, one for at most 6 degrees."""
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
    """Draw an object, outline it and trim it.

    Args:
        draw: The kind's drawing.
        side_px: Pixels that the unit square is to have.

    Returns:
        RGBA weights of the inks, as large as the drawn object and its outline.
    """
    # Large drawings have fine pixels already, and their cost grows with the square of the canvas.
    finer = 4 if side_px <= 128 else 2
    canvas_px = round(side_px / (1 - 2 * _MARGIN)) * finer
    pen = Pen(canvas_px)
    draw(pen)
    outlined = Image.new("RGBA", pen.image.size, CLEAR)
    # A blurred silhouette cut low is the silhouette grown by about the blur's radius, and smooth at corners.
    grown = pen.image.getchannel("A").filter(ImageFilter.GaussianBlur(canvas_px * _OUTLINE))
    outlined.paste(DARK, mask=grown.point([255 if value > 24 else 0 for value in range(256)]))
    outlined.alpha_composite(pen.image)
    small = outlined.reduce(finer)
    return small.crop(small.getbbox())


def _spline(t: float, a: float, b: float, c: float, d: float) -> float:
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
