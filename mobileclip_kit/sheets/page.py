"""A page of hits that needs nothing beside itself: no server, no other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from mobileclip_kit.sheets.drawing import SheetRow, draw_tile

_TILE_PX = 240
_STYLE = (
    "body{font:16px system-ui,sans-serif;margin:1.5rem;color-scheme:light dark}"
    "section{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.5rem}"
    "figure{margin:0}img{width:100%;display:block}figcaption{font-size:.8rem;overflow-wrap:anywhere}"
)


def render_page(rows: Sequence[SheetRow]) -> str:
    """HTML with a heading and a grid of hits for each query; images are part of it."""
    body = []
    for row in rows:
        pairs = zip(row.images, row.captions, strict=True)
        figures = "".join(
            f'<figure><img src="{_data(image)}" alt="{html.escape(caption)}"><figcaption>{html.escape(caption)}'
            "</figcaption></figure>"
            for image, caption in pairs
        )
        body.append(f"<h2>{html.escape(row.label)}</h2><section>{figures or 'no images'}</section>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Hits</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _data(image: Path | bytes | None) -> str:
    stream = io.BytesIO()
    draw_tile(image, _TILE_PX).save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
