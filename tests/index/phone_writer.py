"""A writer that appends to phone indexes as the Swift package does: the reference for both languages' readers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import IndexFormatError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import BLOCK_BYTES, MAX_BATCH_ROWS, PhoneHeader, joined_body, sealed_batch
from mobileclip_kit.index.phone_writer import batch_body, check_items, write_bodies


class PhoneWriter:
    """Appends to a phone index; a context manager that holds the writer's lock.

    Args:
        path: The file, see :func:`create_phone_index`.
        model_hash: Of the model that the vectors come from.

    Raises:
        IndexFormatError: See :class:`PhoneIndex`; or another process is writing.
        ModelMismatchError: The file belongs to another model.
    """

    def __init__(self, path: Path, *, model_hash: str) -> None:
        import fcntl  # not on Windows, where nothing else of this module needs it

        index = PhoneIndex(path, model_hash=model_hash)
        self.path, self.header = path, index.header
        self._stream = path.open("r+b", buffering=0)
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another writer may have been at work until the lock was ours.
            index = PhoneIndex(path, model_hash=model_hash)
        except BlockingIOError as error:
            self._stream.close()
            raise IndexFormatError(f"{path} is being written by another process.", hint="Wait for it.") from error
        self._rows, self._end, self._row_of = index.rows, index.end, index.keys()
        self._stream.truncate(self._end)

    def append(self, keys: Sequence[str], vectors: Vectors, stamps: Sequence[int] | None = None) -> None:
        """Add items, or replace those whose keys are there already.

        Args:
            keys: Names, each once.
            vectors: Unit rows, ``(n, d)``.
            stamps: One integer for each; None for 0.

        Raises:
            DataError: A key is empty, too long or there twice, or a row is not of length 1.
            ShapeError: The numbers or widths differ.
        """
        stamps = [0] * len(keys) if stamps is None else stamps
        check_items(keys, vectors, stamps, self.header, self.path)
        for start in range(0, len(keys), MAX_BATCH_ROWS):
            span = slice(start, start + MAX_BATCH_ROWS)
            replaced = sorted(self._row_of[key] for key in keys[span] if key in self._row_of)
            self._write(batch_body(self.header, keys[span], vectors[span], stamps[span], replaced))
            self._row_of.update(zip(keys[span], range(self._rows, self._rows + len(keys[span])), strict=True))
            self._rows += len(keys[span])

    def remove(self, keys: Sequence[str]) -> None:
        """Remove items; keys that are not there are left alone."""
        known = [key for key in dict.fromkeys(keys) if key in self._row_of]
        if known:
            rows = sorted(self._row_of[key] for key in known)
            self._write(batch_body(self.header, [], np.zeros((0, self.header.dim), np.float32), [], rows))
            for key in known:
                del self._row_of[key]

    def _write(self, batch: tuple[int, int, bytes]) -> None:
        added, removed, body = batch
        data = memoryview(sealed_batch(body, first_row=self._rows, added=added, removed=removed))
        self._stream.seek(self._end)
        try:
            while data:
                data = data[self._stream.write(data) :]
            os.fsync(self._stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._stream.truncate(self._end)
            raise
        self._end += BLOCK_BYTES + len(body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def create_phone_index(path: Path, header: PhoneHeader, *, force: bool = False) -> None:
    """Write an empty index.

    Raises:
        OutputError: ``path`` exists and ``force`` is False, or the place cannot be written.
    """
    with atomic_file(path, force=force) as staging:
        staging.write_bytes(header.to_bytes())


def compact_phone_index(path: Path) -> None:
    """Write the living rows into a new file that takes the old one's place."""
    index = PhoneIndex(path)
    keys, stamps = index.keys(), index.stamps()

    def bodies() -> Iterator[tuple[int, bytes]]:
        for names in _chunks(list(keys)):
            rows = np.array([keys[name] for name in names])
            # As they are stored: quantising twice would not be the same.
            body = joined_body(
                *_stored_rows(index, rows.tolist()), names, stamps[rows].astype("<i8"), np.zeros(0, "<u4")
            )
            yield len(names), body

    with atomic_file(path) as staging:
        write_bodies(staging, index.header, bodies())


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), MAX_BATCH_ROWS):
        yield keys[start : start + MAX_BATCH_ROWS]


def _stored_rows(index: PhoneIndex, rows: Iterable[int]) -> tuple[bytes, bytes]:
    """Rows as they are stored: the bytes of their numbers, and of their scales (none for float16)."""
    starts = np.array([batch.first_row for batch in index._batches])
    numbers, scales = [], []
    for row in rows:
        batch = index._batches[int(np.searchsorted(starts, row, side="right")) - 1]
        stored, _, batch_scales, _, _ = index._parts(batch)
        numbers.append(stored[row - batch.first_row].tobytes())
        if batch_scales is not None:
            scales.append(batch_scales[row - batch.first_row].tobytes())
    return b"".join(numbers), b"".join(scales)
