"""``mckit export``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mobileclip_kit.cli.output import NumberRange, emit, force_option, format_table, is_explicit, json_option, note
from mobileclip_kit.errors import UsageError
from mobileclip_kit.exporting.folder import PRECISIONS, Precision, show_cosine

if TYPE_CHECKING:
    from mobileclip_kit.exporting.folder import Export, Format
    from mobileclip_kit.exporting.ranges import Method
    from mobileclip_kit.exporting.samples import ImageInputs, TextInputs
    from mobileclip_kit.networks.model import Model

    Sampled = tuple[ImageInputs | None, TextInputs | None]

_IMAGES = 48
_CALIBRATION = 200
_CAPTIONED = 400
_SENSITIVE = 3
_PALETTES: dict[str, Precision] = {"8": "palette8", "6": "palette6", "4": "palette4"}


@click.command(name="export")
@click.argument("model")
@click.option("--format", "file_format", type=click.Choice(["onnx", "coreml"]), help="What to write.")
@click.option("--fp32", is_flag=True, help="float32 (the default of onnx).")
@click.option("--fp16", is_flag=True, help="float16 (the default of coreml); in onnx weights alone.")
@click.option(
    "--int8", is_flag=True, help="int8: weights and activations (onnx, needs --calibration), weights (coreml)."
)
@click.option("--int8-weights", is_flag=True, help="int8 weights, computed with in float32 (onnx).")
@click.option("--palettize", type=click.Choice(["8", "6", "4"]), help="Weights of so many bits (coreml).")
@click.option("--ane", is_flag=True, help="The layout of Apple's Neural Engine (coreml; open_clip's transformers).")
@click.option("--compare", is_flag=True, help="Every precision, of --format or of both, and a table of what it costs.")
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="Images, or a captions file, to calibrate int8 on."
)
@click.option(
    "--calibration-method",
    "method",
    type=click.Choice(["minmax", "percentile", "entropy"]),
    default="minmax",
    show_default=True,
    help="How the ranges of int8 are chosen from what calibration shows.",
)
@click.option(
    "--max-recall-drop",
    type=NumberRange(0, 1),
    help="int8 of onnx may cost so much mean recall (at 1, 5, 10) on the captions of --images.",
)
@click.option(
    "--sensitivity",
    type=click.Path(path_type=Path),
    help="An earlier int8 export: choose what stays in float from what it measured (onnx).",
)
@click.option("--images", type=click.Path(path_type=Path), help="Images, or a captions file, to verify with.")
@click.option("--num-images", type=click.IntRange(1), default=_IMAGES, show_default=True, help="Verify with so many.")
@click.option(
    "--threshold",
    "--min-cosine",
    type=NumberRange(-1, 1),
    help="Least cosine; 0.999, or 0.99 for int8 and palettes.",
)
@click.option("--keep-failed", is_flag=True, help="Leave an export below the threshold; the command still fails.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The folder; MODEL-FORMAT-PRECISION unless given.")
@force_option
@json_option
def command(
    model: str,
    file_format: Format | None,
    fp32: bool,
    fp16: bool,
    int8: bool,
    int8_weights: bool,
    palettize: Literal["8", "6", "4"] | None,
    ane: bool,
    compare: bool,
    calibration: Path | None,
    method: Method,
    max_recall_drop: float | None,
    sensitivity: Path | None,
    images: Path | None,
    num_images: int,
    threshold: float | None,
    keep_failed: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Turn MODEL (a model folder or an open_clip name) into ONNX or Core ML, one file for each tower.

    Each tower is executed and compared with the model before anything is left in the output folder: on your images
    with --images, on drawn ones without. Core ML programs are executed on any machine.

    \b
    mckit export student --format coreml --images ~/Images
    mckit export student --format coreml --palettize 6 --ane
    mckit export student --format onnx --int8 --calibration ~/Images -o student-int8
    mckit export student --compare --calibration ~/Images --images holiday.csv
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.exporting.exporter import check_request, export_model
    from mobileclip_kit.exporting.folder import open_export
    from mobileclip_kit.exporting.recall import RecallBudget
    from mobileclip_kit.exporting.samples import read_captioned, read_source
    from mobileclip_kit.files import check_can_write
    from mobileclip_kit.networks.model import load_model

    flags: tuple[tuple[Precision, bool], ...] = (
        ("fp32", fp32), ("fp16", fp16), ("int8", int8), ("int8-weights", int8_weights)
    )  # fmt: skip
    chosen = [name for name, flag in flags if flag]
    if palettize is not None:
        chosen.append(_PALETTES[palettize])
    check_flags(
        file_format,
        [*chosen, *(["ane"] if ane and compare else [])],
        compare=compare,
        captions=images,
        max_recall_drop=max_recall_drop,
        sensitivity=sensitivity,
    )
    precision: Precision = chosen[0] if chosen else PRECISIONS[file_format or "onnx"][0]
    if file_format is not None and not compare:
        check_request(file_format, precision, calibrated=calibration is not None, ane=ane)
    for idle in without_effect(file_format, precision, compare=compare, calibration=calibration, images=images):
        note(f"warning: {idle}")
    destination = out or default_place(
        model, file_format, "compared" if compare else f"{precision}-ane" if ane else precision
    )
    check_can_write(destination, force=force)

    measured = None if sensitivity is None else open_export(sensitivity)
    loaded = load_model(model)
    for warning in loaded.warnings:
        note(f"warning: {warning}")
    given: Sampled = (None, None)
    calibrating: Sampled = (None, None)
    if images is not None:
        given = read_source(images, loaded, count=num_images)
    if calibration is not None:
        calibrating = read_source(calibration, loaded, count=_CALIBRATION)
    skipped = [*skipped_of(given[0]), *skipped_of(calibrating[0])]
    show_skipped(skipped)
    if compare:
        _compare(loaded, destination, file_format, given, calibrating, method, skipped,
                 threshold=threshold, force=force, keep_failed=keep_failed, as_json=as_json)  # fmt: skip
        return
    assert file_format is not None, "checked with the flags"
    recall = None
    if max_recall_drop is not None and images is not None:
        recall = RecallBudget(read_captioned(images, loaded, count=_CAPTIONED), max_recall_drop)
    export = export_model(
        loaded,
        destination,
        format=file_format,
        precision=precision,
        images=given[0],
        texts=given[1],
        calibration=calibrating[0],
        calibration_texts=calibrating[1],
        method=method,
        threshold=threshold,
        recall=recall,
        measured=measured,
        ane=ane,
        force=force,
        keep_failed=keep_failed,
    )
    emit({"exports": export.rows(), "skipped": skipped}, f"{export.path}\n{describe(export)}", as_json=as_json)


def check_flags(
    file_format: str | None,
    chosen: Sequence[str],
    *,
    compare: bool,
    captions: Path | None,
    max_recall_drop: float | None,
    sensitivity: Path | None = None,
) -> None:
    """Refuse flags that contradict each other.

    Raises:
        UsageError: They do.
    """
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} contradict each other.", hint="Choose one precision.")
    if compare and (chosen or max_recall_drop is not None or sensitivity is not None):
        raise UsageError("--compare writes every precision, so it takes no other choice of one.")
    if not compare and file_format is None:
        raise UsageError("Nothing says what to write.", hint="Add --format onnx or --format coreml, or --compare.")
    for flag, value in (("--max-recall-drop", max_recall_drop), ("--sensitivity", sensitivity)):
        if value is not None and (file_format != "onnx" or list(chosen) != ["int8"]):
            raise UsageError(f"{flag} chooses what stays in float in --format onnx --int8 alone.")
    if max_recall_drop is not None and captions is None:
        raise UsageError("--max-recall-drop needs images with captions.", hint="Pass a captions file with --images.")


def without_effect(
    file_format: str | None, precision: str, *, compare: bool, calibration: Path | None, images: Path | None
) -> list[str]:
    """A sentence for each option of the command line that changes nothing beside the others."""
    calibrates = file_format in (None, "onnx") if compare else (file_format, precision) == ("onnx", "int8")
    found = []
    if calibration is not None and not calibrates:
        found.append("--calibration has no effect here: only --format onnx --int8 is calibrated.")
    if calibration is None or not calibrates:
        found += _said(
            "method", "--calibration-method has no effect here: it needs --format onnx --int8 --calibration."
        )
    if images is None:
        found += _said(
            "num_images", "--num-images has no effect without --images: the drawn ones have a number of their own."
        )
    return found


def _said(name: str, sentence: str) -> list[str]:
    return [sentence] if is_explicit(name) else []


def _compare(
    model: Model,
    destination: Path,
    file_format: Format | None,
    given: Sampled,
    calibrating: Sampled,
    method: Method,
    skipped: list[dict[str, str]],
    *,
    threshold: float | None,
    force: bool,
    keep_failed: bool,
    as_json: bool,
) -> None:
    from mobileclip_kit.comparison import Inputs, compare_precisions

    inputs = Inputs(images=given[0], texts=given[1], calibration=calibrating[0], calibration_texts=calibrating[1],
                    method=method)  # fmt: skip
    formats: tuple[Format, ...] = ("onnx", "coreml") if file_format is None else (file_format,)
    document = compare_precisions(model, destination, inputs, formats=formats, threshold=threshold,
                                  force=force, keep_failed=keep_failed)  # fmt: skip
    emit({**document, "skipped": skipped}, f"{destination}\n{describe_comparison(document)}", as_json=as_json)


def describe_comparison(document: Mapping[str, Any]) -> str:
    """A table for a person: what each precision costs, and why there is none."""
    header = ["export", "tower", "MB", "cosine min", "mean", "top-10", "ms", ""]
    rows = [
        [
            row["name"],
            row["tower"],
            f"{row['size_bytes'] / 1e6:.1f}",
            show_cosine(row["cosine_min"]),
            show_cosine(row["cosine_mean"]),
            "–" if row["overlap_at_10"] is None else f"{row['overlap_at_10']:.3f}",
            "–" if row["latency_ms"] is None else f"{row['latency_ms']['p50']:.1f}",
            "passed" if row["passed"] else "FAILED",
        ]
        for row in document["rows"]
        if "tower" in row
    ]
    lines = [format_table(header, rows)]
    compared = {row["tower"]: row["inputs"] for row in document["rows"] if "tower" in row}
    lines += [f"{tower}: compared on {inputs}" for tower, inputs in compared.items()]
    # An export's reason stands in the rows of both towers.
    lines += dict.fromkeys(f"{row['name']}: {row['reason']}" for row in document["rows"] if row["reason"])
    for row in document["rows"]:
        if row.get("kept_in_float") and not row["name"].startswith("onnx-int8"):
            lines.append(f"{row['name']} {row['tower']}: kept in float: {', '.join(row['kept_in_float'])}")
    if any(row["latency_ms"] for row in document["rows"]):
        lines.append(f"ms: median of one input on {document['threads']} thread, all exports in turns")
    if any(row.get("runtime") == "mil" for row in document["rows"]):
        lines.append("ms of Core ML: on macOS alone, where it runs")
    return "\n".join(lines)


def default_place(model: str, file_format: str | None, precision: str) -> Path:
    """``MODEL-FORMAT-PRECISION`` beside a model folder, or here for a name; without a format where all are written."""
    folder = Path(model.removeprefix("local-dir:"))
    name = folder.resolve().name if folder.is_dir() else model.replace("/", "-").replace(":", "-")
    parent = folder.resolve().parent if folder.is_dir() else Path()
    return parent / "-".join(part for part in (name, file_format, precision) if part)


def describe(export: Export) -> str:
    """A table for a person, what stayed in float, and what that was chosen from."""
    from mobileclip_kit.exporting.sensitivity import table_path

    header = ["tower", "runtime", "cosine min", "mean", "top-10", "MB", "required", ""]
    rows = [
        [
            f"{row['tower']} {export.format} {export.precision}",
            row["runtime"],
            show_cosine(row["cosine_min"]),
            show_cosine(row["cosine_mean"]),
            "–" if row["overlap_at_10"] is None else f"{row['overlap_at_10']:.3f}",
            f"{row['size_bytes'] / 1e6:.1f}",
            f"{row['threshold']:g}",
            "passed" if row["passed"] else "FAILED",
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
            lines.append(f"{tower.tower}: kept in float: {', '.join(tower.kept_in_float)}{more}")
        lines += _sensitivities(table_path(export.path, tower.tower))
    recalls = [tower.notes["mean_recall"] for tower in export.towers.values() if "mean_recall" in tower.notes]
    for found in recalls[:1]:  # of both towers together, and noted in each
        lines.append(f"mean recall {found['before']:.4f} before, {found['after']:.4f} after: {found['on']}")
    return "\n".join(lines)


def _sensitivities(table: Path) -> list[str]:
    from mobileclip_kit.exporting.sensitivity import read_sensitivities

    if not table.is_file():
        return []
    found = read_sensitivities(table)
    worst = ", ".join(f"{entry.operator} of {entry.weight} {entry.loss:.2g}" for entry in found[:_SENSITIVE])
    return [f"{table.name}: what each of {len(found)} products costs alone in int8; most do {worst}"]


def skipped_of(images: ImageInputs | None) -> list[dict[str, str]]:
    """The images of a source that could not be read, with reasons: the ``skipped`` of ``--json``."""
    return [] if images is None else [{"item": item, "reason": reason} for item, reason in images.skipped]


def show_skipped(skipped: Sequence[dict[str, str]]) -> None:
    """Say which images could not be read."""
    for entry in skipped:
        note(f"skipped {entry['item']}: {entry['reason']}")
