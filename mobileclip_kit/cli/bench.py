"""``mckit bench``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobileclip_kit.cli.output import emit, force_option, format_table, json_option, note
from mobileclip_kit.errors import UsageError

if TYPE_CHECKING:
    from mobileclip_kit.bench.explain.document import PictureRows
    from mobileclip_kit.bench.measure import Material, Settings

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("models", nargs=-1)
@click.option("--device", type=click.Choice(["cpu"]), default="cpu", show_default=True, help="What to measure on.")
@click.option("--images", type=_PATH, help="Pictures to judge accuracy on: a folder, or a captions file.")
@click.option("--captions", type=_PATH, help="Captions file (CSV, TSV, JSONL) for recall, beside --images.")
@click.option("--teacher", help="Model folder, export or open_clip name to agree with.")
@click.option("--cache", type=_PATH, help="Teacher cache to agree with, in place of a live teacher.")
@click.option("--queries", type=_PATH, help="Text vectors of the teacher (.npy) that ask the pictures.")
@click.option("--limit", type=click.IntRange(min=1), help="Judge accuracy on the first so many pictures only.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each model. [default: all cores]")
@click.option("--seconds", type=click.FloatRange(min=0.0, min_open=True), default=4.0, show_default=True,
              help="Each model's time for latency, and again for throughput.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Turns of each model.")
@click.option("-o", "--out", type=_PATH, help="Folder for the report: a page, JSON, Markdown, CSV and a plot.")
@click.option(
    "--explain", is_flag=True, help="Draw heat maps (Grad-CAM) and a map of vectors (t-SNE) of the first model."
)
@click.option("--ask", multiple=True, metavar="TEXT", help="A text for the heat maps of --explain; may be repeated.")
@json_option
@force_option
def command(
    models: tuple[str, ...],
    device: str,
    images: Path | None,
    captions: Path | None,
    teacher: str | None,
    cache: Path | None,
    queries: Path | None,
    limit: int | None,
    threads: int | None,
    seconds: float,
    rounds: int,
    out: Path | None,
    explain: bool,
    ask: tuple[str, ...],
    as_json: bool,
    force: bool,
) -> None:
    """Measure latency, throughput, memory, size and accuracy of MODELS side by side.

    MODELS are model folders, exports or open_clip names. Each runs in a process of its own; they take turns, so that
    a machine that slows down slows all of them. Without MODELS the students' architectures are measured with random
    weights: speed and size only.

    \b
    Examples:
      mckit bench --device cpu
      mckit bench student student-onnx-fp32 student-onnx-int8 --images photos --cache teacher.cache
      mckit bench student-onnx-int8 --captions captions.csv --teacher ViT-B-32:openai -o report
      mckit bench student --images photos --ask "a red bicycle" --explain -o report
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.bench.candidate import describe_candidates, phone_students, random_students
    from mobileclip_kit.bench.machine import usable_cores
    from mobileclip_kit.bench.measure import Settings, run_bench
    from mobileclip_kit.bench.report import headline, remarks, table_cells, write_report
    from mobileclip_kit.bench.report_page import write_report_page
    from mobileclip_kit.files import atomic_folder, check_can_write

    _check_flags(models, images, captions, teacher, cache, queries)
    explained = _check_explain(models, captions or images, out, ask) if explain or ask else None
    if out is not None:
        check_can_write(out, force=force)
    settings = Settings(threads=threads or usable_cores(), seconds=seconds, rounds=rounds)
    with tempfile.TemporaryDirectory(prefix="mckit-bench-") as folder:
        if models:
            candidates = describe_candidates(models)
        else:
            note("No models were named: measuring the students' architectures with random weights.")
            candidates = random_students(phone_students(), Path(folder))
        materials = []
        if images or captions:
            materials = _materials(
                images, captions, teacher, cache, queries, limit, settings, may_be_mute=explained is not None
            )
        document = {"device": device, **run_bench(candidates, settings, materials)}
    lines = [format_table(*table_cells(document["rows"])), "", headline(document), *remarks(document["rows"])]
    if out is not None:
        with atomic_folder(out, force=force) as staging:
            examples: PictureRows = []
            if explained is not None and (source := captions or images) is not None:
                document["explain"], examples = _explain(explained, source, staging, limit, ask, teacher, queries)
                lines += [f"{left['item']} left out: {left['reason']}" for left in document["explain"]["skipped"]]
            write_report(document, staging)
            write_report_page(document, staging, examples=examples)
        document["report"] = str(out)
        lines.append(f"Report: {out}")
    emit(document, "\n".join(lines), as_json=as_json)


def _check_flags(
    models: Sequence[str],
    images: Path | None,
    captions: Path | None,
    teacher: str | None,
    cache: Path | None,
    queries: Path | None,
) -> None:
    source = images or captions
    if source is not None and not models:
        raise UsageError("Random weights have no accuracy to judge.", hint="Name the models to measure.")
    if teacher and cache:
        raise UsageError("--teacher and --cache exclude each other.", hint="Keep one of them.")
    if (teacher or cache) and source is None:
        raise UsageError("Agreement with a teacher needs pictures.", hint="Add --images.")
    if queries and not (teacher or cache):
        raise UsageError("--queries are asked of the teacher too.", hint="Add --teacher or --cache.")


def _check_explain(models: Sequence[str], source: Path | None, out: Path | None, ask: Sequence[str]) -> str:
    """The model to explain."""
    from mobileclip_kit.bench.explain.explanation import explainable

    if source is None:
        raise UsageError("--explain draws on pictures.", hint="Add --images.")
    if out is None:
        raise UsageError("--explain draws into the report.", hint="Name its folder with -o.")
    if any(not text.strip() for text in ask):
        raise UsageError("--ask was given an empty text.")
    return explainable(models)


def _explain(
    model: str,
    source: Path,
    report: Path,
    limit: int | None,
    ask: Sequence[str],
    teacher: str | None,
    queries: Path | None,
) -> tuple[dict[str, Any], PictureRows]:
    from mobileclip_kit.bench.explain.document import explain_for_report
    from mobileclip_kit.bench.material import read_gallery, read_queries

    note(f"Explaining {model} …")
    asked = None if queries is None else read_queries(queries)
    gallery = read_gallery(source, limit=limit)
    return explain_for_report(model, gallery, source, report, ask=ask, teacher=teacher, queries=asked)


def _materials(
    images: Path | None,
    captions: Path | None,
    teacher: str | None,
    cache: Path | None,
    queries: Path | None,
    limit: int | None,
    settings: Settings,
    *,
    may_be_mute: bool,
) -> list[Material]:
    """The captions first: where both give a figure, that of the pictures counts.

    Pictures that say nothing about accuracy are refused unless they ``may_be_mute``.
    """
    from mobileclip_kit.bench.material import ask_teacher, cached_teacher, read_gallery, read_queries
    from mobileclip_kit.bench.measure import Material

    asked = None if queries is None else read_queries(queries)
    materials = []
    for source in (captions, images):
        if source is None:
            continue
        gallery = read_gallery(source, limit=limit)
        if teacher is not None:
            materials.append(Material(gallery, ask_teacher(teacher, gallery, settings, asked)))
        elif cache is not None and source == (images or captions):
            materials.append(Material(*cached_teacher(cache, gallery, asked)))
        elif gallery.captions:
            materials.append(Material(gallery))
        elif not may_be_mute:
            raise UsageError(
                f"{source} has pictures alone, which say nothing about accuracy.",
                hint="Add --teacher, --cache, --captions or --explain.",
            )
    return materials
