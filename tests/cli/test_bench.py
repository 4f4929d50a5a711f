from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.bench.models import random_students
from mobileclip_kit.cli.entry import main
from mobileclip_kit.errors import ModelError
from mobileclip_kit.indexing.importing import import_vectors
from tests.bench.fakes import draw_images, write_cache

PHONE = Path(__file__).parent.parent / "golden" / "phone-bench.json"


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
    (model,) = random_students(["vit-t4-64"], tmp_path_factory.mktemp("students"))
    return Path(model.model)


def test_a_student_beside_a_damaged_export(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command: a real process, agreement with stored vectors, queries, a report, a row that failed."""
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    write_cache(tmp_path / "cache", draw_images(photos, 24), rng.standard_normal((24, 512)))
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no image")
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
    (inputs,) = document["inputs"]
    assert (inputs["images"], inputs["queries"], inputs["teacher"]) == (24, 5, "master")
    assert {left["item"] for left in inputs["skipped"]} == {"empty.png", "text.jpg"}
    assert document["machine"]["cpu"] and document["settings"]["threads"] == 1
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["rows"] == document["rows"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "photos"], "Random weights have no accuracy"),
        (["m", "--images", "photos", "--teacher", "t", "--cache", "c"], "exclude each other"),
        (["m", "--teacher", "t"], "needs images"),
        (["RN50", "--images", "photos", "--queries", "q.npy"], "for a teacher or an index"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert words in err


def test_without_captions_the_rest_of_the_table_comes(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_images(tmp_path / "images", 2)
    code, out, _ = run(capsys, student, "--images", tmp_path / "images", "--seconds", "0.01", "--rounds", "2")
    assert code == 0
    assert "no accuracy: 2 images without captions, classes or a teacher" in out
    assert "p50 ms" in out


def test_images_that_are_not_there_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "RN50", "--images", "nowhere", "--teacher", "t")
    assert code == 1
    assert "nowhere does not exist" in err


def test_a_report_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    code, _, err = run(capsys, "m", "-o", tmp_path / "out")
    assert code == 1
    assert "--force" in err


def test_gates_and_comparisons_of_real_runs(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One model twice and an index beside it; gates kept and missed; the report against itself."""
    index = tmp_path / "photos.index"
    rows = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "names.txt").write_text("".join(f"{number}.jpg\n" for number in range(40)))
    import_vectors(tmp_path / "rows.npy", tmp_path / "names.txt", index)
    gates = tmp_path / "gates.toml"
    gates.write_text(
        '[[gate]]\nmodel = "photos.index"\nfigure = "metrics.recall_of_exact_at_10"\nat_least = 1.0\n'
        f'[[gate]]\nmodel = "{student.name}"\nfigure = "size_bytes"\nat_most = 1\n'
    )
    measured = [student, student, index, "--seconds", 0.01, "--rounds", 2, "--threads", 1]
    code, out, err = run(capsys, *measured, "--gate", gates, "--published", "-o", tmp_path / "out", "--json")
    assert code == 1
    assert f"gate missed: {student.name}: size_bytes is" in err and err.count("gate missed") == 1
    document = json.loads(out)
    ours = [row for row in document["rows"] if not row.get("source")]
    assert [row["name"] for row in ours] == [student.name, f"{student.name} (2)", "photos.index"]
    assert all(row["failure"] is None for row in ours)
    assert ours[1]["latency_ms_to_first"]["model"] == student.name
    assert ours[2]["items"] == 40 and ours[2]["search_latency_ms"]["calls"] > 0
    assert [gate["passed"] for gate in document["gates"]] == [True, False]
    assert "MobileCLIP-S0" in (tmp_path / "out" / "report.html").read_text()
    code, out, _ = run(capsys, "--compare", tmp_path / "out", tmp_path / "out" / "report.json", "--json")
    assert code == 0
    assert {change["verdict"] for change in json.loads(out)["changes"]} == {"same"}
    code, out, _ = run(capsys, "--compare", tmp_path / "out", tmp_path / "out")
    assert out.startswith("No difference") and "Both reports are the same run." in out


def test_a_gate_on_what_is_not_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gates = tmp_path / "gates.toml"
    gates.write_text('[[gate]]\nmodel = "other"\nfigure = "load_ms"\nat_most = 1\n')
    code, _, err = run(capsys, "RN50", "--gate", gates)
    assert code == 2
    assert "'other', which is not measured" in err


def test_a_phones_figures_alone_need_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, "--phone", PHONE, "--published")
    assert document["rows"][0]["name"] == "tiny all"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m", "--compare", "a", "b"], "measures nothing"),
        (["m", "--templates", "t"], "prompts for classes"),
        (["m", "--scenes", "3"], "too few for a figure"),
        (["m", "--seconds", "nan"], "not a length of time"),
        (["m", "--seconds", "inf"], "not a length of time"),
        (["--labels", "x"], "Random weights"),
    ],
)
def test_more_flags_that_make_no_sense(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert words in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "report.md"), "No space left on device (report.md)."),
        (ModelError("It is tired."), "It is tired."),
        (KeyboardInterrupt(), "interrupted."),
    ],
)
def test_a_report_that_cannot_be_written_leaves_the_table(
    error: BaseException,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Minutes of measuring are printed, the folder is not left behind, and the exit code tells."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mobileclip_kit.bench.report.write_report", fail)
    code, out, err = run(capsys, "--published", "--phone", PHONE, "-o", tmp_path / "out", "--json")
    assert code == 1
    assert json.loads(out)["rows"][0]["name"] == "tiny all"
    assert f"The report was not written: {words}" in err
    assert list(tmp_path.iterdir()) == []


def test_reports_without_a_model_in_common_are_not_called_unchanged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        report = {"machine": {}, "rows": [{"name": name, "kind": "k", "size_bytes": 1}]}
        (tmp_path / name).write_text(json.dumps(report))
    code, out, _ = run(capsys, "--compare", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "no figure in common" in out and "No difference" not in out
