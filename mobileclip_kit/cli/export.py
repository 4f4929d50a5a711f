"""``mckit export``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, format_table, json_option, note
from mobileclip_kit.errors import UsageError
from mobileclip_kit.exporting.precisions import FORMATS, Precision, find_precision, flags
from mobileclip_kit.exporting.request import ExportRequest

if TYPE_CHECKING:
    from mobileclip_kit.exporting.folder import Export

_SENSITIVE = 3


def precision_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the precisions' flags; the command gets the names of those that were given as ``precisions``."""
    table = {flag.lstrip("-").replace("-", "_"): rows for flag, rows in flags().items()}

    @functools.wraps(command)
    def with_precisions(**given: Any) -> Any:
        values = {name: given.pop(name) for name in table}
        chosen = [_chosen(rows, value) for name, rows in table.items() if (value := values[name])]
        return command(precisions=chosen, **given)

    for name, rows in reversed(table.items()):
        choices = list(dict.fromkeys(row.value for row in rows if row.value))
        kind: dict[str, Any] = {"type": click.Choice(choices)} if choices else {"is_flag": True}
        with_precisions = click.option(rows[0].flag, name, help=_help(rows), **kind)(with_precisions)
    return with_precisions


def _chosen(rows: Iterable[Precision], value: str | bool) -> str:
    return next(row.name for row in rows if row.value is None or row.value == value)


def _help(rows: Iterable[Precision]) -> str:
    """What a flag means in each format, and where it is the default."""
    formats: dict[str, list[str]] = {}
    for row in {row.format: row for row in rows}.values():
        named = f"{row.format} (default)" if row == find_precision(row.format) else row.format
        formats.setdefault(row.help, []).append(named)
    return f"{'; '.join(', '.join(named) + ': ' + text for text, named in formats.items())}."


@click.command(name="export")
@options_from(ExportRequest)
@precision_options
@json_option
def command(request: ExportRequest, precisions: list[str], as_json: bool) -> None:
    """Convert MODEL (a model folder or an open_clip name) to ONNX, Core ML, Core AI or LiteRT, a file for each tower.

    Each tower is executed and compared with the model before anything is left in the output folder: on your images
    with --images, on generated ones without. Core ML and Core AI programs are executed on any machine.

    \b
    Examples:
      mckit export student --format coreml --images ~/Photos
      mckit export student --format coreml --palettize 6 --ane
      mckit export student --format onnx --int8 --calibration ~/Photos -o student-int8
      mckit export student --compare --calibration ~/Photos --images holiday.csv
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    if len(precisions) > 1:
        raise UsageError(f"{' and '.join(precisions)} contradict each other.", hint="Choose one precision.")
    request = replace(request, precision=precisions[0] if precisions else None)
    request.check()  # before torch is imported
    for line in request.options_without_effect():
        note(f"warning: {line}")
    request.check_places()
    from mobileclip_kit.comparison import compare_precisions
    from mobileclip_kit.exporting.exporter import export_model, load_request

    loaded = load_request(request, report=note)
    skipped = skipped_rows(loaded.skipped)
    if request.compare:
        formats = FORMATS if request.format is None else (request.format,)
        document = compare_precisions(loaded.model, loaded.destination, loaded.options, formats=formats)
        text = f"{loaded.destination}\n{describe_comparison(document)}"
        emit({**document, "skipped": skipped}, text, as_json=as_json)
        return
    export = export_model(loaded.model, loaded.destination, loaded.options)
    emit({"exports": export.rows(), "skipped": skipped}, f"{export.path}\n{describe(export)}", as_json=as_json)


def skipped_rows(skipped: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """The images that could not be read: the ``skipped`` of ``--json``."""
    return [{"item": item, "reason": reason} for item, reason in skipped]


def describe(export: Export) -> str:
    """A table for a person, what has more bits, and what that was chosen from."""
    from mobileclip_kit.exporting.sensitivity import table_path

    header = ["tower", "runtime", "cosine min", "mean", "top-10", "MB", "required", ""]
    rows = [
        [
            f"{row['tower']} {export.format} {export.precision}",
            row["runtime"],
            *_agreement(row),
            f"{row['size_bytes'] / 1e6:.1f}",
            f"{row['threshold']:g}",
            _passed(row),
        ]
        for row in export.rows()
    ]
    lines = [format_table(header, rows)]
    for tower in export.towers.values():
        inputs = ", ".join(dict.fromkeys(result.inputs for result in tower.verification))
        lines.append(f"{tower.tower}: compared on {inputs}")
        if tower.kept_in_float:
            costs = tower.notes.get("float_costs_bytes")
            more = "" if costs is None else f"; {costs:,} bytes more than without"
            lines.append(f"{tower.tower}: {_kept(tower.kept_in_float)}{more}")
        lines += _sensitivities(table_path(export.path, tower.tower), export.precision)
    recalls = [tower.notes["mean_recall"] for tower in export.towers.values() if "mean_recall" in tower.notes]
    for found in recalls[:1]:  # of both towers together, and noted in each
        lines.append(f"mean recall {found['before']:.4f} before, {found['after']:.4f} after: {found['on']}")
    return "\n".join(lines)


def describe_comparison(document: Mapping[str, Any]) -> str:
    """A table for a person: what each precision costs, and why there is none."""
    header = ["export", "tower", "MB", "cosine min", "mean", "top-10", "ms", ""]
    made = [row for row in document["rows"] if "tower" in row]
    rows = [
        [
            row["name"],
            row["tower"],
            f"{row['size_bytes'] / 1e6:.1f}",
            *_agreement(row),
            "–" if row["latency_ms"] is None else f"{row['latency_ms']['p50']:.1f}",
            _passed(row),
        ]
        for row in made
    ]
    lines = [format_table(header, rows)]
    lines += [
        f"{tower}: compared on {inputs}" for tower, inputs in {row["tower"]: row["inputs"] for row in made}.items()
    ]
    # An export's reason stands in the rows of both towers.
    lines += dict.fromkeys(f"{row['name']}: {row['reason']}" for row in document["rows"] if row["reason"])
    # A tower has a row for each runtime that executed it.
    lines += dict.fromkeys(
        f"{row['name']} {row['tower']}: {_kept(row['kept_in_float'])}"
        for row in made
        if row.get("kept_in_float") and not row["name"].startswith("onnx-int8")
    )
    if any(row["latency_ms"] for row in made):
        lines.append(f"ms: median of one input on {document['threads']} thread, all exports in turns")
    if any(row["runtime"] in ("mil", "coreai") and row["latency_ms"] is None for row in made):
        lines.append("ms of Core ML and Core AI: on macOS alone, where they run")
    return "\n".join(lines)


def _kept(entries: Sequence[str]) -> str:
    """What a precision did not reduce, in words that are also true of weights in 8 bits."""
    what = "in more bits" if any(entry.endswith(("(8 bits)", "(int8)")) for entry in entries) else "kept in float"
    return f"{what}: {', '.join(entries)}"


def _agreement(row: Mapping[str, Any]) -> list[str]:
    from mobileclip_kit.exporting.folder import show_cosine

    overlap = "–" if row["overlap_at_10"] is None else f"{row['overlap_at_10']:.3f}"
    return [show_cosine(row["cosine_min"]), show_cosine(row["cosine_mean"]), overlap]


def _passed(row: Mapping[str, Any]) -> str:
    return "passed" if row["passed"] else "FAILED"


def _sensitivities(table: Path, precision: str) -> list[str]:
    from mobileclip_kit.exporting.sensitivity import read_sensitivities

    if not table.is_file():
        return []
    found = read_sensitivities(table)
    worst = ", ".join(f"{entry.operator} of {entry.weight} {entry.loss:.2g}" for entry in found[:_SENSITIVE])
    return [f"{table.name}: what each of {len(found)} products costs alone in {precision}; most do {worst}"]
