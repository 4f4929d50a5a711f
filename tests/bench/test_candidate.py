from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from mobileclip_kit.bench.candidate import describe_candidates, phone_students, random_students
from mobileclip_kit.networks.model import load_model, tower_parameters


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    (candidate,) = random_students(["vit-t4-64"], tmp_path_factory.mktemp("students"))
    return candidate.model


def test_a_model_folder_is_counted_from_its_header(student: str) -> None:
    (candidate,) = describe_candidates([student])
    network = load_model(student).network
    assert candidate.parameters == tower_parameters(network)["image"]
    assert candidate.size_bytes == (Path(student) / "open_clip_model.safetensors").stat().st_size
    assert candidate.kind == "torch fp32"
    assert candidate.model_hash


def test_one_model_named_twice_makes_two_rows(student: str) -> None:
    first, second = describe_candidates([student, student])
    assert (first.name, second.name) == ("vit-t4-64", "vit-t4-64 (2)")


def test_names_do_not_tell_where_things_lie(student: str) -> None:
    (candidate,) = describe_candidates([student + "/"])
    assert "/" not in candidate.name


def test_a_damaged_model_becomes_a_row_with_its_reason(tmp_path: Path, student: str) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "open_clip_model.safetensors").write_bytes(struct.pack("<Q", 5) + b"{oops")
    export = tmp_path / "export"
    export.mkdir()
    (export / "export.json").write_text(json.dumps({"format_version": 99}))
    candidates = describe_candidates([str(broken), str(export), student])
    assert [candidate.failure is None for candidate in candidates] == [False, False, True]
    assert "format version 99" in (candidates[1].failure or "")


def test_students_for_photos_take_224_pixels() -> None:
    assert {"vit-s6-h12", "vit-s6-h24"} <= set(phone_students())
    assert "vit-t4-64" not in phone_students()
