"""``report.html`` of the quickstart."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.report import accuracy_cells, headline, speed_cells
from mobileclip_kit.bench.results import report_from
from mobileclip_kit.quickstart.run import EXPLAIN_FOLDER, REPORT_FILE, SCALES_PLOT, QuickstartRun
from mobileclip_kit.reports.html import ImageRow, Thumbnail, write_page
from mobileclip_kit.scenes.queries import count_queries, reading_queries, thing_queries
from mobileclip_kit.scenes.truth import read_truth

Document = Mapping[str, Any]
Cells = tuple[list[str], list[list[str]]]

_FIGURES = {
    "precision_at_1": "precision@1, %",
    "precision_at_1_unseen": "unseen combinations, %",
    "count_precision_at_1": "counts, %",
    "relation_precision_at_1": "relations, %",
    "reading_precision_at_1": "written words, %",
    "typographic_error_rate": "typographic errors, %",
}


def write_quickstart_page(run: QuickstartRun, document: Document) -> None:
    """Write the page.

    Args:
        run: All stages done.
        document: Of ``mckit quickstart --json``.
    """
    bench = report_from(run.figures["bench"], "bench")
    write_page(
        run.out / REPORT_FILE,
        "quickstart.html",
        title="The whole pipeline, once",
        seconds=document["seconds"],
        facts=_facts(document),
        found=_found(run),
        models=_models(document["teacher"], document["student"]),
        exports=_exports(document["exports"]),
        textness=document["textness"],
        suppress=run.figures["textness"]["suppress"],
        sliding=_sliding(run),
        scales_plot=run.out / SCALES_PLOT,
        speed=speed_cells(bench.rows),
        accuracy=accuracy_cells(bench.rows),
        bench_line=headline(bench),
        bench_warning=bench.load_warning,
        folder=run.out / EXPLAIN_FOLDER,
        scenes=run.figures["scenes"]["images"],
        stages=(["stage", "seconds"], [[name, f"{seconds:.1f}"] for name, seconds in document["stages"].items()]),
        commands=next_commands(run.out),
    )


def next_commands(out: Path) -> str:
    """What to type next."""
    return "\n".join(
        (
            f'mckit search {shlex.quote(f"{out}/index")} "a red star"',
            f"mckit serve {shlex.quote(f'{out}/index')}",
            "# With your own photos:",
            "mckit distill --teacher ViT-B-32:openai --data ~/Photos --student vit-s6-h12 -o student",
            "mckit export student --format coreml --fp16 --images ~/Photos",
            "mckit export student --format onnx --images ~/Photos",
            "mckit index ~/Photos --model student-onnx-fp32 -o photos.index",
            'mckit search photos.index "a red bicycle"',
        )
    )


def _facts(document: Document) -> dict[str, str]:
    teacher, student, textness = document["teacher"], document["student"], document["textness"]
    share = student["parameters"]["image"] / teacher["parameters"]["image"]
    boxes = {
        "student's precision@1": f"{student['precision_at_1']:.1%}",
        "of the teacher's precision@1": f"{document['kept']:.1%}",
        "of the teacher's image parameters": f"{share:.0%}",
        "MAP@20 with the teacher": f"{student['map_at_20']:.2f}",
        "exports that passed": f"{sum(row['passed'] for row in document['exports'])} of {len(document['exports'])}",
    }
    if textness["errors_removed"] is not None:
        boxes["typographic errors removed"] = f"{textness['errors_removed']:.0%}"
    return boxes


def _found(run: QuickstartRun) -> list[ImageRow]:
    truth = read_truth(run.scenes("test"))
    right = {
        query.text: query.right for query in [*thing_queries(truth), *count_queries(truth), *reading_queries(truth)]
    }
    found = run.figures["search"]["queries"].items()
    return [(text, _thumbnails(run, hits, right[text].__contains__)) for text, hits in found]


def _sliding(run: QuickstartRun) -> list[ImageRow]:
    sliding = run.figures["search"]["sliding"]
    word = sliding["query"].split()[-1]
    shown = {row.image for row in read_truth(run.scenes("test")) if any(group.kind == word for group in row.objects)}
    scales = {scale: scale.replace("-", "−") if float(scale) else "0" for scale in sliding["rows"]}
    return [
        (f"“{sliding['query']}” at scale {scales[scale]}", _thumbnails(run, hits, shown.__contains__))
        for scale, hits in sliding["rows"].items()
    ]


def _thumbnails(run: QuickstartRun, hits: Sequence[Document], right: Callable[[str], bool]) -> list[Thumbnail]:
    folder = run.scenes("test")
    return [Thumbnail(folder / hit["item"], f"{hit['score']:.3f}", right(hit["item"])) for hit in hits]


def _models(teacher: Document, student: Document) -> Cells:
    columns = {key: title for key, title in _FIGURES.items() if key in teacher and key in student}
    rows = [
        [name, f"{model['parameters']['image'] / 1e6:.2f}", *(f"{100 * model[key]:.1f}" for key in columns)]
        for name, model in (("teacher", teacher), ("student", student))
    ]
    return ["model", "image tower, M parameters", *columns.values()], rows


def _exports(rows: Sequence[Document]) -> Cells:
    header = ["export", "tower", "runtime", "MB", "lowest cosine", "threshold", "overlap@10", "verdict"]
    return header, [
        [
            Path(row["path"]).name, row["tower"], row["runtime"], f"{row['size_bytes'] / 1e6:.2f}",
            f"{row['cosine_min']:.5f}", f"{row['threshold']:g}",
            "–" if row["overlap_at_10"] is None else f"{row['overlap_at_10']:.3f}",
            "passed" if row["passed"] else "failed",
        ]
        for row in rows
    ]  # fmt: skip
