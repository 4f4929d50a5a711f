"""``mckit index``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mobileclip_kit.cli.output import emit, json_option, note

if TYPE_CHECKING:
    from mobileclip_kit.indexing import IndexReport
    from mobileclip_kit.runtime.encoder import Encoder

_SHARDS_SHOWN = 8
_FAILURES_SHOWN = 20
# Runtimes that may be asked by several threads at once.
_MANY_AT_ONCE = ("onnxruntime", "torch")
_PATH = click.Path(path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


def kind_option(command: Command) -> Command:
    """Add ``--kind``."""
    # The names are those of mobileclip_kit.index.kinds, which --help need not import.
    names = click.Choice(["flat", "flat-float16", "flat-int8", "hnsw", "ivf-pq"])
    text = "How to search: exact scan, graph (hnsw) or compressed lists (ivf-pq); chosen by size unless given."
    return click.option("--kind", type=names, help=text)(command)


def questions_option(command: Command) -> Command:
    """Add ``--measure-with`` as the argument ``questions``."""
    text = "A .npy matrix of query vectors to measure recall with, in place of texts of common words."
    return click.option("--measure-with", "questions", type=_PATH, help=text)(command)


@click.command(name="index")
@click.argument("folder", metavar="[FOLDER]", type=_PATH, required=False)
@click.option("-m", "--model", help="Model folder, export or open_clip name whose vectors the index holds.")
@click.option("-o", "--out", type=_PATH, required=True, help="The index: made, or brought up to date.")
@click.option("--prune", is_flag=True, help="Forget vanished images even if they are more than a fifth of the index.")
@click.option("--retry-failed", is_flag=True, help="Try unchanged images again that failed before.")
@click.option("--rehash", is_flag=True, help="Compare every file's content, even where size and time are as before.")
@click.option("--exact-pixels", is_flag=True, help="Decode large JPEGs in full instead of at reduced resolution.")
@click.option("--tars", is_flag=True, help="Look into .tar files too (webdataset shards).")
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts of IMAGES; `mckit merge` joins the parts.")
@click.option("--compact", is_flag=True, help="Drop what removed images left behind, however little it is.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Images encoded at once.")
@click.option("--workers", type=click.IntRange(1), help="Decoding threads; one a core unless given.")
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of the model, batch after batch; a batch a core unless given."
)
@click.option("--from-vectors", type=_PATH, help="A .npy matrix that somebody else computed.")
@click.option("--names", type=_PATH, help="Its names, a line each (or a JSON list in a .json file).")
@click.option("--from-clip-retrieval", type=_PATH, help="A folder with img_emb/*.npy and metadata/*.parquet.")
@click.option("--images", type=_PATH, help="The folder that the names are relative to.")
@kind_option
@questions_option
@click.option("--force", is_flag=True, help="Build the index anew; the old one stays until the new one is complete.")
@json_option
def command(
    folder: Path | None,
    model: str | None,
    out: Path,
    prune: bool,
    retry_failed: bool,
    rehash: bool,
    exact_pixels: bool,
    tars: bool,
    shard: str | None,
    compact: bool,
    batch: int,
    workers: int | None,
    threads: int | None,
    from_vectors: Path | None,
    names: Path | None,
    from_clip_retrieval: Path | None,
    images: Path | None,
    kind: Any,
    questions: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build an index of a folder of images, or bring it up to date.

    New, changed, moved and deleted images are recognised; what cannot be decoded is listed with its reason. The run
    may be interrupted at any moment: run the same command again to go on. With --from-vectors or --from-clip-retrieval
    the index is made of vectors that were computed elsewhere. Many machines share a library with --shard, each with
    its own -o.

    \b
    Examples:
      mckit index ~/Images --model student-onnx -o photos.index
      mckit index ~/Images --model student-onnx --shard 2/4 -o part2.index
      mckit index --from-vectors vectors.npy --names names.txt --images ~/Images -o photos.index
      mckit index --from-clip-retrieval embeddings --images ~/Images -o photos.index
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.indexing import update_index
    from mobileclip_kit.indexing.listing import parse_shard
    from mobileclip_kit.runtime.open import open_encoder

    _check_call(folder, model, from_vectors, names, from_clip_retrieval, images)
    options: dict[str, Any] = {"model": place_of(model), "kind": kind, "questions": questions}
    # With images to encode and no wish, a batch a core: no core waits for another within a batch.
    alone = folder is not None and threads is None
    encoder = None if model is None else open_encoder(model, threads=1 if alone else threads)
    if folder is None or encoder is None:
        report = _import(out, encoder, from_vectors, names, from_clip_retrieval, images, force=force, **options)
    else:
        report = update_index(
            folder,
            encoder,
            out,
            rebuild=force,
            prune=prune,
            confirm=None if as_json or not sys.stdin.isatty() else lambda question: click.confirm(question, err=True),
            retry_failed=retry_failed,
            rehash=rehash,
            tars=tars,
            shard=None if shard is None else parse_shard(shard),
            batch_size=batch,
            workers=workers,
            encoders=(os.cpu_count() or 1) if alone and encoder.runtime in _MANY_AT_ONCE else 1,
            draft=not exact_pixels,
            compact=compact,
            **options,
        )
    tell(out, report, as_json=as_json)


def _check_call(
    folder: Path | None,
    model: str | None,
    from_vectors: Path | None,
    names: Path | None,
    from_clip_retrieval: Path | None,
    images: Path | None,
) -> None:
    if from_vectors is not None and from_clip_retrieval is not None:
        raise click.UsageError("--from-vectors and --from-clip-retrieval exclude each other.")
    if from_vectors is not None and (folder is not None or names is None):
        raise click.UsageError("--from-vectors takes --names FILE, and --images DIR in place of IMAGES.")
    if from_clip_retrieval is not None and (folder is not None or names is not None):
        raise click.UsageError("--from-clip-retrieval takes --images DIR in place of IMAGES, and no --names.")
    imported = from_vectors is not None or from_clip_retrieval is not None
    if not imported and (folder is None or model is None or names is not None or images is not None):
        raise click.UsageError("Say which images and which model: mckit index IMAGES --model M -o INDEX.")


def _import(
    out: Path,
    encoder: Encoder | None,
    vectors: Path | None,
    names: Path | None,
    folder: Path | None,
    images: Path | None,
    *,
    questions: Path | None,
    **options: Any,
) -> IndexReport:
    spec = None if encoder is None else encoder.spec
    if vectors is not None and names is not None:
        from mobileclip_kit.indexing import import_vectors

        return import_vectors(
            vectors, names, out, images=images, spec=spec, questions=questions, encoder=encoder, **options
        )
    from mobileclip_kit.indexing.deriving import ask_texts
    from mobileclip_kit.indexing.exchange import import_clip_retrieval

    assert folder is not None
    ask = ask_texts(encoder, questions)
    return import_clip_retrieval(folder, out, ask=ask, images=images, spec=spec, **options)


def tell(out: Path, report: IndexReport, *, as_json: bool) -> None:
    """Print what became of an index."""
    if report.missing_shards:
        first, count = ", ".join(report.missing_shards[:_SHARDS_SHOWN]), len(report.missing_shards)
        more = f" and {count - _SHARDS_SHOWN} more" if count > _SHARDS_SHOWN else ""
        note(f"{out} holds only a part of the library; missing: {first}{more}.")
    failed = len(report.failed)
    for item in report.failed[:_FAILURES_SHOWN]:
        note(f"no vector: {item.name!r}: {item.reason}")
    if failed > _FAILURES_SHOWN:
        note(f"… and {failed - _FAILURES_SHOWN} more; --json lists them all.")
    document = report.to_json()
    emit({"index": str(out), **document}, _sentence(out, report, document), as_json=as_json)


def place_of(model: str | None) -> str | None:
    """Where a model can be found from any working directory; names of open_clip models stay names."""
    return str(Path(model).absolute()) if model is not None and Path(model).exists() else model


def _sentence(out: Path, report: IndexReport, document: dict[str, Any]) -> str:
    kinds = ("added", "updated", "moved", "removed")
    changes = ", ".join(f"{document[key]} {key}" for key in kinds if document[key])
    speed = f", {document['images_per_s']} images/s" if document["images_per_s"] else ""
    trouble = f"; {len(report.failed)} without a vector" if report.failed else ""
    lines = [f"{out}: {report.items} images ({changes or 'nothing changed'}{speed}){trouble}."]
    if report.compacted:
        lines.append(f"Dropped {report.compacted} vectors of removed images.")
    if report.search is not None:
        lines.append(report.search.sentence())
    return "\n".join(lines)
