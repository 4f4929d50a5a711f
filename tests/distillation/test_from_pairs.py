"""Whole runs of training from pairs."""

import json
import math
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mobileclip_kit.distillation.from_pairs import train
from mobileclip_kit.distillation.pairs import PairObjective
from mobileclip_kit.distillation.recipe import Recipe, load_recipe
from mobileclip_kit.distillation.request import TrainRequest
from mobileclip_kit.distillation.tables import PairOptions, TrainingPlan
from mobileclip_kit.errors import DataError, ModelError, OutputError, TrainingError, UsageError
from mobileclip_kit.files import SEAL_KEY
from mobileclip_kit.networks.model import load_model
from mobileclip_kit.spec import WEIGHTS_FILE

NAMES = ["a red star", "a blue house", "the word car", "two dogs left of a boat", "a green tree", "a cat"]


def recipe(*, steps=4, losses=("align", "tokens", "mlm"), trim_vocab=True, **options):
    plan = TrainingPlan(steps=steps, batch_size=4, lr=1e-3)
    pairs = PairOptions(
        student="conv-s", text="text-2", embedding_dim=8, losses=losses, trim_vocab=trim_vocab, **options
    )
    return Recipe(name="toy", objective="pairs", training=plan, options=pairs)


def train_pairs(data, out, recipe, **more):
    return train(TrainRequest(data=data, out=out, recipe=recipe, **more))


@pytest.fixture
def scenes(tmp_path):
    folder = tmp_path / "scenes"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["image,caption"]
    for index, caption in enumerate(NAMES):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"images/{index}.png")
        rows.append(f"images/{index}.png,{caption}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_a_run_leaves_a_model_folder_that_open_clip_loads(scenes, tmp_path):
    made = train_pairs(scenes, tmp_path / "model", recipe())
    assert made.images == 6
    # With the extra [tensorboard] a run also leaves a folder of that name.
    assert sorted({path.name for path in (tmp_path / "model").iterdir()} - {"tensorboard"}) == [
        "log.jsonl", "merges.txt", "model.json", "open_clip_config.json", "open_clip_model.safetensors", "recipe.toml",
        "training.json",
    ]  # fmt: skip
    assert not (tmp_path / "model.run").exists()
    loaded = load_model(tmp_path / "model")
    assert loaded.spec.towers == ("image", "text")
    assert loaded.spec.text.merges == "trimmed"
    open_clip.create_model(f"local-dir:{tmp_path / 'model'}")


def test_parts_of_training_are_not_in_the_model(scenes, tmp_path):
    train_pairs(scenes, tmp_path / "all", recipe(words_weight=1.0))
    train_pairs(scenes, tmp_path / "plain", recipe(losses=()))
    names = [set(load_file(tmp_path / name / WEIGHTS_FILE)) for name in ("all", "plain")]
    assert names[0] == names[1]


def test_weights_can_be_stored_in_half_precision(scenes, tmp_path):
    train_pairs(scenes, tmp_path / "half", recipe(stored="float16"))
    state = load_file(tmp_path / "half" / WEIGHTS_FILE)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16, torch.int64}


PHRASES = {"losses": (), "words_weight": 1.0, "phrase_labels": 8, "same_captions": True, "wrong_captions": 2,
           "word_classes": (("red", "blue", "green"), ("star", "house", "tree"))}  # fmt: skip


@pytest.mark.parametrize("options", [{"synonym": 0.5, "delete": 0.2}, PHRASES])
def test_resume_equals_uninterrupted_run(scenes, tmp_path, monkeypatch, options):
    whole = train_pairs(scenes, tmp_path / "whole", recipe(**options))
    original, calls = PairObjective.loss, []

    def interrupted(self, batch):
        calls.append(batch.context.step)
        if batch.context.step == 2 and len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(PairObjective, "loss", interrupted)
    monkeypatch.setattr("mobileclip_kit.distillation.trainer.time.monotonic", iter(range(0, 10**6, 100)).__next__)
    with pytest.raises(KeyboardInterrupt):
        train_pairs(scenes, tmp_path / "cut", recipe(**options))
    with pytest.raises(OutputError, match="interrupted"):
        train_pairs(scenes, tmp_path / "cut", recipe(**options))
    resumed = train_pairs(scenes, tmp_path / "cut", recipe(**options), resume=True)
    assert calls == [0, 1, 2, 2, 3]
    assert resumed.spec.model_hash == whole.spec.model_hash


def test_phrase_labels_without_phrases_are_told(scenes, tmp_path):
    rows = [f"images/{index}.png,{word}" for index, word in enumerate(("star", "car", "dog", "cat"))]
    (scenes / "captions.csv").write_text("\n".join(["image,caption", *rows]) + "\n", encoding="utf-8")
    made = train_pairs(scenes, tmp_path / "model", recipe(steps=1, losses=(), words_weight=1.0, phrase_labels=8))
    assert any("phrase_labels has no effect" in note for note in made.notes)


def test_a_checkpoint_of_another_run_is_refused(scenes, tmp_path, monkeypatch):
    original = PairObjective.loss

    def failing(self, batch):
        loss, parts = original(self, batch)
        return loss * (float("nan") if batch.context.step == 2 else 1.0), parts

    monkeypatch.setattr(PairObjective, "loss", failing)
    monkeypatch.setattr("mobileclip_kit.distillation.trainer.time.monotonic", iter(range(0, 10**6, 100)).__next__)
    with pytest.raises(TrainingError, match="nan at step 2.*keeps the last good state"):
        train_pairs(scenes, tmp_path / "model", recipe())
    assert (tmp_path / "model.run" / "checkpoint.safetensors").is_file()
    with pytest.raises(TrainingError, match="another"):
        train_pairs(scenes, tmp_path / "model", recipe(steps=5), resume=True)


def test_what_cannot_be_used_is_skipped_and_said(scenes, tmp_path):
    (scenes / "images/bad.png").write_bytes(b"no image")
    with (scenes / "captions.csv").open("a", encoding="utf-8") as stream:
        stream.write("images/bad.png,a broken one\nimages/gone.png,gone\nimages/0.png,\n")
        stream.write(f"images/1.png,{'very ' * 2000}long\n")
    made = train_pairs(scenes, tmp_path / "model", recipe(losses=()))
    assert made.images == 6
    items = {entry.item for entry in made.skipped}
    assert {"images/bad.png", "images/gone.png"} <= items
    training = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert {entry["item"] for entry in training["skipped"]} == items and SEAL_KEY in training


def test_a_batch_larger_than_the_data_is_reduced_and_said(scenes, tmp_path):
    big = recipe(losses=())
    big = replace(big, training=replace(big.training, batch_size=64))
    made = train_pairs(scenes, tmp_path / "model", big)
    assert "6 images do not fill a batch of 64" in made.notes[0]
    assert load_recipe(tmp_path / "model" / "recipe.toml").training.batch_size == 6


@pytest.mark.parametrize("other", ["a photo", "A  Photo "])
def test_equal_captions_teach_nothing_and_are_refused(scenes, tmp_path, other):
    lines = ["image,caption", *(f"images/{index}.png,{'a photo' if index % 2 else other}" for index in range(6))]
    (scenes / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="are the same text"):
        train_pairs(scenes, tmp_path / "model", recipe())


def test_one_pair_is_refused(scenes, tmp_path):
    (scenes / "captions.csv").write_text("image,caption\nimages/0.png,a star\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 usable pair of"):
        train_pairs(scenes, tmp_path / "model", recipe())


def test_images_without_captions_are_refused(scenes, tmp_path):
    with pytest.raises(DataError, match="0 usable pairs"):
        train_pairs(scenes / "images", tmp_path / "model", recipe())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_here_is_refused_and_leaves_nothing(scenes, tmp_path):
    with pytest.raises(UsageError, match="has no device 'cuda' here, only cpu"):
        train_pairs(scenes, tmp_path / "model", recipe(), device="cuda")
    assert not list(tmp_path.glob("model*"))


def test_bundled_recipes_are_readable():
    assert load_recipe("lightclip").options.losses == ("align", "tokens", "mlm")
    assert load_recipe("scenes-teacher").options.stored == "float16"


def test_training_starts_from_another_models_weights_and_vocabulary(scenes, tmp_path):
    """With a learning rate that moves nothing, what comes out is what went in."""
    train_pairs(scenes, tmp_path / "first", recipe())
    still = recipe(steps=1)
    still = replace(still, training=replace(still.training, lr=1e-12, weight_decay=0.0))
    train_pairs(scenes, tmp_path / "second", still, init=str(tmp_path / "first"))
    first, second = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("first", "second"))
    moving = ("running_mean", "running_var", "num_batches_tracked")
    for name in first:
        if not name.endswith(moving):
            torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-6)
    assert (tmp_path / "first" / "merges.txt").read_bytes() == (tmp_path / "second" / "merges.txt").read_bytes()


def test_a_model_with_other_towers_is_no_start(scenes, tmp_path):
    train_pairs(scenes, tmp_path / "first", recipe())
    other = recipe()
    other = replace(other, options=replace(other.options, embedding_dim=16))
    with pytest.raises(ModelError, match="other towers"):
        train_pairs(scenes, tmp_path / "second", other, init=str(tmp_path / "first"))
    assert not (tmp_path / "second").exists()


def test_a_starting_model_keeps_its_scale(scenes, tmp_path):
    """SigLIP's is above CLIP's bound of 100, and OpenAI's own models, exp(ln 100) in float32, are a hair above it."""
    train_pairs(scenes, tmp_path / "first", recipe(steps=1))
    weights = load_file(tmp_path / "first" / WEIGHTS_FILE)
    weights["logit_scale"].fill_(math.log(117.6))
    save_file(weights, tmp_path / "first" / WEIGHTS_FILE)
    (tmp_path / "first" / "model.json").unlink()
    still = recipe(steps=1)
    still = replace(still, training=replace(still.training, lr=1e-12))
    made = train_pairs(scenes, tmp_path / "second", still, init=str(tmp_path / "first"))
    assert made.spec.logit_scale == pytest.approx(117.6, rel=1e-3)
