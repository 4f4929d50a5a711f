"""``mckit search``."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobileclip_kit.cli.output import emit, json_option
from mobileclip_kit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobileclip_kit.index.folder import IndexReader
    from mobileclip_kit.search import Hit

_LABEL_CHARACTERS = 70
_FEW_QUERIES = 8
_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command(name="search")
@click.argument("index_folder", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("words", metavar="[WORDS]...", nargs=-1)
@click.option("--image", "images", multiple=True, type=click.Path(path_type=Path), help="An image to look for.")
@click.option("--like", "items", multiple=True, metavar="ITEM", help="An image of the index: more like this.")
@click.option("--query-vectors", type=click.Path(path_type=Path), help="A .npy matrix, a row for each query.")
@click.option("--query-names", type=click.Path(path_type=Path), help="What to call those rows, a line each.")
@click.option("-k", "--top", "k", type=click.IntRange(1), default=10, show_default=True, help="Hits for each query.")
@click.option("-m", "--model", help="The index's model, if it is no longer where it was when the index was built.")
@click.option("--template", "templates", multiple=True, help='Such as "a photo of {}"; several are averaged.')
@click.option("--textness", type=float, help="Above 0: prefer written words. Below 0: avoid them. −3…3 is sensible.")
@click.option("--textness-vector", type=click.Path(path_type=Path), help="From `mckit textness fit`.")
@click.option("--folder", help="Only images below this folder of the index.")
@click.option("--since", type=_DAY, help="Only images changed on this day or later.")
@click.option("--until", type=_DAY, help="Only images changed before this day.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the model's runtime.")
@json_option
def command(
    index_folder: Path,
    words: tuple[str, ...],
    images: tuple[Path, ...],
    items: tuple[str, ...],
    query_vectors: Path | None,
    query_names: Path | None,
    k: int,
    model: str | None,
    templates: tuple[str, ...],
    textness: float | None,
    textness_vector: Path | None,
    folder: str | None,
    since: datetime | None,
    until: datetime | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Find images by words, by an image, by an item of the index or by vectors.

    Each of WORDS is a query of its own; put a sentence into quotes. A signed word inside a query adds or takes away, on
    request with a weight: "beach -people +sunset:2". An image or an item beside words is added to each query.
    Where WORDS begin with a minus sign, put -- before them.

    \b
    Examples:
      mckit search photos.index "a red bicycle"
      mckit search photos.index "beach -people" --textness -1 --textness-vector textness.json
      mckit search photos.index --image bicycle.jpg -k 20 --json
      mckit search photos.index "at night" --like holidays/harbour.jpg
      mckit search photos.index -k 5 -- "-people"
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.index.folder import IndexReader
    from mobileclip_kit.search import find_textness, load_query_vectors, search

    if query_vectors is not None and (words or images or items):
        raise click.UsageError("--query-vectors stands alone: no words, --image or --like beside it.")
    if query_vectors is None and not (words or images or items):
        raise click.UsageError("Say what to look for: words, --image FILE, --like ITEM or --query-vectors FILE.")
    since_ns, until_ns = _ns(since), _ns(until)
    if since_ns is not None and until_ns is not None and since_ns >= until_ns:
        raise click.UsageError(f"No moment lies between --since {since} and --until {until}: swap them?")
    started = time.perf_counter()
    with IndexReader(index_folder) as index:
        # Opening a model is not part of a query's latency.
        if query_vectors is not None:
            labels, vectors = load_query_vectors(query_vectors, query_names, index.spec.embedding_dim)
            encoding_s = 0.0
        else:
            labels, vectors, encoding_s = _encode(index, words, images, items, templates, model, threads)
        if textness:
            vectors = find_textness(index, textness_vector).apply(vectors, textness)
        below = _below(index, folder)
        allowed = index.allowed_rows(folder=below, since_ns=since_ns, until_ns=until_ns)
        # Asked only where nothing is left: a folder that exists may hold nothing of these days.
        if below and allowed is not None and not allowed.any() and not index.store.living_rows(folder=below):
            raise DataError(f"The index {index.path} holds no images below a folder {folder!r}.")
        searching = time.perf_counter()
        results = search(index, vectors, k, allowed=allowed, without=frozenset(items))
        latency_ms = 1000 * (encoding_s + time.perf_counter() - searching)
    document = {
        "results": [
            {"query": label, "hits": [asdict(hit) for hit in hits]} for label, hits in zip(labels, results, strict=True)
        ],
        "latency_ms": round(latency_ms, 3),
        "total_ms": round(1000 * (time.perf_counter() - started), 3),
    }
    emit(document, _listing(labels, results, latency_ms), as_json=as_json)


def _encode(
    index: IndexReader,
    words: Sequence[str],
    images: Sequence[Path],
    items: Sequence[str],
    templates: Sequence[str],
    model: str | None,
    threads: int | None,
) -> tuple[list[str], NDArray[np.float32], float]:
    """Labels, vectors ``(q, d)``, and the seconds spent on encoding."""
    import numpy as np

    from mobileclip_kit.search import encode_queries, open_query_encoder, vectors_of_items

    beside = vectors_of_items(index, items)
    labels = list(items)
    if not words and not images:
        return labels, beside, 0.0
    encoder = open_query_encoder(index, model, threads=threads, brief=len(words) + len(images) <= _FEW_QUERIES)
    started = time.perf_counter()
    if images:
        beside = np.concatenate([encoder.encode_images(images), beside])
        labels = [*map(str, images), *labels]
    if words:
        beside, labels = encode_queries(encoder, words, templates=templates, beside=beside), list(words)
    return labels, beside, time.perf_counter() - started


def _ns(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    try:
        return int(moment.timestamp()) * 1_000_000_000
    except (ValueError, OverflowError, OSError) as error:
        raise click.UsageError(f"{moment.date()} is beyond the days that can be asked for.") from error


def _below(index: IndexReader, folder: str | None) -> str | None:
    """The folder as names in the index begin with it; None for the whole library."""
    if folder is None:
        return None
    name = posixpath.normpath(folder)
    if name.startswith("/") and index.header.images is not None:
        name = posixpath.relpath(name, index.header.images)
    return None if name == "." else name


def _listing(labels: Sequence[str], results: Sequence[Sequence[Hit]], latency_ms: float) -> str:
    lines = []
    for label, hits in zip(labels, results, strict=True):
        lines.append(_one_line(label if len(label) <= _LABEL_CHARACTERS else label[: _LABEL_CHARACTERS - 1] + "…"))
        lines += [f"{hit.rank:4d}  {hit.score:6.4f}  {_one_line(hit.item)}" for hit in hits] or ["      no images"]
    return "\n".join([*lines, f"{latency_ms:.1f} ms"])


def _one_line(text: str) -> str:
    """The text with line breaks and control characters escaped: a name must not forge a line of its own."""
    return "".join(character if character.isprintable() or "\ud800" <= character <= "\udfff" else
                   character.encode("unicode_escape").decode() for character in text)  # fmt: skip
