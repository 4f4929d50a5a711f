"""``mckit merge``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.index import print_report
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import LocalPath, WholeNumber, json_option
from mobileclip_kit.indexing.options import IndexOptions

_FOLDER = LocalPath()


@click.command(name="merge")
@click.argument("indexes", metavar="INDEX...", nargs=-1, required=True, type=_FOLDER)
@click.option("-o", "--out", type=_FOLDER, required=True, help="The new index.")
@click.option("--images", type=_FOLDER, help="The folder that all names are relative to, wherever they were made.")
@click.option("-m", "--model", help="The indexes' model, if it is no longer where it was: for measuring recall.")
@click.option("--threads", type=WholeNumber(1), help="Threads of the model's runtime.")
@options_from(IndexOptions, only=("kind", "query_vectors", "force"), name="options")
@json_option
def command(
    indexes: tuple[Path, ...],
    out: Path,
    images: Path | None,
    model: str | None,
    threads: int | None,
    options: IndexOptions,
    as_json: bool,
) -> None:
    """Merge indexes of one model into a new one: parts that several machines made, or several libraries.

    An image that occurs in several of them is included once. Indexes of different folders become one of
    the folder above them all. A single INDEX is copied without the vectors of removed images.

    \b
    Examples:
      mckit merge part1.index part2.index part3.index part4.index -o photos.index
      mckit merge holidays.index family.index -o all.index
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.indexing.merging import merge_indexes
    from mobileclip_kit.search.models import open_model

    encoder = None if model is None else open_model(model, threads=threads)
    print_report(out, merge_indexes(indexes, out, options, images=images, encoder=encoder), as_json=as_json)
