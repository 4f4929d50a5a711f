"""``mckit scenes``: the folder on disk and the command."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.cli.entry import main
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_json
from mobileclip_kit.scenes import draw_scene, folder, read_truth
from mobileclip_kit.scenes.folder import SceneSet, read_scenes_file, write_scenes


def run(capsys, *arguments: str) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as stop:
        main(["scenes", *arguments, "--json"])
    return stop.value.code, json.loads(capsys.readouterr().out)


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_command_draws_what_draw_scene_draws(tmp_path, capsys):
    out = tmp_path / "scenes"
    code, document = run(capsys, "9", "-o", str(out), "--seed", "4", "--size", "32")
    assert code == 0
    assert document["scenes"] == str(out)
    assert document["items"] == 9
    assert document["images_per_s"] > 0
    rows = list(csv.reader((out / "captions.csv").open(encoding="utf-8")))
    truth = read_truth(out)
    assert rows[0] == ["image", "caption"]
    for index in range(9):
        scene = draw_scene(4, index, 32)
        name = f"images/{index:06d}.png"
        np.testing.assert_array_equal(np.asarray(Image.open(out / name)), scene.image)
        assert tuple(text for image, text in rows if image == name) == scene.captions
        assert truth[index].image == name
        assert truth[index].objects == scene.truth.objects
        assert truth[index].word == scene.truth.word


def test_shares_and_captions_are_chosen_by_the_command(tmp_path, capsys):
    out = tmp_path / "pairs"
    shares = "--word-share", "0.02", "--pair-share", "0.9", "--captions", "1"
    code, _ = run(capsys, "60", "-o", str(out), "--size", "16", *shares)
    assert code == 0
    truth = read_truth(out)
    assert sum(row.form == "pair" for row in truth) > 45
    assert len((out / "captions.csv").read_text(encoding="utf-8").splitlines()) == 61
    assert json.loads((out / "scenes.json").read_text(encoding="utf-8"))["config"]["pair_share"] == 0.9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--pair-share", "nan"), "pair_share is nan"),
        (("--word-share", "-0.1"), "word_share is -0.1"),
        (("--pair-share", "0.7"), "come to 1.1 of the images"),
        (("--captions", "0"), "at least one caption"),
    ],
)
def test_shares_out_of_range_are_refused(tmp_path, capsys, arguments, sentence):
    code, document = run(capsys, "5", "-o", str(tmp_path / "no"), *arguments)
    assert code != 0
    assert sentence in document["error"]["message"]
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("split", "idle"), [("train", 0), ("test", 0), ("unseen", 1), ("gallery", 1), ("pairs", 1)])
def test_shares_without_effect_are_told(tmp_path, capsys, split, idle):
    with pytest.raises(SystemExit) as stop:
        main(["scenes", "2", "-o", str(tmp_path / "out"), "--size", "16", "--split", split, "--pair-share", "0.5"])
    assert stop.value.code == 0
    assert capsys.readouterr().err.count("warning: --pair-share has no effect") == idle


def test_folder_does_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_WORTH_A_POOL", 1)
    scenes = SceneSet(items=140, seed=1, size=16)
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        write_scenes(tmp_path / str(workers), scenes, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_progress_counts_every_image(tmp_path):
    counted = []
    write_scenes(tmp_path, SceneSet(items=130, seed=1, size=16), workers=1, advance=counted.append)
    assert sum(counted) == 130


def test_truth_lines_carry_count_and_alone(tmp_path):
    write_scenes(tmp_path, SceneSet(items=40, seed=1, size=16), workers=1)
    for line in (tmp_path / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        assert document["alone"] == (document["form"] == "word")
        assert all(group["count"] == len(group["boxes"]) for group in document["objects"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0",), "0 images"),
        (("3", "--size", "8"), "8 px"),
        (("3", "--workers", "0"), "0 processes"),
    ],
)
def test_bad_numbers_are_refused_and_nothing_is_left(tmp_path, capsys, arguments, message):
    code, document = run(capsys, *arguments, "-o", str(tmp_path / "scenes"))
    assert code == 2
    assert document["error"]["kind"] == "UsageError"
    assert message in document["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_existing_scenes_need_force(tmp_path, capsys):
    out = str(tmp_path / "scenes")
    assert run(capsys, "2", "-o", out, "--size", "16")[0] == 0
    code, document = run(capsys, "2", "-o", out, "--size", "16")
    assert (code, document["error"]["kind"]) == (1, "OutputError")
    assert run(capsys, "3", "-o", out, "--size", "16", "--force")[0] == 0


def test_a_place_below_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    code, document = run(capsys, "2", "-o", str(tmp_path / "file" / "scenes"))
    assert (code, document["error"]["kind"]) == (1, "OutputError")


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"form": "dream"}', "[]"])
def test_damaged_truth_is_refused_by_line(tmp_path, line):
    path = tmp_path / "truth.jsonl"
    path.write_text(draw_scene(0, 0, 16).truth.to_json() + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        read_truth(path)


def test_a_settings_file_with_an_unknown_key_is_refused(tmp_path):
    write_scenes(tmp_path, SceneSet(items=1, seed=0, size=16))
    assert read_scenes_file(tmp_path) == SceneSet(items=1, seed=0, size=16)
    document = read_json(tmp_path / "scenes.json")
    (tmp_path / "scenes.json").write_text(json.dumps({**document, "sede": 1}))
    with pytest.raises(DataError, match="scenes.json has the unknown key 'sede'") as refused:
        read_scenes_file(tmp_path)
    assert "seed" in refused.value.hint


def test_missing_truth_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="mckit scenes"):
        read_truth(tmp_path)
