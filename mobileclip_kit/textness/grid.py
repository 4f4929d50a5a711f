"""The image of the 2021 article: a row of hits for each textness scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from mobileclip_kit.errors import ImageError
from mobileclip_kit.images import load_image

_TILE_PX = 150
_GAP_PX = 6
_MARGIN_PX = 90
_TITLE_PX = 44
_INK, _PAPER, _MISSING = (30, 30, 30), (255, 255, 255), (220, 220, 220)


@dataclass(frozen=True)
class GridRow:
    """One row.

    Attributes:
        label: What stands before it, such as "−2".
        images: The hits, best first: files, or bytes out of a tar.
    """

    label: str
    images: Sequence[Path | bytes]


def draw_grid(title: str, rows: Sequence[GridRow]) -> Image.Image:
    """Square tiles, a row for each scale; an image that can no longer be decoded is a grey tile."""
    columns = max((len(row.images) for row in rows), default=0)
    step = _TILE_PX + _GAP_PX
    sheet = Image.new("RGB", (_MARGIN_PX + max(1, columns) * step, _TITLE_PX + len(rows) * step), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP_PX, _GAP_PX), title, fill=_INK, font=ImageFont.load_default(size=26))
    for down, row in enumerate(rows):
        top = _TITLE_PX + down * step
        pen.text((_GAP_PX, top + _TILE_PX // 2 - 16), row.label, fill=_INK, font=ImageFont.load_default(size=28))
        for across, image in enumerate(row.images):
            sheet.paste(_tile(image), (_MARGIN_PX + across * step, top))
    return sheet


def _tile(image: Path | bytes) -> Image.Image:
    try:
        return ImageOps.fit(load_image(image), (_TILE_PX, _TILE_PX))
    except ImageError:
        return Image.new("RGB", (_TILE_PX, _TILE_PX), _MISSING)
