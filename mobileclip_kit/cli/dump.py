"""``mckit dump``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mobileclip_kit.cli.output import LocalPath, emit, force_option, json_option, note
from mobileclip_kit.files import counted

_LEFT_OUT_SHOWN = 20


@click.command(name="dump")
@click.argument("index_folder", metavar="INDEX", type=LocalPath())
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The folder to make.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["clip-retrieval", "npy", "parquet", "lance"]),
    default="clip-retrieval",
    show_default=True,
    help="img_emb/*.npy with metadata/*.parquet; vectors.npy with names.json; images/*.parquet; or images.lance.",
)
@force_option
@json_option
def command(index_folder: Path, out: Path, layout: Any, force: bool, as_json: bool) -> None:
    """Write an index's vectors and names for other programs.

    \b
    Examples:
      mckit dump photos.index -o embeddings
      mckit index --from-clip-retrieval embeddings -o photos.index
      mckit dump photos.index --format npy -o vectors
      mckit dump photos.index --format parquet -o table
      mckit dump photos.index --format lance -o database
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.indexing.dumping import dump_index

    dumped = dump_index(index_folder, out, layout=layout, force=force)
    for name in dumped.left_out[:_LEFT_OUT_SHOWN]:
        note(f"left out: {name}: its name is not UTF-8.")
    document = {"out": str(out), "format": layout, "items": dumped.items, "left_out": dumped.left_out}
    emit(document, f"{out}: {counted(dumped.items, 'vector')} for {layout}.", as_json=as_json)
