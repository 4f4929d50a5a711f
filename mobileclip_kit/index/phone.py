"""The phone's index file: float16 or int8 vectors, appended in batches that a crash cannot harm.

docs/phone-index-format.md is the specification, byte by byte; the Swift package reads and writes the same file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError, IndexFormatError, ModelMismatchError, ShapeError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.index.vectors import check_unit_rows

Numbers = Literal["float16", "int8"]
Vectors = NDArray[np.float32]

FORMAT_VERSION = 1
MAX_DIM = 4096
MAX_BATCH_ROWS = 1024
MAX_KEY_BYTES = 65_535

_CODES: dict[Numbers, int] = {"float16": 1, "int8": 2}
_TYPES: dict[Numbers, np.dtype[np.generic]] = {"float16": np.dtype("<f2"), "int8": np.dtype("i1")}
_HEADER_MAGIC, _BATCH_MAGIC = b"mckitidx", b"mckitbat"
_HEADER = struct.Struct("<8s4I32sI")
_BATCH = struct.Struct("<8sIIQQI24x")
_BLOCK = 64
_LANES = 16


@dataclass(frozen=True)
class PhoneHeader:
    """What the first 64 bytes say.

    Attributes:
        dim: Numbers of a vector.
        numbers: How they are stored.
        model_hash: 64 hex digits: whose vectors they are.
    """

    dim: int
    numbers: Numbers
    model_hash: str

    def to_bytes(self) -> bytes:
        """The 64 bytes."""
        if not 1 <= self.dim <= MAX_DIM:
            raise ShapeError(f"A phone index holds vectors of 1 to {MAX_DIM} numbers, not {self.dim}.")
        code, model = _CODES[self.numbers], bytes.fromhex(self.model_hash)
        return _sealed(_HEADER.pack(_HEADER_MAGIC, FORMAT_VERSION, self.dim, code, 0, model, 0))

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> Self:
        """Read the 64 bytes.

        Raises:
            IndexFormatError: They are not a header, or one of another version.
        """
        if len(data) < _BLOCK or not data.startswith(_HEADER_MAGIC):
            raise IndexFormatError(f"{path} is not a phone index.")
        _, version, dim, code, _, model, _ = _HEADER.unpack(data[: _HEADER.size])
        if version != FORMAT_VERSION:
            raise IndexFormatError(
                f"{path} has format version {version}; this mckit reads version {FORMAT_VERSION}.", hint="Update mckit."
            )
        names = {value: name for name, value in _CODES.items()}
        if not _is_sealed(data[:_BLOCK]) or code not in names or not 1 <= dim <= MAX_DIM:
            raise IndexFormatError(f"The header of {path} is damaged.", hint="Make the index again.")
        return cls(dim, names[code], model.hex())


@dataclass(frozen=True)
class _Batch:
    start: int
    body_bytes: int
    first_row: int
    added: int
    removed: int
    checksum: int

    @property
    def body(self) -> slice:
        return slice(self.start + _BLOCK, self.start + _BLOCK + self.body_bytes)


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
                self.header = PhoneHeader.from_bytes(stream.read(_BLOCK), path)
                self._data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise IndexFormatError(f"{path} cannot be read: {error.strerror}.") from error
        if model_hash is not None and model_hash != self.header.model_hash:
            raise ModelMismatchError(
                f"{path} belongs to the model {self.header.model_hash[:12]}, not to {model_hash[:12]}.",
                hint="Make the index again with this model.",
            )
        self._batches = self._walk()
        self.end = self._batches[-1].body.stop if self._batches else _BLOCK
        self._refuse_damage()
        self.rows = sum(batch.added for batch in self._batches)
        self.living = np.ones(self.rows, bool)
        for batch in self._batches:
            self.living[self._removed(batch)] = False

    def __len__(self) -> int:
        """Living rows."""
        return int(np.count_nonzero(self.living))

    def keys(self) -> dict[str, int]:
        """Key → row of every living item, in the order of their rows."""
        found = {}
        for batch in self._batches:
            _, _, _, ends, text = self._parts(batch)
            starts = [0, *ends.tolist()][:-1]
            for place, (start, end) in enumerate(zip(starts, ends.tolist(), strict=True)):
                if self.living[batch.first_row + place]:
                    found[bytes(text[start:end]).decode("utf-8")] = batch.first_row + place
        return found

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
            IndexFormatError: A batch is damaged.
        """
        for batch in self._batches:
            if zlib.crc32(self._data[batch.body]) != batch.checksum:
                raise self._damaged(batch.start)

    def _walk(self) -> list[_Batch]:
        batches: list[_Batch] = []
        start, rows = _BLOCK, 0
        while (batch := self._batch_at(start)) is not None and batch.first_row == rows:
            if batch.body.stop > len(self._data):
                break
            batches.append(batch)
            start, rows = batch.body.stop, rows + batch.added
        if batches and zlib.crc32(self._data[batches[-1].body]) != batches[-1].checksum:
            batches.pop()
        return batches

    def _batch_at(self, start: int) -> _Batch | None:
        block = bytes(self._data[start : start + _BLOCK])
        if len(block) < _BLOCK or not block.startswith(_BATCH_MAGIC) or not _is_sealed(block):
            return None
        _, added, removed, body_bytes, first_row, checksum = _BATCH.unpack(block[: _BATCH.size])
        least_bytes = _fixed_bytes(self.header, added, removed)
        if added > MAX_BATCH_ROWS or body_bytes % _BLOCK or body_bytes < least_bytes:
            return None
        return _Batch(start, body_bytes, first_row, added, removed, checksum)

    def _refuse_damage(self) -> None:
        for start in range(self.end + _BLOCK, len(self._data) - _BLOCK + 1, _BLOCK):
            if self._data[start : start + 8] == _BATCH_MAGIC and self._batch_at(start) is not None:
                raise self._damaged(self.end)

    def _damaged(self, start: int) -> IndexFormatError:
        return IndexFormatError(
            f"{self.path} is damaged: the batch at byte {start} is not what was written.", hint="Make the index again."
        )

    def _parts(
        self, batch: _Batch
    ) -> tuple[NDArray[np.generic], NDArray[np.int64], Vectors | None, NDArray[np.uint32], memoryview]:
        """Stored vectors, stamps, scales, the keys' ends, and the keys."""
        n, dim, stored = batch.added, self.header.dim, _TYPES[self.header.numbers]
        at = batch.body.start
        vectors = np.frombuffer(self._data, stored, n * dim, at).reshape(n, dim)
        at += _round_up(vectors.nbytes, 8)
        stamps = np.frombuffer(self._data, "<i8", n, at)
        at += stamps.nbytes
        scales = np.frombuffer(self._data, "<f4", n, at) if self.header.numbers == "int8" else None
        at += (0 if scales is None else scales.nbytes) + 4 * batch.removed
        ends = np.frombuffer(self._data, "<u4", n, at)
        return vectors, stamps, scales, ends, self._data[at + ends.nbytes : batch.body.stop]

    def _removed(self, batch: _Batch) -> NDArray[np.uint32]:
        at = batch.body.start + _round_up(batch.added * self.header.dim * _TYPES[self.header.numbers].itemsize, 8)
        at += batch.added * (12 if self.header.numbers == "int8" else 8)
        removed = np.frombuffer(self._data, "<u4", batch.removed, at)
        if removed.size and int(removed.max()) >= batch.first_row:
            raise self._damaged(batch.start)
        return removed


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
        head = _BATCH.pack(_BATCH_MAGIC, added, removed, len(body), self._rows, zlib.crc32(body))
        data = memoryview(_sealed(head) + body)
        self._stream.seek(self._end)
        try:
            while data:
                data = data[self._stream.write(data) :]
            os.fsync(self._stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._stream.truncate(self._end)
            raise
        self._end += _BLOCK + len(body)

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
    path: Path, header: PhoneHeader, parts: Iterable[tuple[Sequence[str], Vectors, Sequence[int]]], *, force: bool = False
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
            yield len(names), _stored_body(index, names, rows, stamps[rows])

    with atomic_file(path) as staging:
        _write_bodies(staging, index.header, bodies())


def _write_bodies(path: Path, header: PhoneHeader, bodies: Iterable[tuple[int, bytes]]) -> int:
    """A file of batches that add rows and remove none; returns the number of rows."""
    rows = 0
    with path.open("wb") as stream:
        stream.write(header.to_bytes())
        for added, body in bodies:
            head = _BATCH.pack(_BATCH_MAGIC, added, 0, len(body), rows, zlib.crc32(body))
            stream.write(_sealed(head) + body)
            rows += added
        stream.flush()
        os.fsync(stream.fileno())
    return rows


def quantize_rows(vectors: Vectors) -> tuple[NDArray[np.int8], Vectors]:
    """int8 rows ``(n, d)`` and a scale for each, ``(n,)``."""
    vectors = vectors.astype(np.float32)
    scales = np.abs(vectors).max(axis=1) / np.float32(127)
    return np.clip(np.rint(vectors / scales[:, None]), -127, 127).astype(np.int8), scales


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
    width = _round_up(dim, _LANES)
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


def _batch_body(
    header: PhoneHeader, keys: Sequence[str], vectors: Vectors, stamps: Sequence[int], removed: Sequence[int]
) -> tuple[int, int, bytes]:
    if header.numbers == "int8" and len(keys):
        stored, scales = quantize_rows(vectors)
        parts = (stored.tobytes(), scales.astype("<f4").tobytes())
    else:
        parts = (vectors.astype(_TYPES[header.numbers]).tobytes(), b"")
    return len(keys), len(removed), _joined_body(*parts, keys, np.array(stamps, "<i8"), np.array(removed, "<u4"))


def _stored_body(index: PhoneIndex, keys: Sequence[str], rows: NDArray[np.int64], stamps: NDArray[np.int64]) -> bytes:
    """The body of a batch with these rows as they are stored: quantising twice would not be the same."""
    starts = np.array([batch.first_row for batch in index._batches])
    vectors, scales = [], []
    for row in rows.tolist():
        batch = index._batches[int(np.searchsorted(starts, row, side="right")) - 1]
        stored, _, batch_scales, _, _ = index._parts(batch)
        vectors.append(stored[row - batch.first_row].tobytes())
        if batch_scales is not None:
            scales.append(batch_scales[row - batch.first_row].tobytes())
    return _joined_body(b"".join(vectors), b"".join(scales), keys, stamps.astype("<i8"), np.zeros(0, "<u4"))


def _joined_body(
    vectors: bytes, scales: bytes, keys: Sequence[str], stamps: NDArray[np.int64], removed: NDArray[np.uint32]
) -> bytes:
    names = [_key_bytes(key) for key in keys]
    ends = np.cumsum([len(name) for name in names], dtype=np.int64).astype("<u4") if names else np.zeros(0, "<u4")
    parts = [_padded(vectors, 8), stamps.tobytes(), scales, removed.tobytes(), ends.tobytes(), *names]
    return _padded(b"".join(parts), _BLOCK)


def _check_items(
    keys: Sequence[str], vectors: Vectors, stamps: Sequence[int], header: PhoneHeader, path: Path
) -> None:
    if vectors.shape != (len(keys), header.dim) or len(stamps) != len(keys):
        raise ShapeError(
            f"{len(keys)} keys and {len(stamps)} stamps came with vectors of shape {vectors.shape}; {path} takes "
            f"(n, {header.dim})."
        )
    if len(set(keys)) != len(keys):
        raise DataError(f"The items for {path} name a key twice.")
    check_unit_rows(vectors, "The encoder")


def _key_bytes(key: str) -> bytes:
    try:
        name = key.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"The name {key!r} cannot be written as UTF-8.", hint="Rename the picture.") from error
    if not 0 < len(name) <= MAX_KEY_BYTES:
        raise DataError(f"A name of {len(name)} bytes is not between 1 and {MAX_KEY_BYTES}: {key[:80]!r}.")
    return name


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), MAX_BATCH_ROWS):
        yield keys[start : start + MAX_BATCH_ROWS]


def _sealed(block: bytes) -> bytes:
    """A block of 60 bytes and its CRC."""
    return block + struct.pack("<I", zlib.crc32(block))


def _is_sealed(block: bytes) -> bool:
    return block[60:] == struct.pack("<I", zlib.crc32(block[:60]))


def _fixed_bytes(header: PhoneHeader, added: int, removed: int) -> int:
    """A body without its keys and padding."""
    per_row = 8 + 4 + (4 if header.numbers == "int8" else 0)
    return _round_up(added * header.dim * _TYPES[header.numbers].itemsize, 8) + added * per_row + 4 * removed


def _padded(data: bytes, multiple: int) -> bytes:
    return data + bytes(_round_up(len(data), multiple) - len(data))


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
