"""`mckit cache`, `mckit distill` and `mckit inspect` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

from mobileclip_kit.cli.entry import main
from mobileclip_kit.networks.model import save_model
from tests.cache.test_cache import draw, random_vectors, tiny_teacher
from tests.distillation.test_run import student_file


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    done = capsys.readouterr()
    return int(stop.value.code or 0), done.out, done.err


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    student_file(tmp_path)
    draw(tmp_path / "images", 6)
    np.save(tmp_path / "v.npy", random_vectors(7, 16))
    (tmp_path / "names.txt").write_text("".join(f"{row:02d}.png\n" for row in range(7)))
    return tmp_path


def imported(scenes: Path) -> list[object]:
    return ["cache", "import", "--images", scenes / "images", "--vectors", scenes / "v.npy", "--names",
            scenes / "names.txt", "-o", scenes / "c"]  # fmt: skip


def distilled(scenes: Path, *more: object) -> list[object]:
    return ["distill", "--cache", scenes / "c", "--data", scenes / "images", "--student", scenes / "tiny.json",
            "--steps", "2", "--batch-size", "4", "-o", scenes / "m", *more]  # fmt: skip


def test_import_distill_inspect(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *imported(scenes), "--json")
    document = json.loads(out)
    assert code == 0
    assert {"cache", "items", "views", "added", "failed"} <= set(document)
    assert (document["items"], document["added"], document["failed"][0]["item"]) == (6, 6, "06.png")
    assert err.splitlines()[-1].startswith("skipped ") and err.count("06.png") == 1

    code, out, _ = run(capsys, *distilled(scenes, "--json"))
    document = json.loads(out)
    assert code == 0
    assert {"model", "steps", "seconds", "images_per_s", "metrics"} <= set(document)
    assert document["steps"] == 2 and "loss" in document["metrics"]

    code, out, _ = run(capsys, "inspect", scenes / "m", "--json")
    found = json.loads(out)
    assert (code, found["kind"], found["towers"], found["made_recipe"]) == (0, "model folder", ["image"], "piccollage")
    code, out, _ = run(capsys, "inspect", scenes / "m")
    assert "model folder" in out and "made_student" in out


def test_without_steps_neither_progress_nor_loss_is_told(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, recipe = "test_byobnet", scenes / "closed.toml"
    save_file(timm.create_model(name).state_dict(), scenes / "w.safetensors")
    recipe.write_text('name = "closed"\nobjective = "mixture"\n[training]\nsteps = 0\n[mixture]\nmse = 1.0\n')
    run(capsys, *imported(scenes))
    made = ["distill", "--cache", scenes / "c", "--data", scenes / "images", "--student", f"timm:{name}", "--init",
            scenes / "w.safetensors", "--recipe", recipe, "-o", scenes / "m"]  # fmt: skip
    code, out, err = run(capsys, *made)
    assert (code, out) == (0, f"{scenes / 'm'}: image tower after 0 steps on 6 images\n")
    assert "projection" in err and "train " not in err and "correlation" not in err
    code, out, _ = run(capsys, *made, "--force", "--json")
    document = json.loads(out)
    assert (code, document["steps"], document["metrics"]) == (0, 0, {})


def test_live_teacher_fills_a_cache(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, folder = tiny_teacher(), scenes / "t"
    folder.mkdir()
    save_model(folder, model.network, model.config, model.spec)
    arguments = ["cache", "--teacher", folder, "--data", scenes / "images", "-o", scenes / "c"]
    code, out, _ = run(capsys, *arguments, "--limit", 4, "--json")
    assert (code, json.loads(out)["added"]) == (0, 4)
    code, out, _ = run(capsys, *arguments, "--json")
    assert (code, json.loads(out)["items"], json.loads(out)["added"]) == (0, 6, 2)


def test_distilling_twice_needs_force(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *imported(scenes))
    run(capsys, *distilled(scenes))
    code, _, err = run(capsys, *distilled(scenes))
    assert code == 1 and "exists already" in err
    assert run(capsys, *distilled(scenes, "--force"))[0] == 0


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"--student": "restnet18"}, 1, "Did you mean resnet18"),
        ({"--recipe": "piccolage"}, 2, "Did you mean piccollage"),
        ({"--lr": "-1"}, 2, "lr is -1.0"),
        ({"--steps": "many"}, 2, "not a valid integer"),
        ({"--data": "nowhere"}, 1, "nowhere does not exist"),
        ({"--cache": "nowhere"}, 1, "is not a teacher cache"),
        ({"--teacher": "ViT-B-32"}, 2, "either --teacher or --cache"),
        ({"--limit": "1"}, 2, "--limit"),
    ],
)
def test_wrong_calls_are_one_sentence(
    scenes: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], code: int, message: str
) -> None:
    run(capsys, *imported(scenes))
    got, out, err = run(capsys, *distilled(scenes, *[part for pair in change.items() for part in pair], "--json"))
    assert got == code
    assert message in err and "Traceback" not in err
    assert "error" in json.loads(out)
    assert not (scenes / "m").exists() and not (scenes / "m.run").exists()


@pytest.mark.parametrize("begun", [False, True])
def test_after_ctrl_c_the_hint_names_resume_where_a_run_was_kept(
    begun: bool, scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, *imported(scenes))

    def interrupted(*_: object) -> None:
        if begun:
            (scenes / "m.run").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("mobileclip_kit.distillation.run.distill", interrupted)
    code, out, _ = run(capsys, *distilled(scenes, "--json"))
    error = json.loads(out)["error"]
    assert (code, error["kind"]) == (1, "Interrupted")
    assert error["hint"] == (
        f"{scenes / 'm.run'} keeps what was done: add --resume to go on." if begun
        else "Run the same command again to go on."
    )  # fmt: skip


def test_what_cache_cannot_do_is_said_before_the_teacher_runs(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *imported(scenes))
    model, folder = tiny_teacher(), scenes / "t"
    folder.mkdir()
    save_model(folder, model.network, model.config, model.spec)
    given = ["cache", "--teacher", folder, "--data", scenes / "images", "-o"]
    for arguments, message in (
        ([scenes / "new", "--captions"], "has a caption, so --captions has nothing to keep"),
        ([scenes / "new", "--recipe", "piccollage"], "--recipe needs --views"),
        ([scenes / "c", "--teacher", folder], "is the cache of one teacher"),
    ):
        code, _, err = run(capsys, *given, *arguments)
        assert code != 0 and message in err
    assert not (scenes / "new").exists() and not (scenes / "c" / "00").exists()


def test_missing_flags_of_cache_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "cache", "--data", "x", "-o", "y")
    assert code == 2 and "Missing option --teacher" in err
