"""The phone's index file at its limits, in both languages: none and a million items, full disks, damage."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, IndexFormatError, ModelMismatchError, OutputError
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import PhoneHeader
from mobileclip_kit.index.phone_writer import write_phone_index
from tests.golden.make_golden import MODEL_HASH
from tests.index.phone_writer import PhoneWriter, create_phone_index
from tests.swift import ask_swift, needs_swift, swift_refusal

MILLION = 1_000_000
HEADER = PhoneHeader(4, "int8", MODEL_HASH)
AXES = np.eye(4, dtype=np.float32)


def make_index(path: Path, count: int) -> Path:
    """``count`` items along the second and third axis."""
    keys = [f"photo {number}" for number in range(count)]
    vectors = AXES[1 + np.arange(count) % 2]
    parts = ((keys[at : at + 50_000], vectors[at : at + 50_000], [3] * len(keys[at : at + 50_000]))
             for at in range(0, count, 50_000))  # fmt: skip
    assert write_phone_index(path, HEADER, parts) == count
    return path


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tmp_path_factory.mktemp("million") / "index", MILLION)


def test_a_million_items_are_opened_asked_and_added_to(million):
    index = PhoneIndex(million, model_hash=MODEL_HASH)
    assert (len(index), index.rows) == (MILLION, MILLION)
    assert [row for row, _ in index.search(AXES[2], 2)] == [1, 3]
    with PhoneWriter(million, model_hash=MODEL_HASH) as writer:
        writer.append(["photo 5", "last"], AXES[[0, 3]])
    grown = PhoneIndex(million)
    assert (len(grown), grown.rows) == (MILLION + 1, MILLION + 2)
    assert [row for row, _ in grown.search(AXES[0], 1)] == [MILLION]
    assert not grown.living[5]


@needs_swift
def test_swift_opens_asks_and_adds_to_a_million_items(million):
    before = PhoneIndex(million)
    grown = ask_swift("grow", million, "3")
    assert grown["items"] == len(before) + 3
    assert grown["row_of_last"] == grown["rows"] - 1 == before.rows + 2
    assert grown["best"] in ("photo 5", "new 0")
    assert PhoneIndex(million).keys()["new 2"] == before.rows + 2


def test_no_items_are_an_index_too(tmp_path):
    path = make_index(tmp_path / "index", 0)
    assert path.read_bytes() == HEADER.to_bytes()
    index = PhoneIndex(path)
    index.verify()
    assert (index.rows, index.keys(), index.search(AXES[0], 5)) == (0, {}, [])


@needs_swift
def test_swift_begins_with_no_items(tmp_path):
    grown = ask_swift("grow", make_index(tmp_path / "index", 0), "1")
    assert grown == {"rows": 1, "items": 1, "row_of_last": 0, "best": "new 0"}


def test_writing_at_once_gives_the_bytes_of_appending(tmp_path):
    keys, vectors = [str(number) for number in range(2500)], AXES[np.arange(2500) % 4]
    create_phone_index(tmp_path / "appended", HEADER)
    with PhoneWriter(tmp_path / "appended", model_hash=MODEL_HASH) as writer:
        writer.append(keys, vectors, list(range(2500)))
    write_phone_index(tmp_path / "written", HEADER, [(keys, vectors, list(range(2500)))])
    assert (tmp_path / "written").read_bytes() == (tmp_path / "appended").read_bytes()


def test_what_cannot_be_written_at_once_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="twice"):
        write_phone_index(tmp_path / "index", HEADER, [(["a"], AXES[:1], [0]), (["b", "a"], AXES[:2], [0, 0])])
    with pytest.raises(DataError):
        write_phone_index(tmp_path / "index", HEADER, [(["a"], 2 * AXES[:1], [0])])
    assert list(tmp_path.iterdir()) == []
    make_index(tmp_path / "index", 1)
    with pytest.raises(OutputError):
        make_index(tmp_path / "index", 1)


def edit(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def flip(place: int) -> Callable[[bytearray], object]:
    return lambda data: data.__setitem__(place, data[place] ^ 1)


@needs_swift
@pytest.mark.parametrize(
    ("harm", "python", "swift"),
    [
        (flip(0), "not a phone index", "notAnIndex"),
        (lambda data: data.__delitem__(slice(40, None)), "not a phone index", "notAnIndex"),
        (lambda data: data.__setitem__(8, 2), "format version 2", "otherVersion(2)"),
        (flip(30), "header of", "headerDamaged"),
        (flip(64 + 9), "batch at byte 64", "damaged(byte: 64)"),
    ],
)
def test_both_languages_refuse_the_same_files(harm, python, swift, tmp_path):
    path = make_index(tmp_path / "index", 3000)
    edit(path, harm)
    before = path.read_bytes()
    with pytest.raises(IndexFormatError, match=python):
        PhoneWriter(path, model_hash=MODEL_HASH)
    assert swift in swift_refusal("grow", path, "1")
    assert path.read_bytes() == before


@needs_swift
def test_both_languages_go_on_after_a_cut_in_the_middle_of_a_record(tmp_path):
    whole = make_index(tmp_path / "index", 3000).read_bytes()
    for cut in (1, 700, 10_000):
        for name in ("python", "swift"):
            (tmp_path / name).write_bytes(whole[:-cut])
        with PhoneWriter(tmp_path / "python", model_hash=MODEL_HASH) as writer:
            writer.append(["new 0"], AXES[:1])
        grown = ask_swift("grow", tmp_path / "swift", "1")
        assert grown["items"] == len(PhoneIndex(tmp_path / "python")) == 2049
        assert (tmp_path / "swift").read_bytes() == (tmp_path / "python").read_bytes()


def test_an_index_of_another_model_is_refused_by_its_writer(tmp_path):
    path = make_index(tmp_path / "index", 1)
    with pytest.raises(ModelMismatchError):
        PhoneWriter(path, model_hash="0" * 64)


@needs_swift
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system cannot limit a file's size")
def test_swift_loses_nothing_when_the_file_may_not_grow(tmp_path):
    path = make_index(tmp_path / "index", 5)
    before = path.read_bytes()

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, len(before) + 100))

    assert "cannotWrite" in swift_refusal("grow", path, "1", preexec_fn=limit)
    assert path.read_bytes() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small disk")
    yield place
    with contextlib.suppress(OSError):
        subprocess.run(["umount", str(place)], check=True)


@needs_swift
def test_a_full_disk_is_said_and_nothing_is_lost(small_disk):
    path = make_index(small_disk / "index", 2000)
    before = path.read_bytes()
    (small_disk / "ballast").write_bytes(bytes(256 * 1024 - len(before) - 8192))
    with (
        PhoneWriter(path, model_hash=MODEL_HASH) as writer,
        pytest.raises(OSError, match="No space left"),
    ):
        writer.append([f"new {number}" for number in range(5000)], AXES[np.zeros(5000, int)])
    # Batches that were complete stay; what was cut short is gone.
    kept = path.read_bytes()
    assert kept[: len(before)] == before
    assert "diskFull" in swift_refusal("grow", path, "5000")
    PhoneIndex(path, model_hash=MODEL_HASH).verify()
    (small_disk / "ballast").unlink()
    assert ask_swift("grow", path, "10")["items"] >= 2010
    with pytest.raises(OSError, match="No space left"):
        make_index(small_disk / "another", 20_000)
    assert {child.name for child in small_disk.iterdir()} == {"index"}
