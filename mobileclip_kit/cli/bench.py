"""``mckit bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobileclip_kit.cli.output import emit, force_option, format_table, json_option, note
from mobileclip_kit.errors import MckitError, UsageError

if TYPE_CHECKING:
    from mobileclip_kit.bench.examples import ImageRows
    from mobileclip_kit.bench.request import BenchRequest

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("models", nargs=-1)
@click.option("--device", type=click.Choice(["cpu"]), default="cpu", show_default=True, help="What to measure on.")
@click.option("--images", type=_PATH, help="Images to judge accuracy on: a folder, or a captions file.")
@click.option("--captions", type=_PATH, help="Captions file (CSV, TSV, JSONL) for recall, beside --images.")
@click.option("--labels", type=_PATH, help="Images with classes for zero-shot: CLASS/IMAGE, or CSV of image,label.")
@click.option("--templates", type=_PATH, help="Sentences with {} in a class's place, one a line, for --labels.")
@click.option("--dataset", metavar="NAME", help="A data set of CLIP_benchmark, when that is installed.")
@click.option("--dataset-root", type=_PATH, default=Path("datasets"), show_default=True, help="Where it lies.")
@click.option("--scenes", type=int, metavar="N", help="Draw N images of the synthetic scenes and judge on them.")
@click.option("--teacher", help="Model folder, export or open_clip name to agree with.")
@click.option("--cache", type=_PATH, help="Teacher cache to agree with, in place of a live teacher.")
@click.option("--queries", type=_PATH, help="Text vectors of the teacher (.npy) that ask the images, and indexes.")
@click.option("--limit", type=click.IntRange(min=1), help="Judge accuracy on so many images of each source only.")
@click.option("--phone", type=_PATH, multiple=True, help="JSON that the app's bench screen shared; may be repeated.")
@click.option("--published", is_flag=True, help="Show what others published beside, marked as such.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each model. [default: all cores]")
@click.option("--seconds", type=click.FloatRange(min=0.0, min_open=True), default=4.0, show_default=True,
              help="Each model's time for latency, and again for throughput.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Turns of each model.")
@click.option("-o", "--out", type=_PATH, help="Folder for the report: a page, JSON, Markdown, CSV and a plot.")
@click.option("--gate", type=_PATH, metavar="TOML", help="Least and greatest figures; exit 1 when one is missed.")
@click.option(
    "--compare", type=_PATH, nargs=2, metavar="A B", help="Say what changed between two reports; no measuring."
)
@click.option(
    "--explain", is_flag=True, help="Draw heat maps (Grad-CAM) and a map of vectors (t-SNE) of the first model."
)
@click.option("--ask", multiple=True, metavar="TEXT", help="A text for the heat maps of --explain; may be repeated.")
@json_option
@force_option
def command(
    models: tuple[str, ...],
    device: str,
    threads: int | None,
    seconds: float,
    rounds: int,
    out: Path | None,
    gate: Path | None,
    compare: tuple[Path, Path] | None,
    explain: bool,
    ask: tuple[str, ...],
    as_json: bool,
    force: bool,
    **asked: Any,
) -> None:
    """Measure latency, throughput, memory, size and accuracy of MODELS side by side.

    MODELS are model folders, exports, indexes or open_clip names. Each runs in a process of its own; they take turns,
    so that a machine that slows down slows all of them. Without MODELS the students' architectures are measured with
    random weights: speed and size only.

    \b
    Examples:
      mckit bench --device cpu
      mckit bench student student-onnx-fp32 student-onnx-int8 --images photos --cache teacher.cache
      mckit bench student-onnx-int8 --captions captions.csv --teacher ViT-B-32:openai -o report
      mckit bench photos.index student-onnx-int8 --labels classes --gate gates.toml
      mckit bench student --images photos --ask "a red bicycle" --explain -o report
      mckit bench --compare before/report.json after/report.json
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    if compare is not None:
        if models or gate or out or any(value for name, value in asked.items() if name != "dataset_root"):
            raise UsageError("--compare reads two reports and measures nothing.", hint="Leave the other flags out.")
        _compare(*compare, as_json=as_json)
        return
    from mobileclip_kit.bench.machine import usable_cores
    from mobileclip_kit.bench.measure import Settings
    from mobileclip_kit.bench.report import headline, remarks, table_cells
    from mobileclip_kit.bench.request import BenchRequest, run_request
    from mobileclip_kit.files import check_can_write

    settings = Settings(threads=threads or usable_cores(), seconds=seconds, rounds=rounds, queries=asked["queries"])
    request = BenchRequest(models=models, settings=settings, gates=gate, explained=bool(explain or ask),
                           reported=out is not None, **asked)  # fmt: skip
    request.check()
    source = request.captions or request.images
    explained = _check_explain(models, source, out, ask) if request.explained else None
    if out is not None:
        check_can_write(out, force=force)
    if not models and request.measures:
        note("No models were named: measuring the students' architectures with random weights.")
    measured, examples = run_request(request)
    document = {"device": device, **measured}
    lines = [format_table(*table_cells(document["rows"])), "", headline(document), *remarks(document["rows"])]
    lost = None
    if out is not None:
        try:
            lines += _write(document, examples, out, request, explained, ask, force=force)
        except (MckitError, OSError, KeyboardInterrupt) as error:
            lost = f"The report was not written: {_reason(error)}"  # but minutes of measuring are to be read
    _finish(document, lines, lost, as_json=as_json)


def _write(
    document: dict[str, Any],
    examples: ImageRows,
    out: Path,
    request: BenchRequest,
    explained: str | None,
    ask: Sequence[str],
    *,
    force: bool,
) -> list[str]:
    """Make the report's folder; lines that tell of it."""
    from mobileclip_kit.bench.report import write_report
    from mobileclip_kit.bench.report_page import write_report_page
    from mobileclip_kit.files import atomic_folder

    lines: list[str] = []
    source = request.captions or request.images
    with atomic_folder(out, force=force) as staging:
        if explained is not None and source is not None:
            document["explain"], found = _explain(
                explained, source, staging, request.limit, ask, request.teacher, request.queries
            )
            # What was asked comes first; without a question these are the same texts once more, or all there is.
            if ask or not examples:
                examples = found + examples
            lines += [f"{left['item']} left out: {left['reason']}" for left in document["explain"]["skipped"]]
        write_report(document, staging)
        write_report_page(document, staging, examples=examples)
    document["report"] = str(out)
    return [*lines, f"Report: {out}"]


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror} ({error.filename})." if error.filename else f"{error.strerror}."
    return str(error) or "interrupted."


def _finish(document: dict[str, Any], lines: list[str], lost: str | None, *, as_json: bool) -> None:
    """Print; leave with 1 where a gate was missed, the report was lost or the run was interrupted."""
    from mobileclip_kit.bench.gate import missed

    failed = missed(document.get("gates", []))
    if document["interrupted"]:
        failed.append("Interrupted: what was measured until then stands above.")
    emit(document, "\n".join(lines), as_json=as_json)
    for line in failed:
        note(line)
    if lost is not None:
        failed.append(lost)
        note(lost)
    if failed:
        raise SystemExit(1)
    if document.get("gates"):
        note(f"All {len(document['gates'])} gates were passed.")


def _compare(before: Path, after: Path, *, as_json: bool) -> None:
    from mobileclip_kit.bench.compare import changes_table, compare_reports, notes, read_report

    comparison = compare_reports(read_report(before), read_report(after))
    header, cells = changes_table(comparison)
    nothing = "Nothing changed beyond the spread." if comparison["changes"] else "The two have no figure in common."
    table = [format_table(header, cells), ""] if cells else [nothing]
    emit(comparison, "\n".join([*table, *notes(comparison)]), as_json=as_json)


def _check_explain(models: Sequence[str], source: Path | None, out: Path | None, ask: Sequence[str]) -> str:
    """The model to explain."""
    from mobileclip_kit.bench.explain.explanation import explainable

    if source is None:
        raise UsageError("--explain draws on images.", hint="Add --images.")
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
) -> tuple[dict[str, Any], ImageRows]:
    from mobileclip_kit.bench.explain.document import explain_for_report
    from mobileclip_kit.bench.material import read_gallery, read_queries

    note(f"Explaining {model} …")
    asked = None if queries is None else read_queries(queries)
    gallery = read_gallery(source, limit=limit)
    return explain_for_report(model, gallery, source, report, ask=ask, teacher=teacher, queries=asked)
