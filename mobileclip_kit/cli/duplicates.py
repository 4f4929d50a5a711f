"""``mckit duplicates``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.output import LocalPath, emit, json_option
from mobileclip_kit.files import counted, one_line


@click.command(name="duplicates")
@click.argument("index", type=LocalPath())
@json_option
def command(index: Path, as_json: bool) -> None:
    """List copies of the same photo: exact ones, and resized, recompressed or slightly cropped ones.

    INDEX is an index. The image to keep comes first: of the most pixels, then of the most bytes, then the oldest, and
    no link where there is a file. Each of the others is the same file byte for byte, a link, or a near copy of it.
    Nothing is changed. In a folder with a mckit.toml, INDEX may be left out.

    \b
    Examples:
      mckit duplicates photos.index
      mckit duplicates photos.index --json
    """  # noqa: D301 (click's mark for lines to keep as they are)
    from mobileclip_kit.search.index import Index

    with Index(index) as opened:
        groups, images = opened.duplicates(), len(opened)
    copies = sum(len(group.items) - 1 for group in groups)
    lines = []
    for group in groups:
        lines.append(one_line(group.items[0]))
        rows = zip(group.kinds, group.items[1:], strict=True)
        lines += [f"    {kind:9}  {one_line(item)}" for kind, item in rows]
    lines.append(f"{index}: {counted(len(groups), 'group')}; {copies} of {counted(images, 'image')} are copies.")
    document = {"index": str(index), "images": images, "copies": copies, "groups": [each.to_json() for each in groups]}
    emit(document, "\n".join(lines), as_json=as_json)
