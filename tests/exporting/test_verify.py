"""Verification: equal models pass, changed ones fail with a number, others are refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobileclip_kit.errors import ExportError, ModelMismatchError, ParityError, UsageError
from mobileclip_kit.exporting import coreml, int8
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export, ExportedTower, open_export
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import PROMPTS, draw_images, read_images, spread, tokenize_texts
from mobileclip_kit.exporting.sensitivity import table_path
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.exporting.verify import _check_vectors, require_parity, verify_export
from mobileclip_kit.metrics import nearest_overlap
from mobileclip_kit.mil.interpreter import NumericProblem
from mobileclip_kit.networks.model import Model, load_model
from tests.exports import IMAGE


def test_float32_onnx_equals_its_model(onnx_export: Export) -> None:
    for row in onnx_export.rows():
        assert row["cosine_min"] > 0.99999
        assert row["overlap_at_10"] > 0.99
        assert row["runtime"] == "onnxruntime"


def test_float16_core_ml_is_executed_and_passes(coreml_export: Export) -> None:
    assert {(row["tower"], row["runtime"]) for row in coreml_export.rows()} >= {("image", "mil"), ("text", "mil")}
    assert all(row["cosine_min"] > 0.999 for row in coreml_export.rows())


def test_another_model_is_refused(onnx_export: Export, tiny_model_folder: Path) -> None:
    other = load_model(tiny_model_folder)
    other.spec = replace(other.spec, model_hash="0" * 64)
    with pytest.raises(ModelMismatchError, match="belongs to the model"):
        verify_export(onnx_export, other)


def changed(tiny_model_folder: Path, scale: float) -> Model:
    """The model with noise in its weights but its old hash: a stand-in for a conversion that went wrong."""
    model = load_model(tiny_model_folder)
    with torch.no_grad():
        weight = model.network.visual.proj
        weight += scale * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    return model


def test_wrong_weights_fail_with_the_number(onnx_export: Export, tiny_model_folder: Path) -> None:
    image = [r for r in verify_export(onnx_export, changed(tiny_model_folder, 1.0)) if r.tower == "image"]
    assert not image[0].passed
    assert image[0].cosine_min < 0.99


@pytest.fixture
def converted(coreml_export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """Towers come from an export that exists already: conversion is what costs seconds."""

    def copy_tower(job: TowerJob) -> ExportedTower:
        shutil.copytree(coreml_export.tower_path(job.tower), job.path)
        return ExportedTower.from_file(job.tower, job.path)

    monkeypatch.setattr(coreml, "write_program", copy_tower)


@pytest.mark.usefixtures("converted")
def test_failed_export_leaves_nothing(tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"least cosine 0\.\d+"):
        export_model(tiny_model, tmp_path / "out", ExportOptions(format="coreml", precision="fp16", threshold=1.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("converted")
def test_failed_export_is_kept_when_asked(tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ParityError):
        export_model(
            tiny_model,
            tmp_path / "out",
            ExportOptions(format="coreml", precision="fp16", threshold=1.0, keep_failed=True),
        )
    assert not all(row["passed"] for row in open_export(tmp_path / "out").rows())


@pytest.mark.parametrize("keep_failed", [False, True])
@pytest.mark.parametrize(("precision", "follows"), [("fp16", True), ("palette4", False)])
def test_the_hint_names_only_what_can_help(
    coreml_export: Export, tiny_model: Model, tmp_path: Path, precision: str, follows: bool, keep_failed: bool
) -> None:
    """Neither calibrates; a palette's loss is not in the operators; nothing is left to follow without --keep-failed."""
    export = replace(coreml_export, path=tmp_path / "out", precision=precision)
    (result,) = (result for result in coreml_export.towers["image"].verification if result.runtime == "mil")
    with pytest.raises(ParityError) as told:
        require_parity([replace(result, threshold=1.0)], export, kept=keep_failed)
    hint = told.value.hint or ""
    assert "calibration" not in hint
    assert ("--keep-failed" in hint) is not keep_failed
    assert (f"mckit verify {tmp_path / 'out'} --against MODEL --intermediates" in hint) is (follows and keep_failed)


def test_format_without_that_precision(tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="onnx exports are written in fp32, fp16, int8-weights, int8"):
        export_model(tiny_model, tmp_path / "out", ExportOptions(format="onnx", precision="palette6"))


def test_overlap_by_hand() -> None:
    """Five points on a line of angles; k = 2. Moving one point past its neighbour changes two of ten choices."""
    angles = np.radians([0, 10, 21, 33, 46])
    moved = np.radians([0, 10, 21, 33, 22])
    wanted, actual = (np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32) for a in (angles, moved))
    assert nearest_overlap(wanted, wanted) == 1.0
    # The nearest two of each: 0: {1,2} → {1,2}; 1: {0,2} → {0,2}; 2: {1,3} → {4,1}; 3: {2,4} → {4,2}; 4: {3,2} → {2,3}.
    assert nearest_overlap(wanted, actual) == pytest.approx(9 / 10)


def test_overlap_needs_three_inputs() -> None:
    assert nearest_overlap(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)) is None


def test_overlap_of_unrelated_vectors_is_chance() -> None:
    """Ten of 199 others by chance: about 0.05."""
    random = np.random.default_rng(0)
    first, second = (random.standard_normal((200, 64)).astype(np.float32) for _ in range(2))
    overlap = nearest_overlap(first, second)
    assert overlap is not None
    assert overlap < 0.15


def test_drawn_images_repeat_and_differ() -> None:
    pixels = draw_images(IMAGE, count=4).pixels
    assert np.array_equal(pixels, draw_images(IMAGE, count=4).pixels)
    assert not np.array_equal(pixels[0], pixels[1])
    assert pixels.shape == (4, 32, 32, 3)


def test_unreadable_images_are_listed(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 40), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    images = read_images(sorted(tmp_path.iterdir()), IMAGE, source="here")
    assert images.source == "1 images of here"
    assert [name for name, _ in images.skipped] == ["bad.png"]


def test_prompts_serve_when_there_are_no_captions(tiny_model: Model) -> None:
    texts = tokenize_texts(tiny_model, None, count=5)
    assert texts.ids.shape == (5, 12)
    assert texts.source == "5 built-in prompts"
    assert len(set(PROMPTS)) == len(PROMPTS)


def test_spread_is_even() -> None:
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert spread([1, 2], 5) == [1, 2]


def test_vectors_that_are_no_numbers_name_the_operators() -> None:
    found = [NumericProblem(f"exp_{number}", "exp", "overflow", 3, 1e9) for number in range(5)]
    broken, whole = np.full((2, 3), np.nan, np.float32), np.eye(2, 3, dtype=np.float32)
    with pytest.raises(
        ParityError, match=r"2 of 2 inputs: exp_0 \(exp\) overflows float16's 65,504: 3 elements"
    ) as told:
        _check_vectors(broken, whole, "The image tower", found)
    assert "exp_2" in told.value.message and "exp_3" not in told.value.message
    with pytest.raises(ParityError, match=r"for 2 of 2 inputs\."):
        _check_vectors(broken, whole, "The image tower", ())


@pytest.fixture
def lossy(onnx_export: Export, tiny_model_folder: Path, tmp_path: Path) -> Export:
    """Towers of another model under the first one's name."""
    given = replace(changed(tiny_model_folder, 0.5), spec=load_model(tiny_model_folder).spec)
    return export_model(given, tmp_path / "lossy", ExportOptions(format="onnx", precision="fp32", threshold=-1.0))


def test_a_choice_that_misses_on_other_inputs_is_made_again(
    onnx_export: Export, lossy: Export, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float | None]] = []

    def choose(job: TowerJob) -> ExportedTower:
        options = job.options
        asked.append((job.tower, options.choice_cosine))
        table = table_path(job.path.parent, job.tower)
        if options.choice_cosine is None:
            assert options.measured is None
            table.write_text("measured")
        else:
            assert options.measured is not None
            table.write_text(table_path(options.measured.path, job.tower).read_text() + " once")
        good = job.tower == "text" or (options.choice_cosine or 0) > 0.996
        shutil.copyfile((onnx_export if good else lossy).tower_path(job.tower), job.path)
        return ExportedTower.from_file(job.tower, job.path)

    monkeypatch.setattr(int8, "write_int8", choose)
    said: list[str] = []
    options = ExportOptions(
        format="onnx", precision="int8", calibration=draw_images(IMAGE, count=4), report=said.append
    )
    made = export_model(tiny_model, tmp_path / "out", options)
    assert asked == [("image", None), ("text", None), ("image", pytest.approx(0.9925)), ("image", 0.995),
                     ("image", 0.9975)]  # fmt: skip
    assert open_export(made.path).passed
    assert {row["tower"] for row in made.rows()} == {"image", "text"} and len(made.rows()) == 2
    assert made.tower_path("image").read_bytes() == onnx_export.tower_path("image").read_bytes()
    assert table_path(made.path, "image").read_text() == "measured once once once"
    assert [line for line in said if "choosing for" in line] == [
        f"onnx int8: the image tower misses the least cosine of 0.99 on other inputs; choosing for {cosine}"
        for cosine in (0.9925, 0.995, 0.9975)
    ]
    assert all(path.is_file() for path in made.path.iterdir())
    assert any("image tower as onnx int8" in line and "hardly less than in float16" in line for line in said)


def test_where_no_choice_loses_less_the_first_one_is_refused_with_its_number(
    lossy: Export, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(job: TowerJob) -> ExportedTower:
        if job.options.choice_cosine is not None:
            assert not job.options.keep_failed, "a choice that is not to be had is an error"
            raise ExportError("No choice.")
        shutil.copyfile(lossy.tower_path(job.tower), job.path)
        return ExportedTower.from_file(job.tower, job.path)

    monkeypatch.setattr(int8, "write_int8", choose)
    options = ExportOptions(format="onnx", precision="int8", calibration=draw_images(IMAGE, count=4), keep_failed=True)
    with pytest.raises(ParityError, match="where 0.99 is required"):
        export_model(tiny_model, tmp_path / "out", options)
    kept = open_export(tmp_path / "out")
    assert kept.tower_path("image").read_bytes() == lossy.tower_path("image").read_bytes()
    assert not kept.passed
