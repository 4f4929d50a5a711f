"""The matrix of an index: rows × d little-endian float32 in one file without a header, memory-mapped.

Rows are only ever appended. How many of them count is not written here but in the item store: what a killed writer
left behind the last counted row is ignored by readers and overwritten by the next writer.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.errors import DataError, IndexFormatError, ShapeError

_STORED = np.dtype("<f4")
_ROWS_AT_ONCE = 16384
# Bytes of a block that one checksum covers: reading the blocks of ten hits costs less than a millisecond.
_BLOCK_BYTES = 1 << 16
# float16 exports give rows whose length is off by up to a few thousandths.
UNIT_TOLERANCE = 5e-3


def map_matrix(path: Path, dim: int, rows: int) -> Vectors:
    """The first ``rows`` rows of a matrix file, read-only, without reading them.

    Raises:
        IndexFormatError: The file is missing or holds fewer rows.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise IndexFormatError(f"{path} is missing.", hint="Build the index again.") from error
    if size < rows * dim * _STORED.itemsize:
        raise IndexFormatError(
            f"{path} is cut off: {size} bytes instead of {rows * dim * _STORED.itemsize} for {rows} vectors of {dim}.",
            hint="Remove the index and build it again.",
        )
    if rows == 0:
        return np.empty((0, dim), np.float32)
    # A plain view: memmap's own class costs time at every slice.
    return np.memmap(path, dtype=_STORED, mode="r", shape=(rows, dim)).view(np.ndarray)


def rows_in_block(dim: int) -> int:
    """Rows that one checksum covers, for vectors of ``dim`` numbers."""
    return max(1, _BLOCK_BYTES // (dim * _STORED.itemsize))


def changed_block(path: Path, dim: int, rows: int, sums: Iterable[BlockSum]) -> BlockSum | None:
    """The first block whose rows do not have its checksum; about 1 ms a MB.

    The file is read and not mapped: a map of a file that is cut off meanwhile would end the process.

    Args:
        path: A matrix file. One that was removed since it was opened, since it was compacted, has no such block.
        dim: Width d.
        rows: Rows to look at. A block with more, since a writer has appended some, is left out.
        sums: Blocks to check.
    """
    row_bytes, size = dim * _STORED.itemsize, rows_in_block(dim)
    with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as stream:
        for block in sums:
            first = block.block * size
            if first + block.rows <= rows:
                stream.seek(first * row_bytes)
                if zlib.crc32(stream.read(block.rows * row_bytes)) != block.crc:
                    return block
    return None


@dataclass(frozen=True)
class BlockSum:
    """The checksum of a block of rows.

    Attributes:
        block: Its number n; it begins with row n · :func:`rows_in_block`.
        rows: How many rows of it count so far.
        crc: CRC-32 of their bytes.
    """

    block: int
    rows: int
    crc: int


def check_unit_rows(vectors: Vectors, what: str) -> None:
    """Refuse vectors that no search may meet: not finite, or not of length 1.

    Raises:
        DataError: Names ``what`` and the first bad row.
    """
    bad = bad_rows(vectors)
    if bad.size:
        norm = float(np.linalg.norm(vectors[bad[0]]))
        raise DataError(f"{what} gives vectors that are not finite or not of length 1: row {bad[0]} has length {norm}.")


def bad_rows(vectors: Vectors) -> NDArray[np.intp]:
    """The numbers of the rows that are not finite or not of length 1."""
    # NaN compares as false, so the test is for being good.
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.flatnonzero(~(np.abs(norms - 1) <= UNIT_TOLERANCE))


class MatrixWriter:
    """Appends rows behind the ones that count.

    Args:
        path: The matrix file.
        dim: Width d.
        rows: Rows that count, from the item store.
        sums: Their checksums from the store; of an older index there are none, and they are computed.
    """

    def __init__(self, path: Path, dim: int, rows: int, sums: Sequence[BlockSum] = ()) -> None:
        self._path, self.dim, self.rows = path, dim, rows
        self._sums = {block.block: block for block in sums}
        self._new_sums: set[int] = set()
        map_matrix(path, dim, rows)
        self._stream = path.open("r+b", buffering=0)
        self._stream.truncate(rows * dim * _STORED.itemsize)
        self._stream.seek(0, os.SEEK_END)
        if sum(block.rows for block in sums) < rows:
            self._sums = {}
            matrix = self.map()
            for start in range(0, rows, _ROWS_AT_ONCE):
                self._count(start, matrix[start : start + _ROWS_AT_ONCE])

    def append(self, vectors: Vectors) -> int:
        """Write unit rows, ``(n, d)``, and return the number of the first one.

        Raises:
            ShapeError: The width is another.
            DataError: A row is not finite or not of length 1.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ShapeError(
                f"{self._path} takes vectors of {self.dim} numbers, not an array of shape {vectors.shape}."
            )
        if len(vectors) == 0:
            return self.rows  # an empty buffer has no bytes to cast
        check_unit_rows(vectors, "The encoder")
        data = memoryview(np.ascontiguousarray(vectors, _STORED).data).cast("B")
        try:
            while data:
                data = data[self._stream.write(data) :]
        except OSError as error:
            # A write to an open file does not say which file it was.
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        first, self.rows = self.rows, self.rows + len(vectors)
        self._count(first, vectors)
        return first

    def _count(self, first: int, vectors: Vectors) -> None:
        """Extend the checksums by rows, the first of which has the number ``first``."""
        size, done = rows_in_block(self.dim), 0
        while done < len(vectors):
            number, before = divmod(first + done, size)
            part = vectors[done : done + size - before]
            crc = self._sums[number].crc if before else 0
            crc = zlib.crc32(np.ascontiguousarray(part, _STORED).data, crc)
            self._sums[number] = BlockSum(number, before + len(part), crc)
            self._new_sums.add(number)
            done += len(part)

    def take_sums(self) -> list[BlockSum]:
        """The checksums that have changed since the last call."""
        taken = [self._sums[number] for number in sorted(self._new_sums)]
        self._new_sums.clear()
        return taken

    def changed_block(self) -> BlockSum | None:
        """The first block that is not what was written."""
        return changed_block(self._path, self.dim, self.rows, self._sums.values())

    def map(self) -> Vectors:
        """All rows, counted or just appended, read-only: ``(rows, d)``."""
        return map_matrix(self._path, self.dim, self.rows)

    def read(self, row: int) -> Vectors:
        """A copy of one row, counted or just appended."""
        vector: Vectors = self.map()[row].copy()
        return vector

    def copy_rows(self, rows: Sequence[int], path: Path) -> MatrixWriter:
        """A writer of another file that holds these rows in this order; they are on the disk when it returns."""
        path.write_bytes(b"")
        copy = MatrixWriter(path, self.dim, 0)
        matrix = self.map()
        for part in parts_of(rows, _ROWS_AT_ONCE):
            copy.append(matrix[part])
        copy.flush()
        return copy

    def flush(self) -> None:
        """Wait until the rows are on the disk: the store may count them only then."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
