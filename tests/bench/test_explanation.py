from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.bench import run as bench_run
from mobileclip_kit.bench.evaluators import Gallery, spread
from mobileclip_kit.bench.explanation import (
    FoundRows,
    _found,
    explain,
    explain_for_report,
    explainable,
    prompt,
    select,
    texts_of,
)
from mobileclip_kit.bench.inputs import read_gallery
from mobileclip_kit.bench.models import random_students
from mobileclip_kit.cli.entry import main
from mobileclip_kit.errors import UsageError
from mobileclip_kit.explain.embedding_map import EmbeddingMap
from mobileclip_kit.explain.grad_cam import HeatMaps
from mobileclip_kit.explain.plots import PointNames, draw_map, draw_sheet, overlay, short
from mobileclip_kit.exporting.folder import EXPORT_FILE
from mobileclip_kit.networks.model import describe, save_model
from mobileclip_kit.networks.students import build_student, pair_config
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.truth import read_truth
from tests.bench.fakes import draw_images
from tests.bench.rows import measured, report


@pytest.fixture(scope="module")
def both_towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads and looks, with random weights."""
    folder = tmp_path_factory.mktemp("models") / "pair"
    folder.mkdir()
    config = pair_config("conv-s", text="text-2", embedding_dim=512)
    network = build_student(config, seed=0)
    save_model(folder, network, config, describe("pair", network, config))
    return folder


@pytest.fixture(scope="module")
def image_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (student,) = random_students(["conv-s"], tmp_path_factory.mktemp("students"))
    return Path(student.model)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Eight images in two folders."""
    for seed, name in enumerate(("red_fox", "owl")):
        folder = tmp_path / "classes" / name
        draw_images(folder, 4)
        for path in folder.iterdir():
            noise = np.random.default_rng([seed, *path.name.encode()]).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
    return tmp_path / "classes"


def is_image(path: Path) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG" and min(image.size) > 200


def test_folders_are_classes_and_classes_are_texts(classes: Path) -> None:
    gallery = read_gallery(classes, limit=None)
    shown = select(gallery, classes)
    assert set(shown.labels) == {"owl", "red fox"} and shown.names == ("owl", "red fox")
    assert {shown.labels[place] for place in shown.sheet[:2]} == {"owl", "red fox"}
    assert set(texts_of(gallery, shown)) == {"a photo of an owl", "a photo of a red fox"}


def test_the_built_in_world_says_what_it_shows(tmp_path: Path) -> None:
    """An image of a word has the word's class, is no example of the thing, and asks nothing."""
    (tmp_path / "scenes").mkdir()
    write_scenes(tmp_path / "scenes", SceneSet(items=40, seed=1, size=64, split="train"), workers=1)
    gallery = read_gallery(tmp_path / "scenes", limit=None)
    shown = select(gallery, tmp_path / "scenes")
    truth = read_truth(tmp_path / "scenes")
    assert shown.written == tuple(seen.alone for seen in truth)
    for seen, label in zip(truth, shown.labels, strict=True):
        assert label == (seen.word.text if seen.alone and seen.word else seen.objects[0].kind)
    assert not any(shown.written[place] for place in shown.sheet)
    assert texts_of(gallery, shown) == tuple(prompt(shown.labels[place]) for place in shown.sheet)


def test_captions_are_the_texts_where_there_are_some() -> None:
    keys = ("a/1.png", "b/2.png", "b/3.png")
    gallery = Gallery(keys, tuple(map(Path, keys)), ("an owl", "a fox", "a fox again"), (0, 2, 2))
    shown = select(gallery, Path("captions.csv"))
    assert shown.names == ()
    assert texts_of(gallery, shown) == ("an owl", "a fox")


def test_images_are_spread_over_the_gallery() -> None:
    assert spread(3, 5) == (0, 1, 2)
    assert spread(10, 5) == (0, 2, 4, 6, 8)


def test_long_texts_are_cut() -> None:
    assert short("a \n b") == "a b"
    assert len(short("x" * 10_000)) == 60


def test_cold_parts_lose_colour_and_hot_ones_glow() -> None:
    pixels = np.full((2, 2, 3), (200, 40, 40), dtype=np.uint8)
    heat = np.array([[0, 0], [0, 1]], dtype=np.float32)
    drawn = overlay(pixels, heat).astype(int)
    assert drawn.shape == pixels.shape
    cold, hot = drawn[0, 0], drawn[1, 1]
    assert np.ptp(cold) < np.ptp(pixels[0, 0].astype(int)) < np.ptp(hot)
    assert (drawn[0, 0] == drawn[1, 0]).all()


def test_figures_take_any_text(tmp_path: Path) -> None:
    """Formulas, emoji and very long words included."""
    texts = ["a $ and a $", "x" * 500]
    maps = HeatMaps(np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 2), np.float32))
    draw_sheet(np.zeros((1, 8, 8, 3), np.uint8), texts, maps, tmp_path / "sheet.png")
    places = EmbeddingMap(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    draw_map(places, PointNames(["$x$", ""], [True, False], texts, ["$x$", ""]), tmp_path / "map.png")
    assert is_image(tmp_path / "sheet.png") and is_image(tmp_path / "map.png")


def test_classes_with_a_star_have_the_colours() -> None:
    labels = ["b", "a", "a", "c"]
    assert list(PointNames(labels, [False] * 4, ["text"], ["b"]).colours()) == ["b"]
    assert list(PointNames(labels, [False] * 4, [], []).colours()) == ["a", "b", "c"]


def test_a_model_with_both_towers_is_explained(both_towers: Path, classes: Path, tmp_path: Path) -> None:
    gallery = read_gallery(classes, limit=None)
    document, rows = explain_for_report(str(both_towers), gallery, classes, tmp_path, ask=["a fox", "an owl"])
    assert document["model"] == "pair" and document["skipped"] == []
    assert is_image(tmp_path / document["grad_cam"]) and is_image(tmp_path / document["tsne"])
    assert [one["text"] for one in document["examples"]] == ["a fox", "an owl"]
    scores = [hit["score"] for hit in document["examples"][0]["hits"]]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    assert [image.source for image in rows[0][1]] == [classes / hit["item"] for hit in document["examples"][0]["hits"]]


def test_what_is_asked_is_shown_in_the_images_that_it_finds() -> None:
    examples = [FoundRows("a", ((4, 0.9), (2, 0.8))), FoundRows("b", ((4, 0.7), (1, 0.6), (3, 0.5)))]
    assert _found(examples, 5) == (4, 2, 1, 3)
    assert _found(examples, 2) == (4, 2)


def test_without_a_text_tower_heat_needs_vectors(image_only: Path, classes: Path, tmp_path: Path) -> None:
    gallery = read_gallery(classes, limit=None)
    mute = explain(str(image_only), gallery, classes, tmp_path)
    assert mute.figures == ("tsne.png",)
    assert "no text tower" in mute.skipped[0].reason and "--teacher" in mute.skipped[0].reason
    queries = np.random.default_rng(0).standard_normal((6, 512)).astype(np.float32)
    given = explain(str(image_only), gallery, classes, tmp_path, queries=queries)
    assert given.figures == ("grad_cam.png", "tsne.png")
    assert [one.text for one in given.examples] == ["query 1", "query 2", "query 3", "query 4"]


def test_a_teacher_speaks_for_its_student(image_only: Path, both_towers: Path, classes: Path, tmp_path: Path) -> None:
    done = explain(str(image_only), read_gallery(classes, limit=None), classes, tmp_path, teacher=str(both_towers))
    assert done.figures == ("grad_cam.png", "tsne.png")


def test_four_images_are_no_map_and_the_reason_is_stated(both_towers: Path, tmp_path: Path) -> None:
    draw_images(tmp_path / "few", 4)
    done = explain(str(both_towers), read_gallery(tmp_path / "few", limit=None), tmp_path / "few", tmp_path, ask=["x"])
    assert done.figures == ("grad_cam.png",)
    assert "5 different images; there are 4" in done.skipped[0].reason


def test_a_model_that_fails_leaves_the_rest_of_the_report(classes: Path, tmp_path: Path) -> None:
    document, rows = explain_for_report("no-such-model", read_gallery(classes, limit=None), classes, tmp_path)
    assert document["grad_cam"] is None and rows == []
    assert "no-such-model" in document["skipped"][0]["reason"]


def test_the_first_model_with_gradients_is_explained(tmp_path: Path) -> None:
    export = tmp_path / "student-onnx"
    export.mkdir()
    (export / EXPORT_FILE).write_text("{}")
    assert explainable([str(export), "student"]) == "student"
    with pytest.raises(UsageError, match="no gradients.*Name the model folder"):
        explainable([str(export)])


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["bench", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_the_command_draws_into_its_report(
    both_towers: Path,
    classes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Measuring, which takes processes of its own, is tested elsewhere."""
    monkeypatch.setattr(bench_run, "run_bench", lambda *_: report(measured("pair")))
    code, out, err = run(capsys, both_towers, "--images", classes, "--explain", "-o", tmp_path / "out", "--json")
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    assert document["explain"]["grad_cam"] == "explain/grad_cam.png"
    assert is_image(tmp_path / "out" / "explain" / "tsne.png")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3 and "Where pair looks" in page
    assert json.loads((tmp_path / "out" / "report.json").read_text())["explain"] == document["explain"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m", "--explain", "-o", "out"], "Add --images"),
        (["m", "--images", "photos", "--explain"], "Name its folder with -o"),
        (["m", "--images", "photos", "--ask", " ", "-o", "out"], "empty text"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert words in err
