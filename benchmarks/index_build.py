"""Building an index of a million given vectors: seconds of `mckit index --from-vectors` in a process of its own.

    python benchmarks/index_build.py --work DIR [--rows 1000000] [--dim 512] [--times 5] [-o results/index_build.json]

The vectors are random float32 of length 1, and the index is searched by an exact scan, so that nothing is derived.
Seconds are those of the whole process, start included, beside the processor time that it took; the matrix is in the
page cache. Each build replaces the index of the one before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from harness import parse, write
from index_library import run, summarise


def main() -> None:
    """Make the vectors if they are missing, build, write the result."""
    chosen = parse(work=Path, rows=1_000_000, dim=512, times=5, out=Path("index_build.json"))
    chosen.work.mkdir(parents=True, exist_ok=True)
    vectors, names = (chosen.work / f"{chosen.rows}x{chosen.dim}{suffix}" for suffix in (".npy", ".txt"))
    if not names.is_file():
        draw_vectors(vectors, chosen.rows, chosen.dim)
        names.write_text("".join(f"{number // 1000:04d}/{number:07d}.jpg\n" for number in range(chosen.rows)))
    build = [sys.executable, "-m", "mobileclip_kit", "index", "--from-vectors", str(vectors), "--names", str(names),
             "--kind", "flat", "--force", "-o", str(chosen.work / "built.index"), "--json"]  # fmt: skip
    run(build)  # brings the matrix into the page cache
    runs = summarise([run(build) for _ in range(chosen.times)])
    write(chosen.out, {"rows": chosen.rows, "dim": chosen.dim, **runs})
    print(f"{chosen.rows} vectors of {chosen.dim}: {runs['seconds']} s, {runs['cpu_s']} s of processor time")


def draw_vectors(path: Path, rows: int, dim: int) -> None:
    """Random directions, 50,000 at a time."""
    rng = np.random.default_rng(0)
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dim))
    for start in range(0, rows, 50_000):
        block = rng.standard_normal((min(50_000, rows - start), dim), dtype=np.float32)
        matrix[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
