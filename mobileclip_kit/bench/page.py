"""A page for people in one file: images and plots travel inside it, and it asks for nothing from anywhere.

The functions give pieces of HTML, to be put together by :func:`section` and :func:`page`. What is called a *text* is
escaped here; what is called a *part* is HTML from another of these functions. The style (``page.css``) follows the
reader's light or dark mode and turns a table's rows into cards on a phone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from PIL import Image

from mobileclip_kit.files import atomic_file
from mobileclip_kit.images import load_image, open_image

Kind = Literal["image", "plot", "sheet"]

_STYLE = Path(__file__).with_name("page.css")
_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_THUMBNAIL_PIXELS = 240
_THUMBNAIL_QUALITY = 85
_SHEET_SHARE = 0.55  # of its own size that a sheet keeps where there is little room
_NO_FIGURE = ("", "–", "—")


@dataclass(frozen=True)
class Bar:
    """A bar of one or more parts.

    Attributes:
        label: What it stands for.
        parts: Lengths in one unit, in the order of the legend.
        text: What stands beside it: "4.2 ms".
    """

    label: str
    parts: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Thumbnail:
    """One image of a row.

    Attributes:
        source: Its file, or the bytes of one.
        text: What stands below it.
        right: Whether it is a right answer; None where nobody knows.
    """

    source: Path | bytes
    text: str = ""
    right: bool | None = None


def page(title: str, *parts: str, lead: str = "") -> str:
    """A whole document.

    Args:
        title: A text.
        parts: In their order.
        lead: A text below the title.
    """
    head = f"<h1>{escape(title)}</h1>" + (f'<p class="lead">{escape(lead)}</p>' if lead else "")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f"<header>{head}</header>\n<main>\n{_join(parts)}\n</main>\n</body>\n</html>\n"
    )


def write_page(path: Path, document: str) -> None:
    """Write a page's file, atomically.

    File names that are not UTF-8 are written with escapes, as on the terminal.
    """
    with atomic_file(path) as staging:
        staging.write_bytes(document.encode("utf-8", "backslashreplace"))


def section(title: str, *parts: str) -> str:
    """Parts under a heading; nothing at all when they are all empty."""
    inside = _join(parts)
    return f"<section>\n<h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def paragraph(text: str, *, quiet: bool = False) -> str:
    """A text of its own, in a smaller and paler hand when it is ``quiet``."""
    return f"<p{' class=note' if quiet else ''}>{escape(text)}</p>" if text else ""


def bullets(texts: Sequence[str]) -> str:
    """A list of texts."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def code(text: str) -> str:
    """Commands to type, or whatever else keeps its lines."""
    return f"<pre><code>{escape(text)}</code></pre>"


def facts(figures: Mapping[str, str]) -> str:
    """The few figures that count, each in a box: what it is, and its value."""
    boxes = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures.items())
    return f'<dl class="facts">{boxes}</dl>' if figures else ""


def pairs(entries: Mapping[str, str]) -> str:
    """Names and what they stand for, one below the other: settings, versions."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items())
    return f'<dl class="pairs">{lines}</dl>' if entries else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "") -> str:
    """A table of texts; columns of figures stand to the right.

    Args:
        header: A text a column.
        rows: As many texts as there are columns in each.
        caption: A text above it.
    """
    numeric = [bool(rows) and all(_is_figure(row[column]) for row in rows) for column in range(len(header))]
    heads = "".join(
        f'<th scope="col"{_class(number=n)}>{escape(text)}</th>' for text, n in zip(header, numeric, strict=True)
    )
    lines = []
    for row in rows:
        cells = [
            f'<td data-column="{escape(name)}"{_cell_class(text, n)}>{escape(text)}</td>'
            for name, text, n in zip(header, row, numeric, strict=True)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return f'<div class="scroll"><table>{above}<thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def figure(source: Path | bytes, *, alt: str, caption: str = "", kind: Kind = "image") -> str:
    """An image at its own size, or the page's width if that is less.

    Args:
        source: A PNG, JPEG or GIF file, or its bytes; it travels as it is.
        alt: A text for those who cannot see it.
        caption: A text below it.
        kind: A ``plot`` is dark on white, and is turned over where the page is dark. A ``sheet`` keeps a width at which
            its small parts can be seen; on a phone it can be pushed along.
    """
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    data = source if isinstance(source, bytes) else source.read_bytes()
    least = f' style="min-width:{_SHEET_SHARE * _width(data):.0f}px"' if kind == "sheet" else ""
    image = f'<div class="scroll"><img src="{data_uri(data)}" alt="{escape(alt)}"{least}></div>'
    return f'<figure class="{kind}">{image}{below}</figure>'


def bars(rows: Sequence[Bar], *, legend: Sequence[str] = (), caption: str = "") -> str:
    """Bars beside their labels, the longest one as long as there is room; parts have the legend's colours."""
    longest = max((sum(row.parts) for row in rows), default=0.0)
    if longest <= 0:
        return ""
    lines = []
    for row in rows:
        length = 100 * sum(row.parts) / longest
        parts = "".join(
            f'<i class="part-{number}" style="width:{100 * part / max(sum(row.parts), 1e-12):.2f}%"></i>'
            for number, part in enumerate(row.parts)
        )
        lines.append(
            f'<div class="label">{escape(row.label)}</div>'
            f'<div><div class="bar" style="width:{length:.2f}%">{parts}</div></div>'
            f'<div class="value">{escape(row.text)}</div>'
        )
    names = "".join(f'<span><i class="part-{number}"></i>{escape(name)}</span>' for number, name in enumerate(legend))
    above = f'<div class="legend">{names}</div>' if legend else ""
    return f'{above}<div class="bars">{"".join(lines)}</div>{paragraph(caption, quiet=True)}'


def thumbnail_row(title: str, images: Sequence[Thumbnail]) -> str:
    """Small images side by side under a text, what a query finds for example; on a phone they can be pushed along."""
    items = []
    for image in images:
        state = {None: "", True: ' class="right"', False: ' class="wrong"'}[image.right]
        said = {None: "", True: "right", False: "wrong"}[image.right]  # the frame, for who does not see its colour
        drawn = f'<img src="{data_uri(thumbnail(image.source))}" alt="{said}">'
        items.append(f"<li{state}>{drawn}{escape(image.text)}</li>")
    return f'<h3>{escape(title)}</h3><ul class="images">{"".join(items)}</ul>'


def thumbnail(source: Path | bytes, pixels: int = _THUMBNAIL_PIXELS) -> bytes:
    """An image as a JPEG of at most so many pixels a side; smaller ones keep their size.

    Raises:
        ImageError: It cannot be decoded.
    """
    image = load_image(source)
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_THUMBNAIL_QUALITY)
    return stream.getvalue()


def data_uri(source: Path | bytes) -> str:
    """An image as an address that holds it.

    Raises:
        ValueError: It is none of PNG, JPEG and GIF: a mistake of the caller's.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    for start, kind in _SIGNATURES.items():
        if data.startswith(start):
            return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    raise ValueError(f"A page holds PNG, JPEG and GIF images; this one begins with {data[:4]!r}.")


def _width(data: bytes) -> int:
    with open_image(io.BytesIO(data)) as image:
        return image.width


def _is_figure(text: str) -> bool:
    bare = text.strip().rstrip("%×").replace(",", "").strip()
    if bare in _NO_FIGURE:
        return True
    try:
        float(bare)
    except ValueError:
        return False
    return True


def _cell_class(text: str, number: bool) -> str:
    """Cells without a value are left out where a row is a card."""
    return _class(number=number, wide=not number and len(text) > 12, empty=text in _NO_FIGURE)


def _class(**flags: bool) -> str:
    names = [name for name, on in flags.items() if on]
    return f' class="{" ".join(names)}"' if names else ""


def _join(parts: Sequence[str]) -> str:
    return "\n".join(part for part in parts if part)
