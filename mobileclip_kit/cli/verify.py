"""``mckit verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mobileclip_kit.cli.export import describe, skipped_rows
from mobileclip_kit.cli.output import NumberRange, WholeNumber, emit, json_option, note


@click.command(name="verify")
@click.argument("export", type=click.Path(path_type=Path))
@click.option("--against", required=True, help="The model that it was exported from: a folder or an open_clip name.")
@click.option("--images", type=click.Path(path_type=Path), help="Images, or a captions file, to compare on.")
@click.option("--num-images", type=WholeNumber(1), default=48, show_default=True, help="Compare on at most this many.")
@click.option(
    "--threshold", "--min-cosine", type=NumberRange(-1, 1), help="The least cosine; each precision has its own default."
)
@click.option(
    "--intermediates",
    is_flag=True,
    help="Compare every operator in float16 and float32 too, and name the first that differs (coreml).",
)
@json_option
def command(
    export: Path,
    against: str,
    images: Path | None,
    num_images: int,
    threshold: float | None,
    intermediates: bool,
    as_json: bool,
) -> None:
    """Execute an export and its model on the same images and texts, and compare their vectors.

    The files are checked against their SHA-256 first. Below the threshold the command prints its table and fails.

    \b
    Examples:
      mckit verify student-coreml-fp16 --against student --images ~/Photos
      mckit verify student-coreml-fp16 --against student --intermediates
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.errors import ParityError
    from mobileclip_kit.exporting.folder import open_export_of
    from mobileclip_kit.files import told

    opened = open_export_of(export, against, images=images)
    from mobileclip_kit.exporting.exporter import skipped_images
    from mobileclip_kit.exporting.samples import read_source
    from mobileclip_kit.exporting.verify import describe_trace, require_parity, trace_export, verify_export
    from mobileclip_kit.networks.model import load_model

    model = load_model(against)
    for warning in model.warnings:
        note(f"warning: {warning}")
    model.spec.check_same_model(opened.spec, f"The export {export}")
    given = (None, None) if images is None else read_source(images, model, count=num_images)
    skipped = skipped_images(given[0])
    for item, reason in skipped:
        note(f"skipped {told(item, reason)}")
    traces = trace_export(opened, model, images=given[0], texts=given[1]) if intermediates else []
    try:
        results = verify_export(opened, model, images=given[0], texts=given[1], threshold=threshold)
        opened = opened.with_verification(results)
        if as_json:
            # One document on stdout: a failure's document is printed where errors become exit codes.
            require_parity(results, opened, kept=True)
    except ParityError:
        for trace in traces:  # asked for to explain just this
            note(describe_trace(trace))
        raise
    document: dict[str, Any] = {"exports": opened.rows(), "skipped": skipped_rows(skipped)}
    if intermediates:
        document["intermediates"] = [trace.to_json() for trace in traces]
    lines = [str(opened.path), describe(opened), *map(describe_trace, traces)]
    emit(document, "\n".join(lines), as_json=as_json)
    require_parity(results, opened, kept=True)
