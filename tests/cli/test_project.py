"""``mckit.toml``: defaults of the commands, and the chain of them without another argument."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mobileclip_kit as mckit
from mobileclip_kit.cli.entry import main
from mobileclip_kit.exporting.folder import Export, ExportedTower
from mobileclip_kit.project import Project, find_project
from mobileclip_kit.resources import models_folder
from mobileclip_kit.spec import read_spec, write_spec
from tests.indexing.fakes import ColourEncoder, draw_many

FIRST = Path(__file__).parents[1] / "golden" / "first-version"


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
    assert read_spec(Path("student")).provenance["data"] == "synthetic scenes"
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
    (folder / "student").mkdir()
    found = project.defaults("index", folder)
    assert found == {"folder": "photos", "model": "student", "out": "mine.index", "batch_size": 7}
    assert project.defaults("index", folder, ["--from-vectors", "v.npy"]) == {"batch_size": 7}
    assert project.defaults("export", folder) == {"model": "student", "images": "photos"}
    assert project.defaults("export", folder, ["--format", "onnx", "--int8"])["calibration"] == "photos"
    _, err = run(capsys, "index", "--model", "absent-model", code=1)
    assert "absent-model" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("photo.index dog", "photo.index does not exist. Did you mean photos.index?"),
        ("other.index dog", "other.index does not exist. Did you mean photos.index?"),
        ("photos.indx dog", "photos.indx does not exist. Did you mean photos.index?"),
        ("elsewhere/photos dog", "elsewhere/photos does not exist."),
    ],
)
def test_a_misspelt_index_is_no_query(folder: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Project(data="photos").write(folder / "mckit.toml")
    mckit.build_index("photos", ColourEncoder(), "photos.index", progress=False).close()
    assert said in run(capsys, "search", *words.split(), code=1)[1]


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
        ('[project]\ndta = "photos"', "mckit.toml has the unknown key 'dta'. Did you mean data?"),
        ('[project]\nteacher = "t"', "has no data"),
        ("[project]\ndata = 3", "it must be a text"),
        ("data = ", "not valid TOML"),
        ('objective = "mixture"', "has no table [project]"),
        (
            'index = 3\n[project]\ndata = "photos"',
            "mckit.toml: index stands outside of a table; it belongs below [project]",
        ),
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
    assert "exists already. Edit it, or add --force" in run(capsys, "init", "--data", "photos", code=1)[1]
    assert "Type `mckit init --data PHOTOS`." in run(capsys, "init", code=2)[1], "no mckit.toml gives it"
    Path("empty").mkdir()
    assert "empty holds no usable image" in run(capsys, "init", "--data", "empty", "--force", code=1)[1]
    run(capsys, "init", "--data", "photos", "--force")


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("export", "distill"),
        ("index", "distill"),
        ("verify", "export --format coreml --fp16"),
        ("bundle", "export --format coreml --fp16"),
        ("search star", "index"),
        ("search", "index"),
        ("serve", "index"),
        ("dump", "index"),
        ("duplicates", "index"),
        ("tag --labels labels.txt", "index"),
    ],
)
def test_what_is_not_made_yet_is_told_with_the_command_that_makes_it(
    folder: Path, command: str, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Project(data="photos").write(folder / "mckit.toml")
    err = run(capsys, *command.split(), code=2)[1]
    assert err.splitlines()[-1] == f"`mckit {step}` makes it; run that first."


def test_tables_use_the_names_of_options_and_reach_commands_of_commands(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = '[project]\ndata = "photos"\n'
    Path("mckit.toml").write_text(
        head + '[search]\ntop = "few"\n[textness.fit]\nlimit = "few"\n[dump]\nformat = "xml"\n'
    )
    assert "'few'" in run(capsys, "search", "photos", "x", code=2)[1], "-k is also called --top"
    assert "'--limit'" in run(capsys, "textness", "fit", "--model", "m", code=2)[1]
    assert "'xml'" in run(capsys, "dump", "i", "-o", "d", code=2)[1]
    Path("mckit.toml").write_text(head + "[textness.fit]\nlimt = 3\n")
    said = run(capsys, "textness", "fit", code=1)[1]
    assert "the command textness fit has no option 'limt'. Did you mean limit?" in said
    Path("mckit.toml").write_text(head + "[textness]\nxyz = 3\n")
    said = run(capsys, "textness", "fit", code=1)[1]
    assert "Known are [textness.fit], [textness.eval], [textness.grid]." in said
    Path("mckit.toml").write_text(head + "[project.distill]\nsteps = 3\n")
    assert "the table [project.distill] belongs at the top level, as [distill]." in run(capsys, "distill", code=1)[1]


def test_a_wrong_value_is_told_with_the_file_and_a_wrong_command_with_the_right_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mckit.toml").write_text('[project]\ndata = "photos"\n[index]\nbatch_size = "many"\n')
    _, err = run(capsys, "index", code=2)
    assert "'many' is not a whole number from 1 on" in err
    assert (
        err.splitlines()[-1]
        == f"The value of batch_size comes from {folder / 'mckit.toml'}, table [index] or [project]."
    )
    _, err = run(capsys, "index", "--batch-size", "few", code=2)
    assert "mckit.toml" not in err
    assert "No such command 'distil'. Did you mean distill?" in run(capsys, "distil", code=2)[1]
    assert "No such command 'paint'." in run(capsys, "paint", code=2)[1]


def test_push_takes_the_project_s_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OWNER/NAME alone was taken for PATH."""
    Project(data="photos").write(folder / "mckit.toml")
    assert "`mckit distill` makes a model." in run(capsys, "push", "me/mine", code=2)[1]
    shutil.copytree(FIRST / "onnx-fp32", folder / "student-onnx-fp32")
    out, err = run(capsys, "push", "me/mine", "--dry-run", "card", "--json")
    assert json.loads(out)["repository"] == "me/mine" and "PATH is student-onnx-fp32" in err
    assert "Missing argument 'OWNER/NAME'" in run(capsys, "push", "student-onnx-fp32", code=2)[1]
    run(capsys, "push", "student-onnx-fp32", "me/mine", "--dry-run", "card", "--force")


@pytest.mark.parametrize(
    "command", ["distill", "export", "index", "serve", "dump", "verify", "train", "bundle", "inspect"]
)
def test_without_the_file_the_error_says_what_to_type(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = run(capsys, command, code=2)
    assert f"`mckit {command} " in err.splitlines()[-1] and "mckit init --data PHOTOS" in err


def test_no_error_promises_more_of_a_project_than_it_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("merge", "check"):
        assert "mckit init" not in run(capsys, command, code=2)[1]
    assert run(capsys, "export", code=2)[1].endswith("and then `mckit export --format coreml --fp16`.\n")
    assert run(capsys, "tag", code=2)[1].endswith("and then `mckit tag --labels labels.txt`.\n")


WRONG = {
    "index photos --model ViT-B-23:openai -o i": "Did you mean ViT-B-32:openai",
    "index foto --model ViT-B-32 -o i": "foto does not exist. Did you mean fotos?",
    "index empty --model ViT-B-32 -o i": "empty holds no images.",
    "index photos --model ViT-B-32 -o fotos --force": "is not an index, so --force does not replace it",
    "index photos --model other -o made": "other-hash",
    "index notes.txt --model other -o i": "notes.txt is not a folder. Pass a folder of images.",
    "index photos --model models -o i": "Did you mean models/other or models/exported?",
    "distill --data photos --teacher ViT-B-23 --student vit-s6-h12 -o s": "Did you mean ViT-B-32",
    "distill --data photos --teacher ViT-B-32 --student vit-s6-h13 -o s": "Did you mean vit-s6-h12",
    "distill --data photos --teacher ViT-B-32:openia --student vit-s6-h12 -o s": "Did you mean ViT-B-32:openai",
    "distill --data none --teacher ViT-B-32 --student vit-s6-h12 -o s": "none does not exist",
    "distill --data empty --teacher ViT-B-32 --student vit-s6-h12 -o s": "no usable image",
    "distill --data photos --teacher ViT-B-32 --student vit-s6-h12 -o photos": "photos exists already",
    "distill --data photos --cache photos --student vit-s6-h12 -o s": "is not a teacher cache",
    "distill --data photos --teacher photos --student vit-s6-h12 -o s": "is not a model folder",
    "distill --data photos --teacher ViT-B-32 --student vit-s6-h12 -o s --device gpu": "No device is called 'gpu'",
    "train --data photos --student restnet18 -o s": "resnet18",
    "train --data none -o s": "none does not exist",
    "export ViT-B-23 --format onnx": "Did you mean ViT-B-32",
    "export ViT-B-32": "Add --format onnx",
    "export photos --format onnx": "is not a model folder: it has no open_clip_config.json",
    "export exported --format coreml": "exported is an export, not a model folder",
    "export othr --format onnx": "Did you mean other",
    "export other --format onnx --images none": "none does not exist",
    "verify photos --against ViT-B-23": "Did you mean ViT-B-32",
    "verify exported --against other": "use the model of the export exported, or make it again from",
    "search nothing": "mckit search",
    "search made red -k few": "'few' is not a whole number from 1 on.",
    "bench other --device gpu": "No device is called 'gpu'",
    "search made red --model other": "The index made",
    "search made red --model exported --device openvino": "needs the package onnxruntime-openvino",
    "index photos --model exported --device cuda -o i": "needs the package onnxruntime-gpu",
    "serve made --model exported --device openvino --port 0": "needs the package onnxruntime-openvino",
    "bench ViT-B-23": "Did you mean ViT-B-32",
    "cache --teacher ViT-B-23 --data photos -o c": "Did you mean ViT-B-32",
    "cache --teacher ViT-B-32 --data none -o c": "none does not exist",
    "quickstart -o photos": "exists already",
    "inspect https://host/made": "https://host/made is a URL",
    "duplicates s3://bucket/made": "s3://bucket/made is a URL",
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each wrong call says, which heavy modules are loaded after it, and what it leaves: one process for all."""
    folder = tmp_path_factory.mktemp("refusals")
    draw_many(folder / "photos", 3)
    (folder / "fotos").mkdir()
    (folder / "fotos" / "notes.txt").touch()
    (folder / "empty").mkdir()
    (folder / "notes.txt").touch()
    mckit.build_index(folder / "photos", ColourEncoder(), folder / "made", progress=False).close()
    spec = ColourEncoder("other-hash").spec
    (folder / "other").mkdir()
    write_spec(folder / "other", spec)
    (folder / "other" / "open_clip_config.json").write_text("{}")
    (folder / "exported").mkdir()
    (folder / "exported" / "image.onnx").write_bytes(b"graph")
    tower = ExportedTower.from_file("image", folder / "exported" / "image.onnx")
    Export(path=folder / "exported", spec=ColourEncoder().spec, format="onnx", precision="fp32",
           towers={"image": tower}).write()  # fmt: skip
    (folder / "models").mkdir()
    for name in ("other", "exported"):
        shutil.copytree(folder / name, folder / "models" / name)
    code = (
        "import contextlib, io, json, os, sys\nfrom mobileclip_kit.cli.entry import main\nfound = {}\n"
        "for line in json.load(sys.stdin):\n"
        "    told, before, exit_code = io.StringIO(), sorted(os.listdir()), 0\n"
        "    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):\n"
        "        try:\n            main(line.split())\n"
        "        except SystemExit as left:\n            exit_code = left.code\n"
        "    heavy = sorted({'torch', 'open_clip', 'faiss', 'coremltools'} & set(sys.modules))\n"
        "    left = sorted(set(os.listdir()) - set(before))\n"
        "    found[line] = {'code': exit_code, 'said': told.getvalue(), 'heavy': heavy, 'left': left}\n"
        "print(json.dumps(found))"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(list(WRONG)), capture_output=True, text=True,
                          check=True, cwd=folder, env={**os.environ, "PYTHONPATH": root})  # fmt: skip
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_call_is_refused_before_torch_is_imported_and_leaves_nothing(
    line: str, refusals: dict[str, dict[str, Any]]
) -> None:
    got = refusals[line]
    assert got["code"] in (1, 2) and WRONG[line] in got["said"] and "Traceback" not in got["said"]
    assert (got["heavy"], got["left"]) == ([], [])
