"""Writing the phone's index file: appended in batches that a crash cannot harm, or whole at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, IndexFormatError, ShapeError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import (
    BLOCK_BYTES,
    MAX_BATCH_ROWS,
    STORED_TYPES,
    PhoneHeader,
    joined_body,
    quantize_rows,
    sealed_batch,
)
from mobileclip_kit.index.vectors import check_unit_rows


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
        _check_items(keys, vectors, stamps, self.header, self.path)
        for start in range(0, len(keys), MAX_BATCH_ROWS):
            span = slice(start, start + MAX_BATCH_ROWS)
            replaced = sorted(self._row_of[key] for key in keys[span] if key in self._row_of)
            self._write(_batch_body(self.header, keys[span], vectors[span], stamps[span], replaced))
            self._row_of.update(zip(keys[span], range(self._rows, self._rows + len(keys[span])), strict=True))
            self._rows += len(keys[span])

    def remove(self, keys: Sequence[str]) -> None:
        """Remove items; keys that are not there are left alone."""
        known = [key for key in dict.fromkeys(keys) if key in self._row_of]
        if known:
            rows = sorted(self._row_of[key] for key in known)
            self._write(_batch_body(self.header, [], np.zeros((0, self.header.dim), np.float32), [], rows))
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


def write_phone_index(
    path: Path,
    header: PhoneHeader,
    parts: Iterable[tuple[Sequence[str], Vectors, Sequence[int]]],
    *,
    force: bool = False,
) -> int:
    """Write a whole index at once; it is there when it is complete, so nothing waits for the disk in between.

    Args:
        path: The file to make.
        header: Dimensions, kind of numbers, model.
        parts: Keys, unit rows ``(n, d)`` and stamps, any number of items each; no key twice in all.
        force: Replace a file that stands there.

    Returns:
        How many items it holds.

    Raises:
        DataError: A key is empty, too long or there twice, or a row is not of length 1.
        ShapeError: The numbers or widths differ.
        OutputError: ``path`` exists and ``force`` is False, or the place cannot be written.
    """
    known: set[str] = set()

    def bodies() -> Iterator[tuple[int, bytes]]:
        for keys, vectors, stamps in parts:
            _check_items(keys, vectors, stamps, header, path)
            if not known.isdisjoint(keys):
                raise DataError(f"The items for {path} name a key twice.")
            known.update(keys)
            for start in range(0, len(keys), MAX_BATCH_ROWS):
                span = slice(start, start + MAX_BATCH_ROWS)
                yield _batch_body(header, keys[span], vectors[span], stamps[span], [])[::2]

    with atomic_file(path, force=force) as staging:
        return _write_bodies(staging, header, bodies())


def compact_phone_index(path: Path) -> None:
    """Write the living rows into a new file that takes the old one's place."""
    index = PhoneIndex(path)
    keys, stamps = index.keys(), index.stamps()

    def bodies() -> Iterator[tuple[int, bytes]]:
        for names in _chunks(list(keys)):
            rows = np.array([keys[name] for name in names])
            # As they are stored: quantising twice would not be the same.
            body = joined_body(*index.stored_rows(rows.tolist()), names, stamps[rows].astype("<i8"), np.zeros(0, "<u4"))
            yield len(names), body

    with atomic_file(path) as staging:
        _write_bodies(staging, index.header, bodies())


def _write_bodies(path: Path, header: PhoneHeader, bodies: Iterable[tuple[int, bytes]]) -> int:
    """A file of batches that add rows and remove none; returns the number of rows."""
    rows = 0
    with path.open("wb") as stream:
        stream.write(header.to_bytes())
        for added, body in bodies:
            stream.write(sealed_batch(body, first_row=rows, added=added))
            rows += added
        stream.flush()
        os.fsync(stream.fileno())
    return rows


def _batch_body(
    header: PhoneHeader, keys: Sequence[str], vectors: Vectors, stamps: Sequence[int], removed: Sequence[int]
) -> tuple[int, int, bytes]:
    if header.numbers == "int8" and len(keys):
        stored, scales = quantize_rows(vectors)
        parts = (stored.tobytes(), scales.astype("<f4").tobytes())
    else:
        parts = (vectors.astype(STORED_TYPES[header.numbers]).tobytes(), b"")
    return len(keys), len(removed), joined_body(*parts, keys, np.array(stamps, "<i8"), np.array(removed, "<u4"))


def _check_items(keys: Sequence[str], vectors: Vectors, stamps: Sequence[int], header: PhoneHeader, path: Path) -> None:
    if vectors.shape != (len(keys), header.dim) or len(stamps) != len(keys):
        raise ShapeError(
            f"{len(keys)} keys and {len(stamps)} stamps came with vectors of shape {vectors.shape}; {path} takes "
            f"(n, {header.dim})."
        )
    if len(set(keys)) != len(keys):
        raise DataError(f"The items for {path} name a key twice.")
    check_unit_rows(vectors, "The encoder")


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), MAX_BATCH_ROWS):
        yield keys[start : start + MAX_BATCH_ROWS]
