"""Progressive pruning: stages on disk, budgets met, runs that are killed and go on."""

from __future__ import annotations

import csv
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobileclip_kit.distillation.recipe import Recipe, load_recipe, recipe_from
from mobileclip_kit.distillation.request import DistillRequest
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.errors import ModelError, TrainingError, UsageError
from mobileclip_kit.networks.model import build_network, describe, load_model, save_model, tower_parameters
from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges
from tests.exports import WORDS, tiny_config
from tests.processes import appears, life

STAGES: dict[str, Any] = {"shares": [0.75, 0.4], "mask_steps": 5, "mask_warmup_steps": 2, "gate_lr": 3.0}
DOCUMENT: dict[str, Any] = {
    "objective": "mixture",
    "training": {"steps": 3, "batch_size": 4, "lr": 1e-3},
    "mixture": {"affinity": 1.0},
    "stages": STAGES,
}


def recipe(**stages: Any) -> Recipe:
    return recipe_from({**DOCUMENT, "stages": {**STAGES, **stages}}, source="short.toml")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT and a text transformer of two layers."""
    folder = tmp_path_factory.mktemp("models") / "teacher"
    folder.mkdir()
    merges, rows = trim_merges(WORDS, Tokenizer(standard_merges()))
    config = tiny_config(len(rows))
    config["model_cfg"]["vision_cfg"] |= {"layers": 2, "head_width": 8}
    config["model_cfg"]["text_cfg"] |= {"layers": 2, "heads": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_network(config["model_cfg"])
    write_merges(folder.with_name("merges.txt"), merges)
    save_model(folder, network, config, describe("tiny", network, config), folder.with_name("merges.txt"))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight images with two captions to choose from."""
    folder = tmp_path / "images"
    folder.mkdir()
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "caption"])
        for number in range(8):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", WORDS[number % len(WORDS)]])
    return folder / "captions.csv"


def request(tmp_path: Path, data: Path, teacher: Path, **changes: Any) -> DistillRequest:
    values: dict[str, Any] = {"data": data, "out": tmp_path / "small", "teacher": str(teacher)}
    return DistillRequest(**{**values, "recipe": recipe(), **changes})


def assert_same_model(one: Path, other: Path) -> None:
    ours, theirs = load_model(one), load_model(other)
    assert ours.config == theirs.config
    state = theirs.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.network.state_dict().items())


def test_one_command_cuts_a_teacher_down_in_stages(tmp_path: Path, teacher: Path, data: Path) -> None:
    report = distill(request(tmp_path, data, teacher))
    whole = sum(tower_parameters(load_model(teacher).network).values())
    made = load_model(tmp_path / "small")
    assert sum(tower_parameters(made.network).values()) == pytest.approx(0.4 * whole, rel=0.02)
    assert made.spec.towers == ("image", "text")
    assert report.result.steps == 2 * (5 + 3)
    stages = report.spec.provenance["stages"]
    assert [stage["share"] for stage in stages] == [0.75, 0.4]
    assert stages[0]["image"] + stages[0]["text"] == pytest.approx(0.75 * whole, rel=0.02)
    lines = [json.loads(line) for line in (tmp_path / "small" / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["phase"]) for line in lines] == [
        (stage, phase) for stage in (1, 2) for phase, steps in (("masks", 5), ("recovery", 3)) for _ in range(steps)
    ]
    masks = [line["sparsity_target"] for line in lines if line["phase"] == "masks" and line["stage"] == 1]
    assert masks == pytest.approx([0.125, 0.25, 0.25, 0.25, 0.25], abs=1e-3)
    assert not (tmp_path / "small.run").exists()


def test_shares_may_be_of_attention_and_feed_forward_alone(tmp_path: Path, teacher: Path, data: Path) -> None:
    distill(request(tmp_path, data, teacher, recipe=recipe(shares=[0.5], counted="layers", mask_steps=1,
                                                           mask_warmup_steps=1)))  # fmt: skip
    small, whole = (
        sum(tensor.numel() for name, tensor in load_model(folder).network.named_parameters()
            if ".attn." in name or ".mlp." in name) for folder in (tmp_path / "small", teacher)
    )  # fmt: skip
    assert small == pytest.approx(0.5 * whole, rel=0.02)


def test_even_stages_end_in_plain_open_clip(tmp_path: Path, teacher: Path, data: Path) -> None:
    distill(request(tmp_path, data, teacher, recipe=recipe(shares=[0.5], even=True)))
    config = load_model(tmp_path / "small").config["model_cfg"]
    assert "kept" not in config["vision_cfg"] and "kept" not in config["text_cfg"]


def test_a_pruned_model_is_the_teacher_of_another_run(tmp_path: Path, teacher: Path, data: Path) -> None:
    distill(request(tmp_path, data, teacher, recipe=recipe(shares=[0.7])))
    first = sum(tower_parameters(load_model(tmp_path / "small").network).values())
    distill(request(tmp_path, data, tmp_path / "small", out=tmp_path / "smaller", recipe=recipe(shares=[0.5])))
    second = sum(tower_parameters(load_model(tmp_path / "smaller").network).values())
    assert second == pytest.approx(first / 2, rel=0.02)


def test_batches_cut_into_parts_learn_the_same(tmp_path: Path, teacher: Path, data: Path) -> None:
    """The gates of a step are the same for all parts, and the penalty counts once."""
    for name, micro_batch in (("whole", None), ("parts", 2)):
        short = recipe(shares=[0.6], gate_lr=0.05).with_training(micro_batch=micro_batch)
        distill(request(tmp_path, data, teacher, out=tmp_path / name, recipe=short))
    whole, parts = ([json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
                    for name in ("whole", "parts"))  # fmt: skip
    for one, other in zip(whole[:5], parts[:5], strict=True):
        for key in ("loss", "penalty", "sparsity", "lambda"):
            # AdamW takes steps of full size even where a gradient is rounding noise, so later steps differ a little.
            assert one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5)


MOMENTS = ("1-masks/checkpoint.safetensors", "1-pruned", "1-recovery/checkpoint.safetensors", "1",
           "2-masks/checkpoint.safetensors", "2-pruned")  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="lives of a run come from a fork server")
def test_run_killed_between_and_inside_stages_equals_the_uninterrupted_one(
    tmp_path: Path, teacher: Path, data: Path
) -> None:
    """SIGKILL shortly after each thing that a run writes; the next life goes on from there."""
    distill(request(tmp_path, data, teacher))
    again = request(tmp_path, data, teacher, out=tmp_path / "killed", checkpoint_seconds=0.0)
    stages, rng = tmp_path / "killed.run" / "stages", Random(0)
    for moment in MOMENTS:
        with life(distill, replace(again, resume=stages.exists())):
            reached = appears(stages / moment)
            time.sleep(rng.random() * 0.02)
        # On a busy machine the child may be past the moment, and its file gone, before it is killed.
        assert reached
        assert not (tmp_path / "killed").exists()
    distill(replace(again, resume=True))
    assert_same_model(tmp_path / "small", tmp_path / "killed")


def test_finished_stages_are_not_gone_on_with_by_another_recipe(
    tmp_path: Path, teacher: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted where the second stage has no checkpoint yet."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("mobileclip_kit.distillation.stages._Stage._cut", interrupted)
        distill(request(tmp_path, data, teacher))
    other = recipe().with_training(lr=1e-2)
    with pytest.raises(TrainingError, match="stages belongs to a run with another recipe"):
        distill(request(tmp_path, data, teacher, recipe=other, resume=True))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"student": "vit-t4-64"}, UsageError, "prunes both towers of the teacher"),
        ({"recipe": recipe(shares=[0.01])}, UsageError, "cannot be met"),
    ],
)
def test_refusals(tmp_path: Path, teacher: Path, data: Path, changes: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        distill(request(tmp_path, data, teacher, **changes))
    assert not (tmp_path / "small").exists()


def test_teachers_of_other_kinds_are_refused(tmp_path: Path, data: Path) -> None:
    from mobileclip_kit.networks.students import build_student, pair_config

    config = pair_config("resnet-w8", text="text-2", embedding_dim=8)
    config["model_cfg"]["text_cfg"] |= {"layers": 1, "qk_norm": True}
    network = build_student(config, seed=0)
    (tmp_path / "teacher").mkdir()
    save_model(tmp_path / "teacher", network, config, describe("other", network, config))
    with pytest.raises(ModelError, match="Neither tower of the student is of a kind"):
        distill(request(tmp_path, data, tmp_path / "teacher"))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"shares": [0.5, 0.75]}, "must fall from below 1"),
        ({"shares": [1.0]}, "must fall from below 1"),
        ({"shares": []}, "must fall from below 1"),
        ({"mask_steps": 0}, "mask_steps is 0; it must be at least 1"),
        ({"mask_warmup_steps": 9}, "mask_warmup_steps must be at most as many"),
        ({"gate_lr": 0.0}, "must be above 0"),
        ({"share": [0.5]}, "unknown key 'share'. Did you mean shares"),
    ],
)
def test_stages_out_of_range_are_refused(stages: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe(**stages)


def test_stages_survive_the_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe(even=True).to_toml())
    assert load_recipe(path) == replace(recipe(even=True), name="short")


def test_presets_are_the_papers() -> None:
    auto, manual = load_recipe("tinyclip-auto"), load_recipe("tinyclip")
    assert auto.stages is not None and auto.stages.shares == (0.75, 0.5, 0.25)
    assert (auto.stages.mask_steps, auto.stages.gate_lr) == (3000, 0.02)
    assert manual.inherit and manual.stages is None
    assert auto.options.affinity == manual.options.affinity == 1.0


def test_stages_do_not_go_with_inherited_students() -> None:
    with pytest.raises(UsageError, match="prunes both towers of the teacher"):
        recipe_from({**DOCUMENT, "inherit": True}, source="x.toml")
