"""Images on their way into a model: order, skips, memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.data.images import FileImages, content_hashes, identities_of, identity_of
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.images import load_pixels
from mobileclip_kit.spec import ImageSpec
from tests.cache.test_cache import draw

SPEC = ImageSpec(height=16, width=16)
BATCHES_AHEAD = 3  # what the decoders may be ahead of the model


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = sorted(draw(tmp_path / "p", 20).iterdir())
    found[3].write_bytes(b"broken")
    found[7].unlink()
    return found


def images(files: list[Path], threads: int = 4) -> FileImages:
    names = [file.name for file in files]
    return FileImages(files, names, identities_of(names), SPEC, threads=threads)


def test_batches_come_in_order_with_their_own_pixels(files: list[Path]) -> None:
    wanted = [np.array(rows, np.int64) for rows in ([5, 0, 19], [1], [2, 5], [8, 9, 10, 11], [12], [13], [14])]
    read = list(images(files).read(iter(wanted)))
    assert [rows.tolist() for rows, _ in read] == [rows.tolist() for rows in wanted]
    for rows, pixels in read:
        for row, image in zip(rows, pixels, strict=True):
            assert np.array_equal(image, load_pixels(files[row], SPEC))


def test_undecodable_images_leave_their_batch_and_are_listed_once(files: list[Path]) -> None:
    given = images(files)
    for _ in range(2):
        read = list(given.read(iter([np.array([2, 3, 4]), np.array([7])])))
        assert [rows.tolist() for rows, _ in read] == [[2, 4], []]
        assert read[1][1].shape == (0, 16, 16, 3)
    assert [skip.item for skip in given.skipped] == ["03.png", "07.png"]


def test_memory_holds_what_could_be_decoded(files: list[Path]) -> None:
    given = images(files)
    rows, memory = given.in_memory()
    assert rows.tolist() == [row for row in range(20) if row not in (3, 7)]
    assert len(memory) == 18
    assert np.array_equal(memory.identities, given.identities[rows])
    assert np.array_equal(memory.pixels[4], load_pixels(files[5], SPEC))
    assert [skip.item for skip in memory.skipped] == ["03.png", "07.png"]
    assert [rows.tolist() for rows, _ in memory.read(iter([np.array([1, 0])]))] == [[1, 0]]


def test_a_file_holds_what_could_be_decoded_and_is_taken_again_for_the_same_images_only(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "decoded.u8"
    wanted, memory = images(files).in_memory()
    rows, mapped = images(files).in_file(path)
    assert np.array_equal(rows, wanted) and np.array_equal(mapped.pixels, memory.pixels)
    assert mapped.skipped == memory.skipped and path.stat().st_size == memory.pixels.nbytes
    decoded = []
    monkeypatch.setattr("mobileclip_kit.data.images.load_pixels", lambda *given, **_: decoded.append(given))
    again, mapped = images(files).in_file(path)
    assert not decoded and np.array_equal(again, wanted) and mapped.skipped == memory.skipped
    monkeypatch.undo()
    others, mapped = images(files[:3]).in_file(path)
    assert others.tolist() == [0, 1, 2] and np.array_equal(mapped.pixels, memory.pixels[:3])
    _, empty = images(files[3:4]).in_file(path)
    assert len(empty) == 0


def test_stopping_early_stops_the_decoders(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []

    def decode(source: object, *given: object, **more: object) -> object:
        decoded.append(source)
        return load_pixels(source, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("mobileclip_kit.data.images.load_pixels", decode)
    reading = images(files).read(iter([np.arange(3)] * 100))
    next(reading)
    reading.close()
    for thread in threading.enumerate():
        if thread.name.startswith("decode"):
            thread.join(timeout=30)
            assert not thread.is_alive()
    assert 3 <= len(decoded) <= 3 * (1 + BATCHES_AHEAD)


def test_content_hashes_equal_the_files(files: list[Path]) -> None:
    hashes, unreadable = content_hashes([*files, b"bytes"], [*(file.name for file in files), "b"])
    assert hashes[0] == sha256_of_file(files[0])
    assert hashes[7] == ""
    assert [skip.item for skip in unreadable] == ["07.png"]
    assert hashes[-1] == "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9"


def test_identities_do_not_change() -> None:
    """Stored views depend on them: BLAKE2b's first 8 bytes, little-endian, as `b2sum -l 64` prints them."""
    assert identity_of("a") == identity_of(b"a") == 3405396810240292928
    assert identities_of(["a", b"\xff"]).tolist() == [3405396810240292928, 10502126616487800487]


def test_a_file_of_other_preprocessing_or_cut_short_is_made_anew(files: list[Path], tmp_path: Path) -> None:
    path, names = tmp_path / "decoded.u8", [file.name for file in files]
    images(files).in_file(path)
    squashed = FileImages(files, names, identities_of(names), replace(SPEC, resize_mode="squash"))
    assert np.array_equal(squashed.in_file(path)[1].pixels, squashed.in_memory()[1].pixels)
    with path.open("r+b") as file:
        file.truncate(100)
    assert np.array_equal(squashed.in_file(path)[1].pixels, squashed.in_memory()[1].pixels)


def test_a_full_disk_is_not_left_full(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FileImages, keep: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileImages, "_decode_all", full)
    with pytest.raises(OSError, match="No space left"):
        images(files).in_file(tmp_path / "decoded.u8")
    assert not list(tmp_path.glob("decoded*"))
