"""Ranking rows of vectors by cosine, exactly and with ties broken the same way everywhere.

The ground under every accuracy figure: no approximate search, float32 products, and of two equal scores the lower row
comes first, so that a collapsed model (all vectors alike) earns chance and not a perfect score.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError

Rows = NDArray[np.intp]

# Queries scored at once: 256 × 100,000 images in float32 are 100 MB.
_BLOCK = 256
# Neighbours compared by nearest_overlap.
NEAREST = 10


def unit_rows(vectors: ArrayLike, what: str = "The vectors") -> Vectors:
    """Rows scaled to length 1.

    Args:
        vectors: ``(n, d)``, of any length but zero.
        what: What they are, for the message.

    Raises:
        ShapeError: Not two-dimensional.
        DataError: A row is zero or not finite.
    """
    array = np.asarray(vectors, dtype=np.float32)
    if array.ndim != 2:
        raise ShapeError(f"{what} have the shape {array.shape}; (n, d) is wanted.")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if bad.size:
        raise DataError(
            f"{what} hold {bad.size} of {len(array)} rows that are zero or not finite, row {bad[0]} first.",
            hint="The model that made them is broken, or overflows in its precision.",
        )
    return np.asarray(array / lengths, dtype=np.float32)


def check_same_width(first: Vectors, second: Vectors) -> None:
    """Refuse two sets of vectors that cannot be multiplied."""
    if first.shape[1] != second.shape[1]:
        raise ShapeError(
            f"Vectors of width {first.shape[1]} cannot be compared with vectors of width {second.shape[1]}."
        )


def score_blocks(queries: Vectors, gallery: Vectors) -> Iterator[tuple[slice, Vectors]]:
    """Cosines of unit rows, ``(block, n)`` at a time, with the queries' rows that each block holds."""
    check_same_width(queries, gallery)
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(queries)))
        yield rows, queries[rows] @ gallery.T


def top_k(queries: ArrayLike, gallery: ArrayLike, k: int, *, exclude_self: bool = False) -> Rows:
    """The rows of the gallery nearest to each query, best first.

    Args:
        queries: ``(q, d)``.
        gallery: ``(n, d)``.
        k: How many.
        exclude_self: Query i is row i of the gallery and is not among its own answers.

    Returns:
        ``(q, k)`` rows of the gallery.

    Raises:
        ShapeError: Widths differ, or ``exclude_self`` with more queries than rows.
        DataError: The gallery has fewer than k other rows.
    """
    wanted, rows = unit_rows(queries, "The queries"), unit_rows(gallery, "The gallery")
    available = len(rows) - int(exclude_self)
    if not 1 <= k <= available:
        raise DataError(f"The best {k} of {available} cannot be named.", hint="Take more images or a smaller k.")
    if exclude_self and len(wanted) != len(rows):
        raise ShapeError(f"{len(wanted)} queries are not the {len(rows)} rows of the gallery.")
    best = np.empty((len(wanted), k), dtype=np.intp)
    for block, scores in score_blocks(wanted, rows):
        if exclude_self:
            scores[np.arange(len(scores)), np.arange(block.start, block.stop)] = -np.inf
        best[block] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return best


def row_cosines(wanted: Vectors, actual: Vectors) -> NDArray[np.float64]:
    """Cosine of each row with the same row of the other matrix, ``(n,)``; in float64, so that equal rows give 1."""
    first, second = wanted.astype(np.float64), actual.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines: NDArray[np.float64] = np.clip((first * second).sum(axis=1) / lengths, -1, 1)
    return cosines


def nearest_overlap(wanted: Vectors, actual: Vectors, *, k: int = NEAREST) -> float | None:
    """Mean share of the ``k`` nearest that two sets of vectors of the same inputs agree on.

    Each input is a query among the others; with few inputs, ``k`` is at most half of the others, since choosing all of
    them would always agree.

    Args:
        wanted: Unit rows, ``(n, d)``.
        actual: Rows of the same inputs, ``(n, d)``.
        k: How many nearest.

    Returns:
        0…1, or None for fewer than three inputs.
    """
    count = len(wanted)
    if count < 3:
        return None
    k = min(k, (count - 1) // 2)
    sets = []
    for vectors in (wanted, actual):
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        sets.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    shared = [len(np.intersect1d(first, second)) for first, second in zip(*sets, strict=True)]
    return float(np.mean(shared)) / k
