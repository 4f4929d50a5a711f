"""``mckit cache``: a teacher's vectors, computed once or brought along."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobileclip_kit.cli.output import data_place, emit, force_option, json_option, note

if TYPE_CHECKING:
    from mobileclip_kit.cache.importing import CacheReport
    from mobileclip_kit.data.pair import Pair, Skipped

_LISTED = 10


@click.group(invoke_without_command=True)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="T",
    help="A model folder, an open_clip name (ViT-B-32:openai) or hf-hub:…; several for several caches.",
)
@click.option("--data", type=data_place, metavar="D", help="A folder of images or a captions file.")
@click.option(
    "-o", "out", type=click.Path(path_type=Path), metavar="CACHE", help="The cache; an existing one is extended."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images at once.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take the first N images only.")
@click.option("--views", type=click.IntRange(min=1), default=1, metavar="K",
              help="Vectors of each image: of itself, and of K − 1 augmented views.")  # fmt: skip
@click.option("--recipe", metavar="R", help="With --views: the recipe whose [augmentation] makes them.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="With --views: of the views.")
@click.option("--captions", is_flag=True, help="Keep the vectors of the images' captions, too.")
@click.option("--bank", type=click.Path(path_type=Path), metavar="FILE",
              help="Keep vectors of these texts, too: one class name or text a line.")  # fmt: skip
@click.option("--templates", type=click.Path(path_type=Path), metavar="FILE",
              help="With --bank: one template a line, such as: a photo of a {}")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@force_option
@json_option
@click.pass_context
def command(context: click.Context, teachers: tuple[str, ...], data: Path | str | None, out: Path | None,
            batch_size: int, limit: int | None, views: int, recipe: str | None, seed: int, captions: bool,
            bank: Path | None, templates: Path | None, device: str, force: bool, as_json: bool) -> None:  # fmt: skip
    """Run a teacher once over images and keep its vectors.

    Training from a cache never loads the teacher. Interrupted, it goes on when it is run again; with more images it
    asks the teacher for the new ones only. Recipes that compare images with texts need --captions or --bank.

    \b
      mckit cache --teacher ViT-B-32:openai --data photos -o photos.cache
      mckit cache --teacher ViT-B-32:openai --data photos --views 8 --recipe mine.toml -o photos.cache
      mckit cache --teacher ViT-B-32:openai --data photos --bank classes.txt --templates templates.txt -o photos.cache
      mckit cache --teacher ViT-B-32:openai --teacher ViT-B-16:openai --data photos -o both.caches
      mckit cache import --images photos --vectors vectors.npy --names names.txt -o photos.cache
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    if context.invoked_subcommand is not None:
        return
    _check_flags({"--teacher": teachers, "--data": data, "-o": out}, views, recipe, bank, templates)
    assert data is not None and out is not None
    from itertools import islice

    from mobileclip_kit.cache.build import build_cache, describe_teacher
    from mobileclip_kit.cache.folder import CACHE_FILE
    from mobileclip_kit.cache.replacing import cache_place
    from mobileclip_kit.cache.texts import cache_texts
    from mobileclip_kit.data.sources import open_source
    from mobileclip_kit.distillation.captions import read_bank
    from mobileclip_kit.errors import OutputError
    from mobileclip_kit.networks.devices import check_device
    from mobileclip_kit.networks.model import load_model

    skipped: list[Skipped] = []
    device = check_device(device)
    if len(teachers) > 1 and (out / CACHE_FILE).exists():
        raise OutputError(f"{out} is the cache of one teacher; the caches of several do not go into it.",
                          hint="Choose another -o.")  # fmt: skip
    texts = read_bank(bank, templates) if bank is not None else []
    pairs = list(islice(open_source(data, skipped), limit))
    texts += _captions(pairs, data) if captions else []
    reports: list[tuple[Path, CacheReport, int]] = []
    for number, teacher in enumerate(teachers):
        folder = out / f"{number:02d}" if len(teachers) > 1 else out
        model = load_model(teacher)
        for warning in model.warnings:
            note(f"warning: {warning}")
        if texts:
            model.spec.require_text()  # rather now than after all images
        description, make = describe_teacher(model), None
        if views > 1 and recipe is not None:
            from mobileclip_kit.distillation.augment import plan_views
            from mobileclip_kit.distillation.recipe import load_recipe

            description, make = plan_views(description, load_recipe(recipe).augmentation, views=views, seed=seed)
        made_of = {"cache": description.to_json(), "pairs": [pair.key for pair in pairs], "texts": texts}
        with cache_place(folder, made_of, force=force) as place:
            report = build_cache(model, pairs, place, batch_size=batch_size, device=device,
                                 description=description, views=make)  # fmt: skip
            reports.append((folder, report, cache_texts(model, texts, place, device=device) if texts else 0))
    if len(reports) == 1:
        _print(out, reports[0][1], [*skipped, *reports[0][1].failed], as_json, new_texts=reports[0][2])
    else:
        _print_several(out, reports, skipped, as_json)


@command.command("import")
@click.option("--images", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The folder that the names are relative to.")  # fmt: skip
@click.option("--vectors", type=click.Path(path_type=Path), required=True, metavar="V.npy", help="(n, d) floats.")
@click.option(
    "--names", type=click.Path(path_type=Path), required=True, metavar="FILE", help="One name a line, n in all."
)
@click.option("-o", "out", type=click.Path(path_type=Path), required=True, metavar="CACHE",
              help="The cache; an existing one is extended.")  # fmt: skip
@click.option("--bank", type=click.Path(path_type=Path), metavar="FILE", help="Texts whose vectors are brought along.")
@click.option("--bank-vectors", type=click.Path(path_type=Path), metavar="T.npy", help="One row for each of them.")
@click.option("--teacher-name", metavar="NAME", help="What the teacher is called; default: the vectors' file name.")
@force_option
@json_option
def import_command(images: Path, vectors: Path, names: Path, out: Path, bank: Path | None, bank_vectors: Path | None,
                   teacher_name: str | None, force: bool, as_json: bool) -> None:  # fmt: skip
    """Make a cache from vectors that somebody else computed.

    Vectors of length 1 are recognised: their norms are lost, and recipes scale them.

    \b
      mckit cache import --images photos --vectors clip.npy --names clip.txt -o photos.cache
      mckit cache import --images photos --vectors clip.npy --names clip.txt --bank texts.txt \\
        --bank-vectors texts.npy -o photos.cache
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    if (bank is None) != (bank_vectors is None):
        raise click.UsageError("--bank and --bank-vectors belong together.")
    from mobileclip_kit.cache.importing import import_vectors
    from mobileclip_kit.cache.replacing import cache_place
    from mobileclip_kit.cache.texts import import_text_vectors

    given = (images, vectors, names, bank, bank_vectors)
    made_of = {"teacher": teacher_name, "given": [path and str(path.absolute()) for path in given],
               "changed_ns": [path.stat().st_mtime_ns for path in given if path and path.exists()]}  # fmt: skip
    with cache_place(out, made_of, force=force) as place:
        report = import_vectors(images, vectors, names, place, teacher=teacher_name)
        new_texts = 0 if bank is None or bank_vectors is None else import_text_vectors(place, bank_vectors, bank)
    _print(out, report, report.failed, as_json, new_texts=new_texts)


def _check_flags(needed: Mapping[str, object], views: int, recipe: str | None, bank: Path | None,
                 templates: Path | None) -> None:  # fmt: skip
    for flag, value in needed.items():
        if not value:
            raise click.UsageError(f"Missing option {flag}.")
    if views > 1 and recipe is None:
        raise click.UsageError("--views needs --recipe: its [augmentation] makes the views.")
    if views == 1 and recipe is not None:
        raise click.UsageError("--recipe needs --views: one view is the image itself, which no recipe varies.")
    if templates is not None and bank is None:
        raise click.UsageError("--templates needs --bank: templates are filled with its names.")


def _captions(pairs: list[Pair], data: Path | str) -> list[str]:
    from mobileclip_kit.errors import DataError

    found = [caption for pair in pairs for caption in pair.captions]
    if not found:
        raise DataError(f"No image of {data} has a caption, so --captions has nothing to keep.",
                        hint="Pass images with captions, or leave --captions out.")  # fmt: skip
    return found


def _print_several(out: Path, reports: list[tuple[Path, CacheReport, int]], skipped: list[Skipped],
                   as_json: bool) -> None:  # fmt: skip
    failed = [*skipped, *(skip for _, report, _ in reports for skip in report.failed)]
    _list(failed)
    caches = [{"cache": str(folder), **_figures(report, new)} for folder, report, new in reports]
    document = {"caches": caches, "failed": [{"item": skip.item, "reason": skip.reason} for skip in failed]}
    lines = [f"{folder}: {report.items} images, {report.added} of them new" for folder, report, _ in reports]
    emit(document, "\n".join([*lines, f"{len(failed)} failed; train with --cache {out}"]), as_json=as_json)


def _print(out: Path, report: CacheReport, failed: list[Skipped], as_json: bool, *, new_texts: int = 0) -> None:
    _list(failed)
    document = {
        "cache": str(out),
        **_figures(report, new_texts),
        "failed": [{"item": skip.item, "reason": skip.reason} for skip in failed],
        "seconds": round(report.seconds, 3),
    }
    text = f"{out}: {report.items} images, {report.added} of them new, {len(failed)} failed"
    emit(document, text + (f"; {new_texts} new texts" if new_texts else ""), as_json=as_json)


def _figures(report: CacheReport, new_texts: int) -> dict[str, int]:
    return {"items": report.items, "views": report.views, "added": report.added, "texts_added": new_texts}


def _list(failed: list[Skipped]) -> None:
    for skip in failed[:_LISTED]:
        note(f"skipped {skip.item}: {skip.reason}")
    if len(failed) > _LISTED:
        note(f"… and {len(failed) - _LISTED} more; --json lists all.")
