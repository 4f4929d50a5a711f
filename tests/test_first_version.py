"""Files that the first version wrote are still read, see golden/first-version/make.sh."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.cli import main
from mobileclip_kit.distillation.recipe import load_recipe
from mobileclip_kit.images import load_pixels
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import read_scenes_file
from mobileclip_kit.scenes.truth import read_truth
from mobileclip_kit.textness.vector import Textness

FIRST = Path(__file__).parent / "golden" / "first-version"
PHOTOS = FIRST / "photos"
# Random weights, an embedding of 8 numbers: int8 costs more than it does in a real model.
WITHIN = {"onnx-fp32": 1e-5, "onnx-int8": 0.1, "coreml-fp16": 1e-2}


@pytest.fixture
def mckit(capsys):
    """Run a command in this process; its document, or the sentence of its refusal."""

    def run(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
        with pytest.raises(SystemExit) as stop:
            main([*map(str, arguments), "--json"])
        said = capsys.readouterr()
        assert stop.value.code == code, said.err
        document: dict[str, Any] = json.loads(said.out)
        return document

    return run


@pytest.fixture
def index(tmp_path):
    """A copy of the index, which searching and updating may write into."""
    return shutil.copytree(FIRST / "photos.index", tmp_path / "photos.index")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model", "model folder"),
        ("onnx-fp32", "export"),
        ("coreml-fp16", "export"),
        ("photos.index", "index"),
        ("teacher.cache", "teacher cache"),
        ("textness.json", "textness"),
        ("bundle", "bundle"),
        ("scenes", "synthetic scenes"),
    ],
)
def test_inspect_knows_each_of_them(mckit, name, kind):
    assert mckit("inspect", FIRST / name)["kind"] == kind


@pytest.mark.parametrize("name", WITHIN)
def test_an_export_still_computes_what_its_model_computes(name):
    model, export = open_encoder(FIRST / "model"), open_encoder(FIRST / name)
    assert export.spec.model_hash == model.spec.model_hash
    pixels = np.stack([load_pixels(path, model.spec.require_image()) for path in sorted(PHOTOS.iterdir())])
    texts = ["a red star", "a blue boat"]
    np.testing.assert_allclose(export.encode_images(pixels), model.encode_images(pixels), atol=WITHIN[name])
    np.testing.assert_allclose(export.encode_texts(texts), model.encode_texts(texts), atol=WITHIN[name])


def test_an_export_can_be_verified_against_its_model(mckit):
    done = mckit("verify", FIRST / "onnx-fp32", "--against", FIRST / "model", "--images", PHOTOS)
    assert all(export["passed"] for export in done["exports"])


def test_an_index_is_searched_with_the_textness_vector(mckit, index):
    textness = ["--textness", "0.5", "--textness-vector", FIRST / "textness.json"]
    done = mckit("search", index, "a red star", "--model", FIRST / "onnx-fp32", *textness)
    hits = done["results"][0]["hits"]
    assert {hit["item"] for hit in hits} == {path.name for path in PHOTOS.iterdir()}


def test_an_index_is_brought_up_to_date_without_encoding_again(mckit, index, tmp_path):
    photos = shutil.copytree(PHOTOS, tmp_path / "photos")
    (photos / "red.png").unlink()
    done = mckit("index", photos, "--model", FIRST / "onnx-fp32", "-o", index, "--prune")
    assert (done["items"], done["added"], done["updated"], done["removed"]) == (3, 0, 0, 1)


def test_an_index_remembers_its_folder(mckit):
    assert mckit("inspect", FIRST / "photos.index")["images"] == "/library/photos"


def test_a_teacher_cache_is_extended_without_asking_the_teacher_again(mckit, tmp_path):
    cache = shutil.copytree(FIRST / "teacher.cache", tmp_path / "teacher.cache")
    views = ["--views", "2", "--recipe", FIRST / "recipes" / "views.toml", "--captions"]
    done = mckit("cache", "--teacher", FIRST / "model", "--data", FIRST / "photos.csv", *views, "-o", cache)
    assert (done["items"], done["added"]) == (4, 0)


@pytest.mark.parametrize("path", [*sorted((FIRST / "recipes").iterdir()), FIRST / "model" / "recipe.toml"], ids=str)
def test_a_recipe_is_read(path):
    assert load_recipe(path).training.batch_size > 0


def test_textness_and_scenes_are_read_by_todays_keys():
    report = Textness.load(FIRST / "textness.json").report
    assert (report["images"], report["extra_text_images"], report["accuracy"]) == (40, 0, 1.0)
    scenes = read_scenes_file(FIRST / "scenes")
    assert (scenes.items, scenes.split, scenes.config.captions) == (3, "train", 3)
    assert [row.form for row in read_truth(FIRST / "scenes")] == ["word", "word", "thing"]


def test_a_bundle_passes_its_check(mckit):
    assert mckit("bundle", "--check", FIRST / "bundle")


def test_drawn_scenes_are_read_as_images_with_captions(mckit):
    done = mckit("verify", FIRST / "onnx-fp32", "--against", FIRST / "model", "--images", FIRST / "scenes")
    assert done["exports"][0]["images"] == 3


@pytest.mark.parametrize("name", ["bench-images.json", "bench-world.json"])
def test_a_bench_report_is_compared_by_todays_names(mckit, name):
    done = mckit("bench", "--compare", FIRST / name, FIRST / name)
    figures = {change["figure"] for change in done["changes"]}
    assert "images_per_s" in figures
    assert name != "bench-world.json" or "metrics.scenes_precision_at_1" in figures


def test_gates_on_renamed_figures_are_read():
    from mobileclip_kit.bench.gates import read_gates

    assert [gate.figure for gate in read_gates(FIRST / "gates.toml")] == [
        "metrics.scenes_precision_at_1",
        "images_per_s",
    ]


def test_what_the_phone_measured_is_read():
    from mobileclip_kit.bench.external_results import read_phone

    assert [row.images_per_s for row in read_phone(FIRST / "phone-bench.json")[:3]] == [400.0, 500.0, 80.0]
