"""webdataset shards: grouping, damage, patterns, URLs, and training-time reading."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.data.images import FileImages, content_hashes, identities_of
from mobileclip_kit.data.pair import Member, Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError
from mobileclip_kit.spec import ImageSpec


def image(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def shard(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def write(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(shard(members))
    return path


def read(place: Path | str) -> tuple[dict[str, tuple[str, ...]], list[Skipped]]:
    skipped: list[Skipped] = []
    return {pair.key: pair.captions for pair in open_source(place, skipped)}, skipped


def test_synthetic_captions_of_datacompdr_follow_the_real_one(tmp_path: Path) -> None:
    """Its other members belong to the same image: the address, the vectors, the augmentations and the identity."""
    synthetic = json.dumps({"syn_text": ["a toilet", "a wall"]}).encode()
    path = write(tmp_path / "a.tar", {
        "0.jpg": image(0), "0.json": json.dumps({"uid": "9e", "sha256": "97"}).encode(), "0.npz": b"PK",
        "0.paug.json": json.dumps({"param_aug": "[]"}).encode(), "0.syn.json": synthetic, "0.txt": b"real",
        "0.url.txt": b"http://example.org/0.jpg",
        "1.syn.json": synthetic, "1.npz": b"PK",
    })  # fmt: skip
    pairs, skipped = read(path)
    assert set(pairs["a.tar/0.jpg"]) == {"real", "a toilet", "a wall"} and len(pairs) == 1
    assert pairs["a.tar/0.jpg"][0] == "real"
    assert [(skip.item, skip.reason) for skip in skipped] == [("a.tar/1", "There is a caption, but no image.")]


def test_members_of_one_name_are_one_pair(tmp_path: Path) -> None:
    document = json.dumps({"caption": "two", "width": 8}).encode()
    path = write(tmp_path / "a.tar", {
        "0.png": image(0), "0.txt": b" one \n", "0.json": document,
        "deep/1.jpg.png": image(1), "deep/1.txt": "ü 猫".encode(),
        "2.json": json.dumps({"captions": ["x", "y", "x"]}).encode(), "2.png": image(2),
        "3.png": image(3),
    })  # fmt: skip
    pairs, skipped = read(path)
    assert pairs == {
        "a.tar/0.png": ("one", "two"),
        "a.tar/deep/1.jpg.png": ("ü 猫",),
        "a.tar/2.png": ("x", "y"),
        "a.tar/3.png": (),
    }
    assert skipped == []


def test_images_are_read_where_they_lie_in_any_order(tmp_path: Path) -> None:
    write(tmp_path / "s" / "a.tar", {f"{row}.png": image(row) for row in range(4)})
    write(tmp_path / "s" / "b.tar", {f"{row}.png": image(100 + row) for row in range(4)})
    pairs = list(open_source(tmp_path / "s"))
    assert all(isinstance(pair.image, Member) for pair in pairs)
    names = [pair.key for pair in pairs]
    images = FileImages([pair.image for pair in pairs], names, identities_of(names), ImageSpec(height=8, width=8))
    ((_, pixels),) = images.read(iter([np.array([6, 0, 3])]))
    assert pixels[:, 0, 0, 0].tolist() == [102, 0, 3]
    hashes, unreadable = content_hashes([pair.image for pair in pairs], names)
    assert len(set(hashes)) == 8 and unreadable == []


def test_numbers_and_stars_name_several_shards(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / f"s-{number:03d}.tar", {f"{number}.png": image(number)})
    assert len(read(tmp_path / "s-{002..010}.tar")[0]) == 9
    assert list(read(tmp_path / "s-01*.tar")[0]) == ["s-010.tar/10.png", "s-011.tar/11.png"]
    with pytest.raises(DataError, match=r"s-099.tar does not exist"):
        read(tmp_path / "s-{099..099}.tar")
    with pytest.raises(DataError, match="matches no shard"):
        read(tmp_path / "t-*.tar")


def test_urls_are_read_through_fsspec() -> None:
    files = fsspec.filesystem("memory")
    for number in range(2):
        files.pipe(f"/shards/{number}.tar", shard({"0.png": image(number), "0.txt": b"a cat"}))
    for url in ("memory://shards/{0..1}.tar", "memory://shards/*.tar"):
        pairs = list(open_source(url))
        assert [pair.key for pair in pairs] == ["0.tar/0.png", "1.tar/0.png"]
        assert [pair.source() for pair in pairs] == [image(0), image(1)]
        assert pairs[0].captions == ("a cat",)
    with pytest.raises(DataError, match="memory://shards/7.tar does not exist"):
        read("memory://shards/7.tar")
    with pytest.raises(DataError, match="cannot be opened"):
        read("nosuch://shards/7.tar")
    with pytest.raises(DataError, match="memory://shards holds no images"):
        read("memory://shards")


def test_a_cut_shard_gives_what_comes_before_the_cut(tmp_path: Path) -> None:
    whole = shard({f"{row}.png": image(row) for row in range(6)})
    (tmp_path / "cut.tar").write_bytes(whole[: 3 * 1024 + 700])
    pairs, skipped = read(tmp_path / "cut.tar")
    assert 0 < len(pairs) < 6
    assert "cut.tar is cut off" in skipped[-1].reason
    last = list(open_source(tmp_path / "cut.tar"))[-1]
    _, unreadable = content_hashes([last.image], [last.key])
    assert unreadable == [] or "ends within an image" in unreadable[0].reason


@pytest.mark.parametrize("damage", ["between members", "inside a header", "header"])
def test_members_that_damage_hides_are_not_lost_silently(tmp_path: Path, damage: str) -> None:
    """Where tarfile sees the end of the archive, as it takes any header that it cannot read."""
    whole = shard({f"{row}.png": image(row) for row in range(6)})
    fourth = 3 * 1024  # a header and a block of an image each
    cut = {"between members": whole[:fourth], "inside a header": whole[: fourth + 100],
           "header": whole[: fourth + 148] + b"garbage!" + whole[fourth + 156 :]}  # fmt: skip
    (tmp_path / "cut.tar").write_bytes(cut[damage])
    pairs, skipped = read(tmp_path / "cut.tar")
    assert list(pairs) == ["cut.tar/0.png", "cut.tar/1.png", "cut.tar/2.png"]
    assert "ends at byte 3072 without the mark of its end" in skipped[-1].reason
    (tmp_path / "cut.tar").write_bytes(whole)
    assert read(tmp_path / "cut.tar")[1] == []


def test_what_cannot_be_used_is_stated(tmp_path: Path) -> None:
    pairs, skipped = read(write(tmp_path / "a.tar", {
        "0.png": image(0), "1.txt": b"alone", "2.png": b"", "3.png": image(3), "3.json": b"{", "4.png": image(4),
        "4.txt": b"caf\xe9", "5.png": image(5), "5.json": b"[" * 100_000, "6.png": image(6),
        "6.json": b'{"caption": "\\ud83d"}',
    }))  # fmt: skip
    assert list(pairs) == ["a.tar/0.png", *(f"a.tar/{number}.png" for number in (3, 4, 5, 6))]
    assert [skip.item for skip in skipped] == ["a.tar/1", "a.tar/2.png", "a.tar/3.json", "a.tar/4.txt", "a.tar/5.json",
                                               "a.tar/6.json"]  # fmt: skip


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(DataError, match=r"no usable image \(1 skipped; the first: .* no plain tar"):
        read(tmp_path / "x.tar")


def test_a_member_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    """The reader would take the memory first. The files are sparse."""
    path = tmp_path / "big.tar"
    with path.open("wb") as stream:
        for name, size in (("0.png", 9 << 30), ("1.txt", 9 << 30)):
            entry = tarfile.TarInfo(name)
            entry.size = size
            stream.write(entry.tobuf(tarfile.GNU_FORMAT))
            stream.seek(size, io.SEEK_CUR)
        stream.truncate(stream.tell() + 2 * tarfile.BLOCKSIZE)
    with pytest.raises(DataError, match=r"2 skipped; the first: The file has 9,663,676,416 bytes"):
        read(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_member_that_leads_elsewhere_is_no_image(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret.png").write_bytes(image(1))
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "a.tar", "w") as tar:
        for name, link in (("0.png", "../secret.png"), ("1.png", str(tmp_path / "secret.png"))):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link
            tar.addfile(entry)
        entry = tarfile.TarInfo("../../2.png")  # a name is a key and no path
        entry.size = len(image(2))
        tar.addfile(entry, io.BytesIO(image(2)))
    assert list(read(tmp_path / "shards" / "a.tar")[0]) == ["a.tar/../../2.png"]
    assert [path.name for path in tmp_path.rglob("*.png")] == ["secret.png"]


def test_a_range_of_a_billion_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1,000,000,000 shards"):
        read(f"{tmp_path}/{{0..999999999}}.tar")


def test_a_member_with_an_impossible_number_is_stated(tmp_path: Path) -> None:
    """An extended header may say any number; tarfile lets it overflow."""
    header = tarfile.TarInfo("0.png")
    header.pax_headers = {"size": "9" * 30}
    data = shard({"0.png": image(0)})
    end = header.create_pax_header(header.get_info(), "utf-8")
    (tmp_path / "a.tar").write_bytes(end[:-512] + data)
    with pytest.raises(DataError, match="no usable image .* cut off or no plain tar"):
        read(tmp_path / "a.tar")


def test_an_image_whose_captions_are_all_synthetic_is_marked(tmp_path: Path) -> None:
    made = json.dumps({"syn_text": ["a drawing"]}).encode()
    members = {"0.png": image(0), "0.syn.json": made, "1.png": image(1), "1.syn.json": made, "1.txt": b"real",
               "2.png": image(2)}  # fmt: skip
    pairs = open_source(write(tmp_path / "a.tar", members))
    assert [pair.only_synthetic for pair in pairs] == [True, False, False]


def test_a_retrieval_set_of_clip_benchmark_has_a_caption_in_each_line(tmp_path: Path) -> None:
    """Its folder holds the kind beside the splits; of other shards a text is one caption."""
    members = {"0.png": image(0), "0.txt": b"a dog\nits ball\n"}
    write(tmp_path / "test" / "0.tar", members)
    write(tmp_path / "train" / "0.tar", {"1.png": image(1), "1.txt": b"x"})
    (tmp_path / "dataset_type.txt").write_text("retrieval\n")
    pairs, skipped = read(tmp_path)
    assert pairs == {"0.tar/0.png": ("a dog", "its ball")}
    assert [(skip.item, skip.reason) for skip in skipped] == [("train", "Only test is read, the split for retrieval.")]
    assert read(tmp_path / "test")[0] == read(tmp_path)[0]
    assert read(write(tmp_path / "other" / "deep" / "0.tar", members))[0] == {"0.tar/0.png": ("a dog\nits ball",)}
