"""``report.html``: the bench's document as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.figures import METRICS
from mobileclip_kit.bench.page import (
    Bar,
    Kind,
    Thumbnail,
    bars,
    bullets,
    figure,
    page,
    pairs,
    paragraph,
    section,
    table,
    thumbnail_row,
    write_page,
)
from mobileclip_kit.bench.report import METRIC_TITLES, PLOT_FILE, headline, not_plotted, remarks, table_cells

PAGE_FILE = "report.html"

Examples = Sequence[tuple[str, Sequence[Thumbnail]]]


def write_report_page(document: Mapping[str, Any], folder: Path, *, examples: Examples = ()) -> str:
    """Write ``report.html`` beside the other files of a report.

    Args:
        document: Of ``mckit bench --json``. Where it has ``explain``, its figures lie in the folder.
        folder: With the plot of :func:`mobileclip_kit.bench.report.write_report`, if that was called.
        examples: Texts and the images that they find, for a look with one's own eyes.

    Returns:
        The file's name.
    """
    write_page(folder / PAGE_FILE, report_page(document, folder, examples=examples))
    return PAGE_FILE


def report_page(document: Mapping[str, Any], folder: Path, *, examples: Examples = ()) -> str:
    """The page as text; see :func:`write_report_page`."""
    rows = document["rows"]
    return page(
        "What each model costs and gives",
        section("Models", table(*table_cells(rows)), bullets(remarks(rows)), paragraph(_reading(rows), quiet=True)),
        section("Accuracy, latency, size", _plot(folder, rows)),
        section("Where the time goes", _latency_bars(rows), _start_bars(rows)),
        section("What texts find", *_examples(examples)),
        *_explained(document.get("explain"), folder),
        section("Measured with", pairs(_conditions(document)), _skipped(document["material"])),
        lead=headline(document),
    )


def _reading(rows: Sequence[Mapping[str, Any]]) -> str:
    told = [name for name in METRIC_TITLES if any(name in row["metrics"] for row in rows)]
    less = [METRIC_TITLES[name] for name in told if METRICS[name].better == "less"]
    accuracy = f" {', '.join(METRIC_TITLES[name] for name in told)}: shares from 0 to 1, " if told else ""
    accuracy += f"higher is better{f', but for {less[0]}' if less else ''}." if told else ""
    return f"p50 and p95: latency of one image, median and 95th percentile. MB: weights on disk.{accuracy}"


def _plot(folder: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path = folder / PLOT_FILE
    if not path.is_file():
        return ""
    caption = "The line joins the models that no other one beats in both directions; a disc's area is the size on disk."
    left = not_plotted(rows)
    caption += f" Not judged by that figure, so not drawn: {', '.join(left)}." if left else ""
    return figure(path, alt="Accuracy against latency of every model", caption=caption, kind="plot")


def _latency_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """Latency of one image and one text, one below the other in each model's bar."""
    timed = [row for row in rows if row["latency_ms"] and row.get("source") != "published"]
    found = []
    for row in timed:
        parts = [row["latency_ms"]["p50"]]
        words = f"{parts[0]:.1f} ms"
        if row["text_latency_ms"]:
            parts.append(row["text_latency_ms"]["p50"])
            words = f"{parts[0]:.1f} + {parts[1]:.1f} ms"
        found.append(Bar(row["name"], tuple(parts), words))
    return bars(found, legend=("one image", "one text"), caption="Medians at batch 1.")


def _start_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a first answer waits for."""
    started = [row for row in rows if row.get("import_ms") is not None and row["load_ms"] is not None]
    found = [
        Bar(
            row["name"],
            (row["import_ms"] / 1000, row["load_ms"] / 1000),
            f"{row['import_ms'] / 1000:.1f} + {row['load_ms'] / 1000:.1f} s",
        )
        for row in started
    ]
    return bars(found, legend=("importing the runtime", "loading the model"), caption="Before the first answer.")


def _examples(examples: Examples) -> list[str]:
    known = any(image.right for _, images in examples for image in images)
    marks = "In a green frame: the image that the text was written for, or one of the class that it names."
    drawn = [thumbnail_row(text, images) for text, images in examples]
    return [*drawn, paragraph(marks, quiet=True)] if known else drawn


def _explained(explain: Mapping[str, Any] | None, folder: Path) -> list[str]:
    if explain is None:
        return []
    heat = (
        "Grad-CAM: what in an image raises its cosine with the text. Each map has a scale of its own; the number "
        "below it is the cosine, in bold each image's greatest."
    )
    places = (
        "t-SNE of the vectors: dots are images (squares: of a written name), stars are texts, each kind about its "
        "own mean. Neighbours are alike; distances between far groups mean nothing."
    )
    drawn: dict[str, tuple[str, str, str, Kind]] = {
        f"Where {explain['model']} looks": ("grad_cam", "Heat maps: a row an image, a column a text", heat, "sheet"),
        f"How {explain['model']} sorts the images": ("tsne", "Dots for images, stars for texts", places, "image"),
    }
    sections = []
    for title, (key, alt, caption, kind) in drawn.items():
        if explain.get(key):
            sections.append(section(title, figure(folder / explain[key], alt=alt, caption=caption, kind=kind)))
    left = [f"{one['item']}: {one['reason']}" for one in explain["skipped"]]
    return [*sections, section("Not drawn", bullets(left))]


def _conditions(document: Mapping[str, Any]) -> dict[str, str]:
    found = {**document["machine"], **document["settings"]}
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


def _skipped(materials: Sequence[Mapping[str, Any]]) -> str:
    left = [f"{one['item']}: {one['reason']}" for material in materials for one in material["skipped"]]
    more = [f"… and {len(left) - 20} more"] if len(left) > 20 else []
    return paragraph("Images that were left out:") + bullets(left[:20] + more) if left else ""
