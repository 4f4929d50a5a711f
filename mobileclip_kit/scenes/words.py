"""Written words: masks of a word in a typeface, at any size.

Fonts come with packages that mckit needs anyway (matplotlib's, found without importing it, and Pillow's own), so words
look the same on every machine.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mobileclip_kit.errors import DataError
from mobileclip_kit.extras import missing_extra
from mobileclip_kit.scenes.sprite import Sprite, make_sprite

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
"""Name → file in matplotlib's font folder; None is Pillow's own typeface."""

_STROKE = 0.07


@functools.lru_cache(maxsize=1024)
def word_sprite(text: str, typeface: str, side_px: int, *, stroked: bool = False) -> Sprite:
    """A word's mask ("L"), about ``side_px`` wide.

    Args:
        text: The word.
        typeface: A name in :data:`TYPEFACES`.
        side_px: Width in pixels.
        stroked: Grow the letters by the outline that keeps them legible over a scene.

    Raises:
        DataError: The fonts are not installed.
    """
    # Letters are about 0.6 of the font's height wide; the exact width follows from the ink.
    height_px = max(16, round(side_px / (0.6 * len(text))))
    stroke = max(1, round(height_px * _STROKE)) if stroked else 0
    # Every word keeps the same frame of one stroke, so that both masks of a word have their middle in one place.
    canvas = Image.new("L", (round(height_px * (len(text) + 2)), height_px * 3))
    pen = ImageDraw.Draw(canvas)
    font = _font(typeface, height_px)
    pen.text((height_px, height_px), text, fill=255, font=font)
    ink = canvas.getbbox()
    assert ink is not None
    if stroked:
        pen.text((height_px, height_px), text, fill=255, font=font, stroke_width=stroke)
    edge = max(1, round(height_px * _STROKE))
    return make_sprite(canvas.crop((ink[0] - edge, ink[1] - edge, ink[2] + edge, ink[3] + edge)))


@functools.lru_cache(maxsize=1)
def font_folder() -> Path:
    """Where matplotlib keeps its fonts.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise missing_extra("Drawing words with matplotlib's fonts", "bench")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"


@functools.lru_cache(maxsize=64)
def _font(typeface: str, height_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    file = TYPEFACES[typeface]
    if file is None:
        return ImageFont.load_default(size=height_px)
    path = font_folder() / file
    if not path.is_file():
        raise DataError(f"The font {path} is missing.", hint="Install matplotlib again.")
    return ImageFont.truetype(path, height_px)
