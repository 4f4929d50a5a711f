"""``mckit bench``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobileclip_kit.bench.request import BenchRequest
from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, force_option, format_table, json_option, note
from mobileclip_kit.errors import MckitError, UsageError
from mobileclip_kit.files import check_can_write
from mobileclip_kit.model_names import check_model_name

if TYPE_CHECKING:
    from mobileclip_kit.bench.results import BenchReport
    from mobileclip_kit.reports.html import ImageRow


@click.command()
@options_from(BenchRequest)
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    nargs=2,
    metavar="A B",
    help="Compare two reports instead of measuring.",
)
@json_option
@force_option
def command(request: BenchRequest, compare: tuple[Path, Path] | None, as_json: bool, force: bool) -> None:
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

    \b
    A file for --gate:
      [[gate]]
      model = "student-onnx-int8"       # a row's name, or "*" for every row
      figure = "metrics.overlap_at_10"  # its place in the row of --json
      at_least = 0.85
      [[gate]]
      model = "student-onnx-int8"
      figure = "latency_ms.p50"
      of = "student-onnx-fp32"          # relative to another row
      at_most = 0.8
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    if compare is not None:
        if request != BenchRequest(dataset_root=request.dataset_root):
            raise UsageError("--compare reads two reports and measures nothing.", hint="Leave the other options out.")
        _compare(*compare, as_json=as_json)
        return
    request.check()
    if request.out is not None:
        check_can_write(request.out, force=force, kinds=("report.json",))
    if len(request.models) == 1 and not Path(request.models[0]).exists():  # of several, the others are measured
        check_model_name(request.models[0])
    from mobileclip_kit.bench.explanation import explainable
    from mobileclip_kit.bench.report import headline, remarks, table_cells
    from mobileclip_kit.bench.run import run_request

    explained = explainable(request.models) if request.explains else None
    if not request.models and request.measures:
        note("No models were named: measuring the students' architectures with random weights.")
    report, examples = run_request(request)
    lines = [format_table(*table_cells(report.rows)), "", headline(report), *remarks(report)]
    lost = None
    if request.out is not None:
        try:
            report, more = _write(report, examples, request, explained, force=force)
            lines += more
        except (MckitError, OSError, KeyboardInterrupt) as error:
            lost = f"The report was not written: {_reason(error)}"  # but minutes of measuring must not be lost
    _finish(report, lines, lost, as_json=as_json)


def _write(
    report: BenchReport, examples: list[ImageRow], request: BenchRequest, explained: str | None, *, force: bool
) -> tuple[BenchReport, list[str]]:
    """Make the report's folder; the report with what was added, and lines about it."""
    from dataclasses import replace

    from mobileclip_kit.bench.report import write_report
    from mobileclip_kit.files import atomic_folder

    assert request.out is not None
    lines: list[str] = []
    with atomic_folder(request.out, force=force, kinds=("report.json",)) as staging:
        if explained is not None:
            explain, found = _explain(explained, request, staging)
            report = replace(report, explain=explain)
            # What --ask finds comes first; without it these are the same texts again, or all there are.
            if request.ask or not examples:
                examples = found + examples
            lines += [f"{left['item']} left out: {left['reason']}" for left in explain["skipped"]]
        write_report(report, staging, examples)
    return replace(report, report=str(request.out)), [*lines, f"Report: {request.out}"]


def _explain(model: str, request: BenchRequest, report: Path) -> tuple[dict[str, Any], list[ImageRow]]:
    from mobileclip_kit.bench.explanation import explain_for_report
    from mobileclip_kit.bench.inputs import read_gallery, read_queries

    assert request.source is not None
    note(f"Explaining {model} …")
    with tempfile.TemporaryDirectory(prefix="mckit-bench-") as folder:
        return explain_for_report(
            model,
            read_gallery(request.source, limit=request.limit, folder=Path(folder)),
            request.source,
            report,
            ask=request.ask,
            teacher=request.teacher,
            queries=None if request.queries is None else read_queries(request.queries),
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror} ({error.filename})." if error.filename else f"{error.strerror}."
    return error.words if isinstance(error, MckitError) else str(error) or "interrupted."


def _finish(report: BenchReport, lines: list[str], lost: str | None, *, as_json: bool) -> None:
    """Print; exit with 1 if a gate was missed, the report was lost or the run was interrupted."""
    from mobileclip_kit.bench.gates import missed_gates

    failed = missed_gates(report.gates or ())
    if report.interrupted:
        failed.append("Interrupted: the figures measured until then are above.")
    if lost is not None:
        failed.append(lost)
    emit(report.document(), "\n".join(lines), as_json=as_json)
    for line in failed:
        note(line)
    if failed:
        raise SystemExit(1)
    if report.gates:
        note(f"All {len(report.gates)} gates were passed.")


def _compare(before: Path, after: Path, *, as_json: bool) -> None:
    from mobileclip_kit.bench.compare import changes_table, compare_reports, notes
    from mobileclip_kit.bench.results import read_report

    comparison = compare_reports(read_report(before), read_report(after))
    header, cells = changes_table(comparison)
    nothing = "No difference beyond the spread." if comparison["changes"] else "The two have no figure in common."
    table = [format_table(header, cells), ""] if cells else [nothing]
    emit(comparison, "\n".join([*table, *notes(comparison)]), as_json=as_json)
