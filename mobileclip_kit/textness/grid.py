"""A grid of images, as in the article of 2021: one row of hits for each textness scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image, ImageDraw, ImageFont, ImageOps

from mobileclip_kit.errors import ImageError
from mobileclip_kit.images import load_image
from mobileclip_kit.options import Option

_TILE_PX = 150
_GAP_PX = 6
_TITLE_PX = 44
_INK, _PAPER, _MISSING = (30, 30, 30), (255, 255, 255), (220, 220, 220)


@dataclass(frozen=True, kw_only=True)
class GridRequest:
    """The arguments of ``mckit textness grid``."""

    index_folder: Annotated[Path, Option("The index.", names=("index_folder",), metavar="INDEX")]
    query: Annotated[str, Option("Words.", names=("query",))]
    out: Annotated[Path, Option("The image to write: .png or .jpg.", names=("-o", "--out"))]
    model: Annotated[
        str | None, Option("The index's model, if it is no longer where it was.", names=("-m", "--model"))
    ] = None
    query_vectors: Annotated[Path | None, Option("A .npy matrix whose first row is the query; QUERY is the title.")] = (
        None
    )
    textness_vector: Annotated[Path | None, Option("From `mckit textness fit`.")] = None
    raw: Annotated[
        bool, Option("Five more rows with the direction as long as it was learned, as in the 2021 article.")
    ] = False
    k: Annotated[int, Option("Hits in each row.", names=("-k", "--top"), at_least=1, at_most=100)] = 10
    threads: Annotated[int | None, Option("Threads of the model's runtime.", at_least=1)] = None


@dataclass(frozen=True)
class GridRow:
    """One row of the grid.

    Attributes:
        label: The label before the row, such as "−2".
        images: The hits, best first: files, or bytes of members of a tar.
    """

    label: str
    images: Sequence[Path | bytes]


def draw_grid(title: str, rows: Sequence[GridRow]) -> Image.Image:
    """Draw square tiles, one row for each scale. An image that can no longer be decoded is drawn as a grey tile."""
    columns = max((len(row.images) for row in rows), default=0)
    step, font, heading = _TILE_PX + _GAP_PX, ImageFont.load_default(size=28), ImageFont.load_default(size=26)
    margin = 2 * _GAP_PX + math.ceil(max((font.getlength(row.label) for row in rows), default=0.0))
    width = max(margin + max(1, columns) * step, 2 * _GAP_PX + math.ceil(heading.getlength(title)))
    sheet = Image.new("RGB", (width, _TITLE_PX + len(rows) * step), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP_PX, _GAP_PX), title, fill=_INK, font=heading)
    for down, row in enumerate(rows):
        top = _TITLE_PX + down * step
        pen.text((_GAP_PX, top + _TILE_PX // 2 - 16), row.label, fill=_INK, font=font)
        for across, image in enumerate(row.images):
            sheet.paste(_tile(image), (margin + across * step, top))
    return sheet


def _tile(image: Path | bytes) -> Image.Image:
    try:
        return ImageOps.fit(load_image(image), (_TILE_PX, _TILE_PX))
    except ImageError:
        return Image.new("RGB", (_TILE_PX, _TILE_PX), _MISSING)
