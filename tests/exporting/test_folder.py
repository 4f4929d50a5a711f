"""The export folder: both ways; missing, cut off and altered files refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.digests import hash_path
from mobileclip_kit.exporting.folder import EXPORT_FILE, Export, Verification, open_export
from tests.documents import edited


@pytest.fixture
def copied(onnx_export: Export, tmp_path: Path) -> Path:
    return Path(shutil.copytree(onnx_export.path, tmp_path / "copied"))


def test_manifest_round_trip(onnx_export: Export) -> None:
    assert open_export(onnx_export.path, check_hashes=True) == onnx_export


def test_core_ml_manifest_round_trip(coreml_export: Export) -> None:
    assert open_export(coreml_export.path, check_hashes=True) == coreml_export


def test_rows_carry_the_agreed_keys(int8_export: Export) -> None:
    agreed = {"path", "model", "tower", "format", "precision", "runtime", "images", "cosine_min", "cosine_mean",
              "overlap_at_10", "size_bytes", "threshold", "passed", "kept_in_float"}  # fmt: skip
    rows = int8_export.rows()
    assert [row["tower"] for row in rows] == ["image", "text"]
    assert all(agreed <= row.keys() for row in rows)
    json.dumps(rows, allow_nan=False)


def test_missing_file(copied: Path) -> None:
    (copied / "text.onnx").unlink()
    with pytest.raises(ExportError, match="text.onnx is missing"):
        open_export(copied)


def test_short_file(copied: Path) -> None:
    with (copied / "image.onnx").open("r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(ExportError, match="has 1000 bytes"):
        open_export(copied)


def test_altered_file_of_the_same_size(copied: Path) -> None:
    data = bytearray((copied / "image.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copied / "image.onnx").write_bytes(data)
    open_export(copied)
    with pytest.raises(ExportError, match="was changed"):
        open_export(copied, check_hashes=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"format": "tflite"}, "names the format tflite"),
        ({"towers": 3}, "towers is 3; it must be an object"),
        ({"towers": {}}, "names the towers none"),
        (
            {"towers": {"sound": {"tower": "sound", "file": "sound.onnx", "size_bytes": 1, "sha256": ""}}},
            "towers has the unknown key 'sound'",
        ),
        ({"towers": {"text": {"tower": "image", "file": "text.onnx", "size_bytes": 1, "sha256": ""}}}, "towers text"),
        (
            {"towers": {"image": {"tower": "image", "file": 5, "size_bytes": 1, "sha256": ""}}},
            "towers.image.file is 5; it must be a text",
        ),
        ({"model": {"format_version": 1}}, "is damaged"),
    ],
)
def test_foreign_manifest(copied: Path, change: dict[str, object], sentence: str) -> None:
    with edited(copied / EXPORT_FILE) as document:
        document |= change
    with pytest.raises(ExportError, match=sentence):
        open_export(copied)


@pytest.mark.parametrize("value", [None, "x", []])
@pytest.mark.parametrize("name", ["cosine_min", "cosine_mean", "threshold"])
def test_a_result_that_is_no_number_is_refused(copied: Path, name: str, value: object) -> None:
    with edited(copied / EXPORT_FILE) as document:
        document["towers"]["image"]["verification"][0][name] = value
    with pytest.raises(ExportError, match=rf"verification\[0\].{name} is"):
        open_export(copied)


@pytest.mark.parametrize("name", ["../image.onnx", "..", "", "x" * 300], ids=["above", "parent", "none", "too long"])
def test_file_outside_the_folder(copied: Path, name: str) -> None:
    with edited(copied / EXPORT_FILE) as document:
        document["towers"]["image"]["file"] = name
    with pytest.raises(ExportError, match="outside its folder"):
        open_export(copied)


def test_not_an_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is not an export"):
        open_export(tmp_path)
    with pytest.raises(ExportError, match="nothing does not exist"):
        open_export(tmp_path / "nothing")


def test_missing_tower_is_named(onnx_export: Export) -> None:
    alone = Export(path=onnx_export.path, spec=onnx_export.spec, format="onnx", precision="fp32",
                   towers={"image": onnx_export.towers["image"]})  # fmt: skip
    with pytest.raises(ExportError, match="has no text tower"):
        alone.tower_path("text")


def test_hash_of_a_folder_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one").write_text("1")
    before = hash_path(tmp_path / "a")
    (tmp_path / "a/one").rename(tmp_path / "a/two")
    assert hash_path(tmp_path / "a") != before
    (tmp_path / "a/two").rename(tmp_path / "a/one")
    assert hash_path(tmp_path / "a") == before


def test_passed_compares_the_least_cosine() -> None:
    result = Verification(tower="image", runtime="mil", images=2, inputs="2 drawn images", cosine_min=0.99,
                          cosine_mean=0.995, overlap_at_10=None, threshold=0.99)  # fmt: skip
    assert result.passed
