"""A faiss index derived from the matrix: it proposes rows, the matrix scores them.

Every kind is used in the same way. The faiss file proposes more candidates than are wanted, from vectors that are
rounded, quantised or reached by a graph; their scores are then computed from the float32 matrix, which stays mapped
into memory and is touched at these rows only. Rows that were appended after the file was made are scanned exactly
beside it. So a derived index is never out of date, it only becomes slower, and it can be removed and built again at
any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import IndexFormatError, ShapeError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.index.kinds import IndexKind
from mobileclip_kit.metrics import best_first

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]

# Files up to this size are hashed when they are opened, which takes up to 30 ms.
_HASHED_AT_ONCE_BYTES = 32 << 20
_AGAIN = "Remove it and run `mckit index` again: it is derived from the vectors."

# Approximate kinds answer up to so many hits; longer lists are a matter of the exact scan.
_MAX_HITS = 1000
# A mask that leaves less than this share of the rows is scanned exactly, which costs no more.
_LEAST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What ``index.json`` says about a derived index.

    Attributes:
        kind: One of :data:`mobileclip_kit.index.kinds.KINDS` but ``flat``.
        file: Its name within the index folder.
        size_bytes: Of the file.
        rows: The matrix's first rows, which it knows.
        generation: The matrix's, see :attr:`mobileclip_kit.index.store.Store.generation`.
        settings: ``candidates`` proposed for ten hits; ``breadth``: the graph's ``efSearch`` or the lists probed.
        recall_at_10: Mean share of the exact ten nearest that it finds.
        measured_with: What was asked: "256 texts".
        search_ms: Median of one query on one thread, rescoring included, while it was built.
        exact_ms: The same of the exact scan.
        build_s: Seconds to build it.
        asked: Whether the user asked for this kind; else it was chosen by size.
        sha256: Hex digest of the file; None where an older mckit derived it.
    """

    kind: IndexKind
    file: str
    size_bytes: int
    rows: int
    generation: int
    settings: Mapping[str, int]
    recall_at_10: float
    measured_with: str
    search_ms: float
    exact_ms: float
    build_s: float
    asked: bool = False
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "flat" or Path(self.file).name != self.file:
            raise IndexFormatError(f"names a derived index {self.kind!r} in {self.file!r}.", hint=_AGAIN)
        if min(self.size_bytes, self.rows, self.generation) < 0 or min(self.settings.values(), default=0) < 1:
            raise IndexFormatError("has a number out of range.", hint=_AGAIN)
        if "candidates" not in self.settings:
            raise IndexFormatError("has no candidates in its settings.", hint=_AGAIN)


class DerivedIndex:
    """A derived index, opened.

    Args:
        path: The faiss file.
        described: What ``index.json`` says about it.

    Raises:
        IndexFormatError: The file is damaged or not the one that is described.
    """

    def __init__(self, path: Path, described: Derived) -> None:
        import faiss  # exact searches of small indexes start quicker without it

        self.described = described
        if path.stat().st_size != described.size_bytes:
            raise IndexFormatError(
                f"{path} has {path.stat().st_size} bytes instead of {described.size_bytes}.", hint=_AGAIN
            )
        if path.stat().st_size <= _HASHED_AT_ONCE_BYTES:
            self.check(path, described)
        try:
            # Mapped, not read: a query touches a small part of a graph and its vectors.
            self._faiss = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IndexFormatError(f"{path} is damaged.", hint=_AGAIN) from error
        if self._faiss.ntotal != described.rows:
            raise IndexFormatError(
                f"{path} holds {self._faiss.ntotal} vectors instead of {described.rows}.", hint=_AGAIN
            )

    @staticmethod
    def check(path: Path, described: Derived) -> None:
        """Compare the file with its SHA-256, if an mckit that recorded one derived it.

        Raises:
            IndexFormatError: It was changed.
        """
        if described.sha256 is not None and sha256_of_file(path) != described.sha256:
            raise IndexFormatError(f"{path} was changed: its SHA-256 is not the one in index.json.", hint=_AGAIN)

    def suits(self, allowed: NDArray[np.bool_] | None, k: int = 10) -> bool:
        """Whether it can answer as well as it was measured: not when few rows are allowed, nor for long lists."""
        if self.described.kind.startswith("flat"):
            return True
        return k <= _MAX_HITS and (allowed is None or float(allowed.mean()) >= _LEAST_SHARE)

    def search(
        self, matrix: Vectors, queries: Vectors, k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Scores, Rows]:
        """The rows with the greatest inner products among those it proposes and those it does not know yet.

        Args:
            matrix: All rows, ``(n, d)``.
            queries: Unit rows, ``(q, d)``.
            k: Rows wanted.
            allowed: ``(n,)``; None for all.

        Returns:
            Exact scores and rows, ``(q, at most k)``, best first; row −1 with the score −inf where fewer were found.

        Raises:
            IndexFormatError: The matrix has another width.
            ShapeError: The queries have another width.
        """
        if queries.ndim != 2 or queries.shape[1] != matrix.shape[1]:
            raise ShapeError(f"The index holds vectors of {matrix.shape[1]} numbers; the queries have {queries.shape}.")
        if self._faiss.d != matrix.shape[1]:
            raise IndexFormatError(
                f"{self.described.file} holds vectors of {self._faiss.d} numbers, the index of {matrix.shape[1]}.",
                hint=_AGAIN,
            )
        known = self.described.rows
        queries = np.ascontiguousarray(queries, np.float32)
        proposed = propose(
            self._faiss, queries, k, self.described.settings, None if allowed is None else allowed[:known]
        )
        scores, rows = rescore(matrix, queries, proposed, k)
        if known == len(matrix):
            return scores, rows
        late_scores, late_rows = search_flat(
            matrix[known:], queries, k, allowed=None if allowed is None else allowed[known:]
        )
        return best(np.hstack([scores, late_scores]), np.hstack([rows, late_rows + known]), k)


def propose(
    index: Any, queries: Vectors, k: int, settings: Mapping[str, int], allowed: NDArray[np.bool_] | None
) -> Rows:
    """Candidate rows of a faiss index, ``(q, c)``, −1 where there are none.

    Args:
        index: Of faiss.
        queries: ``(q, d)`` float32.
        k: Hits that are wanted of the candidates.
        settings: See :class:`Derived`.
        allowed: ``(n,)``; None for all.
    """
    import faiss

    candidates = min(max(settings["candidates"], k * settings["candidates"] // 10), max(1, index.ntotal))
    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits.size * 8, faiss.swig_ptr(bits))
    share = 1.0 if allowed is None else max(float(allowed.mean()), _LEAST_SHARE)
    breadth = round(settings.get("breadth", 0) / share)
    library: Any = faiss  # its type stubs do not know the parameters of searches
    if isinstance(index, faiss.IndexHNSW):
        options = library.SearchParametersHNSW(efSearch=max(breadth, candidates), sel=selector)
    elif isinstance(lists_of(index), faiss.IndexIVF):
        options = library.SearchParametersIVF(nprobe=min(breadth, lists_of(index).nlist), sel=selector)
        if isinstance(index, faiss.IndexPreTransform):
            options = library.SearchParametersPreTransform(index_params=options)
    else:
        options = library.SearchParameters(sel=selector)
    rows: Rows = index.search(queries, candidates, params=options)[1]
    return rows


def lists_of(index: Any) -> Any:
    """The part of a faiss index that holds the vectors, without the rotation that may go before it."""
    import faiss

    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def rescore(matrix: Vectors, queries: Vectors, candidates: Rows, k: int) -> tuple[Scores, Rows]:
    """The best ``k`` of each query's candidates by the matrix: scores and rows, ``(q, at most k)``.

    Args:
        matrix: ``(n, d)`` float32, contiguous.
        queries: ``(q, d)`` float32.
        candidates: ``(q, c)``, −1 where there are none, which score −inf.
        k: Rows wanted.

    Raises:
        IndexFormatError: A candidate lies beyond the matrix.
    """
    import faiss

    if candidates.max(initial=-1) >= len(matrix):
        raise IndexFormatError(f"The derived index proposes row {candidates.max()} of {len(matrix)}.", hint=_AGAIN)
    queries, candidates = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(candidates, np.int64)
    scores = np.empty(candidates.shape, np.float32)
    # Read where they lie: gathering a thousand rows of 512 numbers first means two megabytes of fresh pages a query.
    library: Any = faiss  # its type stubs lack the function
    given = (faiss.swig_ptr(array) for array in (scores, queries, matrix, candidates))
    library.fvec_inner_products_by_idx(*given, matrix.shape[1], *candidates.shape)
    return best(scores, candidates, k)


def best(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The ``k`` greatest of each line, best first; equal ones stay in their order."""
    order = best_first(scores, k)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
