"""``mckit cache``: a teacher's vectors, computed once or imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mobileclip_kit.cache.build import CacheReport
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, force_option, json_option, note, note_missing
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.distillation.caching import CacheRequest, import_cache, make_caches, merge_caches
from mobileclip_kit.files import counted, told
from mobileclip_kit.model_names import check_model_name

_LISTED = 10
_PATH = click.Path(path_type=Path)
_EXTENDED = "The cache; an existing one is extended, and vectors that changed are replaced."
_extended_option = click.option("-o", "out", type=_PATH, required=True, metavar="CACHE", help=_EXTENDED)


@click.group(invoke_without_command=True)
@options_from(CacheRequest)
@json_option
@click.pass_context
def command(context: click.Context, request: CacheRequest, as_json: bool) -> None:
    """Run a teacher once over images and keep its vectors.

    Training from a cache never loads the teacher. An interrupted run continues when it is repeated; with more images,
    the teacher encodes the new ones only. Recipes that compare images with texts need --captions or --bank.

    \b
    Examples:
      mckit cache --teacher ViT-B-32:openai --data photos -o photos.cache
      mckit cache --teacher ViT-B-32:openai --data photos --views 8 --recipe mine.toml -o photos.cache
      mckit cache --teacher ViT-B-32:openai --data photos --bank classes.txt --templates templates.txt -o photos.cache
      mckit cache --teacher ViT-B-32:openai --teacher ViT-B-16:openai --data photos -o both.caches
      mckit cache import --images photos --vectors vectors.npy --names names.txt -o photos.cache
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    if context.invoked_subcommand is not None:
        return
    for teacher in request.teachers:
        check_model_name(teacher)
    reports, skipped = make_caches(request, tell=note)
    _print(reports, skipped, as_json)


@command.command("import")
@click.option("--images", type=_PATH, required=True, metavar="DIR", help="The folder that the names are relative to.")
@click.option("--vectors", type=_PATH, required=True, metavar="V.npy", help="(n, d) floats.")
@click.option("--names", type=_PATH, required=True, metavar="FILE", help="One name a line, n in all.")
@_extended_option
@click.option("--bank", type=_PATH, metavar="FILE", help="Texts whose vectors are imported, too, one a line.")
@click.option("--bank-vectors", type=_PATH, metavar="T.npy", help="One row for each of them.")
@click.option("--teacher-name", "teacher", metavar="NAME", help="The teacher's name; default: the vectors' file name.")
@force_option
@json_option
def import_command(bank: Path | None, bank_vectors: Path | None, as_json: bool, **given: Any) -> None:
    """Make a cache from vectors that another program computed.

    Vectors of length 1 are recognised: their norms are lost, and recipes scale them.

    \b
    Examples:
      mckit cache import --images photos --vectors clip.npy --names clip.txt -o photos.cache
      mckit cache import --images photos --vectors clip.npy --names clip.txt --bank texts.txt \\
        --bank-vectors texts.npy -o photos.cache
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    if (bank is None) != (bank_vectors is None):
        raise click.UsageError("--bank and --bank-vectors belong together.")
    texts = None if bank is None or bank_vectors is None else (bank, bank_vectors)
    _print([import_cache(bank=texts, **given)], [], as_json)


@command.command("import-shards", short_help="Make caches from webdataset shards of DataCompDR.")
@click.argument("shards", metavar="SHARDS")
@_extended_option
@click.option("--teacher-name", "teachers", multiple=True, metavar="NAME",
              help="The teachers whose vectors stand side by side; default: DataCompDR's two.")  # fmt: skip
@force_option
@json_option
def import_shards_command(shards: str, out: Path, teachers: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Make caches from the vectors in SHARDS, webdataset shards with images, in the format of DataCompDR.

    An image gets the mean of the vectors of its augmented views, each caption its own vector. There is a cache for each
    teacher.

    \b
    Examples:
      mckit cache import-shards "datacompdr/{00000..00127}.tar" -o dr.caches
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.cache.reinforced import DATACOMPDR, import_reinforced

    _print(import_reinforced(shards, out, teachers=teachers or DATACOMPDR, force=force), [], as_json)


@command.command("merge", short_help="Join caches of one teacher into one.")
@click.argument("sources", type=_PATH, nargs=-1, metavar="CACHE...", required=True)
@click.option("-o", "out", type=_PATH, required=True, metavar="CACHE", help="The new cache.")
@force_option
@json_option
def merge_command(sources: tuple[Path, ...], out: Path, force: bool, as_json: bool) -> None:
    """Join caches of one teacher into one, such as the parts that --shard makes.

    \b
    Examples:
      mckit cache --teacher ViT-B-32:openai --data photos --shard 1/2 -o part1.cache
      mckit cache --teacher ViT-B-32:openai --data photos --shard 2/2 -o part2.cache
      mckit cache merge part1.cache part2.cache -o photos.cache
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    _print([merge_caches(sources, out, force=force)], [], as_json)


def _print(reports: Sequence[CacheReport], skipped: Sequence[Skipped], as_json: bool) -> None:
    failed = [*skipped, *(skip for report in reports for skip in report.failed)]
    for skip in failed[:_LISTED]:
        note(f"skipped {told(skip.item, skip.reason)}")
    if len(failed) > _LISTED:
        note(f"… and {len(failed) - _LISTED} more; --json lists all.")
    for report in reports:
        note_missing(report.cache, report.missing)
    lines = [
        f"{report.cache}: {counted(report.items, 'image')}, {report.added} of them new or changed"
        + (f"; {counted(report.texts_added, 'text')} new or changed" if report.texts_added else "")
        for report in reports
    ]
    caches = [
        {"cache": str(report.cache), "items": report.items, "views": report.views, "added": report.added,
         "texts_added": report.texts_added, "missing_shards": report.missing}
        for report in reports
    ]  # fmt: skip
    failures = {"failed": [{"item": skip.item, "reason": skip.reason} for skip in failed]}
    if len(reports) == 1:
        document = {**caches[0], **failures, "seconds": round(reports[0].seconds, 3)}
        lines[0] += f", {len(failed)} failed"
    else:
        document = {"caches": caches, **failures}
        lines.append(f"{len(failed)} failed; train with --cache {reports[0].cache.parent}")
    emit(document, "\n".join(lines), as_json=as_json)
