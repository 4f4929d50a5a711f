"""Libraries in tar shards, and parts of libraries."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from mobileclip_kit.cluster import parse_shard, part_of
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing.listing import find_image, list_library
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from tests.indexing.fakes import ColourEncoder, draw


def pack(path: Path, colours: dict[str, tuple[int, int, int]], **others: bytes) -> None:
    """A webdataset shard with these images and other members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {name: draw(path.parent / ".drawn" / f"{name}.png", colour) for name, colour in colours.items()}
    with tarfile.open(path, "w") as tar:
        for name, file in files.items():
            tar.add(file, f"{name}.png")
            member = tarfile.TarInfo(f"{name}.txt")
            tar.addfile(member, io.BytesIO())
        for name, data in others.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    pack(folder / "00.tar", {"a": (1, 2, 3), "b": (200, 2, 3)}, c_jpg=b"no image")
    pack(folder / "deep" / "01.tar", {"a": (1, 200, 3), "sub/d": (1, 2, 200)})
    draw(folder / "loose.png", (9, 9, 9))
    return folder


def test_images_in_tars_are_indexed_where_they_lie(shards: Path, tmp_path: Path) -> None:
    encoder = ColourEncoder()
    report = update_index(shards, encoder, tmp_path / "i", IndexOptions(tars=True))
    assert [(item.name, item.reason) for item in report.failed] == [
        ("00.tar/c.jpg", "00.tar/c.jpg is not an image in a format that can be decoded here.")
    ]
    with IndexReader(tmp_path / "i") as index:
        vectors = {item.name: index.matrix[item.row] for item in index.store.items() if item.row is not None}
    names = ["00.tar/a.png", "00.tar/b.png", "deep/01.tar/a.png", "deep/01.tar/sub/d.png", "loose.png"]
    assert sorted(vectors) == names
    assert vectors["00.tar/b.png"].argmax() == 0
    encoder = ColourEncoder()
    assert update_index(shards, encoder, tmp_path / "i", IndexOptions(tars=True)).unchanged == 5
    assert update_index(shards, encoder, tmp_path / "plain").items == 1, "tars are looked into on request only"


def test_a_tar_that_is_written_again_costs_only_its_new_images(shards: Path, tmp_path: Path) -> None:
    update_index(shards, ColourEncoder(), tmp_path / "i", IndexOptions(tars=True))
    pack(shards / "00.tar", {"a": (1, 2, 3), "b": (200, 2, 3), "new": (77, 2, 3)})
    os.utime(shards / "00.tar", (1, 1))
    encoder = ColourEncoder()
    report = update_index(shards, encoder, tmp_path / "i", IndexOptions(tars=True))
    assert (report.added, report.removed, report.unchanged, encoder.encoded) == (1, 1, 5, 1)


def test_damaged_and_compressed_tars_are_listed_with_their_reason(shards: Path, tmp_path: Path) -> None:
    data = (shards / "00.tar").read_bytes()
    (shards / "00.tar").write_bytes(data[:1000])
    (shards / "02.tar.gz").write_bytes(b"x")
    (shards / "03.tar").write_bytes(b"nothing of the kind" * 100)
    report = update_index(shards, ColourEncoder(), tmp_path / "i", IndexOptions(tars=True))
    reasons = {item.name: item.reason for item in report.failed}
    assert "compressed tar" in str(reasons["02.tar.gz"])
    assert "no tar" in str(reasons["03.tar"])
    assert report.items == 3


def test_an_item_leads_to_its_file_or_its_bytes(shards: Path) -> None:
    assert find_image(shards, "loose.png") == shards / "loose.png"
    found = find_image(shards, "deep/01.tar/sub/d.png")
    assert isinstance(found, bytes)
    assert found.startswith(b"\x89PNG")
    with pytest.raises(DataError, match="no longer in"):
        find_image(shards, "00.tar/gone.png")


def test_parts_are_disjoint_complete_and_stable(shards: Path) -> None:
    for number in range(200):
        draw(shards / "many" / f"{number}.png", (1, 1, 1))
    whole = [found.name for found in list_library(shards, tars=True)]
    parts = [[found.name for found in list_library(shards, tars=True, shard=(part, 4))] for part in range(1, 5)]
    assert sorted(sum(parts, [])) == sorted(whole)
    assert min(map(len, parts)) > 20
    # printf photos/a.jpg | b2sum -l 64: the first byte is the lowest.
    assert part_of("photos/a.jpg", 256) == 0x9C + 1
    by_tar = [{name.split("/")[0] for name in part if name.startswith("00.tar")} for part in parts]
    assert sum(map(bool, by_tar)) == 1, "a tar belongs to one part as a whole"


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "1/", "a/b", "1/0", "-1/4"])
def test_shards_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        parse_shard(text)


def test_shards_are_read() -> None:
    assert parse_shard("2/4") == (2, 4)
