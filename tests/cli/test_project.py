"""``mckit.toml``: defaults of the commands, and the chain of them without another argument."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mobileclip_kit.cli.entry import main
from mobileclip_kit.project import Project, find_project
from mobileclip_kit.resources import models_folder
from tests.indexing.fakes import draw_many


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert left.value.code == code, captured.err
    assert "Traceback" not in captured.err
    return captured.out, captured.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_many(tmp_path / "photos", 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_card_s_lines_run_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "scenes", "24", "-o", "scenes", "--seed", "3")
    run(capsys, "init", "--data", "scenes", "--teacher", models_folder() / "scenes-teacher", "--student", "conv-s")
    with Path("mckit.toml").open("a") as stream:
        stream.write("\n[distill]\nsteps = 2\nbatch_size = 8\n\n[bench]\nseconds = 0.1\nrounds = 1\n")

    run(capsys, "distill")
    run(capsys, "export", "--format", "coreml", "--fp16")
    run(capsys, "export", "--format", "onnx")
    document = json.loads(run(capsys, "bench", "--device", "cpu", "--json")[0])
    assert [row["name"] for row in document["rows"]] == ["student", "student-onnx-fp32", "student-coreml-fp16"]
    document = json.loads(run(capsys, "index", "--json")[0])
    assert (document["index"], document["items"]) == ("photos.index", 24)
    assert json.loads(Path("photos.index/index.json").read_text())["model_path"].endswith("student-onnx-fp32")
    document = json.loads(run(capsys, "search", "a red star", "-k", "3", "--json")[0])
    assert [result["query"] for result in document["results"]] == ["a red star"]
    run(capsys, "bundle")
    assert {"image.mlpackage", "text.mlpackage", "library.mckitidx"} <= {path.name for path in Path("bundle").iterdir()}
    run(capsys, "bundle", "--check", "bundle")
    out, _ = run(capsys, "inspect")
    assert "project defaults" in out and "conv-s" in out


def test_the_command_line_overrides_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(data="photos", index="mine.index", commands={"search": {"k": 2}, "index": {"batch_size": 7}})
    project.write(folder / "mckit.toml")
    assert Project.read(folder / "mckit.toml") == project
    found = project.defaults("index", folder)
    assert found == {"folder": "photos", "model": "student", "out": "mine.index", "batch_size": 7}
    assert project.defaults("index", folder, ["--from-vectors", "v.npy"]) == {"batch_size": 7}
    assert project.defaults("export", folder) == {"model": "student", "images": "photos"}
    assert project.defaults("export", folder, ["--format", "onnx", "--int8"])["calibration"] == "photos"
    _, err = run(capsys, "index", "--model", "absent-model", code=1)
    assert "absent-model" in err


def test_places_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Project(data="photos", teacher="ViT-B-32:openai", student="own.json").write(folder / "mckit.toml")
    (folder / "own.json").write_text("{}")
    (folder / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "er")
    path = find_project()
    assert path == folder / "mckit.toml"
    found = Project.read(path).defaults("distill", path.parent)
    assert found == {
        "data": str(folder / "photos"),
        "teacher": "ViT-B-32:openai",
        "student": str(folder / "own.json"),
        "out": str(folder / "student"),
    }
    assert Project(data="s3://bucket/shards").defaults("index", folder)["folder"] == "s3://bucket/shards"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[project]\ndta = "photos"', "unknown key 'dta'"),
        ('[project]\nteacher = "t"', "has no data"),
        ("[project]\ndata = 3", "it must be a text"),
        ("data = ", "not valid TOML"),
        ('objective = "mixture"', "has no table [project]"),
        ('index = 3\n[project]\ndata = "photos"', "commands.index is 3; it must be an object"),
        ('[project]\ndata = "photos"\n[distil]\nsteps = 3', "Did you mean [distill]?"),
        ('[project]\ndata = "photos"\n[index]\nbatchsize = 3', "no option 'batchsize'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(
    folder: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mckit.toml").write_text(text)
    _, err = run(capsys, "index", code=1)
    assert said in err and "mckit.toml" in err and len(err.splitlines()) == 1


def test_init_refuses_what_is_not_there_and_what_exists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Type `mckit init --data PHOTOS`" in run(capsys, "init", code=2)[1]
    assert "does not exist" in run(capsys, "init", "--data", "fotos", code=1)[1]
    assert "Did you mean ViT-B-32" in run(capsys, "init", "--data", "photos", "--teacher", "ViT-B-23", code=1)[1]
    assert "No student" in run(capsys, "init", "--data", "photos", "--student", "restnet18", code=1)[1]
    assert not Path("mckit.toml").exists()
    out, _ = run(capsys, "init", "--data", "photos", "--json")
    assert json.loads(out)["project"] == "mckit.toml"
    assert "exists already" in run(capsys, "init", "--data", "photos", code=1)[1]
    run(capsys, "init", "--data", "photos", "--force")


@pytest.mark.parametrize("command", ["distill", "export", "index", "serve", "dump", "verify", "train"])
def test_without_the_file_the_error_says_what_to_type(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = run(capsys, command, code=2)
    assert f"`mckit {command} " in err.splitlines()[-1] and "mckit init --data PHOTOS" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["index", "photos", "--model", "ViT-B-23", "-o", "i"],
        ["distill", "--data", "photos", "--teacher", "ViT-B-23", "--student", "vit-s6-h12", "-o", "s"],
        ["distill", "--data", "photos", "--teacher", "ViT-B-32", "--student", "vit-s6-h13", "-o", "s"],
        ["train", "--data", "photos", "--student", "restnet18", "-o", "s"],
        ["export", "ViT-B-23", "--format", "onnx"],
        ["export", "ViT-B-32"],
        ["verify", "photos", "--against", "ViT-B-23"],
        ["search", "i"],
        ["bench", "ViT-B-23"],
        ["cache", "--teacher", "ViT-B-23", "--data", "photos", "-o", "c"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_refused_before_torch_is_imported_and_leaves_nothing(
    folder: Path, arguments: list[str]
) -> None:
    code = (
        "import sys\nfrom mobileclip_kit.cli.entry import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as left:\n"
        "    print(left.code, sorted({'torch', 'open_clip', 'faiss', 'coremltools'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, loaded = done.stdout.split(maxsplit=1)
    assert exit_code in "12" and loaded.strip() == "[]", done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["photos"]
