"""``mckit export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mobileclip_kit.cli.output import emit, force_option, format_table, json_option, note
from mobileclip_kit.errors import UsageError
from mobileclip_kit.export.folder import PRECISIONS, Precision, show_cosine

if TYPE_CHECKING:
    from mobileclip_kit.export.folder import Export, Format
    from mobileclip_kit.export.samples import Pictures, Texts

    Sampled = tuple[Pictures | None, Texts | None]

_PICTURES = 48
_CALIBRATION = 200
_PALETTES: dict[str, Precision] = {"8": "palette8", "6": "palette6", "4": "palette4"}


@click.command(name="export")
@click.argument("model")
@click.option("--format", "file_format", type=click.Choice(["onnx", "coreml"]), required=True, help="What to write.")
@click.option("--fp32", is_flag=True, help="float32 (the default of onnx).")
@click.option("--fp16", is_flag=True, help="float16 (the default of coreml).")
@click.option(
    "--int8", is_flag=True, help="int8: weights and activations (onnx, needs --calibration), weights (coreml)."
)
@click.option("--palettize", type=click.Choice(["8", "6", "4"]), help="Weights of so many bits (coreml).")
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="Pictures, or a captions file, to calibrate int8 on."
)
@click.option("--images", type=click.Path(path_type=Path), help="Pictures, or a captions file, to verify with.")
@click.option("--pictures", type=click.IntRange(1), default=_PICTURES, show_default=True, help="Verify with so many.")
@click.option(
    "--threshold",
    "--min-cosine",
    type=click.FloatRange(-1, 1),
    help="Least cosine; 0.999, or 0.99 for int8 and palettes.",
)
@click.option("--keep-failed", is_flag=True, help="Leave an export below the threshold; the command still fails.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The folder; MODEL-FORMAT-PRECISION unless given.")
@force_option
@json_option
def command(
    model: str,
    file_format: Format,
    fp32: bool,
    fp16: bool,
    int8: bool,
    palettize: Literal["8", "6", "4"] | None,
    calibration: Path | None,
    images: Path | None,
    pictures: int,
    threshold: float | None,
    keep_failed: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Turn MODEL (a model folder or an open_clip name) into ONNX or Core ML, one file for each tower.

    Each tower is executed and compared with the model before anything is left in the output folder: on your pictures
    with --images, on drawn ones without. Core ML programs are executed on any machine.

    \b
    mckit export student --format coreml --images ~/Pictures
    mckit export student --format coreml --palettize 6
    mckit export student --format onnx --int8 --calibration ~/Pictures -o student-int8
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.export.exporter import check_request, export_model
    from mobileclip_kit.export.samples import read_source
    from mobileclip_kit.files import check_can_write
    from mobileclip_kit.networks.model import load_model

    flags: tuple[tuple[Precision, bool], ...] = (("fp32", fp32), ("fp16", fp16), ("int8", int8))
    chosen = [name for name, flag in flags if flag]
    if palettize is not None:
        chosen.append(_PALETTES[palettize])
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} contradict each other.", hint="Choose one precision.")
    precision = chosen[0] if chosen else PRECISIONS[file_format][0]
    check_request(file_format, precision, calibrated=calibration is not None)
    destination = out or default_place(model, file_format, precision)
    check_can_write(destination, force=force)

    loaded = load_model(model)
    for warning in loaded.warnings:
        note(f"warning: {warning}")
    given: Sampled = (None, None)
    calibrating: Sampled = (None, None)
    if images is not None:
        given = read_source(images, loaded, count=pictures)
    if calibration is not None:
        calibrating = read_source(calibration, loaded, count=_CALIBRATION)
    skipped = [*skipped_of(given[0]), *skipped_of(calibrating[0])]
    show_skipped(skipped)
    export = export_model(
        loaded,
        destination,
        format=file_format,
        precision=precision,
        pictures=given[0],
        texts=given[1],
        calibration=calibrating[0],
        calibration_texts=calibrating[1],
        threshold=threshold,
        force=force,
        keep_failed=keep_failed,
    )
    emit({"exports": export.rows(), "skipped": skipped}, f"{export.path}\n{describe(export)}", as_json=as_json)


def default_place(model: str, file_format: str, precision: str) -> Path:
    """``MODEL-FORMAT-PRECISION`` beside a model folder, or here for a name."""
    folder = Path(model.removeprefix("local-dir:"))
    name = folder.resolve().name if folder.is_dir() else model.replace("/", "-").replace(":", "-")
    parent = folder.resolve().parent if folder.is_dir() else Path()
    return parent / f"{name}-{file_format}-{precision}"


def describe(export: Export) -> str:
    """A table for a person, and what stayed in float."""
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
            lines.append(f"{tower.tower}: kept in float: {', '.join(tower.kept_in_float)}")
    return "\n".join(lines)


def skipped_of(pictures: Pictures | None) -> list[dict[str, str]]:
    """The pictures of a source that could not be read, with reasons: the ``skipped`` of ``--json``."""
    return [] if pictures is None else [{"item": item, "reason": reason} for item, reason in pictures.skipped]


def show_skipped(skipped: Sequence[dict[str, str]]) -> None:
    """Say which pictures could not be read."""
    for entry in skipped:
        note(f"skipped {entry['item']}: {entry['reason']}")
