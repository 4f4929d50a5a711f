"""The stages of the quickstart. Each one takes the run, leaves files in its folder and returns its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mobileclip_kit.bench.evaluators import ImageEvaluator, TeacherVectors, evaluate_scenes
from mobileclip_kit.bench.explanation import explain
from mobileclip_kit.bench.inputs import read_gallery
from mobileclip_kit.bench.machine import usable_cores
from mobileclip_kit.bench.models import describe_models
from mobileclip_kit.bench.request import BenchSettings
from mobileclip_kit.bench.run import run_bench
from mobileclip_kit.bundle import make_bundle
from mobileclip_kit.distillation.request import DistillRequest
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.explain.plots import plot_scales
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import read_source
from mobileclip_kit.files import atomic_folder
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.npy import save_matrix
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.metrics import agreement
from mobileclip_kit.networks.model import load_model, tower_parameters
from mobileclip_kit.progress import Progress
from mobileclip_kit.quickstart.run import EXPLAIN_FOLDER, SCALES_PLOT, Figures, QuickstartRun
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.captions import noun_phrase
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.objects import KINDS
from mobileclip_kit.scenes.plan import SceneConfig
from mobileclip_kit.scenes.queries import count_queries, reading_queries, thing_queries
from mobileclip_kit.scenes.scene import DEFAULT_CONFIG, Split
from mobileclip_kit.scenes.truth import Truth, read_truth
from mobileclip_kit.search.hits import search
from mobileclip_kit.search.queries import encode_queries
from mobileclip_kit.textness.evaluate import evaluate_scales, summarise
from mobileclip_kit.textness.fit import fit_textness
from mobileclip_kit.textness.gallery import EncodedGallery, encode_gallery, query_scenes
from mobileclip_kit.textness.vector import Textness

EXPORTS: dict[str, tuple[str, str]] = {
    "onnx-fp32": ("onnx", "fp32"),
    "onnx-int8": ("onnx", "int8"),
    "coreml-fp16": ("coreml", "fp16"),
}
# The export that searches: the small one that a phone would carry.
SEARCHED = "onnx-int8"
BUNDLED = "coreml-fp16"
# Finer near zero than the command's own: small scales already tell.
SCALES = tuple(round(step / 20, 2) for step in range(-20, 21))
_PARITY_IMAGES = 64
_BENCH_IMAGES = 300
_EXPLAINED_IMAGES = 400
_CALIBRATION_IMAGES = 200
# Different seeds keep the galleries that a scale is chosen on apart from the one it is reported on.
_SEED_SHIFTS = {"train": 0, "test": 1, "gallery": 2, "pairs": 3, "choosing": 4}


def draw_scenes(run: QuickstartRun) -> Figures:
    """Draw the images to learn from and to be measured on."""
    plan = run.plan
    counts = {
        "train": plan.train_images,
        "test": plan.test_images,
        "gallery": plan.fair_images,
        "choosing": plan.fair_images,
        "pairs": 2 * plan.pairs,
    }
    train_scenes = SceneConfig(word_share=plan.word_share, pair_share=plan.pair_share)
    with Progress("draw", total=sum(counts.values()), unit="images") as progress:
        for name, count in counts.items():
            folder = run.scenes(name)
            if folder.exists():
                continue
            split: Split = "gallery" if name == "choosing" else name  # type: ignore[assignment]
            config = train_scenes if name == "train" else DEFAULT_CONFIG
            scenes = SceneSet(
                items=count, seed=plan.seed + _SEED_SHIFTS[name], size=plan.size, split=split, config=config
            )
            with atomic_folder(folder) as staging:
                write_scenes(staging, scenes, advance=progress.advance)
    return {"images": counts}


def evaluate_teacher(run: QuickstartRun) -> Figures:
    """Measure the bundled teacher."""
    model = load_model(run.teacher)
    return {
        "name": model.spec.name,
        "model_hash": model.spec.model_hash,
        "parameters": tower_parameters(model.network),
        **_evaluate(run, open_encoder(run.teacher), "teacher"),
    }


def distil_student(run: QuickstartRun) -> Figures:
    """Distil the teacher's image tower into a smaller one; the text tower is taken over."""
    if not run.student.exists():
        request = DistillRequest(
            data=run.scenes("train"), out=run.student, student=run.plan.student, recipe=run.plan.recipe,
            teacher=str(run.teacher), seed=run.plan.seed, resume=True,
        )  # fmt: skip
        distill(request)
    model = load_model(run.student)
    return {
        "name": run.plan.student,
        "model_hash": model.spec.model_hash,
        "parameters": tower_parameters(model.network),
        **_evaluate(run, open_encoder(run.student), "student"),
        **_agreement(run),
    }


def export_student(run: QuickstartRun) -> Figures:
    """Write ONNX and Core ML, each verified against the student on unseen images."""
    model = load_model(run.student)
    images, texts = read_source(run.scenes("test"), model, count=_PARITY_IMAGES)
    calibration, calibration_texts = read_source(run.scenes("train"), model, count=_CALIBRATION_IMAGES)
    rows: list[dict[str, Any]] = []
    for kind, (format, precision) in EXPORTS.items():
        run.say(f"   {kind}")
        options = ExportOptions(
            format=format, precision=precision, images=images, texts=texts, calibration=calibration,
            calibration_texts=calibration_texts, force=True,
        )  # fmt: skip
        export = export_model(model, run.export(kind), options)
        rows += [{**row, "path": f"exports/{kind}", "model": "student"} for row in export.rows()]
    return {"exports": rows}


def build_index(run: QuickstartRun) -> Figures:
    """Index the unseen images with the int8 export."""
    place = run.export(SEARCHED)
    report = update_index(run.scenes("test"), open_encoder(place), run.index, IndexOptions(force=True))
    return report.to_json()


def learn_textness(run: QuickstartRun) -> Figures:
    """Learn the textness vector, choose its scales on one gallery and report them on another."""
    encoder = open_encoder(run.student)
    drawn = encode_gallery(run.scenes("pairs"), encoder).vectors
    # Scenes without a word stand at even places, their copies with one at odd places.
    textness = fit_textness(drawn[0::2], drawn[1::2], encoder.spec, notes={"source": "pairs of the synthetic scenes"})
    textness.save(run.textness)
    # The student's figures were measured on the second gallery: it is encoded already.
    galleries = {
        "choosing": encode_gallery(run.scenes("choosing"), encoder),
        "gallery": EncodedGallery(read_truth(run.scenes("gallery")), np.load(run.out / "student-gallery.npy")),
    }
    rows = {name: _scales(gallery, encoder, textness) for name, gallery in galleries.items()}
    chosen = summarise(rows["choosing"])
    reported = {row["scale"]: row for row in rows["gallery"]}
    figures: Figures = {
        "accuracy": textness.report["accuracy"],
        "angle_degrees": textness.report["angle_degrees"],
        "scales": rows["gallery"],
    }
    for direction in ("suppress", "promote"):
        found = chosen[direction]
        figures[direction] = None if found is None else _price(reported[found["scale"]], reported[0.0])
    marked = [figures[name]["scale"] for name in ("suppress", "promote") if figures[name]]
    plot_scales(rows["gallery"], run.out / SCALES_PLOT, chosen=marked)
    return figures


def search_images(run: QuickstartRun) -> Figures:
    """Ask the index, and one query at three textness scales."""
    encoder = open_encoder(run.export(SEARCHED))
    textness = Textness.load(run.textness)
    found = run.figures["textness"]
    steps = {name: found[name]["scale"] for name in ("suppress", "promote") if found[name]}
    with IndexReader(run.index) as index:
        truth = read_truth(run.scenes("test"))
        texts = example_queries(truth)
        answers = search(index, encode_queries(encoder, texts), 8)
        hits = {text: [hit.to_json() for hit in row] for text, row in zip(texts, answers, strict=True)}
        asked = sliding_query(truth)
        query = encode_queries(encoder, [asked])
        sliding = {
            f"{scale:+g}": [hit.to_json() for hit in search(index, textness.apply(query, scale), 8)[0]]
            for scale in sorted({0.0, *steps.values()})
        }
    return {"queries": hits, "sliding": {"query": asked, "rows": sliding}}


def example_queries(gallery: Sequence[Truth]) -> list[str]:
    """At most six questions that some image answers: four things of a colour, a number of them, a written word."""
    chosen = []
    for asked, many in ((thing_queries(gallery), 4), (count_queries(gallery), 1), (reading_queries(gallery), 1)):
        # Spread over the kinds, so that nobody has picked the easy ones.
        chosen += [asked[at * len(asked) // many].text for at in range(min(many, len(asked)))]
    return chosen


def sliding_query(gallery: Sequence[Truth]) -> str:
    """Such as "a photo of a car": the kind that the images show most often both as a thing and as a word."""
    shown = {kind: sum(group.kind == kind for row in gallery for group in row.objects) for kind in KINDS}
    written = {kind: sum(row.word is not None and row.word.text == kind for row in gallery) for kind in KINDS}
    return f"a photo of {noun_phrase(max(KINDS, key=lambda kind: min(shown[kind], written[kind])))}"


def pack_bundle(run: QuickstartRun) -> Figures:
    """Put what the phone needs into one folder: the Core ML towers, the tokenizer, the textness vector, the index."""
    bundle = make_bundle(
        run.bundle, run.export(BUNDLED), textness=run.textness, index=run.index, force=run.bundle.exists()
    )
    return {
        "precision": bundle.precision,
        "size_bytes": bundle.size_bytes,
        "files": {file.file: file.size_bytes for file in bundle.files.values()},
    }


def bench_models(run: QuickstartRun) -> Figures:
    """Measure the teacher, the student and its exports side by side."""
    models = [run.teacher, run.student, *(run.export(kind) for kind in EXPORTS if not kind.startswith("coreml"))]
    settings = BenchSettings(threads=min(2, usable_cores()), seconds=run.plan.bench_seconds, rounds=5)
    gallery = read_gallery(run.scenes("test"), limit=_BENCH_IMAGES)
    vectors = np.load(run.out / "teacher-test.npy")[: len(gallery.keys)]
    evaluator = ImageEvaluator(gallery, TeacherVectors("scenes-teacher", vectors))
    return run_bench(describe_models(map(str, models)), settings, [evaluator]).document()


def explain_student(run: QuickstartRun) -> Figures:
    """Heat maps and a map of the vectors."""
    folder = run.out / EXPLAIN_FOLDER
    folder.mkdir(exist_ok=True)
    source = run.scenes("test")
    found = explain(str(run.student), read_gallery(source, limit=_EXPLAINED_IMAGES), source, folder)
    return {"figures": list(found.figures), "skipped": [asdict(skip) for skip in found.skipped]}


def _evaluate(run: QuickstartRun, encoder: Encoder, who: str) -> dict[str, float]:
    mixed, fair = (encode_gallery(run.scenes(name), encoder) for name in ("test", "gallery"))
    save_matrix(run.out / f"{who}-test.npy", mixed.vectors)
    save_matrix(run.out / f"{who}-gallery.npy", fair.vectors)
    return evaluate_scenes(encoder, mixed, fair)


def _agreement(run: QuickstartRun) -> dict[str, float]:
    teacher, student = (np.load(run.out / f"{who}-test.npy") for who in ("teacher", "student"))
    found = agreement(student, teacher)
    return {name: found[name] for name in ("map_at_10", "map_at_20", "overlap_at_10") if name in found}


def _scales(gallery: EncodedGallery, encoder: Encoder, textness: Textness) -> list[dict[str, Any]]:
    asked = query_scenes(gallery, encoder)
    return evaluate_scales(asked.typographic, asked.clean, textness.vector, SCALES, reading=asked.reading)


def _price(row: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    before, after = plain["typographic_error_rate"], row["typographic_error_rate"]
    return {
        "scale": row["scale"],
        "typographic_error_rate_before": before,
        "typographic_error_rate": after,
        "errors_removed": (before - after) / before if before else None,
        "clean_drop": plain["clean_precision_at_1"] - row["clean_precision_at_1"],
        "reading_precision_at_1_before": plain["reading_precision_at_1"],
        "reading_precision_at_1": row["reading_precision_at_1"],
    }


# Name → title → the work.
STAGES: tuple[tuple[str, str, Callable[[QuickstartRun], Figures]], ...] = (
    ("scenes", "drawing the synthetic scenes", draw_scenes),
    ("teacher", "evaluating the bundled teacher", evaluate_teacher),
    ("student", "distilling a student", distil_student),
    ("exports", "exporting to ONNX and Core ML, and verifying", export_student),
    ("index", "indexing unseen images", build_index),
    ("textness", "learning the textness vector", learn_textness),
    ("search", "searching", search_images),
    ("bundle", "packing a bundle for the phone", pack_bundle),
    ("explain", "explaining the student", explain_student),
    ("bench", "measuring speed and memory", bench_models),
)
