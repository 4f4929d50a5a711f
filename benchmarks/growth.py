"""How time and memory grow: with the vectors of an index, with the images of a library, with batch and threads.

    python benchmarks/growth.py EXPORT [--vectors 1000 10000 100000 1000000] [--images 10 … 100000] [--work DIR]

EXPORT is an ONNX export with an image tower (`mckit export --format onnx`). Vectors are random; images are drawn
(JPEG, 96 px, noise on a gradient) and differ from each other, so that none is taken for a copy. Each size runs in a
process of its own, which gives it a peak memory of its own.

Times are processor seconds of one thread, which other work on the machine does not change; with threads they are
wall milliseconds, the least of the rounds. A slope is the exponent that a curve's last step follows: 1 is a straight
line, 0 is no growth. Writes ``results/growth.json`` and ``results/growth.png`` after each point; ``--resume`` keeps
the points that the file has, so that the sizes can be walked in several calls (an option without sizes walks none).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from growth_curves import Point, plot, slopes  # noqa: E402
from PIL import Image  # noqa: E402
from timing import cpu_seconds  # noqa: E402

from mobileclip_kit.bench.machine import describe_machine, peak_memory_bytes, usable_cores  # noqa: E402
from mobileclip_kit.files import write_json  # noqa: E402

HERE = Path(__file__).parent
DIM, QUERIES, ADDED = 256, 11, 1000
THREAD_SECONDS = 15.0  # long enough to meet a moment in which no other program wants a core
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    """Walk the sizes, or be one of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--vectors", type=int, nargs="*", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--images", type=int, nargs="*", default=[10, 100, 1000, 10_000, 100_000])
    parser.add_argument("--batches", type=int, nargs="*", default=list(BATCHES))
    parser.add_argument("--threads", type=int, nargs="*", default=list(range(1, usable_cores() + 1)))
    parser.add_argument("--work", type=Path, help="where the indexes and images go while it runs")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "growth.json")
    parser.add_argument("--resume", action="store_true", help="keep the points that the results file has")
    parser.add_argument("--one", nargs=2, metavar=("CURVE", "N"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        curve, size = chosen.one
        print(json.dumps(CURVES[curve](chosen.export, int(size), chosen.work)))
        return
    asked = {
        "vectors": chosen.vectors,
        "images": chosen.images,
        "batch": chosen.batches,
        "threads": chosen.threads,
    }
    curves = kept(chosen.results) if chosen.resume else {curve: [] for curve in asked}
    for curve, numbers in asked.items():
        for number in numbers:
            if all(point["n"] != number for point in curves[curve]):
                curves[curve] = sorted(
                    [*curves[curve], alone(chosen.export, curve, number, chosen.work)], key=lambda point: point["n"]
                )
                write(chosen, curves)
    for name, slope in write(chosen, curves)["slopes"].items():
        print(f"{name}: {'–' if slope is None else f'{slope:.2f}'}")


def kept(results: Path) -> dict[str, list[Point]]:
    """The points of an earlier call that succeeded."""
    document = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {"curves": {}}
    return {curve: [point for point in document["curves"].get(curve, []) if "failure" not in point] for curve in CURVES}


def write(chosen: argparse.Namespace, curves: dict[str, list[Point]]) -> dict[str, Any]:
    """The document of what was measured until now, written and drawn."""
    document = {
        "claim": "What an index, a library, a batch and threads cost as they grow.",
        "machine": describe_machine(),
        "settings": {"dim": DIM, "queries": QUERIES, "added": ADDED, "export": chosen.export.name},
        "curves": curves,
        "slopes": slopes(curves),
    }
    write_json(chosen.results, document)
    plot(document, chosen.results.with_suffix(".png"))
    return document


def alone(export: Path, curve: str, number: int, work: Path | None) -> Point:
    """One point in a process of its own; one that fails says why."""
    with tempfile.TemporaryDirectory(prefix="mckit-growth-", dir=work) as folder:
        command = [sys.executable, __file__, str(export), "--work", folder, "--one", curve, str(number)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(number if curve == "threads" else 1)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"{curve} {number}: failed: {last}", flush=True)
        return {"n": number, "failure": last}
    point: Point = {"n": number, **json.loads(done.stdout.splitlines()[-1])}
    print(f"{curve} {number}: {', '.join(f'{key} {value:.4g}' for key, value in point.items())}", flush=True)
    return point


def of_vectors(_: Path, rows: int, work: Path) -> Point:
    """Build, load, search, and add a thousand vectors to an index."""
    from mobileclip_kit.index.folder import IndexReader, open_writer
    from mobileclip_kit.index.store import Item
    from mobileclip_kit.indexing.importing import import_vectors
    from mobileclip_kit.indexing.options import IndexOptions

    rng = np.random.default_rng(0)
    # float16 on disk, as caches are kept; a tenth at a time keeps this script's own memory out of the figure.
    matrix = np.lib.format.open_memmap(work / "v.npy", mode="w+", dtype=np.float16, shape=(rows, DIM))
    for start in range(0, rows, 100_000):
        block = matrix[start : start + 100_000]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
    (work / "names.txt").write_text("".join(f"{number}.jpg\n" for number in range(rows)))
    del matrix
    out, found = work / "i.index", {}
    found["build_s"] = cpu_seconds(
        lambda: import_vectors(work / "v.npy", work / "names.txt", out, IndexOptions(kind="flat"))
    )
    queries = rng.standard_normal((QUERIES, DIM), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found["load_s"] = cpu_seconds(lambda: _open_and_ask(out, queries[:1]))
    with IndexReader(out) as index:
        index.nearest(queries[:1], 10)
        found["search_ms"] = 1000 * float(
            np.median(
                [cpu_seconds(lambda row=row: index.nearest(queries[row : row + 1], 10)) for row in range(QUERIES)]
            )
        )
    more = rng.standard_normal((ADDED, DIM), dtype=np.float32)
    more /= np.linalg.norm(more, axis=1, keepdims=True)

    def add() -> None:
        with open_writer(out) as writer:
            first = writer.matrix.append(more)
            for number in range(ADDED):
                writer.store.put(Item(name=f"new/{number}.jpg", row=first + number))
            writer.commit()

    found["add_1000_s"] = cpu_seconds(add)
    return {**found, "peak_memory_bytes": peak_memory_bytes()}


def _open_and_ask(path: Path, query: Any) -> None:
    from mobileclip_kit.index.folder import IndexReader

    with IndexReader(path) as index:
        index.nearest(query, 10)


def of_images(export: Path, count: int, work: Path) -> Point:
    """Index a folder, and look at it again when nothing has changed."""
    from mobileclip_kit.indexing.options import IndexOptions
    from mobileclip_kit.indexing.update import update_index
    from mobileclip_kit.runtime.open import open_encoder

    folder = work / "images"
    draw(folder, count)
    encoder = open_encoder(export, threads=1)
    encoder.encode_images(np.zeros((1, *_input(encoder), 3), np.uint8))
    index = work / "p.index"
    found = {
        "index_s": cpu_seconds(lambda: update_index(folder, encoder, index, IndexOptions(workers=1, kind="flat"))),
        "again_s": cpu_seconds(lambda: update_index(folder, encoder, index, IndexOptions(workers=1, kind="flat"))),
    }
    return {**found, "peak_memory_bytes": peak_memory_bytes()}


def draw(folder: Path, count: int) -> None:
    """Small images that differ from each other."""
    rng, ramp = np.random.default_rng(0), np.linspace(0, 255, 96)
    noises = [rng.normal(0, 12, (96, 96, 3)) for _ in range(64)]
    for number in range(count):
        if number % 1000 == 0:
            place = folder / f"{number // 1000:03}"
            place.mkdir(parents=True)
        tint = rng.uniform(0, 1, 3)
        image = ramp[:, None, None] * tint + noises[number % 64] + 40 * rng.uniform(0, 1, 3)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(place / f"{number:06}.jpg", quality=85)


def of_batch(export: Path, batch: int, _: Path) -> Point:
    """Processor milliseconds of one image in a batch."""
    encode, pixels = _tower(export, batch, threads=1)
    rounds = max(3, 48 // batch)
    times = [cpu_seconds(lambda: encode(pixels)) for _ in range(rounds)]
    return {"image_ms": 1000 * float(np.median(times)) / batch, "peak_memory_bytes": peak_memory_bytes()}


def of_threads(export: Path, threads: int, _: Path) -> Point:
    """Least wall milliseconds of one image in a batch of 16."""
    encode, pixels = _tower(export, 16, threads=threads)
    times = []
    until = time.perf_counter() + THREAD_SECONDS
    while time.perf_counter() < until:
        started = time.perf_counter()
        encode(pixels)
        times.append(time.perf_counter() - started)
    return {"image_ms": 1000 * min(times) / 16, "image_ms_median": 1000 * float(np.median(times)) / 16}


def _tower(export: Path, batch: int, *, threads: int) -> tuple[Callable[[Any], Any], Any]:
    from mobileclip_kit.exporting.folder import open_export
    from mobileclip_kit.runtime.onnx import OnnxEncoder

    encoder = OnnxEncoder(open_export(export), threads=threads, batch_size=batch)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *_input(encoder), 3), dtype=np.uint8)
    encoder.encode_images(pixels)
    return encoder.encode_images, pixels


def _input(encoder: Any) -> tuple[int, int]:
    spec = encoder.spec.require_image()
    return spec.height, spec.width


CURVES: dict[str, Callable[[Path, int, Path], Point]] = {
    "vectors": of_vectors,
    "images": of_images,
    "batch": of_batch,
    "threads": of_threads,
}


if __name__ == "__main__":
    main()
