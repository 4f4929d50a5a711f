"""``mckit quickstart``: the stages in order, the document that ``--json`` prints, the summary for a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.page import write_page
from mobileclip_kit.errors import ModelError
from mobileclip_kit.quickstart import stages
from mobileclip_kit.quickstart.page import next_commands, tour_page
from mobileclip_kit.quickstart.tour import REPORT_FILE, Tour, TourPlan
from mobileclip_kit.resources import models_folder

TEACHER = "scenes-teacher"

# Name → what the user reads → the work.
STAGES: tuple[tuple[str, str, Callable[[Tour], dict[str, Any]]], ...] = (
    ("scenes", "drawing the synthetic scenes", stages.draw_scenes),
    ("teacher", "measuring the bundled teacher", stages.meet_teacher),
    ("student", "distilling a student", stages.distil_student),
    ("exports", "exporting to ONNX and Core ML, and verifying", stages.export_student),
    ("index", "indexing unseen images", stages.build_index),
    ("textness", "learning the textness vector", stages.learn_textness),
    ("search", "searching", stages.search_images),
    ("bundle", "packing a bundle for the phone", stages.pack_bundle),
    ("explain", "looking where the student looks", stages.explain_student),
    ("bench", "measuring speed and memory", stages.bench_everything),
)


def run_quickstart(
    out: Path, plan: TourPlan | None = None, *, force: bool = False, say: Callable[[str], None] = lambda sentence: None
) -> dict[str, Any]:
    """Walk the whole way on the synthetic scenes.

    Args:
        out: The folder to make. An interrupted tour in it is continued.
        plan: How large the tour is.
        force: Begin anew whatever tour lies in ``out``.
        say: Tells the user what happens.

    Returns:
        The document of ``mckit quickstart --json``.

    Raises:
        ModelError: The bundled teacher is missing.
        OutputError: ``out`` holds a finished tour or something else.
        MckitError: A stage failed; what earlier stages made stays.
    """
    teacher = models_folder() / TEACHER
    if not teacher.is_dir():
        raise ModelError(f"The bundled teacher is not at {teacher}.", hint="The installation is incomplete; repeat it.")
    tour = Tour(out, teacher, plan or TourPlan(), say=say)
    tour.open(force=force)
    for name, title, work in STAGES:
        tour.stage(name, title, work)
    document = summary(tour)
    write_page(tour.out / REPORT_FILE, tour_page(tour, document))
    tour.write(finished=True)
    return document


def summary(tour: Tour) -> dict[str, Any]:
    """What a tour found, with the keys that other programs rely on."""
    found = tour.figures
    textness = found["textness"]
    suppress = textness["suppress"] or {}
    return {
        "out": str(tour.out),
        "seconds": round(sum(tour.seconds.values()), 1),
        "stages": tour.seconds,
        "machine": describe_machine(),
        "teacher": found["teacher"],
        "student": found["student"],
        "kept": found["student"]["precision_at_1"] / max(found["teacher"]["precision_at_1"], 1e-9),
        "exports": found["exports"]["exports"],
        "index": found["index"],
        "textness": {
            "scale": suppress.get("scale"),
            "errors_removed": suppress.get("errors_removed"),
            "clean_drop": suppress.get("clean_drop"),
            "accuracy": textness["accuracy"],
            "promote": textness["promote"],
        },
        "bundle": found["bundle"],
        "bench": found["bench"]["rows"],
        "report": str(tour.out / REPORT_FILE),
    }


def describe(document: dict[str, Any]) -> str:
    """The printed summary: what was made, where, how good it is, and what to type next."""
    teacher, student, textness = document["teacher"], document["student"], document["textness"]
    out = Path(document["out"])
    share = student["parameters"]["image"] / teacher["parameters"]["image"]
    lines = [
        "",
        f"Done in {document['seconds']:.0f} s. Everything lies in {out}",
        "",
        f"  student        {out.name}/student: {student['parameters']['image'] / 1e6:.2f} M image parameters,"
        f" {share:.0%} of the teacher's",
        f"                 right image first for {student['precision_at_1']:.1%} of the queries"
        f" (teacher {teacher['precision_at_1']:.1%}); MAP@20 with the teacher {student['map_at_20']:.2f}",
        *_export_lines(document["exports"]),
        f"  index          {out.name}/index: {document['index']['items']} images",
        *_textness_lines(textness, out),
        f"  bundle         {out.name}/bundle: {document['bundle']['size_bytes'] / 1e6:.2f} MB for the app in ios_demo",
        f"  report         {out.name}/report.html",
        "",
        "Next, with your own photos:",
        *(f"  {line}" for line in next_commands(out).splitlines()),
    ]
    return "\n".join(lines)


def _export_lines(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {'export' if number == 0 else '':14} {row['path']} {row['tower']}: {row['size_bytes'] / 1e6:.2f} MB,"
        f" least cosine {row['cosine_min']:.4f} (gate {row['threshold']:g}) {'passed' if row['passed'] else 'FAILED'}"
        for number, row in enumerate(rows)
    ]


def _textness_lines(textness: dict[str, Any], out: Path) -> list[str]:
    if textness["scale"] is None:
        return [f"  textness       {out.name}/textness.json"]
    removed = "there were none" if textness["errors_removed"] is None else f"{textness['errors_removed']:.0%} of them"
    lines = [
        f"  textness       {out.name}/textness.json: scale {textness['scale']:g} against words found in place of things"
        f" removes {removed}, and changes precision@1 without words by {-100 * textness['clean_drop']:+.1f} points"
    ]
    promote = textness["promote"]
    if promote:
        lines.append(
            f"                 scale {promote['scale']:+g} puts the written word first for"
            f" {promote['reading_precision_at_1']:.0%} of bare words"
            f" ({promote['reading_precision_at_1_before']:.0%} before)"
        )
    return lines
