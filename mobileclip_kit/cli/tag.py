"""``mckit tag``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import LocalPath, WholeNumber, emit, json_option, note
from mobileclip_kit.model_names import DEVICE_HELP
from mobileclip_kit.tagging.request import TagRequest

_PATH = LocalPath()
_SHOWN = 30


@click.command(name="tag")
@click.argument("index", type=_PATH)
@click.option("--labels", type=_PATH, required=True, help="Labels, one a line; synonyms follow after tabs.")
@options_from(TagRequest)
@click.option("-m", "--model", help="The index's model, if it is no longer where it was when the index was built.")
@click.option("--threads", type=WholeNumber(1), help="Threads of the model's runtime.")
@click.option("--device", help=DEVICE_HELP)
@json_option
def command(
    index: Path,
    labels: Path,
    request: TagRequest,
    model: str | None,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Tag the images of INDEX with labels that describe them, each with its confidence.

    The model needs no training for the labels. The tags are kept in the index: `mckit search --tag` and the page filter
    by them. A later run replaces them. With --xmp they also become subjects in XMP sidecars, which photo programs
    read; what such a program has written into a sidecar stays. In a folder with a mckit.toml, INDEX may be left out.

    \b
    Examples:
      mckit tag photos.index --labels labels.txt
      mckit tag photos.index --labels labels.txt --min-confidence 0.8 -o tags.csv
      mckit tag photos.index --labels labels.txt --xmp
    """  # noqa: D301 (click's mark for lines to keep as they are)
    from mobileclip_kit.tagging.labels import read_labels

    asked = read_labels(labels)
    from mobileclip_kit.search.index import Index

    with Index(index, model, threads=threads, device=device) as opened:
        report = opened.tag_labels(asked, request)
    for label in report.uncalibrated:
        note(f"{label!r} is far from every background text: its confidence is not known, and no image has it.")
    if report.without_sidecar:
        note(f"{report.without_sidecar} images lie in tar files and have no sidecar.")
    counts = sorted(report.labels.items(), key=lambda entry: -entry[1])
    lines = [f"{count:7,}  {label}" for label, count in counts[:_SHOWN]]
    more = [f"… and {len(counts) - _SHOWN} more labels; --json lists them all."] if len(counts) > _SHOWN else []
    sidecars = f", {report.sidecars} sidecars written" if request.xmp is not None else ""
    last = f"{index}: {report.tagged} of {report.images} images have a tag{sidecars}."
    if not report.tagged:
        last += f" No label reaches {request.min_confidence:g}; --min-confidence asks for less."
    emit({"index": str(index), **report.to_json()}, "\n".join([*lines, *more, last]), as_json=as_json)
