"""A contact sheet: a heading and a row of tiles for each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from mobileclip_kit.errors import DataError, ImageError
from mobileclip_kit.images import load_image

TILE_PX = 150
GAP_PX = 6
INK, PAPER = (30, 30, 30), (255, 255, 255)
_MISSING = (220, 220, 220)
_COLUMNS = 10
_HEADING_PX, _CAPTION_PX = 30, 18
# Beyond this, formats and terminals refuse an image.
_MOST_TILES = 1000


@dataclass(frozen=True)
class SheetRow:
    """The hits of one query.

    Attributes:
        label: The query.
        images: Best first; None where there is no image to be had.
        captions: One for each image, such as its score.
    """

    label: str
    images: Sequence[Path | bytes | None]
    captions: Sequence[str]


def draw_tile(image: Path | bytes | None, side: int = TILE_PX) -> Image.Image:
    """A square cut from the middle of an image; grey where it is missing or can no longer be decoded."""
    try:
        if image is not None:
            return ImageOps.fit(load_image(image, least_side=2 * side), (side, side))
    except (ImageError, OSError):
        pass
    return Image.new("RGB", (side, side), _MISSING)


def draw_sheet(rows: Sequence[SheetRow]) -> Image.Image:
    """The tiles of all rows, ten in a line.

    Raises:
        DataError: There are more than a thousand tiles.
    """
    tiles = sum(len(row.images) for row in rows)
    if tiles > _MOST_TILES:
        raise DataError(f"A sheet of {tiles} images is too large.", hint="Ask for fewer hits with -k.")
    columns = max(1, min(_COLUMNS, max((len(row.images) for row in rows), default=1)))
    step, line_px = TILE_PX + GAP_PX, TILE_PX + GAP_PX + _CAPTION_PX
    lines = [max(1, -(-len(row.images) // columns)) for row in rows]
    height = GAP_PX + sum(_HEADING_PX + count * line_px for count in lines)
    sheet = Image.new("RGB", (GAP_PX + columns * step, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    heading, small = ImageFont.load_default(size=20), ImageFont.load_default(size=12)
    top = GAP_PX
    for row, count in zip(rows, lines, strict=True):
        pen.text((GAP_PX, top), row.label, fill=INK, font=heading)
        top += _HEADING_PX
        for number, (image, caption) in enumerate(zip(row.images, row.captions, strict=True)):
            left, down = GAP_PX + number % columns * step, top + number // columns * line_px
            sheet.paste(draw_tile(image), (left, down))
            pen.text((left, down + TILE_PX), caption, fill=INK, font=small)
        top += count * line_px
    return sheet
