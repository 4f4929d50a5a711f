"""Distillation from images to a model folder, on a tiny student."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.data import images
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation import frozen
from mobileclip_kit.distillation.recipe import load_recipe
from mobileclip_kit.distillation.request import DistillRequest
from mobileclip_kit.distillation.run import DistillRun, TrainingReport, distill
from mobileclip_kit.distillation.run_folder import RunLog, check_run, open_run
from mobileclip_kit.distillation.tables import Augmentation, MixtureOptions
from mobileclip_kit.errors import DataError, ModelError, ModelMismatchError, OutputError, TrainingError, UsageError
from mobileclip_kit.files import read_json, write_json
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.model import Model, describe, load_model, save_model
from mobileclip_kit.networks.students import build_student, pair_config
from mobileclip_kit.progress import show_progress
from tests.cache.test_cache import draw, tiny_teacher
from tests.data.test_shards import write
from tests.distillation.interrupting import interrupted_at
from tests.processes import appears, life

STUDENT = {"image_size": 32, "layers": 1, "width": 24, "head_width": 12, "patch_size": 16}
RECIPE = load_recipe("piccollage").with_training(epochs=3, batch_size=4, lr=1e-2)


@pytest.fixture
def teacher(tmp_path: Path) -> tuple[Path, Model]:
    model, folder = tiny_teacher(), tmp_path / "teacher"
    folder.mkdir()
    model.spec = save_model(folder, model.network, model.config, model.spec)
    return folder, model


@pytest.fixture
def cache(tmp_path: Path, teacher: tuple[Path, Model]) -> Path:
    build_cache(teacher[1], open_source(draw(tmp_path / "images", 10)), tmp_path / "cache")
    return tmp_path / "cache"


def student_file(folder: Path, name: str = "tiny", **changes: Any) -> str:
    """A student described by a file of its own."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**STUDENT, **changes}))
    return str(path)


def request(tmp_path: Path, **changes: Any) -> DistillRequest:
    values: dict[str, Any] = {"data": tmp_path / "images", "out": tmp_path / "student", "recipe": RECIPE}
    if "student" not in changes:
        values["student"] = student_file(tmp_path)
    return DistillRequest(**{**values, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder).network.state_dict())


def assert_same_model(one: Path, other: Path) -> None:
    theirs = weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one).items())


def test_cache_gives_an_image_only_student(tmp_path: Path, cache: Path) -> None:
    report = distill(request(tmp_path, cache=cache))
    assert report.spec.towers == ("image",)
    assert report.result.steps == 6
    assert report.spec.provenance["teacher_hash"] == TeacherCache.open(cache).description.teacher_hash
    assert not (tmp_path / "student.run").exists()
    # With the extra [tensorboard] a run also leaves a folder of that name.
    assert {path.name for path in (tmp_path / "student").iterdir()} - {"tensorboard"} == {
        "model.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "recipe.toml",
        "training.json",
        "log.jsonl",
    }


def test_open_clip_loads_the_student(tmp_path: Path, cache: Path) -> None:
    distill(request(tmp_path, cache=cache))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = open_clip.create_model(f"local-dir:{tmp_path / 'student'}").eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        ours = load_model(tmp_path / "student").network
        assert torch.equal(theirs.encode_image(images), ours.encode_image(images))


def test_live_teacher_gives_its_text_tower_unchanged(tmp_path: Path, teacher: tuple[Path, Model]) -> None:
    draw(tmp_path / "images", 10)
    report = distill(request(tmp_path, teacher=str(teacher[0])))
    student = load_model(tmp_path / "student")
    assert student.spec.towers == ("image", "text")
    ids = torch.randint(0, 600, (3, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        text: Any = student.network.encode_text  # type: ignore[union-attr]
        assert torch.equal(text(ids), teacher[1].network.encode_text(ids))  # type: ignore[operator]
    assert report.spec.logit_scale == pytest.approx(teacher[1].spec.logit_scale)


def test_live_teacher_equals_its_cache(tmp_path: Path, teacher: tuple[Path, Model], cache: Path) -> None:
    """Without augmentation a live teacher is run once; what the student learns is the same."""
    distill(request(tmp_path, cache=cache))
    distill(request(tmp_path, teacher=str(teacher[0]), out=tmp_path / "live"))
    one, other = weights(tmp_path / "student"), weights(tmp_path / "live")
    for name in one:
        if name.startswith("visual."):
            # Images may meet the teacher in other batches: the last bit of a float16 target may differ.
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-4)


def test_teacher_in_the_loop_sees_the_augmented_images(tmp_path: Path, teacher: tuple[Path, Model]) -> None:
    draw(tmp_path / "images", 10)
    varied = replace(RECIPE, augmentation=replace(RECIPE.augmentation, flip=0.5, crop_scale=(0.5, 1.0)))
    report = distill(request(tmp_path, teacher=str(teacher[0]), recipe=varied, holdout="0.3"))
    assert report.spec.provenance["targets"] == "live"
    assert report.metrics["holdout_images"] == 3


def test_student_approaches_its_teacher(tmp_path: Path, cache: Path) -> None:
    report = distill(request(tmp_path, cache=cache, recipe=RECIPE.with_training(steps=100)))
    log = [json.loads(line) for line in (tmp_path / "student" / "log.jsonl").read_text().splitlines()]
    assert log[0]["cosine"] < 0.7
    assert report.metrics["cosine"] > 0.95


@pytest.mark.skipif(not hasattr(os, "fork"), reason="lives of a run come from a fork server")
def test_a_run_that_a_kill_left_beside_its_model_goes_with_the_next_one(tmp_path: Path) -> None:
    model, run = tmp_path / "m", tmp_path / "m.run"
    for folder in (model, run):
        folder.mkdir()
    (model / "log.jsonl").write_text("seconds: 1")
    (run / "checkpoint.safetensors").touch()
    for log in ("seconds: 2", "seconds: 1"):
        (run / "log.jsonl").write_text(log)
        with pytest.raises(OutputError, match="m exists already"):
            check_run(model, resume=True, force=False)
        assert run.exists() == (log == "seconds: 2")  # another run's work is kept


def test_a_second_process_does_not_train_into_the_same_run(tmp_path: Path) -> None:
    model = tmp_path / "m"
    with open_run(model, resume=False, force=False):
        (tmp_path / "m.run" / "log.jsonl").touch()
        for how in ({"resume": True, "force": False}, {"resume": False, "force": True}):
            with pytest.raises(OutputError, match="Another process is training"), open_run(model, **how):
                pass
    with open_run(model, resume=True, force=False):
        assert (tmp_path / "m.run" / "log.jsonl").exists()


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"step": 0}', b'{"loss": "1"}', b"\xff", b"[" * 100_000])
def test_a_damaged_log_is_refused_and_stays(tmp_path: Path, line: bytes) -> None:
    log = b'{"step": 0, "loss": 1.5}\n' + line + b'\n{"half'
    (tmp_path / "log.jsonl").write_bytes(log)
    with pytest.raises(DataError, match=r"log\.jsonl is damaged: line 2 is not what was written"):
        RunLog(tmp_path, step=2)
    assert (tmp_path / "log.jsonl").read_bytes() == log
    with RunLog(tmp_path, step=1) as kept:  # what follows the checkpoint is dropped unread
        assert kept.losses == [1.5]


def test_resume_after_sigkill_equals_the_uninterrupted_run(tmp_path: Path, cache: Path) -> None:
    distill(request(tmp_path, cache=cache, recipe=RECIPE.with_training(steps=60)))
    again = request(tmp_path, cache=cache, out=tmp_path / "killed", recipe=RECIPE.with_training(steps=60))
    checkpoint = tmp_path / "killed.run" / "checkpoint.safetensors"
    with life(distill, replace(again, checkpoint_seconds=0.0)):
        assert appears(checkpoint)
    assert not (tmp_path / "killed").exists()
    with pytest.raises(OutputError, match="Add resume=True"):
        distill(again)
    distill(replace(again, resume=True))
    assert_same_model(tmp_path / "student", tmp_path / "killed")


def test_heads_are_fine_tuned_from_other_heads(tmp_path: Path, cache: Path) -> None:
    """The same weights cut into twice the heads: the start is the first student's, the outputs are not."""
    distill(request(tmp_path, cache=cache))
    first = str(tmp_path / "student")
    short = RECIPE.with_training(steps=1, lr=1e-30)
    distill(
        request(
            tmp_path,
            cache=cache,
            out=tmp_path / "more",
            student=student_file(tmp_path, "heads", head_width=6),
            init=first,
            recipe=short,
        )
    )
    one, other = weights(tmp_path / "student"), weights(tmp_path / "more")
    assert all(torch.allclose(one[name], other[name], atol=1e-7) for name in one if name.startswith("visual."))
    heads = load_model(tmp_path / "more").network.visual.transformer.resblocks[0].attn.num_heads  # type: ignore
    assert heads == 4


def test_init_of_another_shape_is_refused(tmp_path: Path, cache: Path, teacher: tuple[Path, Model]) -> None:
    with pytest.raises(ModelError, match=r"cannot start this student: its visual\.\S+ has the shape"):
        distill(request(tmp_path, cache=cache, init=str(teacher[0])))


def test_text_tower_can_be_added_to_a_cached_teachers_student(
    tmp_path: Path, cache: Path, teacher: tuple[Path, Model]
) -> None:
    report = distill(request(tmp_path, cache=cache, text_from=str(teacher[0])))
    assert report.spec.towers == ("image", "text")
    stranger, folder = tiny_teacher(seed=5), tmp_path / "stranger"
    folder.mkdir()
    save_model(folder, stranger.network, stranger.config, stranger.spec)
    with pytest.raises(ModelMismatchError, match="was made by tiny"):
        distill(request(tmp_path, cache=cache, text_from=str(folder), out=tmp_path / "other"))


def test_a_start_from_another_teachers_student_does_not_bring_its_text_tower(
    tmp_path: Path, cache: Path, teacher: tuple[Path, Model]
) -> None:
    """Its vectors lie elsewhere, be they as wide as this teacher's or not."""
    stranger, folder = tiny_teacher(seed=5), tmp_path / "stranger"
    folder.mkdir()
    grey = {**stranger.config, "preprocess_cfg": {**stranger.config["preprocess_cfg"], "mean": [0.5] * 3}}
    save_model(folder, stranger.network, grey, describe("grey", stranger.network, grey))
    distill(request(tmp_path, teacher=str(folder), out=tmp_path / "theirs"))
    report = distill(request(tmp_path, cache=cache, init=str(tmp_path / "theirs"), out=tmp_path / "started"))
    assert report.spec.towers == ("image",)
    assert any("--text-from names the teacher's model" in note for note in report.notes)
    [seen] = [note for note in report.notes if note.startswith("theirs saw images with mean (0.5, 0.5, 0.5)")]
    image = report.spec.require_image()
    assert seen.endswith(f"; the student sees them with mean {image.mean} and std {image.std}.")
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"model_cfg": {"vision_cfg": STUDENT}, "preprocess_cfg": {"mean": [0.5] * 3}}))
    changes = {"init": str(tmp_path / "theirs"), "student": str(own), "out": tmp_path / "own"}
    report = distill(request(tmp_path, cache=cache, **changes))
    assert report.spec.require_image().mean == (0.5,) * 3
    assert not any("saw images" in note for note in report.notes)
    distill(request(tmp_path, teacher=str(teacher[0]), out=tmp_path / "ours"))
    again = distill(request(tmp_path, cache=cache, init=str(tmp_path / "ours"), out=tmp_path / "again"))
    assert again.spec.towers == ("image", "text") and not again.notes


def test_frozen_stages_are_computed_once_and_the_student_is_the_same(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [f"visual.trunk.stages.{number}" for number in range(2)]
    recipe = replace(load_recipe("mckit"), inherit=None, options=MixtureOptions(cosine=1.0))
    recipe = recipe.with_training(steps=6, batch_size=4, frozen=tuple(stages))
    images, run = [], ConvTower.forward_features

    def count(self: ConvTower, given: torch.Tensor) -> torch.Tensor:
        if len(given) > 1:  # one image is tried before
            images.append(tuple(given.shape[1:]))
        return run(self, given)

    monkeypatch.setattr(ConvTower, "forward_features", count)
    given = {"cache": cache, "recipe": recipe, "student": "conv-s"}
    distill(request(tmp_path, **given))
    assert set(images) == {(16, 16, 16)}  # channels and places after the second stage
    assert len(frozen.leading_stages(load_model(str(tmp_path / "student")).network, [*stages, f"{stages[1]}.0"])) == 1
    images.clear()
    with monkeypatch.context() as patch:
        patch.setattr(frozen, "leading_stages", lambda network, names: [])
        distill(request(tmp_path, **given, out=tmp_path / "plain"))
    assert set(images) == {(3, 64, 64)}
    images.clear()
    ours, theirs = weights(tmp_path / "student"), weights(tmp_path / "plain")
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)
    varied = replace(recipe, augmentation=Augmentation(flip=0.5))
    distill(request(tmp_path, **{**given, "recipe": varied}, out=tmp_path / "varied"))
    assert set(images) == {(3, 64, 64)}


def test_inherited_layers_are_fitted_to_the_teachers(tmp_path: Path, teacher: tuple[Path, Model]) -> None:
    config = pair_config("conv-x", text="text-2", embedding_dim=16, vocab_size=600)
    network = build_student(config, seed=0)
    (tmp_path / "conv").mkdir()
    save_model(tmp_path / "conv", network, config, describe("conv", network, config))
    draw(tmp_path / "images", 40)
    recipe = replace(load_recipe("mckit"), options=MixtureOptions(cosine=1.0)).with_training(steps=0)
    given = {"teacher": str(tmp_path / "conv"), "student": "conv-x-4r", "holdout": 0.5}
    fitted = distill(request(tmp_path, **given, recipe=recipe, out=tmp_path / "fitted"))
    heaviest = distill(
        request(tmp_path, **given, recipe=replace(recipe, inherit="heaviest"), out=tmp_path / "heaviest")
    )
    assert any("fitted to the teacher's on 20 images: cosine" in note for note in fitted.notes)
    assert fitted.metrics["holdout_cosine"] > heaviest.metrics["holdout_cosine"]
    assert fitted.spec.provenance["inherit"] == "fitted"
    longer = replace(recipe, training=replace(recipe.training, fitted_length=0.6))
    distill(request(tmp_path, **given, recipe=longer, out=tmp_path / "longer"))
    pixels = torch.rand(4, 3, 64, 64)
    lengths = [load_model(tmp_path / name).network.encode_image(pixels).norm(dim=1).mean() for name in
               ("fitted", "longer")]  # fmt: skip
    assert 1.5 < lengths[1] / lengths[0] < 2.5  # of the training images twice as long
    small = student_file(tmp_path, "narrow", width=16, head_width=16)
    report = distill(request(tmp_path, teacher=str(teacher[0]), student=small, recipe=recipe, out=tmp_path / "vit"))
    assert any("Only layers of mckit's convolutional towers are fitted" in note for note in report.notes)


def test_a_transformer_sees_half_of_the_patches_but_in_the_last_tenth_of_the_steps(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, run = [], open_clip.transformer.Transformer.forward

    def count(self: Any, given: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
        tokens.append(given.shape[1])
        return run(self, given, *more, **named)

    monkeypatch.setattr(open_clip.transformer.Transformer, "forward", count)
    recipe = RECIPE.with_training(steps=10, patch_dropout=0.5)
    student = student_file(tmp_path, "small", patch_size=8)
    distill(request(tmp_path, cache=cache, recipe=recipe, student=student))
    assert tokens[1:] == [1 + 8] * 9 + [1 + 16]  # with the class token, and after one image that is tried first
    whole, parts = tmp_path / "student", tmp_path / "parts"
    distill(request(tmp_path, cache=cache, recipe=recipe.with_training(micro_batch=2), student=student, out=parts))
    for name, tensor in weights(whole).items():
        assert tensor.shape == weights(parts)[name].shape
    with pytest.raises(UsageError, match="patch_dropout needs a vision transformer"):
        distill(request(tmp_path, cache=cache, recipe=recipe, student="conv-s", out=tmp_path / "conv"))


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"holdout": "0.01"}, "--holdout 0.01 of 10 images is none"),
        ({"recipe": replace(RECIPE, augmentation=Augmentation(flip=0.5))}, "holds vectors of plain images"),
        ({"bank": "bank.txt"}, "--bank has no effect"),
    ],
)
def test_what_has_no_effect_is_said(tmp_path: Path, cache: Path, changes: dict[str, Any], note: str) -> None:
    (tmp_path / "bank.txt").write_text("star\n")
    given = {name: tmp_path / value if name == "bank" else value for name, value in changes.items()}
    assert any(note in said for said in distill(request(tmp_path, cache=cache, **given)).notes)


def test_a_text_tower_of_another_model_is_refused_where_the_cache_does_not_name_its_teacher(
    tmp_path: Path, cache: Path, teacher: tuple[Path, Model]
) -> None:
    """Imported vectors say nothing of who made them: the model is asked for some of its own."""
    document = read_json(cache / "cache.json")
    write_json(cache / "cache.json", {**document, "teacher_hash": None})
    stranger, folder = tiny_teacher(seed=5), tmp_path / "stranger"
    folder.mkdir()
    save_model(folder, stranger.network, stranger.config, stranger.spec)
    with pytest.raises(ModelMismatchError, match=r"did not make the vectors of .*cosine"):
        distill(request(tmp_path, cache=cache, text_from=str(folder)))
    assert not (tmp_path / "student.run").exists()
    assert distill(request(tmp_path, cache=cache, text_from=str(teacher[0]))).spec.towers == ("image", "text")


def test_random_weights_are_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = replace(tiny_teacher(), warnings=("tiny has random weights.",))
    monkeypatch.setattr("mobileclip_kit.distillation.teachers.load_model", lambda name: model)
    monkeypatch.setattr("mobileclip_kit.distillation.request.check_model_name", lambda name: None)
    draw(tmp_path / "images", 10)
    report = distill(request(tmp_path, teacher="tiny"))
    said = capsys.readouterr().err
    assert said.startswith("tiny has random weights.\n") and said.count("random weights") == 1
    assert report.notes == ["tiny has random weights."]
    with show_progress(False):
        distill(request(tmp_path, teacher="tiny", force=True))
    assert capsys.readouterr().err == ""


def test_a_student_worse_than_the_mean_vector_is_called_useless(tmp_path: Path, cache: Path) -> None:
    short = RECIPE.with_training(steps=1, lr=1e-9)
    bad = distill(request(tmp_path, cache=cache, recipe=short, holdout="0.4"))
    assert bad.metrics["holdout_cosine"] < bad.metrics["holdout_cosine_of_mean"]
    assert any("useless" in note and f"{bad.metrics['holdout_cosine']:.3f}" in note for note in bad.notes)


def test_unit_vectors_are_scaled(tmp_path: Path) -> None:
    """A student of unit vectors gives raw vectors whose norm is near the recipe's unit_scale."""
    from mobileclip_kit.cache.build import import_vectors

    images = draw(tmp_path / "images", 10)
    vectors = F.normalize(torch.randn(10, 16, generator=torch.Generator().manual_seed(0)), dim=1).numpy()
    np.save(tmp_path / "v.npy", vectors)
    (tmp_path / "names.txt").write_text("\n".join(f"{row:02d}.png" for row in range(10)))
    import_vectors(images, tmp_path / "v.npy", tmp_path / "names.txt", tmp_path / "c")
    report = distill(request(tmp_path, cache=tmp_path / "c", recipe=RECIPE.with_training(steps=150)))
    assert any("CLIP's own preprocessing is assumed" in note for note in report.notes)
    network: Any = load_model(tmp_path / "student").network
    from mobileclip_kit.images import load_pixels, normalize

    spec = report.spec.require_image()
    pixels = np.stack([load_pixels(images / f"{row:02d}.png", spec) for row in range(10)])
    with torch.no_grad():
        raw = network.encode_image(torch.from_numpy(normalize(pixels, spec)))
    assert float(raw.norm(dim=1).mean()) == pytest.approx(10.0, rel=0.1)


def test_a_run_does_not_go_on_with_other_vectors(tmp_path: Path) -> None:
    from mobileclip_kit.cache.build import import_vectors
    from mobileclip_kit.distillation.mixture import MixtureObjective

    images = draw(tmp_path / "images", 10)
    vectors = F.normalize(torch.randn(10, 16, generator=torch.Generator().manual_seed(0)), dim=1).numpy()
    (tmp_path / "names.txt").write_text("\n".join(f"{row:02d}.png" for row in range(10)))

    def bring(rows: Any) -> None:
        np.save(tmp_path / "v.npy", rows)
        import_vectors(images, tmp_path / "v.npy", tmp_path / "names.txt", tmp_path / "c")

    bring(vectors)
    asked = {"cache": tmp_path / "c", "recipe": RECIPE.with_training(steps=4), "checkpoint_seconds": 0}
    with interrupted_at(2, MixtureObjective):
        distill(request(tmp_path, **asked))
    bring(vectors[::-1])
    with pytest.raises(TrainingError, match="belongs to a run with another set of vectors"):
        distill(request(tmp_path, **asked, resume=True))
    bring(vectors)
    distill(request(tmp_path, **asked, resume=True))


def test_held_out_images_are_not_trained_on(tmp_path: Path, cache: Path) -> None:
    names = tmp_path / "aside.txt"
    names.write_text("03.png\n07.png\n")
    by_file = distill(request(tmp_path, cache=cache, holdout=str(names)))
    assert (by_file.images, by_file.metrics["holdout_images"]) == (8, 2)
    stored = TeacherCache.open(cache)
    unit = F.normalize(torch.from_numpy(stored.vectors([f"{row:02d}.png" for row in range(10)])[:, 0]), dim=1)
    # Two held-out images are nearer to their own mean than to that of the other eight, which alone was known before.
    mean = unit[[0, 1, 2, 4, 5, 6, 8, 9]].mean(0, keepdim=True)
    expected = float(F.cosine_similarity(unit[[3, 7]], mean).mean())
    assert by_file.metrics["holdout_cosine_of_mean"] == pytest.approx(expected, abs=1e-5)
    assert -1.0 <= by_file.metrics["holdout_cosine"] <= 1.0
    by_share = distill(request(tmp_path, cache=cache, holdout="0.4", out=tmp_path / "share"))
    assert (by_share.images, by_share.metrics["holdout_images"]) == (6, 4)


def test_a_held_out_image_is_not_trained_on_under_another_name(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "images"
    (folder / "twin.png").write_bytes((folder / "03.png").read_bytes())
    (tmp_path / "aside.txt").write_text("03.png\n")
    report = distill(request(tmp_path, cache=cache, holdout=str(tmp_path / "aside.txt")))
    assert (report.images, report.metrics["holdout_images"]) == (9, 1)


def test_unusable_images_are_skipped_with_reasons(tmp_path: Path, cache: Path) -> None:
    images = tmp_path / "images"
    (images / "empty.png").touch()
    draw(images, 1, start=50)  # not in the cache
    (images / "00.png").rename(images / "renamed.png")  # found by its content
    report = distill(request(tmp_path, cache=cache))
    assert report.images == 10
    assert {skip.item: skip.reason.split()[1] for skip in report.skipped} == {"empty.png": "file", "50.png": "cache"}


def test_broken_images_of_a_live_teacher_are_skipped(tmp_path: Path, teacher: tuple[Path, Model]) -> None:
    images = draw(tmp_path / "images", 6)
    whole = (images / "02.png").read_bytes()
    (images / "broken.png").write_bytes(whole[: len(whole) // 2])
    (images / "text.png").write_text("not an image")
    report = distill(request(tmp_path, teacher=str(teacher[0])))
    assert report.images == 6
    assert {skip.item for skip in report.skipped} == {"broken.png", "text.png"}


def test_small_sets_make_a_smaller_batch(tmp_path: Path, cache: Path) -> None:
    report = distill(request(tmp_path, cache=cache, recipe=RECIPE.with_training(batch_size=64), limit=5))
    assert report.result.steps == 3
    assert "5 images do not fill a batch of 64; the batch is 5." in report.notes


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cache": None}, UsageError, "either teacher or cache"),
        ({"teacher": "ViT-B-32"}, UsageError, "either teacher or cache"),
        ({"student": "vit-s6-h1"}, ModelError, "Did you mean vit-s6-h12"),
        ({"cache": None, "teacher": "ViT-B33"}, ModelError, "Did you mean ViT-B-32"),
        ({"limit": 1}, DataError, "1 image can be trained on"),
        ({"holdout": "1.5"}, UsageError, "must be in 0…1"),
        ({"holdout": "nowhere.txt"}, UsageError, "neither a share nor a readable file"),
        ({"device": "tpu"}, UsageError, "No device is called 'tpu'"),
        ({"device": "cuda:99"}, UsageError, "has no device 'cuda:99' here"),
        ({"data": Path("nowhere")}, DataError, "nowhere does not exist"),
    ],
)
def test_refusals(tmp_path: Path, cache: Path, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        distill(request(tmp_path, **{"cache": cache, **changes}))
    assert not (tmp_path / "student").exists() and not (tmp_path / "student.run").exists()


def test_a_run_with_one_readable_image_leaves_nothing(tmp_path: Path, teacher: tuple[Path, Model]) -> None:
    """The teacher has run before it shows that only one of two images can be decoded."""
    draw(tmp_path / "images", 1)
    (tmp_path / "images" / "torn.jpg").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"^1 image can be trained on.*torn\.jpg"):
        distill(request(tmp_path, teacher=str(teacher[0])))
    assert not (tmp_path / "student.run").exists()


def test_existing_output_is_refused_before_any_work(tmp_path: Path, cache: Path) -> None:
    distill(request(tmp_path, cache=cache))
    with pytest.raises(OutputError, match="exists already"):
        distill(request(tmp_path, cache=cache))
    assert isinstance(distill(request(tmp_path, cache=cache, force=True)), TrainingReport)


def test_recipe_of_another_objective_is_refused(tmp_path: Path, cache: Path) -> None:
    other = load_recipe("lightclip")
    with pytest.raises(UsageError, match="trains pairs"):
        distill(request(tmp_path, cache=cache, recipe=other))


def test_images_that_do_not_fit_into_memory_train_the_same(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(request(tmp_path, cache=cache))
    monkeypatch.setattr("mobileclip_kit.distillation.training_set.MEMORY_BYTES", 0)
    distill(request(tmp_path, cache=cache, out=tmp_path / "streamed"))
    assert_same_model(tmp_path / "student", tmp_path / "streamed")
    decoded, load = [], images.load_pixels
    monkeypatch.setattr(images, "load_pixels", lambda *given, **more: decoded.append(1) or load(*given, **more))
    distill(request(tmp_path, cache=cache, out=tmp_path / "once", decode_once=True))
    assert_same_model(tmp_path / "student", tmp_path / "once")
    assert len(decoded) == 10 and not (tmp_path / "once.run").exists()


def test_images_without_a_real_caption_are_told(tmp_path: Path, cache: Path) -> None:
    """In a step of both captions a synthetic one then takes the real one's place."""
    members: dict[str, bytes] = {}
    for number, file in enumerate(sorted((tmp_path / "images").iterdir())):
        members[f"{number}.png"] = file.read_bytes()
        members[f"{number}.syn.json"] = json.dumps({"syn_text": [f"drawing {number}", "a thing"]}).encode()
    data = write(tmp_path / "a.tar", members)
    recipe = replace(RECIPE, options=MixtureOptions(affinity=1.0, both_captions=True))
    run = DistillRun(request(tmp_path, cache=cache, data=data, recipe=recipe))
    run.read_data()
    sentence = "10 of 10 images have no real caption; with both_captions, their first synthetic one takes its place."
    assert run.notes == [sentence]
