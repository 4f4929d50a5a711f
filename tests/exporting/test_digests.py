"""Exports whose files were changed are refused where they are executed, whatever their size says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.cli.entry import main
from mobileclip_kit.errors import DataError, ExportError
from mobileclip_kit.exporting import digests
from mobileclip_kit.exporting.digests import hash_path, read_digest
from mobileclip_kit.exporting.folder import EXPORT_FILE, Export
from mobileclip_kit.runtime.open import open_encoder
from tests.documents import edited

PIXELS = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)


@pytest.fixture
def copied(onnx_export: Export, tmp_path: Path) -> Path:
    return Path(shutil.copytree(onnx_export.path, tmp_path / "copied"))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember files that have just been written too; tests cannot wait."""
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read for their digest, as they are read."""
    names: list[str] = []

    def count(path: Path) -> str:
        names.append(path.name)
        return hash_path(path)

    monkeypatch.setattr(digests, "hash_path", count)
    return names


def overwrite(path: Path) -> None:
    """Zeros in the midst of a file, its size and modification time as before."""
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(times.st_size // 2)
        stream.write(bytes(64))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("brief", [False, True])
def test_a_changed_onnx_tower_gives_no_vectors(copied: Path, brief: bool) -> None:
    for tower in ("image", "text"):
        overwrite(copied / f"{tower}.onnx")
    encoder = open_encoder(copied, threads=1, brief=brief)
    with pytest.raises(ExportError, match=r"image\.onnx was changed"):
        encoder.encode_images(PIXELS)
    with pytest.raises(ExportError, match=r"text\.onnx was changed"):
        encoder.encode_texts(["a dog"])


@pytest.mark.parametrize("brief", [False, True])
def test_a_changed_weight_of_a_package_gives_no_vectors(coreml_export: Export, tmp_path: Path, brief: bool) -> None:
    copied = Path(shutil.copytree(coreml_export.path, tmp_path / "copied"))
    for tower in ("image", "text"):
        overwrite(next((copied / f"{tower}.mlpackage").rglob("weight.bin")))
    encoder = open_encoder(copied, brief=brief)
    with pytest.raises(ExportError, match=r"image\.mlpackage was changed"):
        encoder.encode_images(PIXELS)
    with pytest.raises(ExportError, match=r"text\.mlpackage was changed"):
        encoder.encode_texts(["a dog"])


def test_index_refuses_a_changed_tower(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(PIXELS[0]).save(tmp_path / "photos" / "a.png")
    overwrite(copied / "image.onnx")
    with pytest.raises(SystemExit) as stop:
        main(["index", str(tmp_path / "photos"), "-m", str(copied), "-o", str(tmp_path / "photos.index")])
    assert stop.value.code == 1
    assert "image.onnx was changed" in capsys.readouterr().err


@pytest.mark.parametrize(("was", "is_now"), [('"cleaning": "lower"', '"cleaning": "whitespace"'), ("0.45,", "0.46,")])
def test_a_changed_setting_of_an_export_is_refused(copied: Path, was: str, is_now: str) -> None:
    text = (copied / EXPORT_FILE).read_text()
    assert was in text
    (copied / EXPORT_FILE).write_text(text.replace(was, is_now))
    with pytest.raises(DataError, match=r"export\.json was changed"):
        open_encoder(copied)
    with edited(copied / EXPORT_FILE):
        pass  # as an export without a checksum of the whole
    with pytest.raises(ExportError, match=r"export\.json were changed"):
        open_encoder(copied)


@pytest.mark.usefixtures("at_once")
def test_a_brief_encoder_hashes_a_file_once_and_another_one_always(copied: Path, hashed: list[str]) -> None:
    for brief, wanted in ((True, 1), (True, 1), (False, 2), (False, 3), (True, 3)):
        open_encoder(copied, threads=1, brief=brief).encode_texts(["a dog"])
        assert hashed == ["text.onnx"] * wanted


@pytest.mark.usefixtures("at_once")
def test_a_remembered_file_that_is_written_to_is_read_again(copied: Path) -> None:
    before = read_digest(copied / "text.onnx", from_memory=True)
    overwrite(copied / "text.onnx")
    assert read_digest(copied / "text.onnx", from_memory=True) == hash_path(copied / "text.onnx") != before


@pytest.mark.usefixtures("at_once")
def test_a_remembered_package_knows_each_of_its_files(tmp_path: Path, hashed: list[str]) -> None:
    package = tmp_path / "image.mlpackage"
    package.mkdir()
    (package / "a").write_bytes(b"12")
    first = read_digest(package, from_memory=True)
    assert read_digest(package, from_memory=True) == first
    (package / "a").rename(package / "b")
    assert read_digest(package, from_memory=True) != first
    assert len(hashed) == 2


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "a").write_bytes(b"12")
    read_digest(tmp_path / "a", from_memory=True)
    read_digest(tmp_path / "a", from_memory=True)
    assert hashed == ["a", "a"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("memory", ["", "[]", '{"x": 1}', "{"])
def test_a_damaged_memory_only_costs_time(copied: Path, memory: str) -> None:
    wanted = read_digest(copied / "text.onnx", from_memory=True)
    place = digests.cache_folder() / digests.MEMORY_FILE
    place.write_text(memory)
    assert read_digest(copied / "text.onnx", from_memory=True) == wanted
    place.unlink()
    place.mkdir()
    (place / "other").touch()  # nothing can be written there
    assert read_digest(copied / "text.onnx", from_memory=True) == wanted


@pytest.mark.usefixtures("at_once")
def test_the_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]) -> None:
    monkeypatch.setattr(digests, "_MOST_REMEMBERED", 2)
    for name in ("a", "b", "c", "c", "b", "a"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(1, 1))
    for name in ("a", "b", "c", "b", "c", "a"):
        read_digest(tmp_path / name, from_memory=True)
    assert hashed == ["a", "b", "c", "a"]
