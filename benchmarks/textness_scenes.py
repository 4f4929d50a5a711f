"""What textness scales mend and cost on the synthetic scenes: chosen on one gallery, reported on another.

    python benchmarks/textness_scenes.py [MODEL ...] [-o results/textness_scenes.json] [--plot textness_scenes.png]

MODEL has both towers and reads the words of the synthetic scenes; the bundled teacher unless given. Three worlds are
drawn with seeds of their own: pairs to learn the direction from, a gallery to choose the scales on, and a gallery to
report. The negative scale is the one that removes most words found in place of things while precision@1 without words
falls by at most a point; the positive one puts most written words first. Beside them: the projection of the same
directions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import HERE, parse, write

from mobileclip_kit.explain.plots import plot_scales
from mobileclip_kit.files import atomic_file
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.textness.evaluate import evaluate_projection, evaluate_scales, summarise
from mobileclip_kit.textness.gallery import encode_scenes, query_scenes
from mobileclip_kit.textness.learn import TextnessRequest, learn_textness

WORLDS = {
    "pairs": SceneSet(items=2000, seed=11, size=64, split="pairs"),
    "choosing": SceneSet(items=1000, seed=8, size=64, split="gallery"),
    "gallery": SceneSet(items=1000, seed=7, size=64, split="gallery"),
}
TEACHER = HERE.parent / "models" / "scenes-teacher"


def main() -> None:
    """Draw, learn, choose, report."""
    chosen = parse("models*", out=Path("textness_scenes.json"), plot=None)
    with tempfile.TemporaryDirectory() as folder:
        for name, scenes in WORLDS.items():
            (Path(folder) / name).mkdir()
            write_scenes(Path(folder) / name, scenes)
        measured = [measure(Path(model), Path(folder)) for model in chosen.models or [TEACHER]]
    if chosen.plot is not None:
        first = measured[0]
        marked = [first[direction]["scale"] for direction in ("suppress", "promote") if first[direction] is not None]
        with atomic_file(chosen.plot) as staging:
            plot_scales(first["scales"], staging, chosen=marked, projection=first["projection"])
    worlds = {name: {"items": each.items, "seed": each.seed, "split": each.split} for name, each in WORLDS.items()}
    write(chosen.out, {"worlds": worlds, "models": measured})


def measure(model: Path, scene_sets: Path) -> dict[str, Any]:
    """The figures of one model."""
    encoder = open_encoder(model)
    textness, _ = learn_textness(TextnessRequest(images=scene_sets / "pairs", model=str(model)))
    rows = {}
    for name in ("choosing", "gallery"):
        asked = query_scenes(encode_scenes(scene_sets / name, encoder), encoder)
        rows[name] = evaluate_scales(asked.typographic, asked.clean, textness.vector, reading=asked.reading)
    every = np.stack(list(textness.directions.values()))
    projection = evaluate_projection(asked.typographic, asked.clean, every, reading=asked.reading)
    report: dict[str, Any] = {
        "model": encoder.spec.name,
        "accuracy": textness.report["accuracies"],
        "angle_degrees": textness.report["angle_degrees"],
    }
    plain = next(row for row in rows["gallery"] if row["scale"] == 0)
    for direction, found in summarise(rows["choosing"]).items():
        row = None if found is None else next(row for row in rows["gallery"] if row["scale"] == found["scale"])
        report[direction] = None if row is None else price(row, plain)
        print(f"{encoder.spec.name}: {direction}: {report[direction]}", flush=True)
    return {**report, "plain": plain, "projection": projection, "scales": rows["gallery"]}


def price(row: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """What a scale mends and costs, in shares of the queries and of the first ten hits."""
    errors = plain["typographic_error_rate"]
    return {
        "scale": row["scale"],
        "errors_removed": None if not errors else (errors - row["typographic_error_rate"]) / errors,
        "reading_precision_at_1": row["reading_precision_at_1"],
        "clean_drop": plain["clean_precision_at_1"] - row["clean_precision_at_1"],
        "clean_in_ten_drop": plain["clean_right_in_ten"] - row["clean_right_in_ten"],
        "things_among_words_in_ten": row["typographic_right_in_ten"],
        "words_in_ten": row["reading_right_in_ten"],
    }


if __name__ == "__main__":
    main()
