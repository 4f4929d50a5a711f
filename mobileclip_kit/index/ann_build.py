"""Making a derived index, and measuring what it finds before anybody relies on it.

Recall is measured with the queries that people will ask, texts, against the exact scan of the same vectors; the graph's
breadth (and the number of lists probed) is the least that reaches the target. HNSW: Malkov and Yashunin
(arXiv 1603.09320); product quantisation: Jégou, Douze and Schmid (PAMI 2011); both as faiss builds them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.files import atomic_file, sha256_of_file
from mobileclip_kit.index.ann_index import Derived, lists_of, propose, rescore
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.index.kinds import IndexKind
from mobileclip_kit.progress import Progress

TARGET_RECALL = 0.98

_K = 10
_ROWS_AT_ONCE = 16384
_TRAINING_ROWS = 65_536
_GRAPH_LINKS = 32
_GRAPH_BREADTH = 100
_BREADTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
# Proposed for ten hits. Compressed vectors misjudge so much that rescoring has to choose from many.
_CANDIDATES = {"flat-float16": 20, "flat-int8": 50, "hnsw": 20}
_COMPRESSED_CANDIDATES = (100, 200, 300, 400, 500, 700, 1000, 2000)
_LIST_SHARES = (1 / 128, 1 / 64, 1 / 32, 1 / 28, 1 / 24, 1 / 20, 1 / 16, 1 / 12, 1 / 8, 1 / 4, 1)
# Rescoring a candidate costs as much as scanning so many compressed bytes: its row lies anywhere in the matrix.
_RESCORED_BYTES = 3500
_TIMED_SCANS, _TIMED_QUERIES = 5, 64
_ROTATION_SEED = 0
# Two queries agree on the scores of a row to rounding only; equal scores may stand in either order.
_TIE = 1e-6


@dataclass(frozen=True)
class QueryVectors:
    """What recall is measured with.

    Attributes:
        vectors: Unit rows, ``(q, d)``, at least one.
        what: "256 texts".
    """

    vectors: Vectors
    what: str


def derive(
    matrix: Vectors,
    kind: IndexKind,
    folder: Path,
    queries: QueryVectors,
    *,
    generation: int = 0,
    asked: bool = False,
    target: float = TARGET_RECALL,
    threads: int | None = None,
) -> Derived:
    """Build a derived index of a matrix into an index folder, and measure it.

    Args:
        matrix: ``(n, d)``, n at least 1.
        kind: Any but ``flat``.
        folder: Where the file shall lie; the caller writes what is returned into ``index.json``.
        queries: Queries to measure with.
        generation: Of the matrix.
        asked: See :class:`Derived`.
        target: Recall among the first ten that the settings are chosen for, on other queries too.
        threads: Of the building; None for all cores.
    """
    import faiss  # refused runs and exact searches start quicker without it

    started = time.monotonic()
    before = faiss.omp_get_max_threads()
    if threads is not None:
        faiss.omp_set_num_threads(threads)
    try:
        index = _build(matrix, kind)
        build_s = time.monotonic() - started
        # The least score among each query's exact ten nearest, (q,).
        truth = search_flat(matrix, queries.vectors, _K)[0][:, -1] - _TIE
        settings, recall = _tune(index, matrix, kind, queries.vectors, truth, target)
        faiss.omp_set_num_threads(1)
        exact_ms = _median_ms(lambda query: search_flat(matrix, query, _K), queries.vectors[:_TIMED_SCANS])
        search_ms = _median_ms(
            lambda query: rescore(matrix, query, propose(index, query, _K, settings, None), _K),
            queries.vectors[:_TIMED_QUERIES],
        )
    finally:
        faiss.omp_set_num_threads(before)
    file = f"{kind}-{generation}-{len(matrix)}.faiss"
    with atomic_file(folder / file) as staging:
        faiss.write_index(index, str(staging))
        size_bytes = staging.stat().st_size
    return Derived(
        kind=kind,
        file=file,
        size_bytes=size_bytes,
        rows=len(matrix),
        generation=generation,
        settings=settings,
        recall_at_10=round(recall, 4),
        measured_with=queries.what,
        search_ms=round(search_ms, 3),
        exact_ms=round(exact_ms, 3),
        build_s=round(build_s, 1),
        asked=asked,
        sha256=sha256_of_file(folder / file),
    )


def _build(matrix: Vectors, kind: IndexKind) -> Any:
    index = _empty(matrix, kind)
    sample = matrix[np.linspace(0, len(matrix) - 1, min(len(matrix), _TRAINING_ROWS)).astype(np.int64)]
    index.train(np.ascontiguousarray(sample, np.float32))
    with Progress(f"derive {kind}", total=len(matrix), unit="vectors") as progress:
        for part in parts_of(matrix, _ROWS_AT_ONCE):
            index.add(np.ascontiguousarray(part, np.float32))
            progress.advance(len(part))
    return index


def _empty(matrix: Vectors, kind: IndexKind) -> Any:
    import faiss

    rows, dim = matrix.shape
    product = faiss.METRIC_INNER_PRODUCT
    half: Any = faiss.ScalarQuantizer.QT_fp16  # the type stubs take it for something else
    if kind == "flat-float16":
        return faiss.IndexScalarQuantizer(dim, half, product)
    if kind == "flat-int8":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, product)
    if kind == "hnsw":
        graph: Any = faiss.IndexHNSWSQ(dim, half, _GRAPH_LINKS, product)
        graph.hnsw.efConstruction = _GRAPH_BREADTH
        # Links that lead to a neighbour's neighbour are pruned as superfluous, which holds for queries from among the
        # vectors; texts come from outside. Kept, they halve what a text query has to visit for the same recall.
        graph.keep_max_size_level0 = True
        return graph
    lists = max(1, min(round(2 * math.sqrt(rows)), rows // 39))
    # Four bits for every two numbers, an eighth of float16, scanned in registers; what that loses, rescoring mends.
    pieces = max(part for part in range(1, dim + 1) if dim % part == 0 and part <= max(1, dim // 2))
    index = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dim), dim, lists, pieces, 4, product)
    # What is left of a vector beside its list's centre is shorter than the vector, and compressed with less loss.
    index.by_residual = True
    index.cp.niter = 10
    # CLIP's coordinates vary by very different amounts, yet every piece has the same sixteen codes, and the pieces'
    # tables one common step. A rotation shares the variance out: half as many candidates have to be rescored.
    rotation = faiss.RandomRotationMatrix(dim, dim)
    rotation.init(_ROTATION_SEED)
    return faiss.IndexPreTransform(rotation, index)


def _tune(
    index: Any, matrix: Vectors, kind: IndexKind, queries: Vectors, truth: NDArray[np.float32], target: float
) -> tuple[dict[str, int], float]:
    """The cheapest settings that reach the target with a standard error to spare, or the broadest; their recall."""
    if kind == "hnsw":
        steps = [{"candidates": _CANDIDATES[kind], "breadth": breadth} for breadth in _BREADTHS]
    elif kind == "ivf-pq":
        scanned = lists_of(index)
        lists = sorted({max(1, round(scanned.nlist * share)) for share in _LIST_SHARES})
        steps = [{"candidates": many, "breadth": breadth} for many in _COMPRESSED_CANDIDATES for breadth in lists]
        list_bytes = scanned.code_size * len(matrix) / scanned.nlist
        steps.sort(key=lambda step: step["breadth"] * list_bytes + step["candidates"] * _RESCORED_BYTES)
    else:
        steps = [{"candidates": _CANDIDATES[kind]}]
    for settings in steps:
        found = measure_recall(index, matrix, queries, truth, settings)
        recall = float(found.mean())
        # The first settings that reach the target do so with luck, too: other queries would find less. One standard
        # error more, and they find as much.
        if recall - float(found.std()) / math.sqrt(len(found)) >= target:
            break
    return settings, recall


def measure_recall(
    index: Any, matrix: Vectors, queries: Vectors, truth: NDArray[np.float32], settings: Mapping[str, int]
) -> NDArray[np.float64]:
    """The share of each query's ten hits that score at least ``truth``, the exact tenth score; both ``(q,)``."""
    scores, _ = rescore(matrix, queries, propose(index, queries, _K, settings, None), _K)
    wanted = min(_K, len(matrix))
    shares: NDArray[np.float64] = (scores[:, :wanted] >= truth[:, None]).sum(axis=1) / wanted
    return shares


def _median_ms(ask: Any, queries: Vectors) -> float:
    times = []
    for number in range(len(queries)):
        started = time.perf_counter()
        ask(queries[number : number + 1])
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
