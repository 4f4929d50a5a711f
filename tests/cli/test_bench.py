from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.bench.candidate import random_students
from mobileclip_kit.cli.entry import main
from tests.bench.fakes import draw_pictures, write_cache


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["bench", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (candidate,) = random_students(["vit-t4-64"], tmp_path_factory.mktemp("students"))
    return Path(candidate.model)


def test_a_student_beside_a_damaged_export(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command: a real process, agreement with stored vectors, queries, a report, a row that failed."""
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    write_cache(tmp_path / "cache", draw_pictures(photos, 24), rng.standard_normal((24, 512)))
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no picture")
    np.save(tmp_path / "queries.npy", rng.standard_normal((5, 512)).astype(np.float16))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "export.json").write_text("{")
    document = run_json(
        capsys, student, tmp_path / "damaged", "--device", "cpu", "--images", photos, "--cache", tmp_path / "cache",
        "--queries", tmp_path / "queries.npy", "--seconds", 0.01, "--rounds", 2, "--threads", 1, "-o", tmp_path / "out",
    )  # fmt: skip
    good, bad = document["rows"]
    assert good["failure"] is None
    assert 0 < good["metrics"]["map_at_10_to_20"] < 1
    assert 0 <= good["metrics"]["query_overlap_at_10"] <= 1
    assert good["latency_ms"]["p50"] <= good["latency_ms"]["p95"]
    assert good["parameters"] > 500_000 and good["multiply_accumulates"]["image"] > 10_000_000
    assert "damaged" in bad["failure"]
    (material,) = document["material"]
    assert (material["pictures"], material["queries"], material["teacher"]) == (24, 5, "master")
    assert {left["item"] for left in material["skipped"]} == {"empty.png", "text.jpg"}
    assert document["machine"]["cpu"] and document["settings"]["threads"] == 1
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["rows"] == document["rows"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "photos"], "Random weights have no accuracy"),
        (["m", "--images", "photos", "--teacher", "t", "--cache", "c"], "exclude each other"),
        (["m", "--teacher", "t"], "needs pictures"),
        (["m", "--images", "photos", "--queries", "q.npy"], "asked of the teacher"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert words in err


def test_pictures_alone_say_nothing_about_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_pictures(tmp_path, 2)
    code, _, err = run(capsys, "m", "--images", tmp_path)
    assert code == 2
    assert "pictures alone" in err


def test_pictures_that_are_not_there_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "m", "--images", "nowhere", "--teacher", "t")
    assert code == 1
    assert "nowhere does not exist" in err


def test_a_report_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    code, _, err = run(capsys, "m", "-o", tmp_path / "out")
    assert code == 1
    assert "--force" in err
