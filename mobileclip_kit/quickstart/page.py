"""``report.html``: the tour on one page that holds its images itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.page import (
    Thumbnail,
    bullets,
    code,
    facts,
    figure,
    page,
    paragraph,
    section,
    table,
    thumbnail_row,
)
from mobileclip_kit.bench.report import headline, table_cells
from mobileclip_kit.quickstart.tour import EXPLAIN_FOLDER, SCALES_PLOT, Tour
from mobileclip_kit.scenes.queries import count_queries, reading_queries, thing_queries
from mobileclip_kit.scenes.truth import Truth, read_truth

Document = Mapping[str, Any]


def tour_page(tour: Tour, document: Document) -> str:
    """The page as text.

    Args:
        tour: All stages done.
        document: Of ``mckit quickstart --json``.
    """
    teacher, student = document["teacher"], document["student"]
    return page(
        "The whole way, once",
        facts(_headline(document)),
        section("What the student finds", paragraph(_FINDS, quiet=True), *_found(tour)),
        section("Teacher and student", table(*_two_models(teacher, student)), paragraph(_TWO, quiet=True)),
        section("Exports, checked by numbers", table(*_exports(document["exports"])), paragraph(_EXPORTS, quiet=True)),
        section("Written words", *_words(tour, document["textness"])),
        section("Speed and size", *_speed(tour)),
        section("Where the student looks", *_explained(tour)),
        section("What was made", bullets(_made(tour)), table(*_stages(document))),
        section("Next, with your own photos", code(next_commands(tour.out))),
        lead=f"{document['seconds']:.0f} seconds on this machine: images were drawn, a teacher was distilled into a "
        "student, the student was exported, checked and searched with. Drawn images are a test bench, not photos.",
    )


def next_commands(out: Path) -> str:
    """What to type next."""
    return "\n".join(
        (
            f'mckit search {shlex.quote(f"{out}/index")} "a red star"',
            "mckit distill --teacher ViT-B-32:openai --data ~/Images --student vit-s6-h12 -o student",
            "mckit export student --format coreml --fp16 --images ~/Images -o student-coreml",
            "mckit index ~/Images --model student -o photos.index",
            'mckit search photos.index "a red bicycle"',
        )
    )


_FINDS = (
    "The first hits of the int8 export among images that neither teacher nor student was trained on. "
    "In a green frame: what the drawn truth says is right."
)
_TWO = (
    "Share of queries whose first hit is right. Unseen: combinations of kind and colour that training never showed. "
    "Word over thing: “a photo of a car” answered by an image of the written word before any of the thing."
)
_EXPORTS = (
    "Each tower was executed on unseen images or their captions and compared with the student in float32. Core ML "
    "programs ran in mckit's own interpreter with float16 arithmetic emulated, so this works without a Mac."
)


def _headline(document: Document) -> dict[str, str]:
    teacher, student, textness = document["teacher"], document["student"], document["textness"]
    share = student["parameters"]["image"] / teacher["parameters"]["image"]
    boxes = {
        "right image first": f"{student['precision_at_1']:.1%}",
        "of the teacher's rate": f"{document['kept']:.1%}",
        "of the teacher's image tower": f"{share:.0%}",
        "MAP@20 with the teacher": f"{student['map_at_20']:.2f}",
        "exports that passed": f"{sum(row['passed'] for row in document['exports'])} of {len(document['exports'])}",
    }
    if textness["errors_removed"] is not None:
        boxes["typographic errors removed"] = f"{textness['errors_removed']:.0%}"
    return boxes


def _found(tour: Tour) -> list[str]:
    folder = tour.scenes("test")
    truth = read_truth(folder)
    right = {
        query.text: query.right for query in [*thing_queries(truth), *count_queries(truth), *reading_queries(truth)]
    }
    found = tour.figures["search"]["queries"].items()
    return [_row(text, folder, hits, lambda item, known=right[text]: item in known) for text, hits in found]


def _words(tour: Tour, textness: Document) -> list[str]:
    sliding = tour.figures["search"]["sliding"]
    folder = tour.scenes("test")
    truth = {row.image: row for row in read_truth(folder)}
    word = sliding["query"].split()[-1]
    rows = [
        _row(f"“{sliding['query']}” at scale {scale}", folder, hits, lambda item: _shows(truth[item], word))
        for scale, hits in sliding["rows"].items()
    ]
    said = [f"A linear probe tells images with words from those without in {textness['accuracy']:.1%} of unseen cases."]
    if textness["scale"] is not None:
        found = tour.figures["textness"]["suppress"]
        said.append(
            f"Scale {textness['scale']:g}: words found in place of things fall from "
            f"{found['typographic_error_rate_before']:.0%} to {found['typographic_error_rate']:.0%}, "
            f"and precision@1 among images without words changes by {-100 * textness['clean_drop']:+.1f} points."
        )
    if textness["promote"]:
        found = textness["promote"]
        said.append(
            f"Scale {found['scale']:+g}: a bare word finds an image of the written word first for "
            f"{found['reading_precision_at_1']:.0%} of the words, "
            f"{found['reading_precision_at_1_before']:.0%} without it."
        )
    said.append("The scales were chosen on one gallery and are reported on another.")
    plot = figure(tour.out / SCALES_PLOT, alt="Three shares against the textness scale", kind="plot")
    return [paragraph(" ".join(said)), plot, *rows]


def _shows(truth: Truth, kind: str) -> bool:
    return any(group.kind == kind for group in truth.objects)


def _row(title: str, folder: Path, hits: Sequence[Document], right: Any) -> str:
    images = [
        Thumbnail(folder / hit["item"], f"{hit['score']:.3f}", None if right is None else right(hit["item"]))
        for hit in hits
    ]
    return thumbnail_row(title, images)


_FIGURES = {
    "precision_at_1": "right first, %",
    "precision_at_1_unseen": "unseen combinations, %",
    "count_precision_at_1": "counts, %",
    "relation_precision_at_1": "relations, %",
    "reading_precision_at_1": "reads words, %",
    "typographic_error_rate": "word over thing, %",
}


def _two_models(teacher: Document, student: Document) -> tuple[list[str], list[list[str]]]:
    columns = {key: title for key, title in _FIGURES.items() if key in teacher and key in student}
    rows = [
        [who, f"{model['parameters']['image'] / 1e6:.2f}", *(f"{100 * model[key]:.1f}" for key in columns)]
        for who, model in (("teacher", teacher), ("student", student))
    ]
    return ["model", "image tower, M parameters", *columns.values()], rows


def _exports(rows: Sequence[Document]) -> tuple[list[str], list[list[str]]]:
    header = ["export", "tower", "ran in", "MB", "least cosine", "gate", "top-10 overlap", "verdict"]
    return header, [
        [
            Path(row["path"]).name, row["tower"], row["runtime"], f"{row['size_bytes'] / 1e6:.2f}",
            f"{row['cosine_min']:.5f}", f"{row['threshold']:g}",
            "–" if row["overlap_at_10"] is None else f"{row['overlap_at_10']:.3f}",
            "passed" if row["passed"] else "failed",
        ]
        for row in rows
    ]  # fmt: skip


def _speed(tour: Tour) -> list[str]:
    bench = tour.figures["bench"]
    return [table(*table_cells(bench["rows"])), paragraph(headline(bench), quiet=True)]


def _explained(tour: Tour) -> list[str]:
    folder = tour.out / EXPLAIN_FOLDER
    captions = {
        "grad_cam.png": "Grad-CAM: what in an image raises its cosine with the text of the column.",
        "tsne.png": "t-SNE: images that lie near each other have similar vectors; stars are texts.",
    }
    return [
        figure(folder / name, alt=caption, caption=caption, kind="plot" if name == "tsne.png" else "image")
        for name, caption in captions.items()
        if (folder / name).is_file()
    ]


def _made(tour: Tour) -> list[str]:
    drawn = ", ".join(f"{count} {name}" for name, count in tour.figures["scenes"]["images"].items())
    return [
        "student/ — the model folder; open_clip loads it, once mobileclip_kit.networks is imported",
        "exports/ — onnx-fp32, onnx-int8 and coreml-fp16, each with its tokenizer and its numbers",
        "index/ — the unseen images, ready to be searched",
        "textness.json — the textness vector of the student",
        "bundle/ — all of it for the phone: the Core ML towers, the tokenizer, the textness vector and the index",
        f"world/ — the drawn images: {drawn}",
    ]


def _stages(document: Document) -> tuple[list[str], list[list[str]]]:
    return ["stage", "seconds"], [[name, f"{seconds:.1f}"] for name, seconds in document["stages"].items()]
