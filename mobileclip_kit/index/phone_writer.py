"""Writing the phone's index file whole; the phone itself appends to it. The format: docs/phone-index-format.md."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.index.phone_format import (
    MAX_BATCH_ROWS,
    STORED_TYPES,
    PhoneHeader,
    joined_body,
    quantize_rows,
    sealed_batch,
)
from mobileclip_kit.index.vectors import check_unit_rows


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
            check_items(keys, vectors, stamps, header, path)
            if not known.isdisjoint(keys):
                raise DataError(f"The items for {path} name a key twice.")
            known.update(keys)
            for start in range(0, len(keys), MAX_BATCH_ROWS):
                span = slice(start, start + MAX_BATCH_ROWS)
                yield batch_body(header, keys[span], vectors[span], stamps[span], [])[::2]

    with atomic_file(path, force=force) as staging:
        return write_bodies(staging, header, bodies())


def write_bodies(path: Path, header: PhoneHeader, bodies: Iterable[tuple[int, bytes]]) -> int:
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


def batch_body(
    header: PhoneHeader, keys: Sequence[str], vectors: Vectors, stamps: Sequence[int], removed: Sequence[int]
) -> tuple[int, int, bytes]:
    """Items added, rows removed, and the body of the batch."""
    if header.numbers == "int8" and len(keys):
        stored, scales = quantize_rows(vectors)
        parts = (stored.tobytes(), scales.astype("<f4").tobytes())
    else:
        parts = (vectors.astype(STORED_TYPES[header.numbers]).tobytes(), b"")
    return len(keys), len(removed), joined_body(*parts, keys, np.array(stamps, "<i8"), np.array(removed, "<u4"))


def check_items(keys: Sequence[str], vectors: Vectors, stamps: Sequence[int], header: PhoneHeader, path: Path) -> None:
    """Refuse items that do not fit together, keys that come twice, and rows that are not of length 1."""
    if vectors.shape != (len(keys), header.dim) or len(stamps) != len(keys):
        raise ShapeError(
            f"{len(keys)} keys and {len(stamps)} stamps came with vectors of shape {vectors.shape}; {path} takes "
            f"(n, {header.dim})."
        )
    if len(set(keys)) != len(keys):
        raise DataError(f"The items for {path} name a key twice.")
    check_unit_rows(vectors, "The encoder")
