"""The operations behind the page's API: describing the library, searching, thumbnails.

Nothing here depends on HTTP. Three job queues keep the event loop free: one thread for the model, one for the index,
and a few for thumbnails.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.confidence.background import Background, open_background
from mobileclip_kit.confidence.scorer import default_line
from mobileclip_kit.errors import DataError, MckitError, UsageError
from mobileclip_kit.files import one_line
from mobileclip_kit.index.store import Item
from mobileclip_kit.photo_facts import PhotoFacts
from mobileclip_kit.search.models import find_textness
from mobileclip_kit.textness.vector import Textness
from mobileclip_kit.web.documents import (
    Availability,
    ConfidenceAvailability,
    FolderEntry,
    FoundImage,
    ImageFacts,
    LibraryDescription,
    ModelState,
    SearchLatency,
    SearchResults,
    TagEntry,
    TextnessAvailability,
)
from mobileclip_kit.web.library import Library, id_of, row_of
from mobileclip_kit.web.query_encoder import LeastRecentlyUsed, OpenEncoder, QueryEncoder, query_vector
from mobileclip_kit.web.ranking import MAX_PAGE, MAX_RANKED, TEXTNESS_LIMIT, Ranking, SearchRequest, rank
from mobileclip_kit.web.thumbnails import Thumbnails, make_jpeg, make_thumbnail, thumbnail_key

_MAX_THUMBNAIL_THREADS = 4
_VIEW_PIXELS = 3000

P = ParamSpec("P")
T = TypeVar("T")
IsDisconnected = Callable[[], Awaitable[bool]]


class ClientDisconnected(Exception):  # noqa: N818 (not an error: no one needs the response)
    """The client disconnected before its job started."""


class JobQueue:
    """A few threads and the jobs that wait for them.

    Typing sends requests faster than a slow model handles them, and the browser drops those it no longer needs: a job
    whose client has disconnected is not started.

    Args:
        name: Of the threads.
        threads: Number of jobs that run at once.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._slots = asyncio.Semaphore(threads)

    async def run(
        self, is_disconnected: IsDisconnected | None, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``job`` when a thread is free and return its result.

        Raises:
            ClientDisconnected: The client disconnected before the job started.
        """
        async with self._slots:
            if is_disconnected is not None and await is_disconnected():
                raise ClientDisconnected
            return await asyncio.get_running_loop().run_in_executor(self._pool, partial(job, *args, **kwargs))

    def close(self) -> None:
        """Drop jobs that have not started and wait for those that have."""
        self._pool.shutdown(cancel_futures=True)


class Service:
    """The operations on one index.

    Args:
        library: The index.
        open_encoder: Opens the model of an index.
        thumbnails: The thumbnail cache.
        textness: File of the textness vector; None for the one beside the index or its model.
        templates: See :func:`mobileclip_kit.search.queries.encode_queries`.

    Attributes:
        library: The index.
        thumbnails: The thumbnail cache, shared by all indexes.
        query_encoder: The model.
        textness_problem: Why there is no textness vector, or None.
    """

    def __init__(
        self,
        library: Library,
        open_encoder: OpenEncoder,
        thumbnails: Thumbnails,
        *,
        textness: Path | None = None,
        templates: Sequence[str] = (),
    ) -> None:
        self.library, self.thumbnails = library, thumbnails
        self.query_encoder = QueryEncoder(open_encoder, templates)
        self._textness_path = textness
        self._textness: Textness | None = None
        self.textness_problem: MckitError | None = None
        self._model_hash: str | None = None
        self._vectors: LeastRecentlyUsed[tuple[object, ...], tuple[Vectors, Vectors | None]] = LeastRecentlyUsed(256)
        self._rankings: LeastRecentlyUsed[tuple[object, ...], Ranking] = LeastRecentlyUsed(24)
        self._model_jobs = JobQueue("model")
        self._index_jobs = JobQueue("index")
        self._thumbnail_jobs = JobQueue("thumbnails", min(_MAX_THUMBNAIL_THREADS, os.cpu_count() or 1))
        self._opening: asyncio.Task[None] | None = None
        self._background: tuple[Background | None, str | None] = open_background(library.index)
        self._on_new_model()

    async def describe(self) -> LibraryDescription:
        """The document of ``GET /api/library``: the library, what can be searched for, and why not."""
        await self._index_jobs.run(None, self._refresh)
        library, encoder = self.library, self.query_encoder
        index, summary = library.index, library.summary
        if not encoder.is_opened_for(index) and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self._model_jobs.run(None, encoder.open, index))
        return LibraryDescription(
            name=one_line(index.path.resolve().name),
            generation=library.generation,
            images=summary.images,
            failures=summary.failures,
            model=ModelState(
                name=one_line(index.spec.name),
                opening=not encoder.is_opened_for(index),
                device=None if encoder.encoder is None else encoder.encoder.device,
            ),
            word_search=Availability(unavailable=_printable(encoder.why_not("text"))),
            image_search=Availability(unavailable=_printable(encoder.why_not("image"))),
            textness=TextnessAvailability(unavailable=_printable(self.textness_problem), limit=TEXTNESS_LIMIT),
            confidence=ConfidenceAvailability(unavailable=_printable(self._background[1]), line=default_line()),
            files=Availability(unavailable=_printable(_why_no_files(library))),
            folders=tuple(FolderEntry(path=one_line(each.path), images=each.images) for each in summary.folders),
            folders_omitted=summary.folders_omitted,
            days=None if summary.days is None else tuple(day.isoformat() for day in summary.days),
            months=summary.months,
            copies=None if library.copies is None else _folded(library.copies),
            tags=tuple(TagEntry(label=label, images=count) for label, count in library.tag_counts()),
            notices=tuple(filter(None, (library.problem, library.damage, self.thumbnails.problem))),
        )

    async def search(self, request: SearchRequest, is_disconnected: IsDisconnected) -> SearchResults:
        """The hits of a search, and how long it took.

        Raises:
            ClientDisconnected: The client no longer needs the response.
            MckitError: The search is impossible.
        """
        await self._index_jobs.run(is_disconnected, self._refresh)
        if request.words:
            # Opening the model does not count towards the query's latency.
            await self._model_jobs.run(is_disconnected, self.query_encoder.open, self.library.index)
        started = time.perf_counter()
        vector, judged = await self._query_vector(request, is_disconnected)
        encoded = time.perf_counter()
        found = await self._index_jobs.run(is_disconnected, self._hits, request, vector, judged)
        latency = {"encoding": encoded - started, "searching": time.perf_counter() - encoded}
        rounded = {name: round(1000 * seconds, 2) for name, seconds in latency.items()}
        return replace(found, latency_ms=SearchLatency(**rounded))

    async def encode_image(self, data: bytes, is_disconnected: IsDisconnected) -> str:
        """Encode an uploaded image and return its token; see :meth:`QueryEncoder.encode_image`."""
        await self._model_jobs.run(is_disconnected, self.query_encoder.open, self.library.index)
        return await self._model_jobs.run(is_disconnected, self.query_encoder.encode_image, data)

    async def thumbnail(self, path: Path, status: os.stat_result, is_disconnected: IsDisconnected) -> bytes:
        """An image's thumbnail as WebP.

        Raises:
            ImageError: The image cannot be decoded.
        """
        return await self._thumbnail_jobs.run(is_disconnected, self._thumbnail, path, status)

    async def as_jpeg(self, path: Path, is_disconnected: IsDisconnected) -> bytes:
        """An image as JPEG, which every browser shows.

        Raises:
            ImageError: The image cannot be decoded.
        """
        return await self._thumbnail_jobs.run(is_disconnected, make_jpeg, path, _VIEW_PIXELS)

    @staticmethod
    def tag(path: Path, status: os.stat_result) -> str:
        """The ETag of a file in its present state."""
        return f'"{thumbnail_key(path, status).hex()}"'

    def describe_image(self, item: Item) -> ImageFacts:
        """The document of ``GET /api/images/ID``."""
        assert item.row is not None
        folder, _, name = item.name.rpartition("/")
        # In UTC: local times of the 19th century differ from it by seconds, which ISO 8601 cannot say.
        seconds = None if item.mtime_ns is None else timedelta(seconds=item.mtime_ns // 1_000_000_000)
        modified = None if seconds is None else datetime(1970, 1, 1, tzinfo=UTC) + seconds
        return ImageFacts(
            id=id_of(item.row, item.name),
            name=one_line(name),
            folder=one_line(folder),
            size_bytes=item.size_bytes,
            modified=None if modified is None else modified.isoformat(timespec="seconds"),
            **_facts(item.facts or PhotoFacts()),
            tags=self.library.tags_of(item),
        )

    def close(self) -> None:
        """Wait for running jobs, then close everything."""
        for queue in (self._model_jobs, self._index_jobs, self._thumbnail_jobs):
            queue.close()
        self.library.close()
        self.thumbnails.close()

    def _refresh(self) -> None:
        before = self.library.generation
        self.library.refresh()
        if self.library.generation != before:
            self._background = open_background(self.library.index)
            self._on_new_model()

    def _on_new_model(self) -> None:
        """If the index belongs to another model than before, discard cached vectors and find its textness vector."""
        if self._model_hash == self.library.index.spec.model_hash:
            return
        self._model_hash = self.library.index.spec.model_hash
        self._vectors.clear()
        self._textness, self.textness_problem = None, None
        try:
            self._textness = find_textness(self.library.index, self._textness_path)
        except UsageError:
            self.textness_problem = UsageError(
                "There is no textness vector beside this index or its model.",
                hint="Make one with `mckit textness fit` and start mckit serve with --textness-vector FILE.",
            )
        except MckitError as error:
            self.textness_problem = error

    async def _query_vector(
        self, request: SearchRequest, is_disconnected: IsDisconnected
    ) -> tuple[Vectors | None, Vectors | None]:
        """The query vector and the one that confidences are computed from, ``(d,)``; None where there is none."""
        key = (self._model_hash, self.library.generation, request.words, request.like, request.images)
        known = self._vectors.get(key)
        if known is None:
            images = await self._index_jobs.run(is_disconnected, self._image_vectors, request)
            if request.words:
                encode = self.query_encoder.encode_words
                known = await self._model_jobs.run(is_disconnected, encode, request.words, images)
            else:
                known = query_vector(images), None
            self._vectors.put(key, known)
        vector, judged = known
        if request.textness:
            if self._textness is None:
                raise self.textness_problem or UsageError("There is no textness vector.")
            vector = self._textness.apply(vector[None], request.textness)[0]
        return vector if vector.any() else None, judged

    def _image_vectors(self, request: SearchRequest) -> Vectors:
        """The vectors of the query's images, ``(m, d)``."""
        index = self.library.index
        vectors = list(index.vectors([self._row(image_id) for image_id in dict.fromkeys(request.like)]))
        for token in dict.fromkeys(request.images):
            vector = self.query_encoder.vector_of(token)
            if vector is None:
                raise DataError("The uploaded image is no longer kept.", hint="Upload it again.")
            vectors.append(vector)
        return np.array(vectors, np.float32).reshape(len(vectors), index.spec.embedding_dim)

    def _row(self, image_id: str) -> int:
        item = self.library.find(image_id)
        if item is None or item.row is None or item.row >= len(self.library.index.matrix):
            raise DataError("The image to search by is no longer in the index.", hint="Choose another one.")
        return item.row

    def _hits(self, request: SearchRequest, vector: Vectors | None, judged: Vectors | None) -> SearchResults:
        start, end = request.start, request.start + min(request.count, MAX_PAGE)
        generation = self.library.generation
        copies, contents = self.library.copies, self.library.contents
        key = (generation, copies is None, replace(request, start=0, count=0))
        ranking = self._rankings.get(key)
        if ranking is None or (not ranking.complete and end > len(ranking.rows)):
            own_rows = [row for image_id in request.like if (row := row_of(image_id)) is not None]
            ranking = rank(self.library, request, vector).without(own_rows)
            if request.copies_of:
                alone = np.full(len(self.library.index.matrix), -1, np.int64)
                ranking = ranking.only_copies(alone if copies is None else copies, self._row(request.copies_of))
            elif request.fold and copies is not None and contents is not None:
                ranking = ranking.fold(copies, contents)
            background = self._background[0]
            if judged is not None and background is not None:
                ranking = ranking.with_confidences(self.library.index, background, judged)
            self._rankings.put(key, ranking)
        rows = ranking.rows[start:end].tolist()
        scores = [None] * len(rows) if ranking.scores is None else ranking.scores[start:end].tolist()
        names = self.library.names_of(rows)
        known = [] if ranking.confidences is None else ranking.confidences[start:end].tolist()
        sure = [*known, *[None] * (len(rows) - len(known))]
        behind = [0] * len(rows) if ranking.folded is None else ranking.folded[start:end].tolist()
        equal = [0] * len(rows) if ranking.same is None else ranking.same[start:end].tolist()
        return SearchResults(
            generation=generation,
            start=start,
            candidates=ranking.candidates,
            total=min(ranking.candidates, MAX_RANKED),
            ranked=vector is not None,
            certain=ranking.certain,
            likely=ranking.likely,
            # An image that has just been removed keeps its place, without a name, until the index is reopened.
            hits=tuple(
                FoundImage(
                    id=id_of(row, names[row]) if row in names else "",
                    name=one_line(names.get(row, "")),
                    score=None if score is None else round(score, 4),
                    confidence=None if confidence is None else round(confidence, 3),
                    copies=count,
                    same_files=same,
                )
                for row, score, confidence, count, same in zip(rows, scores, sure, behind, equal, strict=True)
            ),
        )

    def _thumbnail(self, path: Path, status: os.stat_result) -> bytes:
        key = thumbnail_key(path, status)
        data = self.thumbnails.get(key)
        if data is None:
            data = make_thumbnail(path)
            self.thumbnails.put(key, data)
        return data


def _folded(copies: NDArray[np.int64]) -> int:
    """How many images a page that folds copies does not list."""
    grouped = copies[copies >= 0]
    return len(grouped) - len(np.unique(grouped))


def _facts(facts: PhotoFacts) -> dict[str, Any]:
    """What the header of an image says; the time with its zone if that is known."""
    taken = facts.taken
    if taken is not None and facts.zone_minutes is not None:
        taken = taken.replace(tzinfo=timezone(timedelta(minutes=facts.zone_minutes)))
    return {
        "taken": None if taken is None else taken.isoformat(timespec="seconds"),
        "width": facts.width,
        "height": facts.height,
        "place": None if facts.latitude is None else (facts.latitude, facts.longitude),
        "camera": None if facts.camera is None else one_line(facts.camera),
    }


def _printable(reason: MckitError | str | None) -> str | None:
    return None if reason is None else one_line(reason.words if isinstance(reason, MckitError) else reason)


def _why_no_files(library: Library) -> str | None:
    hint = "start mckit serve with --images FOLDER to see its images."
    folder = library.images_folder
    if folder is None:
        return f"{library.without_folder()}: {hint}"
    return None if folder.is_dir() else f"The folder {folder} does not exist: {hint}"
