"""`mckit train` as a user calls it."""

import json

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.cli.entry import main
from mobileclip_kit.distillation.recipe import load_recipe
from mobileclip_kit.distillation.request import TrainRequest
from mobileclip_kit.errors import UsageError


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    done = capsys.readouterr()
    return int(stop.value.code or 0), done.out, done.err


@pytest.fixture
def captions(tmp_path):
    rng, lines = np.random.default_rng(0), ["image,caption"]
    for index in range(5):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,caption number {index}")
    lines.append("missing.png,not there")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "pairs.csv"


def arguments(captions, *more):
    return ["train", "--data", captions, "--student", "conv-s", "--text", "text-2", "--embedding-dim", "8", "--steps",
            "2", "--batch-size", "4", "--trim-vocab", "-o", captions.parent / "model", *more]  # fmt: skip


def test_train_says_what_it_made_and_what_it_left_out(captions, capsys):
    code, out, err = run(capsys, *arguments(captions, "--json", "--losses", "none"))
    document = json.loads(out)
    assert code == 0
    assert {"model", "steps", "seconds", "images_per_s", "metrics"} <= set(document)
    assert (document["steps"], document["images"]) == (2, 5)
    assert document["skipped"][0]["item"] == "missing.png"
    assert "skipped missing.png" in err
    saved = load_recipe(captions.parent / "model" / "recipe.toml")
    assert saved.options.losses == ()
    assert saved.options.trim_vocab


def test_an_existing_model_is_not_replaced_without_force(captions, capsys):
    (captions.parent / "model").mkdir()
    code, _, err = run(capsys, *arguments(captions))
    assert code == 1
    assert "--force" in err


def request(**flags):
    return TrainRequest(data="d", out="m", **flags)


def test_flags_replace_the_recipes_values():
    recipe = request(losses="align, mlm", student="swin-nano", batch_size=8, epochs=3).resolved
    assert recipe.options.losses == ("align", "mlm")
    assert recipe.options.student == "swin-nano"
    assert (recipe.training.batch_size, recipe.training.epochs) == (8, 3)
    assert recipe.options.text == "text-8"


def test_a_recipe_that_needs_a_teacher_is_refused():
    with pytest.raises(UsageError, match="needs a teacher"):
        request(recipe="piccollage")


def test_unknown_losses_are_refused():
    with pytest.raises(UsageError, match="'tokenz'.* Did you mean tokens"):
        request(losses="align,tokenz")


def test_a_misspelt_student_leaves_nothing_behind_and_the_corrected_command_works(captions, capsys):
    wrong = ["conv-z" if part == "conv-s" else part for part in arguments(captions)]
    code, _, err = run(capsys, *wrong)
    assert code == 1 and "conv-s" in err and "Did you mean" in err
    assert sorted(path.name for path in captions.parent.iterdir()) == [*(f"{n}.png" for n in range(5)), "pairs.csv"]
    assert run(capsys, *arguments(captions))[0] == 0
