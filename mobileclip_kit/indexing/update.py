"""Bringing an index up to date with its folder, crash-safe: a kill at any moment loses at most the last seconds' work.

Decoding runs in threads ahead of the encoder. Every few hundred images their vectors are brought to the disk and then
counted in the store, in one transaction; the next run finds everything that was counted and goes on with the rest.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.cluster import check_cluster, parse_shard
from mobileclip_kit.confidence.background import refresh_background
from mobileclip_kit.errors import DataError, ModelError, ShapeError, UsageError
from mobileclip_kit.files import nothing_at, remove_staged
from mobileclip_kit.index.folder import (
    IndexHeader,
    IndexWriter,
    check_index_place,
    create_index,
    is_index,
    open_writer,
)
from mobileclip_kit.index.npy import load_matrix
from mobileclip_kit.index.rebuilding import rebuilt_index
from mobileclip_kit.index.store import Item
from mobileclip_kit.index.vectors import bad_rows
from mobileclip_kit.indexing.decode import Decoded, decode_ahead, read_headers
from mobileclip_kit.indexing.deriving import query_vectors_for, refresh_derived, tidy_matrix
from mobileclip_kit.indexing.distributed import EncodedPart, encode_on_cluster
from mobileclip_kit.indexing.listing import Found, list_library
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.indexing.scan import Changes, FileToEncode, compare_library, nothing_changed
from mobileclip_kit.photo_facts import PhotoFacts
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.urls import check_url

_BATCHES_AHEAD = 3


def update_index(
    images: Path | str,
    encoder: Encoder,
    out: Path,
    options: IndexOptions = IndexOptions(),  # noqa: B008 (frozen)
    *,
    confirm: Callable[[str], bool] | None = None,
) -> IndexReport:
    """Build an index of a folder of images, or bring it up to date.

    Args:
        images: The folder, searched recursively; a str is an fsspec URL such as ``s3://bucket/photos``.
        encoder: Gives the vectors; its ``model_path`` is kept for later queries.
        out: The index; made when it does not exist.
        options: See :class:`~mobileclip_kit.indexing.options.IndexOptions`.
        confirm: Asked a question before more than a fifth of the index is forgotten; None for no.

    Raises:
        DataError: The folder cannot be listed, or too much of it has vanished.
        IndexFormatError: The index is damaged or being written by another process.
        ModelError: The encoder has no image tower or gives vectors that are not finite.
        ModelMismatchError: The index belongs to another model.
        OutputError: ``out`` is something else, or cannot be written.
        UsageError: The index holds another part of the folder.
    """
    check_update(images, encoder.spec, out, options)
    shard = None if options.shard is None else parse_shard(options.shard)
    recorded = images if isinstance(images, str) else str(images.resolve())
    header = IndexHeader(spec=encoder.spec, model=encoder.model_path, images=recorded, shard=shard)
    # Not resolved: names are relative to the folder as it was given, wherever it links to.
    images = images.absolute() if isinstance(images, Path) else images
    passed: list[Path] = []
    library = list(list_library(images, tars=options.tars, shard=shard, passed=passed))
    if isinstance(images, str) and not library and shard is None and (options.force or not is_index(out)):
        _refuse_empty(images, has_tars=not options.tars)
    with _writer(out, header, options) as writer:
        items: list[Item] = []
        changes = None if options.retry_failed or options.rehash else nothing_changed(library, writer.store.stamps())
        if changes is None:
            items = list(writer.store.items())
            changes = compare_library(library, items, retry_failed=options.retry_failed, rehash=options.rehash)
        if not options.prune and not options.force:
            changes.check_removals(len(items), images, confirm)
        old = IndexHeader.read(writer.path)
        if old != header:
            replace(header, derived=old.derived, device=old.device).write(writer.path)
        report = IndexReport(unchanged=changes.unchanged, passed=[path.relative_to(images) for path in passed])
        _tidy(writer, changes, report)
        if changes.files and options.ray is not None:
            parts = encode_on_cluster(changes.files, images, encoder, options.ray,
                                      batch_size=options.batch_size, draft=not options.exact_pixels)  # fmt: skip
            _Batches(writer, encoder, report, items, options).collect(parts, len(changes.files))
        elif changes.files:
            with encoder.in_parallel() as (many, threads):
                batches = _Batches(writer, many, report, items, replace(options, encoders=options.encoders or threads))
                batches.run(changes.files)
        _read_missing_facts(writer, library, options, report)
        report.compacted = tidy_matrix(writer, always=options.compact)
        ask = query_vectors_for(encoder, options.query_vectors)
        report.search = refresh_derived(writer, options.kind, ask, threads=options.workers)
        report.confidence_problem = refresh_background(writer, encoder, encoder.spec.model_hash)
        report.take_stock(writer)
    return report


def check_update(images: Path | str, spec: ModelSpec | None, out: Path, options: IndexOptions) -> None:
    """Refuse what :func:`update_index` cannot do, as far as that shows before the model is opened.

    Args:
        images: The folder; a str is a URL.
        spec: The model's; None where only the opened model has one.
        out: The index.
        options: As for :func:`update_index`.

    Raises:
        MckitError: See :func:`update_index`.
    """
    if spec is not None:
        spec.require_image()
    if isinstance(images, str):
        check_url(images)
    elif not images.is_dir():
        message, hint = nothing_at(images, "Pass a folder of images.")
        raise DataError(f"{images} is not a folder." if images.exists() else message, hint=hint)
    shard = None if options.shard is None else parse_shard(options.shard)
    if options.query_vectors is not None:
        load_matrix(options.query_vectors)
    if options.ray is not None:
        check_cluster(options.ray)
    check_index_place(out, force=options.force)
    if is_index(out) and not options.force:
        _check_same_library(IndexHeader.read(out), spec, shard, out)
    # An index whose images were all deleted may become empty; a new one without images is a mistake. A URL is listed
    # once, when the model is open: that may take minutes.
    elif isinstance(images, Path) and not _holds_images(images, tars=options.tars):
        _refuse_empty(images, has_tars=not options.tars and _holds_images(images, tars=True))


def _refuse_empty(images: Path | str, *, has_tars: bool) -> NoReturn:
    hint = "Add --tars to read its .tar files." if has_tars else None
    raise DataError(f"{images} holds no images.", hint=hint)


def _holds_images(folder: Path, *, tars: bool) -> bool:
    return next(list_library(folder.absolute(), tars=tars), None) is not None


@contextlib.contextmanager
def _writer(out: Path, header: IndexHeader, options: IndexOptions) -> Iterator[IndexWriter]:
    """The index's writer, or that of the one that shall take its place."""
    if options.force and is_index(out):
        with rebuilt_index(out, header, {"draft": not options.exact_pixels}) as place, open_writer(place) as writer:
            yield writer
        return
    if not is_index(out):
        create_index(out, header)
    with open_writer(out) as writer:
        remove_staged(out)  # of an interrupted rebuild
        yield writer


def _check_same_library(old: IndexHeader, spec: ModelSpec | None, shard: tuple[int, int] | None, out: Path) -> None:
    if spec is not None:
        spec.check_same_model(old.spec, f"The index {out}")
    if old.shard != shard:
        held = "all of its folder" if old.shard is None else f"the part {old.shard[0]}/{old.shard[1]} of its folder"
        raise UsageError(f"The index {out} holds {held}.", hint="Choose another -o, or the same --shard as before.")


def _tidy(writer: IndexWriter, changes: Changes, report: IndexReport) -> None:
    """Rename what moved and forget what is gone."""
    for item, file in changes.moved:
        writer.store.remove([item.name])
        writer.store.put(_item(file, item.sha256, row=item.row, facts=item.facts))
    writer.store.remove(item.name for item in changes.removed)
    report.moved, report.removed = len(changes.moved), len(changes.removed)
    writer.commit()


def _read_missing_facts(
    writer: IndexWriter, library: Iterable[Found], options: IndexOptions, report: IndexReport
) -> None:
    """Look into the headers of the images that an older mckit indexed."""
    missing = {item.name: item for item in writer.store.without_facts()}
    if not missing:
        return
    files = [found for found in library if found.name in missing and found.reason is None]
    with Progress("headers", total=len(files), unit="images") as progress:
        for found, facts in read_headers(files, workers=options.workers):
            if facts is not None:
                writer.store.put(replace(missing[found.name], facts=facts))
                report.headers += 1
            progress.advance()
    writer.commit()


class _Batches:
    """Collects decoded images, encodes them together and commits now and then."""

    def __init__(
        self, writer: IndexWriter, encoder: Encoder, report: IndexReport, items: Iterable[Item], options: IndexOptions
    ) -> None:
        self._writer, self._encoder, self._report, self._options = writer, encoder, report, options
        self._known = {item.sha256: item for item in items if item.row is not None and item.sha256 is not None}
        self._waiting: list[Decoded] = []
        self._encoders, self._is_loaded = options.encoders or 1, False
        self._pool = ThreadPoolExecutor(self._encoders, thread_name_prefix="encode") if self._encoders > 1 else None
        self._running: deque[tuple[list[Decoded], Future[Vectors]]] = deque()
        self._uncommitted, self._committed_at = 0, time.monotonic()

    def run(self, files: list[FileToEncode]) -> None:
        """Give every file a vector or a reason."""
        decoded = decode_ahead(
            files,
            self._encoder.spec.require_image(),
            is_known=self._known.__contains__,
            workers=self._options.workers,
            ahead=_BATCHES_AHEAD * self._options.batch_size,
            draft=not self._options.exact_pixels,
        )
        with self._counted(len(files)) as progress:
            for one in decoded:
                self._take(one)
                progress.advance()
            self._encode()
            while self._running:
                self._collect()
        self._record_device()

    def collect(self, parts: Generator[EncodedPart], total: int) -> None:
        """Take what other machines made of ``total`` files; see :mod:`mobileclip_kit.indexing.distributed`."""
        with self._counted(total) as progress, contextlib.closing(parts):
            for part in parts:
                self._take_part(part)
                progress.advance(len(part.images))
        self._record_device()

    @contextlib.contextmanager
    def _counted(self, total: int) -> Iterator[Progress]:
        """Progress over ``total`` files; whatever was finished before an error or Ctrl-C stays."""
        started = self._committed_at = time.monotonic()
        try:
            with Progress("index", total=total, unit="images") as progress:
                yield progress
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
            self._writer.commit()
            self._report.seconds = time.monotonic() - started

    def _take_part(self, part: EncodedPart) -> None:
        fresh, rows, row = [], [], 0
        for one in part.images:
            if one.reason is not None:
                self._put(_item(one.file, one.sha256, reason=one.reason))
                continue
            if one.sha256 in self._known:
                self._reuse(one)
            else:
                fresh.append(one)
                rows.append(row)
            row += 1
        if fresh:
            self._store(fresh, part.vectors[rows])
        self._commit_when_due()

    def _record_device(self) -> None:
        """In the report and in the index's header."""
        if self._report.decoded:
            self._report.device = self._encoder.device
            path = self._writer.path
            replace(IndexHeader.read(path), device=self._report.device).write(path)

    def _take(self, one: Decoded) -> None:
        if one.reason is not None:
            self._put(_item(one.file, one.sha256, reason=one.reason))
        elif one.pixels is None:
            self._reuse(one)
        else:
            self._waiting.append(one)
            if len(self._waiting) >= self._options.batch_size:
                self._encode()
        self._commit_when_due()

    def _commit_when_due(self) -> None:
        now = time.monotonic()
        late = now - self._committed_at >= self._options.commit_seconds
        if late or self._uncommitted >= self._options.commit_items:
            self._writer.commit()
            self._uncommitted, self._committed_at = 0, now

    def _reuse(self, one: Decoded) -> None:
        """The same content has a vector already: the file was only touched, or it is a duplicate."""
        assert one.sha256 is not None
        known = one.file.known
        if known is not None and known.row is not None and known.sha256 == one.sha256:
            self._report.unchanged += 1
            self._put(_item(one.file, one.sha256, row=known.row, facts=known.facts))
            return
        twin = self._known[one.sha256]
        assert twin.row is not None
        vector = self._writer.matrix.read(twin.row)
        self._count(one.file)
        self._put(_item(one.file, one.sha256, row=self._writer.matrix.append(vector[None]), facts=twin.facts))

    def _encode(self) -> None:
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        pixels = np.stack([one.pixels for one in batch if one.pixels is not None])
        if self._pool is None:
            self._store(batch, self._encoder.encode_images(pixels))
            return
        if not self._is_loaded:
            # Encoders load their towers when they are first asked: by one image alone, not by several threads.
            self._encoder.encode_images(pixels[:1])
            self._is_loaded = True
        self._running.append((batch, self._pool.submit(self._encoder.encode_images, pixels)))
        # One more waits, so that no encoder does.
        if len(self._running) > self._encoders + 1:
            self._collect()

    def _collect(self) -> None:
        batch, vectors = self._running.popleft()
        self._store(batch, vectors.result())

    def _store(self, batch: list[Decoded], vectors: Vectors) -> None:
        self._check(vectors, batch)
        bad = set(bad_rows(vectors).tolist())
        good = [number for number in range(len(batch)) if number not in bad]
        first = self._writer.matrix.append(vectors[good])
        for number, one in enumerate(batch):
            self._report.decoded += 1
            if number in bad:
                reason = "The model's vector of it is not finite or not of length 1."
                self._put(_item(one.file, one.sha256, reason=reason))
                continue
            row, first = first, first + 1
            self._count(one.file)
            item = _item(one.file, one.sha256, row=row, facts=one.facts)
            self._put(item)
            if one.sha256 is not None:
                self._known[one.sha256] = item

    def _check(self, vectors: Vectors, batch: list[Decoded]) -> None:
        expected = (len(batch), self._encoder.spec.embedding_dim)
        if vectors.shape != expected:
            raise ShapeError(f"The model gave vectors of shape {vectors.shape} instead of {expected}.")
        if len(batch) > 1 and bad_rows(vectors).size == len(batch):
            raise ModelError(
                f"The model's vectors are not finite or not of length 1, from {batch[0].file.found.name!r} on.",
                hint="Check it with `mckit verify`.",
            )

    def _count(self, file: FileToEncode) -> None:
        if file.known is None:
            self._report.added += 1
        else:
            self._report.updated += 1

    def _put(self, item: Item) -> None:
        self._writer.store.put(item)
        self._uncommitted += 1


def _item(
    file: FileToEncode,
    sha256: str | None,
    *,
    row: int | None = None,
    reason: str | None = None,
    facts: PhotoFacts | None = None,
) -> Item:
    return Item(
        name=file.found.name,
        size_bytes=file.found.size_bytes,
        mtime_ns=file.found.mtime_ns,
        sha256=sha256,
        row=row,
        reason=reason,
        facts=facts,
    )
