"""Options of ``mckit search`` that show the hits themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import click

from mobileclip_kit.cli.output import note
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import one_line
from mobileclip_kit.options import Option
from mobileclip_kit.search.hits import Hit

_SHEETS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


@dataclass(frozen=True, kw_only=True)
class SheetRequest:
    """Where the hits are shown beside their list."""

    show: Annotated[bool, Option("Show the hits in the terminal (kitty, iTerm2, WezTerm, foot, …).")] = False
    sheet: Annotated[Path | None, Option("Draw the hits into this .png or .jpg.", metavar="FILE")] = None
    html: Annotated[Path | None, Option("Write the hits into this page.", metavar="FILE")] = None
    force: Annotated[bool, Option("Replace the files of --sheet and --html.")] = False

    @property
    def wanted(self) -> bool:
        """Whether anything is to be drawn."""
        return self.show or self.sheet is not None or self.html is not None

    def check(self, *, as_json: bool) -> None:
        """Refuse what cannot be done, before anything is opened.

        Raises:
            UsageError: The terminal shows no images, or a file has another kind of name.
            OutputError: A file exists, or cannot be written.
        """
        from mobileclip_kit.files import check_can_write

        if self.show and as_json:
            raise UsageError("--show and --json both write to stdout.", hint="Take --sheet FILE instead of --show.")
        if self.show:
            from mobileclip_kit.sheets.terminal import find_protocol  # and with it an image decoder

            find_protocol(os.environ)
        if self.sheet is not None and self.sheet.suffix.lower() not in _SHEETS:
            raise UsageError(f"{self.sheet} must end in .png or .jpg.")
        if self.html is not None and self.html.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{self.html} must end in .html.")
        for file in filter(None, (self.sheet, self.html)):
            check_can_write(file, force=self.force)


def show_hits(
    request: SheetRequest, images: Path | str | None, labels: Sequence[str], results: Sequence[Sequence[Hit]]
) -> None:
    """Draw the hits where they are wanted.

    Args:
        request: Checked.
        images: The folder of the index's images, or its URL.
        labels: A text for each query.
        results: Its hits.

    Raises:
        DataError: The index knows no images.
    """
    from mobileclip_kit.files import atomic_file
    from mobileclip_kit.sheets.drawing import SheetRow, draw_sheet
    from mobileclip_kit.sheets.page import render_page
    from mobileclip_kit.sheets.terminal import encode_image, find_protocol

    if images is None:
        raise DataError("The index was made without its images, so hits cannot be shown.", hint="Index with --images.")
    rows = [
        SheetRow(label, [_image(images, hit.item) for hit in hits], [_caption(hit) for hit in hits])
        for label, hits in zip(labels, results, strict=True)
    ]
    if request.html is not None:
        with atomic_file(request.html) as staging:
            staging.write_text(render_page(rows), encoding="utf-8", errors="replace")
        note(f"{request.html}: the hits as a page.")
    if request.sheet is None and not request.show:
        return
    sheet = draw_sheet(rows)
    if request.sheet is not None:
        with atomic_file(request.sheet) as staging:
            sheet.save(staging, format=_SHEETS[request.sheet.suffix.lower()], quality=90)
        note(f"{request.sheet}: the hits as an image.")
    if request.show:
        click.echo(encode_image(sheet, find_protocol(os.environ)), nl=False, color=True)


def _image(folder: Path | str, name: str) -> Path | bytes | None:
    from mobileclip_kit.indexing.listing import find_image

    try:
        return find_image(folder, name)
    except DataError:
        return None


def _caption(hit: Hit) -> str:
    return f"{hit.score:.3f}  {one_line(Path(hit.item).name)}"
