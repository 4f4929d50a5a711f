"""The bench's rows for people: a table on the terminal, Markdown, CSV, and a plot of accuracy, latency and size."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.figures import METRICS, figure_of
from mobileclip_kit.files import write_json

Row = Mapping[str, Any]

REPORT_FILE = "report.json"
PLOT_FILE = "accuracy-latency-size.png"

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
    "scenes_typographic_error_rate": "word for thing",
    "scenes_reading_precision_at_1": "word read",
    "recall_of_exact_at_10": "found of exact@10",
}
# The plot's height is a worth: what is better when it is less cannot be one.
_WORTHS = tuple(name for name in METRIC_TITLES if METRICS[name].better == "more")
_EMPTY = "–"
# Where two digits behind the point say too little.
_SMALL_RATIO = 0.1
# A median of so many times the fastest call has waited for the processor.
_WAITED = 3.0
# Shares nearer than this look alike in the plot.
_LEAST_SPAN = 0.1


def table_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table; a column that no row fills is left out."""
    columns: dict[str, Callable[[Row], str | None]] = {
        "model": lambda row: str(row["name"]),
        "kind": lambda row: str(row["kind"]),
        "MB": lambda row: _number(row["size_bytes"], 1e-6, 1),
        "params M": lambda row: _number(row["parameters"], 1e-6, 2),
        "GMAC": lambda row: (
            _number(sum(row["multiply_accumulates"].values()), 1e-9, 2) if row["multiply_accumulates"] else None
        ),
        "p50 ms": lambda row: _timing(row, "p50"),
        "p95 ms": lambda row: _timing(row, "p95"),
        "p99 ms": lambda row: _timing(row, "p99"),
        "× first": _to_first,
        "text p50 ms": lambda row: _timing(row, "p50", "text_latency_ms"),
        "images/s": lambda row: _number(row["images_per_s"], 1, 1),
        "items": lambda row: _number(row.get("items"), 1, 0),
        "search p50 ms": lambda row: _timing(row, "p50", "search_latency_ms"),
        "search p95 ms": lambda row: _timing(row, "p95", "search_latency_ms"),
        "queries/s": lambda row: _number(row.get("queries_per_s"), 1, 0),
        "best batch": lambda row: _number(row.get("best_batch"), 1, 0),
        "load ms": lambda row: _number(row["load_ms"], 1, 0),
        "memory MB": lambda row: _number(row["peak_memory_bytes"], 1e-6, 0),
        **{title: _metric(name) for name, title in METRIC_TITLES.items()},
        "published accuracy": lambda row: (
            ", ".join(f"{name} {100 * value:.1f} %" for name, value in row.get("published_accuracy", {}).items())
            or None
        ),
    }
    cells = {title: [cell(row) for row in rows] for title, cell in columns.items()}
    kept = [title for title, values in cells.items() if any(value is not None for value in values)]
    return kept, [[cells[title][index] or _EMPTY for title in kept] for index in range(len(rows))]


def headline(document: Mapping[str, Any]) -> str:
    """One line on what the figures were measured on and with."""
    machine, settings = document["machine"], document["settings"]
    parts = [
        f"{machine['cpu']}, {machine['usable_cores']} cores, {machine['os']}",
        f"{settings['threads']} thread{'s' if settings['threads'] > 1 else ''} a model",
        f"batch 1, median of {settings['rounds']} interleaved round{'s' if settings['rounds'] > 1 else ''}",
    ]
    told = [*parts, *map(_judged_on, document["material"])]
    return " · ".join([*told, "interrupted: what was not reached is missing"] if document.get("interrupted") else told)


def _judged_on(material: Mapping[str, Any]) -> str:
    """What one source of images told about accuracy."""
    images = f"{material['images']} images"
    if material.get("scenes"):
        return f"accuracy on {images} of the synthetic scenes"
    if material["teacher"]:
        return f"accuracy on {images} against {material['teacher']}"
    if not (material.get("captions", 1) or material.get("classes", 1)):
        return f"no accuracy: {images} without captions, classes or a teacher to judge by"
    return f"accuracy on {images}"


def remarks(rows: Sequence[Row]) -> list[str]:
    """What a reader must know beside the table: models that failed, and latencies that are not a device's."""
    interpreted = [str(row["name"]) for row in rows if row.get("runtime") == "mil"]
    lines = []
    if interpreted:
        where = "executed by mckit's Core ML interpreter; time and memory say nothing about a phone"
        lines.append(f"{', '.join(interpreted)}: {where}.")
    lines += [f"{row['name']}: asked with {row['queried_with']}." for row in rows if row.get("queried_with")]
    lines += [line for row in rows for line in [*_outliers(row), *_waits(row)]]
    lines += sorted(
        {f"{row['name']}: published, {row['citation']}." for row in rows if row.get("source") == "published"}
    )
    lines += [f"{row['name']}: {_phone(row['phone'])}." for row in rows if row.get("source") == "phone"]
    return lines + [f"{row['name']} failed: {row['failure']}" for row in rows if row["failure"]]


def to_markdown(document: Mapping[str, Any]) -> str:
    """The table, ready for a README."""
    header, cells = table_cells(document["rows"])
    align = ["---", *("---:" for _ in header[1:])]
    lines = [f"| {' | '.join(map(_markdown_cell, line))} |" for line in [header, align, *cells]]
    return "\n".join([headline(document), "", *lines, "", *remarks(document["rows"])]).rstrip() + "\n"


def not_plotted(rows: Sequence[Row]) -> list[str]:
    """The models that were timed, but have no height in :func:`plot`."""
    timed, metric = _plotted(rows)
    return [str(row["name"]) for row in timed if _height(row, metric) is None]


def _plotted(rows: Sequence[Row]) -> tuple[list[Row], str | None]:
    """What may stand in the plot, and the figure that is its height; None for the size."""
    timed = [row for row in rows if row["latency_ms"] and row.get("source") != "published"]
    return timed, next((name for name in _WORTHS if any(name in row["metrics"] for row in timed)), None)


def _markdown_cell(text: str) -> str:
    """A folder's name may hold what would end the cell."""
    return " ".join(text.replace("|", "\\|").split())


def to_csv(document: Mapping[str, Any]) -> str:
    """One line a model, with every figure at full precision."""
    flat = [_flatten(row) for row in document["rows"]]
    names = list(dict.fromkeys(name for row in flat for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def write_report(document: Mapping[str, Any], folder: Path) -> list[str]:
    """Fill an (empty, staged) folder with ``report.json``, ``report.md``, ``report.csv`` and the plot.

    Returns:
        The names of the files.
    """
    write_json(folder / REPORT_FILE, dict(document))
    (folder / "report.md").write_text(to_markdown(document), encoding="utf-8")
    (folder / "report.csv").write_text(to_csv(document), encoding="utf-8")
    plot(document, folder / PLOT_FILE)
    return [REPORT_FILE, "report.md", "report.csv", PLOT_FILE]


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Draw latency against accuracy (against size, where no accuracy was measured); a disc's area is the size on disk.

    The line joins the models that no other one beats in both.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    rows, metric = _plotted(document["rows"])
    points = [(row, row["latency_ms"]["p50"], height) for row in rows if (height := _height(row, metric)) is not None]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of one image, median, ms (log scale)")
    axes.set_ylabel("size on disk, MB" if metric is None else METRIC_TITLES[metric])
    axes.set_title(_plain(headline(document)).replace(" · accuracy", "\naccuracy"), fontsize=7, loc="left")
    axes.grid(alpha=0.25)
    ours = [point for point in points if not point[0].get("source")]
    front = pareto([(latency, height if metric else -height) for _, latency, height in ours])
    axes.plot([ours[index][1] for index in front], [ours[index][2] for index in front], color="0.7", zorder=1)
    for place, (row, latency, height) in enumerate(sorted(points, key=lambda point: point[1])):
        below, further = place % 2 == 1, 24 * (place // 2 % 2)  # neighbours' labels lie apart
        area = 30 + 4 * (row["size_bytes"] or 0) / 1e6
        axes.scatter([latency], [height], s=area, alpha=0.6, zorder=2)
        interpreted = " (interpreter)" if row.get("runtime") == "mil" else ""
        axes.annotate(
            _plain(f"{row['name']}\n{row['kind']}{interpreted}"),
            (latency, height),
            xytext=(0, -10 - further if below else 10 + further),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            fontsize=7,
        )
    if points:
        _frame(axes, [latency for _, latency, _ in points], [height for *_, height in points], metric is not None)
    figure.savefig(path, dpi=120)


def _plain(text: str) -> str:
    """A name is no formula, which is what matplotlib takes two dollar signs for."""
    return text.replace("$", r"\$")


def _frame(axes: Any, latencies: Sequence[float], heights: Sequence[float], is_share: bool) -> None:
    """Room for the labels, and no magnifying of differences that mean nothing."""
    axes.set_xlim(min(latencies) / 2, 2 * max(latencies))
    middle, span = (min(heights) + max(heights)) / 2, max(heights) - min(heights)
    half = 0.65 * max(span, _LEAST_SPAN if is_share else 0.1 * middle)
    axes.set_ylim(middle - half, middle + half)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, worth) that no other one beats in both, by rising cost."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _height(row: Row, metric: str | None) -> float | None:
    if metric is None:
        return None if row["size_bytes"] is None else row["size_bytes"] / 1e6
    value: float | None = row["metrics"].get(metric)
    return value


def _number(value: float | None, factor: float, digits: int) -> str | None:
    return None if value is None else f"{value * factor:.{digits}f}"


def _timing(row: Row, key: str, tower: str = "latency_ms") -> str | None:
    value = figure_of(row, f"{tower}.{key}")
    return None if value is None else f"{value:.2f}"


def _to_first(row: Row) -> str | None:
    """A model's latency as a share of the first one's, with half of its spread."""
    found = row.get("latency_ms_to_first") or row.get("search_latency_ms_to_first")
    if found is None:
        return None
    digits = 2 if found["ratio"] >= _SMALL_RATIO else 4
    known = found["low"] is not None and found["high"] is not None
    spread = f" ± {(found['high'] - found['low']) / 2:.{digits}f}" if known else ""
    return f"{found['ratio']:.{digits}f}{spread}"


def _outliers(row: Row) -> list[str]:
    timings = [(name, row.get(key)) for key, name in _TIMED.items()]
    return [
        f"{row['name']}: {timing['outliers']} of {timing['calls']} {name} took more than three times the median."
        for name, timing in timings
        if timing and timing.get("outliers")
    ]


def _waits(row: Row) -> list[str]:
    """A median far above the fastest call is not the model's: the spread of rounds that all waited does not show it."""
    if row.get("source"):
        return []
    lines = []
    for key, name in _TIMED.items():
        median, least = figure_of(row, f"{key}.p50"), figure_of(row, f"{key}.min")
        if median and least and median > _WAITED * least:
            lines.append(
                f"{row['name']}: the median of its {name} is {median / least:.1f} times the fastest: the processor was "
                "busy with other work, and neither its latency nor its ratio to another model is to be trusted."
            )
    return lines


_TIMED = {"latency_ms": "images", "text_latency_ms": "texts", "search_latency_ms": "searches"}


def _phone(machine: Mapping[str, Any]) -> str:
    states = (machine.get("thermal_state_before"), machine.get("thermal_state_after"))
    power = ", low power mode" if machine.get("low_power_mode") else ""
    return (
        f"measured by the app, {machine.get('device')}, {machine.get('system')}, heat {states[0]} → {states[1]}{power}"
    )


def _metric(name: str) -> Callable[[Row], str | None]:
    return lambda row: _number(row["metrics"].get(name), 1, 3)


def _flatten(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat
