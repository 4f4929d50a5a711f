"""Presets by name or by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mobileclip_kit.errors import ModelError, UsageError
from mobileclip_kit.resources import did_you_mean, models_folder, preset_file, preset_names, tower_config


def test_presets_are_found_by_name_and_files_by_their_path(tmp_path: Path) -> None:
    assert {"vit-s6-h12", "resnet18", "hybrid-x"} <= set(preset_names("student"))
    assert {"text-8", "motis-4"} <= set(preset_names("text tower"))
    assert preset_file("recipe", "mckit") == models_folder() / "recipes" / "mckit.toml"
    (tmp_path / "own.toml").touch()
    assert preset_file("recipe", tmp_path / "own.toml") == tmp_path / "own.toml"


@pytest.mark.parametrize(
    ("kind", "name", "error", "message"),
    [
        ("recipe", "mkit", UsageError, "the recipes are closed-form, lightclip, mckit, .* Did you mean mckit"),
        ("student", "foo", ModelError, "No student is called 'foo'; the students are conv-l, "),
        ("text tower", "text-3", ModelError, "the text towers are motis-2, .* Did you mean text-"),
        ("student", "nowhere.json", ModelError, "There is no student file nowhere.json"),
    ],
)
def test_unknown_names_list_the_known_ones(kind: str, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        preset_file(kind, name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", preset_names("student"))
def test_every_student_has_an_image_size(name: str) -> None:
    assert tower_config("student", name)["image_size"] in (64, 224, 288)


def test_a_tower_may_stand_in_a_whole_configuration(tmp_path: Path) -> None:
    text = {"width": 8, "heads": 1, "layers": 1}
    for document in (text, {"text_cfg": text}, {"model_cfg": {"text_cfg": text, "embed_dim": 4}}):
        (tmp_path / "own.json").write_text(json.dumps(document))
        assert tower_config("text tower", tmp_path / "own.json") == text
    (tmp_path / "own.json").write_text('{"colour": "red"}')
    with pytest.raises(ModelError, match="describes no text tower"):
        tower_config("text tower", tmp_path / "own.json")


def test_only_similar_names_are_meant() -> None:
    assert did_you_mean("restnet18", ["resnet18", "conv-x"]) == "Did you mean resnet18?"
    assert did_you_mean("zzz", ["resnet18", "conv-x"]) is None
