"""An index in the bench: single queries are timed, and its hits are compared with those of the exact scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.npy import load_matrix
from mobileclip_kit.metrics import scale_rows

HITS = 10
_QUERIES = 256
# A drawn query is a stored vector plus noise: its cosine to that vector is about 0.7.
_NOISE = 1.0


class IndexBenchmark:
    """Opens an index and queries it.

    Args:
        path: The index folder.
        queries: ``.npy`` with ``(q, d)`` vectors, of texts for example. If None, or if they have another width (they
            may be meant for the teacher or another index), stored vectors with noise are used, which an approximate
            index finds more easily than texts. ``queried_with`` says which.

    Raises:
        IndexFormatError: It is damaged.
        DataError: It holds no vector.
    """

    def __init__(self, path: Path, queries: Path | None = None) -> None:
        self._index = IndexReader(path)
        rows, dim = self._index.matrix.shape
        self._allowed = self._index.allowed_rows()
        if not rows:
            raise DataError(f"The index {path} holds no vector.", hint="Build it from a folder with images.")
        given = None if queries is None else np.asarray(load_matrix(queries), np.float32)
        if given is not None and given.shape[1] == dim:
            self._queries, self._source = scale_rows(given)[0], f"{len(given)} vectors of {queries and queries.name}"
        else:
            self._queries, self._source = _draw_queries(self._index.matrix), "stored vectors with noise"

    def describe(self) -> dict[str, Any]:
        """``items``, ``kind`` of search and ``queried_with``."""
        derived = self._index.derived
        return {
            "items": self._index.store.vectors,
            "kind": f"index {'flat' if derived is None else derived.described.kind}",
            "queried_with": self._source,
        }

    def call(self, batch: int, turn: int) -> None:
        """Search once with ``batch`` queries."""
        rows = (np.arange(batch) + turn * batch) % len(self._queries)
        self._index.nearest(self._queries[rows], HITS, allowed=self._allowed)

    def recall_of_exact(self) -> float:
        """Mean share of the exact ten nearest that this kind of search finds."""
        found = self._index.nearest(self._queries, HITS, allowed=self._allowed)[1]
        exact = self._index.nearest(self._queries, HITS, allowed=self._allowed, exact=True)[1]
        return float(np.mean([np.isin(truth, ours).mean() for truth, ours in zip(exact, found, strict=True)]))


def _draw_queries(matrix: Vectors) -> Vectors:
    rng = np.random.default_rng(0)
    picked = np.sort(rng.choice(len(matrix), min(_QUERIES, len(matrix)), replace=False))
    noise = rng.standard_normal((len(picked), matrix.shape[1])).astype(np.float32)
    noise *= _NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    return scale_rows(np.asarray(matrix[picked], np.float32) + noise)[0]
