"""Recipes: the preset of 2021, round trips, refusals that name the nearest key."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mobileclip_kit.distillation.recipe import load_recipe, recipe_from, save_recipe
from mobileclip_kit.distillation.tables import TrainingPlan
from mobileclip_kit.errors import UsageError
from mobileclip_kit.resources import models_folder


def test_piccollage_is_the_recipe_of_2021() -> None:
    """KLD + L1, temperature 4 for ten epochs and then 2, unit vectors times 10."""
    recipe = load_recipe("piccollage")
    assert recipe.objective == "mixture"
    assert recipe.options.unit_scale == 10.0
    temperatures = [recipe.options.temperature(epoch) for epoch in (0, 9, 10, 50)]
    assert temperatures == [4.0, 4.0, 2.0, 2.0]
    assert recipe.augmentation.changes_nothing


@pytest.mark.parametrize("preset", sorted(path.stem for path in (models_folder() / "recipes").glob("*.toml")))
def test_every_preset_survives_its_file(tmp_path: Path, preset: str) -> None:
    recipe = load_recipe(preset)
    save_recipe(tmp_path / "again.toml", recipe)
    assert load_recipe(tmp_path / "again.toml") == recipe


def test_flags_count_over_the_recipe() -> None:
    recipe = load_recipe("piccollage").with_training(steps=7, lr=None, seed=4)
    assert (recipe.training.steps, recipe.training.lr, recipe.training.seed) == (7, 1e-3, 4)
    assert recipe.with_training(epochs=2).training.steps is None


def test_steps_count_over_epochs() -> None:
    assert TrainingPlan(epochs=3, batch_size=4).total_steps(11) == 6
    assert TrainingPlan(epochs=3, batch_size=4, steps=5).total_steps(11) == 5


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "objective is None; it must be one of mixture"),
        ({"objective": "mixtur"}, "Did you mean mixture"),
        ({"objective": "mixture", "trainig": {}}, "unknown key 'trainig'. Did you mean training"),
        ({"objective": "mixture", "training": {"learn_rate": 1}}, "unknown key 'learn_rate'"),
        ({"objective": "mixture", "training": {"batchsize": 1}}, "Did you mean batch_size"),
        ({"objective": "mixture", "training": {"epochs": 2.5}}, "epochs is 2.5; it must be a whole number"),
        ({"objective": "mixture", "training": {"epochs": True}}, "epochs is true"),
        ({"objective": "mixture", "training": {"epochs": 0}}, "epochs is 0; it must be at least 1"),
        ({"objective": "mixture", "training": {"batch_size": 1}}, "batch_size is 1; it must be at least 2"),
        ({"objective": "mixture", "training": {"precision": "float8"}}, 'precision is "float8"; it must be one of'),
        ({"objective": "mixture", "training": 3}, r"\[training\]: is 3; it must be an object"),
        ({"objective": "mixture", "mixture": {"mse": 1, "temperatures": [[1, 4.0]]}}, "must rise from 0"),
        ({"objective": "mixture", "mixture": {"mse": 1, "temperatures": [[0, 0.0]]}}, "must be above 0"),
        ({"objective": "mixture", "mixture": {"mse": 1, "temperatures": [4.0]}}, "temperatures\\[0\\] is 4.0"),
        ({"objective": "mixture", "augmentation": {"crop_scale": [0.9, 0.1]}}, "two rising numbers"),
        ({"objective": "mixture", "augmentation": {"flip": 2}}, "flip is 2.0; it must be in 0…1"),
        ({"objective": "mixture", "mixture": {}}, "Every weight is 0"),
        ({"objective": "mixture", "mixture": {"mse": -1.0}}, "mse is -1.0"),
        ({"objective": "mixture", "mixture": {"afinity": 1.0}}, "Did you mean affinity"),
        ({"objective": "mixture", "mixture": {"affinity": 1.0, "bank_sample": 1}}, "at least 2 texts"),
        ({"objective": "mixture", "mixture": {"contrastive": 1.0, "softened": True, "hard_negatives": 0.5}}, "one"),
        ({"objective": "mixture", "training": {"micro_batch": 0}}, "micro_batch is 0"),
        ({"objective": "mixture", "name": 3}, "name is 3"),
        ({"objective": "mixture", "mixture": {"mse": 1.0, "unit_scale": math.nan}}, "unit_scale is nan"),
        ({"objective": "mixture", "training": {"lr": math.inf}}, "lr is inf"),
    ],
)
def test_wrong_recipes_are_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe_from(document, source="r.toml")


def test_a_learning_rate_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="lr is inf; it must be above 0 and finite"):
        load_recipe("piccollage").with_training(lr=math.inf)


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean piccollage"):
        load_recipe("picolage")
    with pytest.raises(UsageError, match="no recipe file"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(UsageError, match="is not valid TOML"):
        load_recipe(tmp_path / "bad.toml")


def test_texts_are_escaped_in_toml() -> None:
    name = 'quote " backslash \\ line\nend \t tab \x01 bell 猫'
    written = recipe_from({"objective": "mixture", "mixture": {"mse": 1.0}, "name": name}, source="x").to_toml()
    assert tomllib.loads(written)["name"] == name


def test_learning_rate_by_hand() -> None:
    """Two warm-up steps to 1, then half a cosine over four: 1, ½ + √½/2, ½, ½ − √½/2."""
    rates = [TrainingPlan(lr=1.0, warmup_steps=2).learning_rate(step, 6) for step in range(7)]
    root = 0.5**0.5 / 2
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5 + root, 0.5, 0.5 - root, 0.0])


def test_learning_rate_ends_at_its_final_share() -> None:
    assert TrainingPlan(lr=2.0, warmup_steps=0, final_lr_share=0.1).learning_rate(10, 10) == pytest.approx(0.2)
    assert TrainingPlan(lr=2.0, warmup_steps=0).learning_rate(0, 1) == 2.0
