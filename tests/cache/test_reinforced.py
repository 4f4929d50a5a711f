"""Caches from the vectors that DataCompDR's shards hold beside their images."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.cache.reinforced import DATACOMPDR, import_reinforced
from mobileclip_kit.cache.texts import open_texts, text_vectors
from mobileclip_kit.errors import DataError, OutputError
from mobileclip_kit.metrics import unit_rows
from tests.data.test_shards import image, write

VIEWS, WIDTH, TEACHERS = 3, 4, ("first", "second")
NUMBERS = np.random.default_rng(0).normal(size=(2, VIEWS + 3, 2 * WIDTH)).astype(np.float32)


def npz(images: Any, texts: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, image_emb=images, text_emb=texts)
    return stream.getvalue()


def torn() -> bytes:
    """Whole as an archive, but its first member cannot be unpacked."""
    stream = io.BytesIO()
    np.savez_compressed(stream, image_emb=NUMBERS[0, :VIEWS], text_emb=NUMBERS[0, VIEWS:])
    data = bytearray(stream.getvalue())
    data[data.index(b"image_emb.npy") + 33] ^= 0xFF  # behind the member's name and sizes
    return bytes(data)


def members(number: int, vectors: bytes | None) -> dict[str, bytes]:
    """One name's members, in the alphabetic order of DataCompDR."""
    found = {
        "jpg": image(40 * number), "json": json.dumps({"uid": str(number)}).encode(), "npz": vectors,
        "paug.json": json.dumps({"param_aug": "[]"}).encode(),
        "syn.json": json.dumps({"syn_text": [f"a drawing of {number}", "a thing"]}).encode(),
        "txt": f"real {number}".encode(),
    }  # fmt: skip
    return {f"{number}.{kind}": data for kind, data in found.items() if data is not None}


def shard(folder: Path, *vectors: bytes | None) -> Path:
    parts = [members(number, each) for number, each in enumerate(vectors)]
    return write(folder / "dr.tar", {name: data for part in parts for name, data in part.items()})


def stored() -> list[bytes]:
    return [npz(rows[:VIEWS].astype(np.float16), rows[VIEWS:].astype(np.float16)) for rows in NUMBERS]


def test_each_teacher_gets_its_part_of_the_vectors(tmp_path: Path) -> None:
    first, second = import_reinforced(shard(tmp_path, *stored()), tmp_path / "caches", teachers=TEACHERS)
    assert (first.items, first.texts_added, second.items, first.failed) == (2, 5, 2, [])
    cache = TeacherCache.open(second.cache)
    assert (cache.description.teacher, cache.description.normalized) == ("second", True)
    wanted = unit_rows(NUMBERS[1, :VIEWS, WIDTH:]).mean(0)
    found = cache.vectors(["dr.tar/1.jpg"])[0, 0]
    assert found == pytest.approx(wanted / np.linalg.norm(wanted), abs=2e-3), "the mean over the views"
    texts = text_vectors(open_texts(second.cache), ["real 1", "a drawing of 1"], second.cache)
    assert texts == pytest.approx(unit_rows(NUMBERS[1, VIEWS : VIEWS + 2, WIDTH:]), abs=2e-3)
    again = import_reinforced(tmp_path / "dr.tar", tmp_path / "caches", teachers=TEACHERS)
    assert [(report.added, report.texts_added) for report in again] == [(0, 0), (0, 0)]
    shard(tmp_path, stored()[0], npz(NUMBERS[0, :VIEWS].astype(np.float16), NUMBERS[1, VIEWS:].astype(np.float16)))
    again = import_reinforced(tmp_path / "dr.tar", tmp_path / "caches", teachers=TEACHERS)
    assert [(report.added, report.texts_added) for report in again] == [(1, 0), (1, 0)], "one image's vectors changed"


def test_images_without_usable_vectors_are_named(tmp_path: Path) -> None:
    good, other = stored()
    short = npz(NUMBERS[0, :VIEWS], NUMBERS[0, VIEWS:-1])
    hollow = npz(np.full((1, 8), np.nan), NUMBERS[0, VIEWS:])
    narrow = npz(NUMBERS[0, :VIEWS, :6], NUMBERS[0, VIEWS:, :6])
    path = shard(tmp_path, good, None, b"PK", short, hollow, other, narrow, torn())
    report, second = import_reinforced(path, tmp_path / "caches", teachers=TEACHERS)
    assert report.items == second.items == 2
    reasons = {skip.item: skip.reason for skip in report.failed}
    assert reasons["dr.tar/1.jpg"] == "It has no stored vectors (.npz)."
    assert "2 text vectors for 3 captions" in reasons["dr.tar/3.jpg"]
    assert "not finite" in reasons["dr.tar/4.jpg"] and "not a zip file" in reasons["dr.tar/2.jpg"]
    assert "6 numbers, those of other images 8: they are of other teachers" in reasons["dr.tar/6.jpg"]
    assert "decompressing" in reasons["dr.tar/7.jpg"]


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [(b"PK", "not a zip file"), (b"", "not a zip file"),
     (npz(NUMBERS[0, :VIEWS], NUMBERS[0, [0]]), "1 text vector for 3 captions")],
)  # fmt: skip
def test_the_reason_is_told_where_no_vectors_can_be_used(tmp_path: Path, vectors: bytes, reason: str) -> None:
    path = shard(tmp_path, None, vectors, vectors)
    with pytest.raises(DataError, match=rf"No image of .* can be imported \(2 failed; .*dr.tar/1.jpg: .*{reason}"):
        import_reinforced(path, tmp_path / "caches")
    assert not (tmp_path / "caches").exists()


def test_a_shard_that_is_cut_off_is_told_where_no_vectors_are_left(tmp_path: Path) -> None:
    path = shard(tmp_path, None, stored()[0])
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"1.npz")])
    with pytest.raises(DataError, match=r"has stored vectors \(.npz\) \(1 failed; the first, dr.tar: .* is cut off"):
        import_reinforced(path, tmp_path / "caches")


def test_caches_of_several_teachers_are_not_made_in_that_of_one(tmp_path: Path) -> None:
    path, out = shard(tmp_path, *stored()), tmp_path / "cache"
    import_reinforced(path, out, teachers=["both"])
    with pytest.raises(OutputError, match="is the cache of one teacher"):
        import_reinforced(path, out, teachers=TEACHERS)
    assert not (out / "00").exists()


def test_shards_of_other_teachers_or_without_vectors_are_refused(tmp_path: Path) -> None:
    path = shard(tmp_path, *stored())
    with pytest.raises(DataError, match=r"have 8 numbers, which cannot be those of ViT-L-14:datacomp.* and ViT-L-14:o"):
        import_reinforced(path, tmp_path / "caches", teachers=DATACOMPDR)
    with pytest.raises(DataError, match=r"No image of .*dr.tar has stored vectors \(.npz\)\. Pass"):
        import_reinforced(shard(tmp_path, None), tmp_path / "none", teachers=TEACHERS)
    assert not (tmp_path / "none").exists()
