"""A drawing that is turned, scaled and pasted many times: prepared once, in halving sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

_SMALLEST_PX = 8


@dataclass(frozen=True)
class Sprite:
    """A drawing and its halvings.

    Attributes:
        levels: The drawing in a transparent frame, then at half the size, and so on; colours are multiplied by alpha
            already ("RGBa").
        width: Pixels of the drawing itself at the first level.
        height: The same.
    """

    levels: tuple[Image.Image, ...]
    width: int
    height: int


def make_sprite(drawing: Image.Image) -> Sprite:
    """Prepare a drawing ("RGBA" or "L") that fills its image."""
    width, height = drawing.size
    halvings = max(0, int(math.log2(max(width, height) / _SMALLEST_PX)))
    # A frame of whole pixels at every level keeps the edges transparent there and the middle in its place.
    unit = 2**halvings
    framed = (math.ceil(width / unit) + 2) * unit, (math.ceil(height / unit) + 2) * unit
    canvas = Image.new(drawing.mode, framed)
    canvas.paste(drawing, ((framed[0] - width) // 2, (framed[1] - height) // 2))
    if canvas.mode == "RGBA":
        canvas = canvas.convert("RGBa")  # what Pillow would do at each turn of the sprite
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
    """Turn and scale a sprite.

    Args:
        sprite: What to place.
        extent_px: Pixels of the longer side of its upright box after turning.
        centre: Where its middle goes, in pixels.
        across_only: ``extent_px`` is the box's width, whichever side is longer.
        angle: Degrees clockwise.
        mirror: Flip left and right.
        stretch: Width over height, relative to the drawing.

    Returns:
        The placed image, in the mode of the levels, and the corner (left, top) where it is to be pasted.
    """
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    width, height = sprite.width * stretch, sprite.height
    upright = abs(width * cos) + abs(height * sin), abs(width * sin) + abs(height * cos)
    scale = extent_px / (upright[0] if across_only else max(upright))
    # The smallest level that is still finer than the target: bilinear sampling then skips no pixel.
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
