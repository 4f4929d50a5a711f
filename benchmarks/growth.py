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

import json  # noqa: E402
import math  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from argparse import Namespace  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from harness import RESULTS, cpu_seconds, last_line, parse, told  # noqa: E402
from harness import write as write_results  # noqa: E402
from PIL import Image  # noqa: E402

from mobileclip_kit.bench.machine import peak_memory_bytes, usable_cores  # noqa: E402
from mobileclip_kit.exporting.folder import open_export  # noqa: E402
from mobileclip_kit.index.folder import IndexReader, open_writer  # noqa: E402
from mobileclip_kit.index.store import Item  # noqa: E402
from mobileclip_kit.indexing.importing import import_vectors  # noqa: E402
from mobileclip_kit.indexing.options import IndexOptions  # noqa: E402
from mobileclip_kit.indexing.update import update_index  # noqa: E402
from mobileclip_kit.metrics import unit_rows  # noqa: E402
from mobileclip_kit.runtime.onnx import OnnxEncoder  # noqa: E402

Point = dict[str, Any]
DIM, QUERIES, ADDED = 256, 11, 1000
THREAD_SECONDS = 15.0  # long enough to meet a moment in which no other program wants a core
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    """Measure every size, each in a process of its own."""
    chosen = parse(
        "export", vectors=(10**3, 10**4, 10**5, 10**6), images=(10, 100, 1000, 10_000, 100_000), batches=BATCHES,
        threads=range(1, usable_cores() + 1), work=None, out=RESULTS / "growth.json", resume=False, one=("",),
    )  # fmt: skip
    if chosen.one != [""]:
        curve, size = chosen.one
        print(json.dumps(CURVES[curve](chosen.export, int(size), chosen.work)))
        return
    asked = {"vectors": chosen.vectors, "images": chosen.images, "batch": chosen.batches, "threads": chosen.threads}
    curves = kept(chosen.out) if chosen.resume else {curve: [] for curve in asked}
    for curve, numbers in asked.items():
        for number in numbers:
            if all(point["n"] != number for point in curves[curve]):
                point = alone(chosen.export, curve, number, chosen.work)
                curves[curve] = sorted([*curves[curve], point], key=lambda point: point["n"])
                write(chosen, curves)
    for name, slope in write(chosen, curves)["slopes"].items():
        print(f"{name}: {'–' if slope is None else f'{slope:.2f}'}")


def kept(results: Path) -> dict[str, list[Point]]:
    """The points of an earlier call that succeeded."""
    document = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {"curves": {}}
    return {curve: [point for point in document["curves"].get(curve, []) if "failure" not in point] for curve in CURVES}


def write(chosen: Namespace, curves: dict[str, list[Point]]) -> dict[str, Any]:
    """The document of what was measured until now, written and drawn."""
    document = {
        "claim": "What an index, a library, a batch and threads cost as they grow.",
        "settings": {"dim": DIM, "queries": QUERIES, "added": ADDED, "export": chosen.export.name},
        "curves": curves,
        "slopes": slopes(curves),
    }
    whole = write_results(chosen.out, document)
    plot(whole, chosen.out.with_suffix(".png"))
    return whole


def alone(export: Path, curve: str, number: int, work: Path | None) -> Point:
    """One point in a process of its own; one that fails says why."""
    with tempfile.TemporaryDirectory(prefix="mckit-growth-", dir=work) as folder:
        command = [sys.executable, __file__, str(export), "--work", folder, "--one", curve, str(number)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(number if curve == "threads" else 1)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"{curve} {number}: failed: {last_line(done.stderr)}", flush=True)
        return {"n": number, "failure": last_line(done.stderr)}
    point: Point = {"n": number, **told(done.stdout)[-1]}
    print(f"{curve} {number}: {', '.join(f'{key} {value:.4g}' for key, value in point.items())}", flush=True)
    return point


def of_vectors(_: Path, rows: int, work: Path) -> Point:
    """Build, load, search, and add a thousand vectors to an index."""
    rng = np.random.default_rng(0)
    # float16 on disk, as caches are kept; a tenth at a time keeps this script's own memory out of the figure.
    matrix = np.lib.format.open_memmap(work / "v.npy", mode="w+", dtype=np.float16, shape=(rows, DIM))
    for start in range(0, rows, 100_000):
        block = matrix[start : start + 100_000]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
    (work / "names.txt").write_text("".join(f"{number}.jpg\n" for number in range(rows)))
    del matrix
    out, found = work / "i.index", {}
    flat = IndexOptions(kind="flat")
    found["build_s"] = cpu_seconds(lambda: import_vectors(work / "v.npy", work / "names.txt", out, flat))
    queries = unit_rows(rng.standard_normal((QUERIES, DIM), dtype=np.float32), "The queries")
    found["load_s"] = cpu_seconds(lambda: _open_and_ask(out, queries[:1]))
    with IndexReader(out) as index:
        index.nearest(queries[:1], 10)
        times = [cpu_seconds(lambda row=row: index.nearest(queries[row : row + 1], 10)) for row in range(QUERIES)]
    found["search_ms"] = 1000 * float(np.median(times))
    more = unit_rows(rng.standard_normal((ADDED, DIM), dtype=np.float32), "The vectors")

    def add() -> None:
        with open_writer(out) as writer:
            first = writer.matrix.append(more)
            for number in range(ADDED):
                writer.store.put(Item(name=f"new/{number}.jpg", row=first + number))
            writer.commit()

    found["add_1000_s"] = cpu_seconds(add)
    return {**found, "peak_memory_bytes": peak_memory_bytes()}


def _open_and_ask(path: Path, query: Any) -> None:
    with IndexReader(path) as index:
        index.nearest(query, 10)


def of_images(export: Path, count: int, work: Path) -> Point:
    """Index a folder, and look at it again when nothing has changed."""
    folder = work / "images"
    draw(folder, count)
    encoder = OnnxEncoder(open_export(export), threads=1)
    encoder.encode_images(np.zeros((1, *_input(encoder), 3), np.uint8))
    index = work / "p.index"
    options = IndexOptions(workers=1, kind="flat")
    found = {name: cpu_seconds(lambda: update_index(folder, encoder, index, options))
             for name in ("index_s", "again_s")}  # fmt: skip
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
    encoder = OnnxEncoder(open_export(export), threads=threads, batch_size=batch)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *_input(encoder), 3), dtype=np.uint8)
    encoder.encode_images(pixels)
    return encoder.encode_images, pixels


def _input(encoder: Any) -> tuple[int, int]:
    spec = encoder.spec.require_image()
    return spec.height, spec.width


def slopes(curves: dict[str, list[Point]]) -> dict[str, float | None]:
    """For each figure the exponent between its last two sizes that are a decade (of batches: an octave) apart."""
    found: dict[str, float | None] = {}
    for curve, points in curves.items():
        whole = [point for point in points if "failure" not in point]
        for key in whole[0] if whole else ():
            if key != "n":
                found[f"{curve} {key}"] = _slope([(point["n"], point[key]) for point in whole])
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    if len(points) < 2:
        return None
    (small, before), (big, after) = points[-2:]
    return math.log(after / before) / math.log(big / small) if before > 0 and after > 0 else None


def plot(document: dict[str, Any], path: Path) -> None:
    """One panel a curve, both axes logarithmic, a dotted line of slope 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {
        "seconds, by vectors": ("vectors", ("build_s", "add_1000_s", "load_s")),
        "ms of one search, by vectors": ("vectors", ("search_ms",)),
        "seconds, by images": ("images", ("index_s", "again_s")),
        "peak memory, bytes, by vectors": ("vectors", ("peak_memory_bytes",)),
        "ms of one image, by batch": ("batch", ("image_ms",)),
        "wall ms of one image, by threads": ("threads", ("image_ms",)),
    }
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, (curve, keys)) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        for key in keys:
            points = [(point["n"], point[key]) for point in document["curves"][curve] if key in point]
            if points:
                axes.loglog(*zip(*points, strict=True), marker="o", label=key)
                (n, _), (last, value) = points[0], points[-1]
                if curve in ("vectors", "images"):
                    axes.loglog([n, last], [value * n / last, value], color="0.8", linestyle=":", zorder=0)
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.25)
        if len(keys) > 1 and axes.lines:
            axes.legend(fontsize=7)
    machine = document["machine"]
    figure.suptitle(f"{machine['cpu']}, one thread, processor time; dotted: in proportion", fontsize=9)
    figure.savefig(path, dpi=110)


CURVES: dict[str, Callable[[Path, int, Path], Point]] = {
    "vectors": of_vectors,
    "images": of_images,
    "batch": of_batch,
    "threads": of_threads,
}


if __name__ == "__main__":
    main()
