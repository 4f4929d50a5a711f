"""A bench report for people: a table, remarks, Markdown, CSV, a plot of accuracy, latency and size, and a page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.results import METRICS, REPORT_FILE, BenchReport, BenchRow, ExampleHit, InputSummary
from mobileclip_kit.errors import ImageError
from mobileclip_kit.explain.plots import Point, plot_accuracy, short
from mobileclip_kit.files import write_json
from mobileclip_kit.reports.html import Bar, ImageRow, Thumbnail, thumbnail, write_page

PLOT_FILE = "accuracy-latency-size.png"
PAGE_FILE = "report.html"

# Accuracy figures that get a column and may become the plot's vertical axis, the most telling first.
METRIC_TITLES = {
    "map_at_10_to_20": "MAP@10…20",
    "overlap_at_10": "overlap@10",
    "query_map_at_10_to_20": "text MAP@10…20",
    "query_overlap_at_10": "text overlap@10",
    "cosine": "cosine",
    "recall_at_1_text_to_image": "R@1 t→i",
    "recall_at_5_text_to_image": "R@5 t→i",
    "recall_at_10_text_to_image": "R@10 t→i",
    "recall_at_1_image_to_text": "R@1 i→t",
    "recall_at_5_image_to_text": "R@5 i→t",
    "recall_at_10_image_to_text": "R@10 i→t",
    "zero_shot_top1": "top-1",
    "zero_shot_top5": "top-5",
    "scenes_precision_at_1": "scenes precision@1",
    "scenes_typographic_error_rate": "typographic error rate",
    "scenes_reading_precision_at_1": "reading precision@1",
    "recall_of_exact_at_10": "recall of exact@10",
}
# The plot's vertical axis points up to what is better.
_HEIGHTS = tuple(name for name in METRIC_TITLES if METRICS[name].better == "more")
_EMPTY = "–"
# Below this, two decimals of a ratio say too little.
_SMALL_RATIO = 0.1
# Models of which the page shows examples.
_EXAMPLE_MODELS = 6
_TIMED = {"latency_ms": "images", "text_latency_ms": "texts", "search_latency_ms": "searches"}

Cells = tuple[list[str], list[list[str]]]
Column = Callable[[BenchRow], str | None]


def _number(value: float | None, factor: float, digits: int) -> str | None:
    return None if value is None else f"{value * factor:.{digits}f}"


def _scaled(figure: str, factor: float = 1, digits: int = 0) -> Column:
    return lambda row: _number(row.figure(figure), factor, digits)


_COLUMNS: dict[str, Column] = {
    "model": lambda row: row.name,
    "kind": lambda row: row.kind if row.device in (None, "cpu") else f"{row.kind} ({row.device})",
    "MB": _scaled("size_bytes", 1e-6, 1),
    "params M": _scaled("parameters", 1e-6, 2),
    "GMAC": lambda row: _number(sum(row.multiply_accumulates.values()), 1e-9, 2) if row.multiply_accumulates else None,
    "p50 ms": _scaled("latency_ms.p50", 1, 2),
    "p95 ms": _scaled("latency_ms.p95", 1, 2),
    "p99 ms": _scaled("latency_ms.p99", 1, 2),
    "× first": lambda row: _to_first(row),
    "text p50 ms": _scaled("text_latency_ms.p50", 1, 2),
    "images/s": _scaled("images_per_s", 1, 1),
    "items": _scaled("items"),
    "search p50 ms": _scaled("search_latency_ms.p50", 1, 2),
    "search p95 ms": _scaled("search_latency_ms.p95", 1, 2),
    "queries/s": _scaled("queries_per_s"),
    "best batch": _scaled("best_batch"),
    "load ms": _scaled("load_ms"),
    "memory MB": _scaled("peak_memory_bytes", 1e-6),
}
_ACCURACY_COLUMNS: dict[str, Column] = {
    **{title: _scaled(f"metrics.{name}", 1, 3) for name, title in METRIC_TITLES.items()},
    "published accuracy": lambda row: (
        ", ".join(f"{name} {100 * value:.1f}\u00a0%" for name, value in row.published_accuracy.items()) or None
    ),
}


def table_cells(rows: Sequence[BenchRow]) -> Cells:
    """Header and cells of the table; a column that no row fills is left out."""
    return _cells(rows, {**_COLUMNS, **_ACCURACY_COLUMNS})


def speed_cells(rows: Sequence[BenchRow]) -> Cells:
    """The table without accuracy."""
    return _cells(rows, _COLUMNS)


def accuracy_cells(rows: Sequence[BenchRow]) -> Cells | None:
    """The accuracy of the rows that have any; None if there is none."""
    judged = [row for row in rows if row.metrics or row.published_accuracy]
    return _cells(judged, {"model": _COLUMNS["model"], **_ACCURACY_COLUMNS}) if judged else None


def _cells(rows: Sequence[BenchRow], columns: Mapping[str, Column]) -> Cells:
    cells = {title: [cell(row) for row in rows] for title, cell in columns.items()}
    kept = [title for title, values in cells.items() if any(value is not None for value in values)]
    return kept, [[cells[title][index] or _EMPTY for title in kept] for index in range(len(rows))]


def headline(report: BenchReport) -> str:
    """One line on the machine, the settings and the inputs."""
    machine, settings = report.machine, report.settings
    parts = [
        f"{machine['cpu']}, {machine['usable_cores']} cores, {machine['os']}",
        f"{settings['threads']} thread{'s' if settings['threads'] > 1 else ''} a model",
        f"batch 1, median of {settings['rounds']} interleaved round{'s' if settings['rounds'] > 1 else ''}",
        *map(_accuracy_on, report.inputs),
    ]
    return " · ".join([*parts, "interrupted: some figures are missing"] if report.interrupted else parts)


def _accuracy_on(inputs: InputSummary) -> str:
    images = f"{inputs.images} images"
    if inputs.scenes:
        return f"accuracy on {images} of the synthetic scenes"
    if inputs.teacher:
        return f"accuracy on {images} against {inputs.teacher}"
    if not inputs.judges:
        return f"no accuracy: {images} without captions, classes or a teacher"
    return f"accuracy on {images}"


def remarks(report: BenchReport) -> list[str]:
    """What a reader must know beside the table: a busy machine, models that failed, latencies of other devices."""
    rows = report.rows
    lines = [report.load_warning] if report.load_warning else []
    interpreted = [row.name for row in rows if row.runtime == "mil"]
    if interpreted:
        where = "executed by mckit's Core ML interpreter; time and memory say nothing about a phone"
        lines.append(f"{', '.join(interpreted)}: {where}.")
    on_linux = str(report.machine.get("os", "")).startswith("Linux")
    if named := [row.name for row in rows if row.runtime == "coreai" and on_linux]:
        where = "executed by Core AI's runtime for Linux; time and memory say nothing about a phone"
        lines.append(f"{', '.join(named)}: {where}.")
    lines += _different_macs(rows)
    lines += [f"{row.name}: queried with {row.queried_with}." for row in rows if row.queried_with]
    lines += [line for row in rows for line in [*_outliers(row), *_waits(row)]]
    lines += sorted({f"{row.name}: published, {row.citation}." for row in rows if row.source == "published"})
    lines += [f"{row.name}: {_phone(row.phone)}." for row in rows if row.phone is not None]
    lines += [f"{row.name}: {parity}." for row in rows for parity in row.parity]
    return lines + [f"{row.name} failed: {row.failure}" for row in rows if row.failure]


def to_markdown(report: BenchReport) -> str:
    """The table, ready for a README."""
    header, cells = table_cells(report.rows)
    align = ["---", *("---:" for _ in header[1:])]
    lines = [f"| {' | '.join(map(_markdown_cell, line))} |" for line in [header, align, *cells]]
    return "\n".join([headline(report), "", *lines, "", *remarks(report)]).rstrip() + "\n"


def _markdown_cell(text: str) -> str:
    """A folder's name may hold what would end the cell."""
    return " ".join(text.replace("|", "\\|").split())


def to_csv(report: BenchReport) -> str:
    """One line a model, with every figure at full precision."""
    flat = [_flatten(row.document()) for row in report.rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _flatten(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def write_report(report: BenchReport, folder: Path, examples: Sequence[ImageRow] = ()) -> list[str]:
    """Fill an (empty, staged) folder with ``report.json``, ``.md``, ``.csv``, ``.html`` and the plot.

    Args:
        report: If it has ``explain``, its figures are in the folder.
        folder: Exists.
        examples: Texts and the images found for them, for the page.

    Returns:
        The names of the files.
    """
    write_json(folder / REPORT_FILE, report.document(), sealed=True)
    (folder / "report.md").write_text(to_markdown(report), encoding="utf-8")
    (folder / "report.csv").write_text(to_csv(report), encoding="utf-8")
    plot_report(report, folder / PLOT_FILE)
    write_page(folder / PAGE_FILE, "bench.html", **_page(report, folder, examples))
    return [REPORT_FILE, "report.md", "report.csv", PLOT_FILE, PAGE_FILE]


def plot_report(report: BenchReport, path: Path) -> None:
    """Plot latency against accuracy, or against size if no accuracy was measured."""
    rows, metric = _plotted(report.rows)
    points = [
        Point(
            f"{row.name}\n{row.kind}{' (interpreter)' if row.runtime == 'mil' else ''}",
            row.figure("latency_ms.p50") or 0.0,
            height,
            size_mb=(row.size_bytes or 0) / 1e6,
            on_front=not row.source,
        )
        for row in rows
        if (height := _height(row, metric)) is not None
    ]
    # On two lines, since one would be cut off at the edge of the plot.
    title = re.sub(r" · ((no )?accuracy)", r"\n\1", headline(report), count=1)
    plot_accuracy(points, path, title=title, height=None if metric is None else METRIC_TITLES[metric])


def not_plotted(rows: Sequence[BenchRow]) -> list[str]:
    """The models that were timed, but have no height in the plot."""
    timed, metric = _plotted(rows)
    return [row.name for row in timed if _height(row, metric) is None]


def _plotted(rows: Sequence[BenchRow]) -> tuple[list[BenchRow], str | None]:
    """The rows of the plot, and the metric that is its height; None for the size."""
    timed = [row for row in rows if row.latency_ms and row.source != "published"]
    return timed, next((name for name in _HEIGHTS if any(name in row.metrics for row in timed)), None)


def _height(row: BenchRow, metric: str | None) -> float | None:
    if metric is None:
        return None if row.size_bytes is None else row.size_bytes / 1e6
    return row.metrics.get(metric)


def _to_first(row: BenchRow) -> str | None:
    """A model's latency relative to the first one's, with half of its spread."""
    found = row.latency_ms_to_first or row.search_latency_ms_to_first
    if found is None:
        return None
    digits = 2 if found.ratio >= _SMALL_RATIO else 4
    spread = "" if found.low is None or found.high is None else f" ± {(found.high - found.low) / 2:.{digits}f}"
    return f"{found.ratio:.{digits}f}{spread}"


def _different_macs(rows: Sequence[BenchRow]) -> list[str]:
    """Models and their exports whose counts differ."""
    counts: dict[str, set[int]] = {}
    for row in rows:
        if row.model_hash and row.multiply_accumulates:
            counts.setdefault(row.model_hash, set()).add(sum(row.multiply_accumulates.values()))
    if all(len(found) == 1 for found in counts.values()):
        return []
    return ["GMAC of an export may be lower than its model's: it computes the last layer for the pooled token only."]


def _outliers(row: BenchRow) -> list[str]:
    timings = [(name, getattr(row, key)) for key, name in _TIMED.items()]
    return [
        f"{row.name}: {timing.outliers} of {timing.calls} {name} took more than three times the median."
        for name, timing in timings
        if timing and timing.outliers
    ]


def _waits(row: BenchRow) -> list[str]:
    """A median far above the fastest call is not the model's, but the spread of rounds that all waited hides it."""
    lines = []
    for key, name in _TIMED.items():
        if (times := row.waited(key)) is not None:
            lines.append(
                f"{row.name}: the median of its {name} is {times:.1f} times the fastest: the processor was "
                "busy with other work, and its latency and ratio are not reliable."
            )
    return lines


def _phone(machine: Mapping[str, Any]) -> str:
    states = (machine.get("thermal_state_before"), machine.get("thermal_state_after"))
    power = ", low power mode" if machine.get("low_power_mode") else ""
    return (
        f"measured by the app, {machine.get('device')}, {machine.get('system')}, heat {states[0]} → {states[1]}{power}"
    )


def _page(report: BenchReport, folder: Path, examples: Sequence[ImageRow]) -> dict[str, Any]:
    """The variables of ``bench.html``."""
    rows = report.rows
    measured = [title for title, column in _ACCURACY_COLUMNS.items() if any(column(row) for row in rows)]
    less = [METRIC_TITLES[name] for name in METRIC_TITLES if METRICS[name].better == "less"]
    left = [f"{one.item}: {one.reason}" for inputs in report.inputs for one in inputs.skipped]
    return {
        "title": "Speed, size and accuracy",
        "lead": headline(report),
        "speed": speed_cells(rows),
        "accuracy": accuracy_cells(rows),
        "less": [title for title in less if title in measured],
        "warning": report.load_warning,
        "remarks": [line for line in remarks(report) if line != report.load_warning],
        "plot": folder / PLOT_FILE,
        "not_plotted": not_plotted(rows),
        "latency_bars": _latency_bars(rows),
        "start_bars": _start_bars(rows),
        "examples": examples,
        "known": any(image.right is not None for _, images in examples for image in images),
        "explain": report.explain,
        "folder": folder,
        "conditions": _conditions({**report.machine, **report.settings}),
        "skipped": left[:20] + ([f"… and {len(left) - 20} more"] if len(left) > 20 else []),
    }


def _latency_bars(rows: Sequence[BenchRow]) -> list[Bar]:
    """Latency of one image and one text."""
    bars = []
    for row in rows:
        if row.latency_ms and row.source != "published":
            parts = tuple(timing.p50 for timing in (row.latency_ms, row.text_latency_ms) if timing)
            bars.append(Bar(row.name, parts, f"{' + '.join(f'{part:.1f}' for part in parts)} ms"))
    return bars


def _start_bars(rows: Sequence[BenchRow]) -> list[Bar]:
    """Seconds until the first answer."""
    bars = []
    for row in rows:
        if row.import_ms is not None and row.load_ms is not None:
            parts = (row.import_ms / 1000, row.load_ms / 1000)
            bars.append(Bar(row.name, parts, f"{parts[0]:.1f} + {parts[1]:.1f} s"))
    return bars


def _conditions(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.removesuffix("_bytes").replace("_", " "): _words(value / 1e9) + " GB"
        if name.endswith("_bytes")
        else _words(value)
        for name, value in found.items()
        if value is not None
    }


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def draw_examples(rows: Sequence[BenchRow], paths: Mapping[str, Path]) -> list[ImageRow]:
    """The examples of the rows as thumbnails: text by text, the models one below the other.

    Args:
        rows: Of the report.
        paths: Image files by name. They are read here and not needed afterwards.
    """
    shown = [row for row in rows if row.examples][:_EXAMPLE_MODELS]
    thumbnails: dict[str, bytes] = {}
    drawn: list[ImageRow] = []
    for place in range(max((len(row.examples) for row in shown), default=0)):
        for row in shown:
            if place < len(row.examples):
                example = row.examples[place]
                images = [_thumbnail(hit, paths, thumbnails) for hit in example.hits]
                drawn.append((f"{short(example.text, 100)} · {row.name}", [one for one in images if one]))
    return drawn


def _thumbnail(hit: ExampleHit, paths: Mapping[str, Path], thumbnails: dict[str, bytes]) -> Thumbnail | None:
    """One hit; None if its file is gone since it was encoded."""
    if hit.item not in thumbnails:
        with suppress(ImageError, KeyError):
            thumbnails[hit.item] = thumbnail(paths[hit.item])
    found = thumbnails.get(hit.item)
    return None if found is None else Thumbnail(found, f"{hit.score:.3f}", right=hit.right)
