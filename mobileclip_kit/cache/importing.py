"""Vectors that somebody else computed, turned into a teacher cache."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.cache.folder import CacheDescription
from mobileclip_kit.cache.writer import CacheWriter
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.progress import Progress

# Norms of stored unit vectors: float16 storage alone moves them by up to this.
_UNIT_TOLERANCE = 2e-3
_BATCH = 256


@dataclass(frozen=True)
class CacheReport:
    """What a command did to a cache.

    Attributes:
        items: Images in the cache.
        views: Vectors of each.
        added: Images that this run added.
        failed: Images that have no vector, and why.
        seconds: Time taken.
    """

    items: int
    views: int
    added: int
    failed: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0


def import_vectors(images: Path, vectors: Path, names: Path, out: Path, *, teacher: str | None = None) -> CacheReport:
    """Make or extend a cache from a matrix and the names of its rows.

    Args:
        images: The folder that the names are relative to.
        vectors: A ``.npy`` file, ``(n, d)``: raw vectors, or unit ones whose norms are lost.
        names: One name a line (or a JSON list), n in all.
        out: The cache.
        teacher: The teacher's name; None takes the vectors' file name.

    Raises:
        DataError: The number of names differs from the rows, a name comes twice or leads out of the folder, a vector is
            not finite, or no image is there.
        ModelMismatchError: The cache holds another teacher's vectors.
    """
    started = time.monotonic()
    if not images.is_dir():
        raise DataError(f"{images} is not a folder of images.")
    matrix, listed = load_matrix(vectors), read_names(names)
    _check_names(matrix, listed, vectors, names)
    norms = _checked_norms(matrix, listed, vectors)
    description = CacheDescription(
        teacher=teacher or vectors.stem,
        teacher_hash=None,
        embedding_dim=matrix.shape[1],
        normalized=bool((np.abs(norms[norms > 0] - 1.0) < _UNIT_TOLERANCE).all()),
    )
    failed: list[Skipped] = []
    present: list[int] = []
    for row, name in enumerate(listed):
        if not (images / name).is_file() or not name:
            failed.append(Skipped(name, f"{images / name} does not exist."))
        elif norms[row] == 0.0:
            failed.append(Skipped(name, f"Row {row} of {vectors.name} is all zeros."))
        else:
            present.append(row)
    if not present:
        raise DataError(f"None of the {len(listed)} images that {names} names is in {images}.",
                        hint="Pass the folder that the names are relative to as --images.")  # fmt: skip
    with CacheWriter(out, description) as writer:
        _add_rows(writer, images, matrix, listed, present)
    return CacheReport(writer.items, 1, writer.added, failed, time.monotonic() - started)


def _add_rows(writer: CacheWriter, images: Path, matrix: NDArray[np.floating], names: list[str],
              present: list[int]) -> None:  # fmt: skip
    with Progress("import", total=len(present), unit="images") as progress:
        for start in range(0, len(present), _BATCH):
            part = present[start : start + _BATCH]
            hashes = [sha256_of_file(images / names[row]) for row in part]
            fresh = [(row, sha256) for row, sha256 in zip(part, hashes, strict=True)
                     if not writer.holds(names[row], sha256)]  # fmt: skip
            if fresh:
                rows = [row for row, _ in fresh]
                writer.add([names[row] for row in rows], [sha256 for _, sha256 in fresh],
                           np.asarray(matrix[rows], np.float32)[:, None, :])  # fmt: skip
            progress.advance(len(part))


def _check_names(matrix: NDArray[np.floating], listed: list[str], vectors: Path, names: Path) -> None:
    if len(listed) != len(matrix):
        raise DataError(f"{names} has {len(listed)} names, but {vectors} has {len(matrix)} rows.",
                        hint="Each row needs its image's name, in the same order.")  # fmt: skip
    seen: dict[str, int] = {}
    for line, name in enumerate(listed, start=1):
        if name in seen:
            raise DataError(f"{names} names {name!r} on the lines {seen[name]} and {line}.")
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise DataError(f"{names} names {name!r} on line {line}, which leads out of the folder of images.",
                            hint="Names are relative to --images.")  # fmt: skip
        seen[name] = line


def _checked_norms(matrix: NDArray[np.floating], listed: list[str], vectors: Path) -> NDArray[np.float64]:
    norms = np.zeros(len(matrix), np.float64)
    for start in range(0, len(matrix), 4096):
        norms[start : start + 4096] = np.linalg.norm(np.asarray(matrix[start : start + 4096], np.float64), axis=1)
    if not np.isfinite(norms).all():
        row = int(np.argmin(np.isfinite(norms)))
        raise DataError(f"Row {row} of {vectors}, the vector of {listed[row]}, is not finite.")
    return norms
