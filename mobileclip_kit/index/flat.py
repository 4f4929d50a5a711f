"""Exact search by faiss, straight on the memory-mapped matrix: nothing is copied and no second file is needed.

faiss's ``IndexFlatIP`` does the same arithmetic after a copy of every vector into memory.
"""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import ShapeError

Vectors = NDArray[np.float32]


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
