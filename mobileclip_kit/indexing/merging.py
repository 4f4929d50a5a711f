"""Several indexes of one model into one: parts that many workers made, or libraries that grew apart.

Names stay as they are when the indexes are of one folder. Indexes of different folders become one of the folder above
them all, so that every name still leads to its image.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import parts_of
from mobileclip_kit.cluster import missing_parts
from mobileclip_kit.confidence.background import BACKGROUND_FILE, refresh_background
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import check_no_source
from mobileclip_kit.index.folder import IndexHeader, IndexReader, IndexWriter, open_writer, staged_index
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.deriving import query_vectors_for, refresh_derived
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.progress import track
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.urls import is_url

_CHUNK_ROWS = 16384


def merge_indexes(
    sources: Sequence[Path],
    out: Path,
    options: IndexOptions = IndexOptions(),  # noqa: B008 (frozen)
    *,
    images: Path | None = None,
    encoder: Encoder | None = None,
) -> IndexReport:
    """Copy the items of several indexes into a new one. An image that occurs in several of them is included once.

    Args:
        sources: Indexes of one model; one alone is copied, without the rows of removed images.
        out: The new index.
        options: ``force``, ``kind`` and ``query_vectors`` count.
        images: The folder that all their names are relative to, wherever each worker saw it; None to go by what the
            indexes say.
        encoder: Of the model, to measure recall with texts; its place is kept for later queries.

    Returns:
        ``added`` counts the images that came in; what failed in a source failed here.

    Raises:
        DataError: Two vectors that were made elsewhere go by one name and differ.
        IndexFormatError: A source is missing or damaged.
        ModelMismatchError: The sources belong to different models.
        OutputError: ``out`` exists and is not to be replaced, or is one of the sources.
        UsageError: It cannot be said where the names lead.
    """
    if not sources:
        raise UsageError("There is nothing to merge.", hint="Name the indexes.")
    check_no_source(out, sources, "indexes")
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        indexes = [stack.enter_context(IndexReader(source)) for source in sources]
        for index in indexes:
            index.check_matrix()
        for index in indexes[1:]:
            indexes[0].spec.check_same_model(index.spec, f"The index {index.path}")
        folder, prefixes = _roots(indexes, images)
        chosen = _choose(indexes, prefixes)
        if encoder is not None:
            encoder.spec.check_same_model(indexes[0].spec, f"The index {indexes[0].path}")
        model = None if encoder is None else encoder.model_path
        model = model or next((index.header.model for index in indexes if index.header.model is not None), None)
        header = IndexHeader(spec=indexes[0].spec, model=model, images=folder)
        report = IndexReport(missing_shards=missing_parts([index.header.shard for index in indexes]))
        staging = stack.enter_context(staged_index(out, header, force=options.force))
        with open_writer(staging) as writer:
            with writer.store.filling():
                for index, items in zip(indexes, chosen, strict=True):
                    _copy(index, items, writer)
            writer.commit()
            report.search = refresh_derived(writer, options.kind, query_vectors_for(encoder, options.query_vectors))
            known = [index.path / BACKGROUND_FILE for index in indexes]
            report.confidence_problem = refresh_background(writer, encoder, header.spec.model_hash, known)
            report.take_stock(writer)
    report.added, report.seconds = report.items, time.monotonic() - started
    return report


def _roots(indexes: Sequence[IndexReader], images: Path | None) -> tuple[str | None, list[str]]:
    """The folder of the merged index, and what is put before the names of each source."""
    plain = [""] * len(indexes)
    if images is not None:
        return str(images.resolve()), plain
    folders = {index.header.images for index in indexes}
    if len(folders) == 1:
        return folders.pop(), plain
    known = [folder for folder in folders if folder is not None]
    if len(known) < len(folders):
        raise UsageError(
            "Some of these indexes say which folder their images are in and some do not.",
            hint="Say with --images which folder all their names are relative to.",
        )
    if any(map(is_url, known)):
        raise UsageError(
            "The images of these indexes lie at different URLs.",
            hint="Say with --images which folder all their names are relative to.",
        )
    common = os.path.commonpath(known)
    relative = [os.path.relpath(str(index.header.images), common).replace(os.sep, "/") for index in indexes]
    return common, ["" if path == "." else f"{path}/" for path in relative]


def _choose(indexes: Sequence[IndexReader], prefixes: Sequence[str]) -> list[list[tuple[Item, str]]]:
    """What is taken from each index, each item with its new name: of several of one name, the best."""
    winners: dict[str, tuple[int, Item]] = {}
    for number, (index, prefix) in enumerate(zip(indexes, prefixes, strict=True)):
        for item in index.store.items():
            name = prefix + item.name
            other = winners.get(name)
            if other is not None:
                _refuse_contradiction(name, (indexes[other[0]], other[1]), (index, item))
            if other is None or _rank(item) >= _rank(other[1]):
                winners[name] = (number, item)
    chosen: list[list[tuple[Item, str]]] = [[] for _ in indexes]
    for name, (number, item) in winners.items():
        chosen[number].append((item, name))
    return chosen


def _rank(item: Item) -> tuple[bool, int]:
    """A vector is better than a failure, and a later look at the file than an earlier one."""
    return item.row is not None, item.mtime_ns or 0


def _refuse_contradiction(name: str, first: tuple[IndexReader, Item], second: tuple[IndexReader, Item]) -> None:
    """Vectors without files have no time and no content by which one could be chosen."""
    (index, item), (other, twin) = first, second
    if item.row is None or twin.row is None or item.sha256 is not None or twin.sha256 is not None:
        return
    if not np.allclose(index.matrix[item.row], other.matrix[twin.row], atol=1e-3):
        raise DataError(
            f"{name!r} has one vector in {index.path} and another one in {other.path}.",
            hint="Names must differ where images do.",
        )


def _copy(index: IndexReader, items: list[tuple[Item, str]], writer: IndexWriter) -> None:
    for item, name in items:
        if item.row is None:
            writer.store.put(replace(item, name=name))
    living = sorted(((item.row, item, name) for item, name in items if item.row is not None), key=lambda one: one[0])
    for part in track(list(parts_of(living, _CHUNK_ROWS)), f"merge {index.path.name}", "parts"):
        row = writer.matrix.append(np.array(index.matrix[[old for old, _, _ in part]], np.float32))
        writer.store.put(*(replace(item, name=name, row=row + offset) for offset, (_, item, name) in enumerate(part)))
