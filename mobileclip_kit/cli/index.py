"""``mckit index``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import WholeNumber, emit, is_explicit, json_option, note, note_missing
from mobileclip_kit.files import counted, one_line, told
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.model_names import DEVICE_HELP
from mobileclip_kit.urls import as_place

if TYPE_CHECKING:
    from mobileclip_kit.indexing.report import IndexReport

_FAILURES_SHOWN = 20
_PASSED_SHOWN = 3
_PATH = click.Path(path_type=Path)
# What counts for given vectors, and what counts for them only beside --model.
_FOR_VECTORS = {"from_vectors", "from_clip_retrieval", "names", "images", "model", "out", "as_json", "kind",
                "query_vectors", "force"}  # fmt: skip
_FOR_MODELS = {"threads", "device"}


@click.command(name="index")
@click.argument("folder", metavar="[FOLDER]", type=as_place, required=False)
@click.option(
    "-m", "--model", help="The model whose vectors the index holds: a folder, an export or an open_clip name."
)
@click.option("-o", "--out", type=_PATH, required=True, help="The index: made, or brought up to date.")
@options_from(IndexOptions, name="options")
@click.option("--threads", type=WholeNumber(1), help="Threads of the model; by default each core encodes a batch.")
@click.option("--device", help=DEVICE_HELP)
@click.option("--from-vectors", type=_PATH, help="A .npy matrix that another program computed.")
@click.option("--names", type=_PATH, help="Its names, a line each (or a JSON list in a .json file).")
@click.option("--from-clip-retrieval", type=_PATH, help="A folder with img_emb/*.npy and metadata/*.parquet.")
@click.option("--images", type=_PATH, help="The folder that the names are relative to.")
@json_option
def command(
    folder: Path | str | None,
    model: str | None,
    out: Path,
    options: IndexOptions,
    threads: int | None,
    device: str | None,
    from_vectors: Path | None,
    names: Path | None,
    from_clip_retrieval: Path | None,
    images: Path | None,
    as_json: bool,
) -> None:
    """Build an index of a folder of images, or bring it up to date.

    New, changed, moved and deleted images are recognised; images that cannot be decoded are listed with the reason.
    After an interruption, run the same command again to go on. With --from-vectors or --from-clip-retrieval the index
    is made of vectors that were computed elsewhere; add --model to search it by words. Many machines share a library
    with --shard, each with its own -o. FOLDER may be a URL that fsspec reads, such as s3://bucket/photos.

    \b
    Examples:
      mckit index ~/Photos --model student-onnx-fp32 -o photos.index
      mckit index ~/Photos --model student-onnx-fp32 --shard 2/4 -o part2.index
      mckit index --from-vectors vectors.npy --names names.txt --images ~/Photos --model ViT-B-32:openai -o photos.index
      mckit index --from-clip-retrieval embeddings --images ~/Photos -o photos.index
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    _check_call(folder, model, from_vectors, names, from_clip_retrieval, images)
    if folder is not None:
        from mobileclip_kit.indexing.update import check_update
        from mobileclip_kit.spec import stored_spec

        check_update(folder, stored_spec(model or ""), out, options)  # before torch is imported
    from mobileclip_kit.search.models import open_model

    encoder = None if model is None else open_model(model, threads=threads, device=device)
    if from_vectors is not None and names is not None:
        from mobileclip_kit.indexing.importing import import_vectors

        report = import_vectors(from_vectors, names, out, options, images=images, encoder=encoder)
    elif from_clip_retrieval is not None:
        from mobileclip_kit.indexing.importing import import_clip_retrieval

        report = import_clip_retrieval(from_clip_retrieval, out, options, images=images, encoder=encoder)
    else:
        from mobileclip_kit.indexing.update import update_index

        assert folder is not None and encoder is not None, "checked with the options"
        asks = sys.stdin.isatty() and not as_json
        confirm = (lambda question: click.confirm(question, err=True)) if asks else None
        report = update_index(folder, encoder, out, options, confirm=confirm)
    print_report(out, report, as_json=as_json)


def _check_call(
    folder: Path | str | None,
    model: str | None,
    from_vectors: Path | None,
    names: Path | None,
    from_clip_retrieval: Path | None,
    images: Path | None,
) -> None:
    if from_vectors is not None and from_clip_retrieval is not None:
        raise click.UsageError("--from-vectors and --from-clip-retrieval exclude each other.")
    if from_vectors is not None and (folder is not None or names is None):
        raise click.UsageError("--from-vectors takes --names FILE, and --images DIR in place of FOLDER.")
    if from_clip_retrieval is not None and (folder is not None or names is not None):
        raise click.UsageError("--from-clip-retrieval takes --images DIR in place of FOLDER, and no --names.")
    if from_vectors is not None or from_clip_retrieval is not None:
        _refuse_unused("--from-clip-retrieval" if from_vectors is None else "--from-vectors", model)
        return
    if names is not None or images is not None:
        raise click.UsageError("--names and --images belong to --from-vectors and --from-clip-retrieval.")
    if folder is not None and model is None:
        context = click.get_current_context()
        raise click.MissingParameter(
            None, context, next(each for each in context.command.params if each.name == "model")
        )
    if folder is None or model is None:
        raise click.UsageError("Name the images and the model: mckit index FOLDER --model M -o INDEX.")


def _refuse_unused(source: str, model: str | None) -> None:
    """Refuse options that say nothing about given vectors, such as --ray, rather than ignore them."""
    for each in click.get_current_context().command.params:
        name = each.name or ""
        if not is_explicit(name) or name in _FOR_VECTORS or (name in _FOR_MODELS and model is not None):
            continue
        if name in _FOR_MODELS:
            raise click.UsageError(f"{each.opts[-1]} says where a model runs, and {source} runs one only with --model.")
        raise click.UsageError(f"{each.opts[-1]} belongs to the indexing of a FOLDER, not to {source}.")


def print_report(out: Path, report: IndexReport, *, as_json: bool) -> None:
    """Print the counts of a run."""
    note_missing(out, report.missing_shards)
    failed = len(report.failed)
    for item in report.failed[:_FAILURES_SHOWN]:
        note(f"no vector: {told(one_line(item.name), one_line(item.reason or ''))}")
    if failed > _FAILURES_SHOWN:
        note(f"… and {failed - _FAILURES_SHOWN} more; --json lists them all.")
    hidden, bare = (
        _some([path for path in report.passed if path.name.startswith(".") == kind]) for kind in (True, False)
    )
    if hidden:
        note(f"hidden, not looked into: {hidden}")
    if bare:
        note(f"images without a suffix such as .jpg, left out: {bare}")
    for warning in report.warnings():
        note(f"warning: {warning}")
    document = report.to_json()
    emit({"index": str(out), **document}, _sentence(out, report, document), as_json=as_json)


def _some(paths: list[Path]) -> str:
    first = ", ".join(one_line(str(path)) for path in paths[:_PASSED_SHOWN])
    more = len(paths) - _PASSED_SHOWN
    return f"{first} and {more} more" if more > 0 else first


def _sentence(out: Path, report: IndexReport, document: dict[str, Any]) -> str:
    kinds = ("added", "updated", "moved", "removed")
    changes = ", ".join(f"{document[key]} {key}" for key in kinds if document[key])
    speed = f", {document['images_per_s']} images/s on {report.device}" if document["images_per_s"] else ""
    trouble = f"; {len(report.failed)} without a vector" if report.failed else ""
    lines = [f"{out}: {counted(report.items, 'image')} ({changes or 'nothing changed'}{speed}){trouble}."]
    if report.headers:
        lines.append(f"Read dates, places and cameras from the headers of {report.headers} images indexed before.")
    if report.compacted:
        lines.append(f"Dropped {report.compacted} vectors of removed images.")
    if report.search is not None:
        lines.append(report.search.sentence())
    if report.confidence_problem is not None:
        lines.append(report.confidence_problem)
    return "\n".join(lines)
