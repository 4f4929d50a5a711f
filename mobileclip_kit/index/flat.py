"""Exact search straight on the memory-mapped matrix: nothing is copied and no second file is needed.

Large matrices are scanned by faiss (its ``IndexFlatIP`` does the same arithmetic after a copy of every vector into
memory). For small ones a matrix product is as quick, and spares a fresh process the import of faiss, which takes longer
than the search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import ShapeError
from mobileclip_kit.metrics import best_first

# 100,000 vectors of 512 numbers, and as many scores as those have for a hundred queries.
_SMALL_MATRIX = 51_200_000
_SMALL_SCORES = 10_000_000


def search_flat(
    matrix: Vectors, queries: Vectors, k: int, *, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The rows with the greatest inner products.

    Args:
        matrix: ``(n, d)`` float32.
        queries: ``(q, d)`` float32.
        k: Rows wanted for each query, at least 1.
        allowed: ``(n,)``: only rows where it is true are found; None for all.

    Returns:
        Scores and rows, each ``(q, min(k, allowed rows))``, best first.

    Raises:
        ShapeError: The widths differ.
    """
    if queries.ndim != 2 or queries.shape[1] != matrix.shape[1]:
        raise ShapeError(f"The index holds vectors of {matrix.shape[1]} numbers; the queries have {queries.shape}.")
    n, d = matrix.shape
    k = min(k, n if allowed is None else int(np.count_nonzero(allowed)))
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    if scores.size == 0:
        return scores, rows
    matrix, queries = np.ascontiguousarray(matrix, np.float32), np.ascontiguousarray(queries, np.float32)
    if matrix.size <= _SMALL_MATRIX and len(queries) * n <= _SMALL_SCORES:
        return _multiply(matrix, queries, k, allowed)
    import faiss

    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits.size * 8, faiss.swig_ptr(bits))
    faiss.knn_inner_product(
        faiss.swig_ptr(queries),
        faiss.swig_ptr(matrix),
        d,
        len(queries),
        n,
        k,
        faiss.swig_ptr(scores),
        faiss.swig_ptr(rows),
        selector,
    )
    return scores, rows


def _multiply(
    matrix: Vectors, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scores = queries @ matrix.T  # (q, n)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    rows = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    found = np.take_along_axis(scores, rows, axis=1)
    order = best_first(found)
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(rows, order, axis=1)
