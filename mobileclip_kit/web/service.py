"""What the page can ask for, as functions of an index: the state of the library, hits, an item, a thumbnail.

Nothing here speaks HTTP. Three workers keep the event loop free: one thread that has the model, one that sorts the
index, and a few that make thumbnails.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, MckitError, UsageError
from mobileclip_kit.index.store import Item
from mobileclip_kit.search import find_textness
from mobileclip_kit.textness.vector import Textness
from mobileclip_kit.web.answers import MAX_RANKED, OpenEncoder, Ranking, Remembered, Voice, aim, rank, without
from mobileclip_kit.web.description import describe
from mobileclip_kit.web.library import Library
from mobileclip_kit.web.names import image_id, row_of, shown
from mobileclip_kit.web.question import Question
from mobileclip_kit.web.thumbnails import Thumbnails, make_jpeg, make_thumbnail, thumbnail_key
from mobileclip_kit.web.worker import Gone, Worker

_MOST_THUMBNAIL_THREADS = 4
_VIEW_PIXELS = 3000


class Service:
    """One index, answered for.

    Args:
        library: The index.
        open_encoder: Opens the model of an index.
        thumbnails: Where thumbnails are kept.
        textness: The textness vector's file; None for the one beside the index or its model.
        templates: See :func:`mobileclip_kit.search.encode_queries`.

    Attributes:
        library: The index.
        thumbnails: Of all indexes.
        voice: The model.
        textness_trouble: Why there is no textness vector, or None.
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
        self.voice = Voice(open_encoder, templates)
        self._textness_path = textness
        self._textness: Textness | None = None
        self.textness_trouble: MckitError | None = None
        self._model_hash: str | None = None
        self._vectors: Remembered[tuple[object, ...], Vectors] = Remembered(256)
        self._rankings: Remembered[tuple[object, ...], Ranking] = Remembered(24)
        self._model_thread = Worker("model")
        self._index_thread = Worker("index")
        self._image_threads = Worker("thumbnails", min(_MOST_THUMBNAIL_THREADS, os.cpu_count() or 1))
        self._opening: asyncio.Task[None] | None = None
        self._meet_model()

    async def open_model(self) -> None:
        """Open the model of the index, in its own thread."""
        await self._model_thread.run(None, self.voice.open, self.library.index)

    async def describe(self) -> dict[str, Any]:
        """The library and what can be asked of it."""
        await self._index_thread.run(None, self._refresh)
        index = self.library.index
        if not self.voice.belongs_to(index) and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self.open_model())
        notices = [notice for notice in (self.library.trouble, self.thumbnails.trouble) if notice]
        return describe(self.library, self.voice, self.textness_trouble, notices)

    async def search(self, question: Question, start: int, count: int, gone: Gone) -> dict[str, Any]:
        """Hits ``start`` to ``start + count`` of a question's answer, and how long it took.

        Raises:
            Abandoned: Nobody waits for the answer any more.
            MckitError: The question cannot be answered.
        """
        await self._index_thread.run(gone, self._refresh)
        if question.words:
            # Opening a model is not part of a query's latency.
            await self._model_thread.run(gone, self.voice.open, self.library.index)
        began = time.perf_counter()
        vector = await self._aim(question, gone)
        encoded = time.perf_counter()
        answer = await self._index_thread.run(gone, self._hits, question, vector, start, count)
        done = time.perf_counter()
        answer["latency_ms"] = {
            "encoding": round(1000 * (encoded - began), 2),
            "searching": round(1000 * (done - encoded), 2),
        }
        return answer

    async def take_image(self, data: bytes, gone: Gone) -> str:
        """Encode an image that was handed in; what to call it in a question.

        Raises:
            ImageError: It cannot be decoded.
            ModelError: The model cannot be opened or has no image tower.
        """
        await self._model_thread.run(gone, self.voice.open, self.library.index)
        return await self._model_thread.run(gone, self.voice.look, data)

    async def thumbnail(self, path: Path, status: os.stat_result, gone: Gone) -> tuple[bytes, str]:
        """An image's thumbnail as WebP, and the tag that changes when it does.

        Raises:
            ImageError: It cannot be decoded.
        """
        return await self._image_threads.run(gone, self._thumbnail, path, status), self.tag(path, status)

    async def as_jpeg(self, path: Path, gone: Gone) -> bytes:
        """An image in a format that every browser shows.

        Raises:
            ImageError: It cannot be decoded.
        """
        return await self._image_threads.run(gone, make_jpeg, path, _VIEW_PIXELS)

    @staticmethod
    def tag(path: Path, status: os.stat_result) -> str:
        """The ETag of a file in its present state."""
        return f'"{thumbnail_key(path, status).hex()}"'

    def item(self, item: Item) -> dict[str, Any]:
        """What is said about one image."""
        assert item.row is not None
        folder, _, name = item.name.rpartition("/")
        changed = None if item.mtime_ns is None else datetime.fromtimestamp(item.mtime_ns / 1e9).astimezone()
        return {
            "id": image_id(item.row, item.name),
            "name": shown(name),
            "folder": shown(folder),
            "size_bytes": item.size_bytes,
            "changed": None if changed is None else changed.isoformat(timespec="seconds"),
        }

    def close(self) -> None:
        """Wait for what is being done, then close everything."""
        for worker in (self._model_thread, self._index_thread, self._image_threads):
            worker.close()
        self.library.close()
        self.thumbnails.close()

    def _refresh(self) -> None:
        """On the index thread: the newest state, and what depends on it."""
        before = self.library.generation
        self.library.refresh()
        if self.library.generation != before:
            self._meet_model()

    def _meet_model(self) -> None:
        """Forget what belongs to another model, and look for this one's textness vector."""
        if self._model_hash == self.library.index.spec.model_hash:
            return
        self._model_hash = self.library.index.spec.model_hash
        self._vectors.clear()
        self._textness, self.textness_trouble = None, None
        try:
            self._textness = find_textness(self.library.index, self._textness_path)
        except UsageError:
            self.textness_trouble = UsageError(
                "There is no textness vector beside this index or its model.",
                hint="Make one with `mckit textness fit` and start mckit serve with --textness-vector FILE.",
            )
        except MckitError as error:
            self.textness_trouble = error

    async def _aim(self, question: Question, gone: Gone) -> Vectors | None:
        """Where the question points, ``(d,)``; None when nothing is looked for."""
        index = self.library.index
        key = (index.spec.model_hash, self.library.generation, question.words, question.like, question.images)
        vector = self._vectors.get(key)
        if vector is None:
            beside = await self._index_thread.run(gone, self._beside, question)
            if question.words:
                vector = await self._model_thread.run(gone, self.voice.speak, question.words, beside)
            else:
                vector = aim(beside, index.spec.embedding_dim)
            self._vectors.put(key, vector)
        if question.textness:
            if self._textness is None:
                raise self.textness_trouble or UsageError("There is no textness vector.")
            vector = self._textness.apply(vector[None], question.textness)[0]
        return vector if vector.any() else None

    def _beside(self, question: Question) -> Vectors:
        """The vectors of the images in a question, ``(m, d)``."""
        index = self.library.index
        vectors = list(index.vectors([self._row(address) for address in question.like]))
        for token in question.images:
            seen = self.voice.seen(token)
            if seen is None:
                raise DataError("The image that was handed in is no longer remembered.", hint="Hand it in again.")
            vectors.append(seen)
        return np.array(vectors, np.float32).reshape(len(vectors), index.spec.embedding_dim)

    def _row(self, address: str) -> int:
        item = self.library.find(address)
        if item is None or item.row is None or item.row >= len(self.library.index.matrix):
            raise DataError(
                "The image that others shall be like is not in the index any more.", hint="Choose another one."
            )
        return item.row

    def _hits(self, question: Question, vector: Vectors | None, start: int, count: int) -> dict[str, Any]:
        generation = self.library.generation
        key = (generation, question)
        ranking = self._rankings.get(key)
        if ranking is None or (not ranking.complete and start + count > len(ranking.rows)):
            ranking = rank(self.library, question, vector, start + count)
            ranking = without(ranking, [row for address in question.like if (row := row_of(address)) is not None])
            self._rankings.put(key, ranking)
        rows = ranking.rows[start : start + count].tolist()
        scores = [None] * len(rows) if ranking.scores is None else ranking.scores[start : start + count].tolist()
        names = self.library.names_of(rows)
        return {
            "generation": generation,
            "start": start,
            "among": ranking.among,
            "total": min(ranking.among, MAX_RANKED),
            "ranked": vector is not None,
            # An image that was removed a moment ago keeps its place, without a name, until the index is opened again.
            "hits": [
                {
                    "id": image_id(row, names[row]) if row in names else "",
                    "name": shown(names.get(row, "")),
                    "score": None if score is None else round(score, 4),
                }
                for row, score in zip(rows, scores, strict=True)
            ],
        }

    def _thumbnail(self, path: Path, status: os.stat_result) -> bytes:
        key = thumbnail_key(path, status)
        data = self.thumbnails.get(key)
        if data is None:
            data = make_thumbnail(path)
            self.thumbnails.put(key, data)
        return data
