"""What each kind of index finds, how fast, and what it costs, at a million vectors.

    python benchmarks/index_kinds.py DATA --work DIR [--rows 1000000] [-o results/index_kinds.json]

DATA holds ``photos541/clip_vitb32_openai_image.npy``, image vectors of a CLIP, and ``clip_vitb32_text/lvis1203.npy``,
text vectors of the same CLIP. A million real vectors are not at hand, so they are made of the real ones by this rule,
which keeps their clusters, their directions of variation and their distance from texts:

    x = normalise(a + u · 0.7 · (b − c) + 0.25 · g),   a, b, c: real image vectors drawn at random, u: uniform in 0…1,
                                                       g: normal, of expected length 1

Queries are texts: those at even places choose an index's settings, those at odd places are reported. Single queries on
one thread, in rounds that take every way in turn: ``bare faiss`` is ``faiss.knn`` on the same memory-mapped vectors,
``mckit flat`` our exact search of them; the others are derived indexes. Latency includes the rescoring;
``processor_ms`` is processor time of the thread that works, in which other programs' turns do not count. What is done
is kept in DIR, so the run can be interrupted.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
from harness import parse, write
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.files import write_json
from mobileclip_kit.formats import read, to_document
from mobileclip_kit.index.ann_build import QueryVectors, derive
from mobileclip_kit.index.ann_index import Derived, DerivedIndex
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.index.kinds import KINDS, choose_kind
from mobileclip_kit.index.vectors import MatrixWriter, map_matrix
from mobileclip_kit.metrics import unit_rows

DIM, K, CHUNK = 512, 10, 50_000
DERIVED = tuple(kind for kind in KINDS if kind != "flat")


def main() -> None:
    """Make the vectors, derive what is missing, time everything in turns."""
    chosen = parse("data", work=Path, rows=1_000_000, kinds=DERIVED, rounds=5, out=Path("index_kinds.json"),
                   choices={"kinds": DERIVED})  # fmt: skip
    chosen.work.mkdir(parents=True, exist_ok=True)
    matrix = make_matrix(chosen.data, chosen.work / f"{chosen.rows}.f32", chosen.rows)
    texts = unit_rows(np.load(chosen.data / "clip_vitb32_text" / "lvis1203.npy"), "The texts")
    asked, kept = texts[0::2], texts[1::2]
    described = [build(matrix, kind, chosen.work, asked) for kind in chosen.kinds]
    truth = exact(matrix, kept)
    rows = measure(matrix, kept, truth, described, chosen)
    document = {
        "rows": chosen.rows,
        "dim": DIM,
        "queries": f"{len(kept)} texts, one at a time on one thread",
        "chosen_by_size": choose_kind(chosen.rows, DIM).__dict__,
        "rounds": chosen.rounds,
        "matrix_bytes": 4 * matrix.size,
        "kinds": rows,
    }
    write(chosen.out, document)
    print(f"wrote {chosen.out}")


def make_matrix(data: Path, path: Path, count: int) -> Vectors:
    """The vectors of the rule above, in a matrix file."""
    if not path.is_file() or path.stat().st_size != 4 * count * DIM:
        real = unit_rows(np.load(data / "photos541" / "clip_vitb32_openai_image.npy"), "The images")
        path.touch()
        with MatrixWriter(path, DIM, 0) as writer:
            for start in range(0, count, CHUNK):
                n = min(CHUNK, count - start)
                rng = np.random.default_rng(start)
                a, b, c = (real[rng.integers(0, len(real), n)] for _ in range(3))
                noise = rng.standard_normal((n, DIM), np.float32) / np.float32(np.sqrt(DIM))
                made = a + 0.7 * rng.random((n, 1), np.float32) * (b - c) + 0.25 * noise
                writer.append(unit_rows(made, "The vectors"))
    return map_matrix(path, DIM, count)


def build(matrix: Vectors, kind: Any, work: Path, asked: Vectors) -> Derived:
    """Derive an index, or take the one that is there."""
    note = work / f"{kind}-{len(matrix)}.json"
    if not note.is_file():
        print(f"building {kind}", flush=True)
        described = derive(matrix, kind, work, QueryVectors(asked, f"{len(asked)} texts"))
        write_json(note, to_document(described))
    return read(note, Derived)


def exact(matrix: Vectors, queries: Vectors) -> NDArray[np.int64]:
    """The true ten of every query."""
    return np.concatenate([search_flat(matrix, queries[at : at + 64], K)[1] for at in range(0, len(queries), 64)])


def measure(
    matrix: Vectors, queries: Vectors, truth: NDArray[np.int64], described: list[Derived], chosen: Namespace
) -> list[dict[str, Any]]:
    """Latency and recall of every way, in turns."""
    faiss.omp_set_num_threads(1)
    ways: dict[str, Callable[[Vectors], NDArray[np.int64]]] = {
        "bare faiss": lambda query: faiss.knn(query, matrix, K, metric=faiss.METRIC_INNER_PRODUCT)[1],
        "mckit flat": lambda query: search_flat(matrix, query, K)[1],
    }
    memory = {}
    for one in described:
        before = psutil.Process().memory_info().rss
        index = DerivedIndex(chosen.work / one.file, one)
        for number in range(20):
            index.search(matrix, queries[number : number + 1], K)
        memory[one.kind] = psutil.Process().memory_info().rss - before
        ways[one.kind] = lambda query, index=index: index.search(matrix, query, K)[1]
    times: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(chosen.rounds):
        for name, way in ways.items():
            # Exact scans take long and vary little.
            step = len(queries) // 6 if name in ("bare faiss", "mckit flat", "flat-float16", "flat-int8") else 1
            for number in range(turn, len(queries), step):
                started, before = time.perf_counter(), time.thread_time()
                rows = way(queries[number : number + 1])
                processor[name].append(1000 * (time.thread_time() - before))
                times[name].append(1000 * (time.perf_counter() - started))
                found[name].append(len(set(rows[0].tolist()) & set(truth[number].tolist())) / K)
    result = []
    for name in ways:
        row: dict[str, Any] = {
            "kind": name,
            "latency_ms": percentiles(times[name]),
            "processor_ms": percentiles(processor[name]),
            "recall_at_10": float(np.mean(found[name])),
            "queries": len(times[name]),
            "times_bare_faiss": float(np.median(times[name]) / np.median(times["bare faiss"])),
            "times_bare_faiss_processor": float(np.median(processor[name]) / np.median(processor["bare faiss"])),
        }
        for one in described:
            if one.kind == name:
                row |= {"size_bytes": one.size_bytes, "resident_bytes": memory[name], "build_s": one.build_s,
                        "settings": one.settings, "recall_when_built": one.recall_at_10}  # fmt: skip
        result.append(row)
        milliseconds = f"{row['latency_ms']['p50']:9.2f} ms, {row['processor_ms']['p50']:9.2f} of processor"
        print(f"{name:14} {milliseconds}  recall@10 {row['recall_at_10']:.4f}", flush=True)
    return result


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {"p50": float(np.median(milliseconds)), "p95": float(np.percentile(milliseconds, 95))}


if __name__ == "__main__":
    main()
