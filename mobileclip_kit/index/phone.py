"""Reading the phone's index file: what it holds, and searching it bit for bit as the phone does."""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import IndexFormatError, ModelMismatchError, ShapeError
from mobileclip_kit.index.phone_format import (
    BATCH_MAGIC,
    BLOCK_BYTES,
    STORED_TYPES,
    PhoneBatch,
    PhoneHeader,
    batch_at,
    round_up,
)

_LANES = 16


class PhoneIndex:
    """A phone index as its readers see it: the state of the moment it was opened.

    Attributes:
        path: The file.
        header: Dimensions, kind of numbers, model.
        rows: All rows, removed ones included.
        living: ``(rows,)`` bool: those that are not removed.
        end: Bytes of the file that count.
    """

    def __init__(self, path: Path, *, model_hash: str | None = None) -> None:
        """Open a file; a batch that was cut off at its end is ignored.

        Args:
            path: The file.
            model_hash: Of the model that the vectors must come from; None for any.

        Raises:
            IndexFormatError: It is missing, no index, of another version, or damaged.
            ModelMismatchError: It belongs to another model.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                self.header = PhoneHeader.from_bytes(stream.read(BLOCK_BYTES), path)
                self._data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise IndexFormatError(f"{path} cannot be read: {error.strerror}.") from error
        if model_hash is not None and model_hash != self.header.model_hash:
            raise ModelMismatchError(
                f"{path} belongs to the model {self.header.model_hash[:12]}, not to {model_hash[:12]}.",
                hint="Make the index again with this model.",
            )
        self._batches = self._walk()
        self.end = self._batches[-1].body.stop if self._batches else BLOCK_BYTES
        self._refuse_damage()
        self.rows = sum(batch.added for batch in self._batches)
        self.living = np.ones(self.rows, bool)
        for batch in self._batches:
            self.living[self._removed(batch)] = False

    def __len__(self) -> int:
        """Living rows."""
        return int(np.count_nonzero(self.living))

    def keys(self) -> dict[str, int]:
        """Key → row of every living item, in the order of their rows.

        Raises:
            IndexFormatError: A batch is damaged.
        """
        found = {}
        for batch in self._batches:
            _, _, _, ends, text = self._parts(batch)
            starts = [0, *ends.tolist()][:-1]
            for place, (start, end) in enumerate(zip(starts, ends.tolist(), strict=True)):
                if self.living[batch.first_row + place]:
                    found[self._key(bytes(text[start:end]), batch)] = batch.first_row + place
        return found

    def _key(self, key: bytes, batch: PhoneBatch) -> str:
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(batch.start) from error

    def stamps(self) -> NDArray[np.int64]:
        """The stamp of every row, ``(rows,)``."""
        parts = [np.zeros(0, np.int64), *(self._parts(batch)[1] for batch in self._batches)]
        stamps: NDArray[np.int64] = np.concatenate(parts).astype(np.int64)
        return stamps

    def vectors(self) -> Vectors:
        """Every row as float32, ``(rows, d)``, removed ones included."""
        parts = [np.zeros((0, self.header.dim), np.float32)]
        for batch in self._batches:
            stored, _, scales, _, _ = self._parts(batch)
            values = stored.astype(np.float32)
            parts.append(values if scales is None else values * scales[:, None])
        return np.concatenate(parts)

    def search(self, query: Vectors, k: int) -> list[tuple[int, float]]:
        """The living rows with the greatest inner products, best first: ``(row, score)``.

        Raises:
            ShapeError: The query is not ``(d,)``.
        """
        if query.shape != (self.header.dim,):
            raise ShapeError(f"{self.path} holds vectors of {self.header.dim} numbers; the query is {query.shape}.")
        query = query.astype(np.float32)
        scores = np.full(self.rows, -np.inf, np.float32)
        for batch in self._batches:
            stored, _, scales, _, _ = self._parts(batch)
            span = slice(batch.first_row, batch.first_row + batch.added)
            scores[span] = _half_scores(stored, query) if scales is None else _byte_scores(stored, scales, query)
        rows = np.flatnonzero(self.living)
        order = np.lexsort((rows, -scores[rows]))[:k]
        return [(int(row), float(scores[row])) for row in rows[order]]

    def verify(self) -> None:
        """Read every byte and compare the checksums.

        Raises:
            IndexFormatError: A batch is damaged, or the last one was cut off.
        """
        if self.end < len(self._data):
            raise self._damaged(self.end)
        for batch in self._batches:
            if zlib.crc32(self._data[batch.body]) != batch.checksum:
                raise self._damaged(batch.start)

    def _walk(self) -> list[PhoneBatch]:
        batches: list[PhoneBatch] = []
        start, rows = BLOCK_BYTES, 0
        while (batch := self._batch_at(start)) is not None and batch.first_row == rows:
            if batch.body.stop > len(self._data):
                break
            batches.append(batch)
            start, rows = batch.body.stop, rows + batch.added
        if batches and zlib.crc32(self._data[batches[-1].body]) != batches[-1].checksum:
            batches.pop()
        return batches

    def _batch_at(self, start: int) -> PhoneBatch | None:
        return batch_at(bytes(self._data[start : start + BLOCK_BYTES]), start, self.header)

    def _refuse_damage(self) -> None:
        for start in range(self.end + BLOCK_BYTES, len(self._data) - BLOCK_BYTES + 1, BLOCK_BYTES):
            if self._data[start : start + 8] == BATCH_MAGIC and self._batch_at(start) is not None:
                raise self._damaged(self.end)

    def _damaged(self, start: int) -> IndexFormatError:
        return IndexFormatError(
            f"{self.path} is damaged: the batch at byte {start} is not what was written.", hint="Make the index again."
        )

    def _parts(
        self, batch: PhoneBatch
    ) -> tuple[NDArray[np.generic], NDArray[np.int64], Vectors | None, NDArray[np.uint32], memoryview]:
        """Stored vectors, stamps, scales, the keys' ends, and the keys."""
        n, dim, stored = batch.added, self.header.dim, STORED_TYPES[self.header.numbers]
        at = batch.body.start
        vectors = np.frombuffer(self._data, stored, n * dim, at).reshape(n, dim)
        at += round_up(vectors.nbytes, 8)
        stamps = np.frombuffer(self._data, "<i8", n, at)
        at += stamps.nbytes
        scales = np.frombuffer(self._data, "<f4", n, at) if self.header.numbers == "int8" else None
        at += (0 if scales is None else scales.nbytes) + 4 * batch.removed
        ends = np.frombuffer(self._data, "<u4", n, at)
        return vectors, stamps, scales, ends, self._data[at + ends.nbytes : batch.body.stop]

    def _removed(self, batch: PhoneBatch) -> NDArray[np.uint32]:
        at = batch.body.start + round_up(batch.added * self.header.dim * STORED_TYPES[self.header.numbers].itemsize, 8)
        at += batch.added * (12 if self.header.numbers == "int8" else 8)
        removed = np.frombuffer(self._data, "<u4", batch.removed, at)
        if removed.size and int(removed.max()) >= batch.first_row:
            raise self._damaged(batch.start)
        return removed


def _byte_scores(stored: NDArray[np.generic], scales: Vectors, query: Vectors) -> Vectors:
    levels = min(32767, (2**31 - 1) // (127 * query.size))
    step = np.abs(query).max() / np.float32(levels)
    if step == 0:
        return np.zeros(len(stored), np.float32)
    whole = np.clip(np.rint(query / step), -levels, levels).astype(np.int64)
    # Products of int8 and 15-bit integers add up exactly in float64, and float64 has a fast matrix product.
    sums = stored.astype(np.float64) @ whole.astype(np.float64)
    scores: Vectors = (sums * scales.astype(np.float64) * np.float64(step)).astype(np.float32)
    return scores


def _half_scores(stored: NDArray[np.generic], query: Vectors) -> Vectors:
    n, dim = stored.shape
    width = round_up(dim, _LANES)
    padded, lanes = np.zeros((n, width), np.float32), np.zeros((n, _LANES), np.float32)
    padded[:, :dim] = stored.astype(np.float32)
    wide_query = np.zeros(width, np.float32)
    wide_query[:dim] = query
    for start in range(0, width, _LANES):
        lanes += padded[:, start : start + _LANES] * wide_query[start : start + _LANES]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]
