"""Report pages as single HTML files: images and plots are embedded, and nothing is loaded from elsewhere.

The templates (``templates/*.html``, jinja2 with autoescape) extend ``base.html`` and use the macros of ``parts.html``.
``page.css`` follows the reader's light or dark mode and turns table rows into cards on a phone.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from mobileclip_kit.files import atomic_file
from mobileclip_kit.images import load_image, open_image

_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_THUMBNAIL_PIXELS = 240
_THUMBNAIL_QUALITY = 85
_NO_VALUE = ("", "–", "—")


@dataclass(frozen=True)
class Bar:
    """A bar of one or more parts.

    Attributes:
        label: Text in front of the bar.
        parts: Lengths in one unit, in the order of the legend.
        text: Text behind the bar, such as "4.2 ms".
    """

    label: str
    parts: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Thumbnail:
    """One image of a row.

    Attributes:
        source: An image file, or its bytes.
        text: Text below the image.
        right: Whether it is a right answer; None if unknown.
    """

    source: Path | bytes
    text: str = ""
    right: bool | None = None


# A query and the images found for it.
ImageRow = tuple[str, Sequence[Thumbnail]]


@functools.cache
def environment() -> Environment:
    """The jinja2 environment of the templates."""
    made = Environment(
        loader=PackageLoader("mobileclip_kit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"data_uri": data_uri, "thumbnail": thumbnail, "width": _width}
    made.globals |= {"is_numeric": _is_numeric, "classes": _classes, "no_value": _NO_VALUE}
    return made


def write_page(path: Path, template: str, **context: Any) -> None:
    """Fill a template and write the page, atomically.

    File names that are not UTF-8 are written with escapes, as on the terminal.

    Args:
        path: The HTML file.
        template: A file of ``templates/``.
        context: The template's variables.
    """
    page = environment().get_template(template).render(context)
    with atomic_file(path) as staging:
        staging.write_bytes(page.encode("utf-8", "backslashreplace"))


def thumbnail(source: Path | bytes, pixels: int = _THUMBNAIL_PIXELS) -> bytes:
    """An image as a JPEG of at most ``pixels`` a side; smaller images keep their size.

    Raises:
        ImageError: It cannot be decoded.
    """
    image = load_image(source)
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_THUMBNAIL_QUALITY)
    return stream.getvalue()


def data_uri(source: Path | bytes) -> str:
    """An image as a ``data:`` URI.

    Raises:
        ValueError: It is not a PNG, JPEG or GIF image: a mistake of the caller.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    for start, kind in _SIGNATURES.items():
        if data.startswith(start):
            return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    raise ValueError(f"A page embeds PNG, JPEG and GIF images; this one begins with {data[:4]!r}.")


def _width(source: Path | bytes) -> int:
    with open_image(io.BytesIO(source if isinstance(source, bytes) else source.read_bytes())) as image:
        return int(image.width)


def _is_numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Whether a column holds numbers only, and is aligned to the right."""
    return bool(rows) and all(_is_number(row[column]) for row in rows)


def _is_number(text: str) -> bool:
    bare = text.strip().rstrip("%×").replace(",", "").strip()
    if bare in _NO_VALUE:
        return True
    try:
        float(bare)
    except ValueError:
        return False
    return True


def _classes(**flags: bool) -> str:
    """A class attribute of the names whose flag is set."""
    names = " ".join(name for name, on in flags.items() if on)
    return f' class="{names}"' if names else ""
