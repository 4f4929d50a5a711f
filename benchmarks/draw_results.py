"""Draw results as bars: ``results/NAME.png`` beside ``results/NAME.json``, for scripts that draw nothing themselves.

    python benchmarks/draw_results.py [NAME ...]

Without names every file is drawn that this script knows and finds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mobileclip_kit.files import read_json

RESULTS = Path(__file__).parent / "results"
MIB = 1024 * 1024


class Bar(NamedTuple):
    """One bar, and what is written at its end."""

    label: str
    value: float
    note: str = ""
    ours: bool = True


class Chart(NamedTuple):
    """Bars that share an axis."""

    title: str
    axis: str
    bars: list[Bar]


def index_speed(document: dict[str, Any]) -> Iterator[Chart]:
    """Images a second of processor time, for each kind of image."""
    for part, title in (("small", "JPEG of about 500 px"), ("camera", "JPEG of 12 megapixels")):
        rows = document["results"][part]
        bars = [
            Bar(name, row["images_per_cpu_s"], f"{row['images_per_cpu_s']:.1f}", name.startswith("mckit"))
            for name, row in sorted(rows.items(), key=lambda item: item[1]["images_per_cpu_s"])
        ]
        yield Chart(f"{title}, {document['model']}", "images a second of processor time", bars)


def int8_speed(document: dict[str, Any]) -> Iterator[Chart]:
    """Milliseconds of one image."""
    bars = [
        Bar(
            name,
            row["cpu_ms"]["median"],
            f"{row['cpu_ms']['median']:.1f} ms, cosine ≥ {row['cosine_min']:.4f}",
            name == "ort-int8",
        )
        for name, row in document["rows"].items()
    ]
    yield Chart("int8 beside float32, one thread, batch 1", "processor time of one image, ms", bars[::-1])


def index_kinds(document: dict[str, Any]) -> Iterator[Chart]:
    """Milliseconds of one search, with recall and size."""
    bars = []
    for row in document["kinds"]:
        size = f", {row['size_bytes'] / MIB:,.0f} MiB" if "size_bytes" in row else ""
        note = f"{row['processor_ms']['p50']:.1f} ms, recall@10 {row['recall_at_10']:.3f}{size}"
        bars.append(Bar(row["kind"], row["processor_ms"]["p50"], note, row["kind"] != "bare faiss"))
    title = f"one text query over {document['rows']:,} vectors of {document['dim']} numbers"
    yield Chart(title, "processor time of one search, ms", bars[::-1])


def distill_speed(document: dict[str, Any]) -> Iterator[Chart]:
    """Images a second of one training step."""
    bars = [
        Bar(name, speed["median"], f"{speed['median']:.1f}", name in ("cached", "live"))
        for name, speed in document["images_per_s"].items()
    ]
    yield Chart("steps of distillation, student vit-s6-h12, teacher ViT-B/32", "images a second", bars[::-1])


def swift_core(document: dict[str, Any]) -> Iterator[Chart]:
    """A search beside reading the vectors once."""
    bars = []
    for kind in ("int8", "float16"):
        row = document[kind]
        bars += [
            Bar(f"read {kind} once", row["read_once_ms"], f"{row['read_once_ms']:.1f} ms", False),
            Bar(f"search {kind}", row["search_ms"], f"{row['search_ms']:.1f} ms, ×{row['ratio_to_reading']:.2f}"),
        ]
    title = f"Swift: top 10 of {document['int8']['rows']:,} × {document['int8']['dim']}, one core"
    yield Chart(title, "ms", bars[::-1])


KNOWN: dict[str, Callable[[dict[str, Any]], Iterator[Chart]]] = {
    draw.__name__: draw for draw in (index_speed, int8_speed, index_kinds, distill_speed, swift_core)
}


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KNOWN)}")
    names = parser.parse_args().names or [name for name in KNOWN if (RESULTS / f"{name}.json").is_file()]
    for name in names:
        document = read_json(RESULTS / f"{name}.json")
        draw(list(KNOWN[name](document)), document.get("machine"), RESULTS / f"{name}.png")
        print(RESULTS / f"{name}.png")


def draw(charts: list[Chart], machine: object, path: Path) -> None:
    """One image of all charts, one below the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [0.36 * len(chart.bars) + 1.1 for chart in charts]
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, chart in zip(
        figure.subplots(len(charts), height_ratios=heights, squeeze=False)[:, 0], charts, strict=True
    ):
        for place, bar in enumerate(chart.bars):
            axes.barh(place, bar.value, color="tab:blue" if bar.ours else "0.6")
            axes.annotate(bar.note, (bar.value, place), xytext=(4, 0), textcoords="offset points", va="center", size=8)
        axes.set_yticks(range(len(chart.bars)), [bar.label for bar in chart.bars], size=8)
        axes.set_xlim(0, 1.45 * max(bar.value for bar in chart.bars))
        axes.set_xlabel(chart.axis, size=8)
        axes.set_title(chart.title, size=9)
    if isinstance(machine, dict):
        figure.suptitle(f"{machine['cpu']}, load {machine.get('load', '?')}; blue: mckit", size=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
