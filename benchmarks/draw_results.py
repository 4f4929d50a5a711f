"""Draw results as bars: ``results/NAME.png`` beside ``results/NAME.json``, for scripts that draw nothing themselves.

    python benchmarks/draw_results.py [NAME ...]

Without names every file is drawn that this script knows and finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from harness import RESULTS, Bar, Chart, draw, parse

from mobileclip_kit.files import read_json

MIB = 1024 * 1024


def index_speed(document: dict[str, Any]) -> Iterator[Chart]:
    """Images a second of processor time, for each kind of image."""
    for part, title in (("small", "JPEG of about 500 px"), ("camera", "JPEG of 12 megapixels")):
        rows = sorted((row["images_per_cpu_s"], name) for name, row in document["results"][part].items())
        bars = [Bar(name, rate, f"{rate:.1f}", name.startswith("mckit")) for rate, name in rows]
        yield Chart(f"{title}, {document['model']}", "images a second of processor time", bars)


def int8_speed(document: dict[str, Any]) -> Iterator[Chart]:
    """Milliseconds of one image."""
    bars = []
    for name, row in reversed(document["rows"].items()):
        time = row["cpu_ms"]["median"]
        bars.append(Bar(name, time, f"{time:.1f} ms, cosine ≥ {row['cosine_min']:.4f}", name == "ort-int8"))
    yield Chart("int8 beside float32, one thread, batch 1", "processor time of one image, ms", bars)


def index_kinds(document: dict[str, Any]) -> Iterator[Chart]:
    """Milliseconds of one search, with recall and size."""
    bars = []
    for row in reversed(document["kinds"]):
        size = f", {row['size_bytes'] / MIB:,.0f} MiB" if "size_bytes" in row else ""
        note = f"{row['processor_ms']['p50']:.1f} ms, recall@10 {row['recall_at_10']:.3f}{size}"
        bars.append(Bar(row["kind"], row["processor_ms"]["p50"], note, row["kind"] != "bare faiss"))
    title = f"one text query over {document['rows']:,} vectors of {document['dim']} numbers"
    yield Chart(title, "processor time of one search, ms", bars)


def distill_speed(document: dict[str, Any]) -> Iterator[Chart]:
    """Images a second of one training step."""
    rates = {name: speed["median"] for name, speed in reversed(document["images_per_s"].items())}
    bars = [
        Bar(name, rate, f"{rate:.1f}", name.startswith(("cached", "decoding", "live"))) for name, rate in rates.items()
    ]
    yield Chart("steps of distillation, student vit-s6-h12, teacher ViT-B/32", "images a second", bars)


def swift_core(document: dict[str, Any]) -> Iterator[Chart]:
    """A search beside reading the vectors once."""
    bars = []
    for kind in ("float16", "int8"):
        row = document[kind]
        note = f"{row['search_ms']:.1f} ms, ×{row['ratio_to_reading']:.2f}"
        bars.append(Bar(f"search {kind}", row["search_ms"], note))
        bars.append(Bar(f"read {kind} once", row["read_once_ms"], f"{row['read_once_ms']:.1f} ms", False))
    title = f"Swift: top 10 of {document['int8']['rows']:,} × {document['int8']['dim']}, one core"
    yield Chart(title, "ms", bars)


KNOWN: dict[str, Callable[[dict[str, Any]], Iterator[Chart]]] = {
    chart.__name__: chart for chart in (index_speed, int8_speed, index_kinds, distill_speed, swift_core)
}


def main() -> None:
    """Draw the named results."""
    names = parse("names*").names or [name for name in KNOWN if (RESULTS / f"{name}.json").is_file()]
    for name in names:
        document = read_json(RESULTS / f"{name}.json")
        draw(list(KNOWN[name](document)), document.get("machine"), RESULTS / f"{name}.png")
        print(RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
