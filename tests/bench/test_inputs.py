from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bench.evaluators import TeacherVectors
from mobileclip_kit.bench.inputs import cached_teacher, read_gallery, run_teacher
from mobileclip_kit.errors import DataError, ShapeError
from tests.bench.fakes import FakeEncoder, FakeProcess, draw_images, write_cache


def some_vectors(count: int) -> np.ndarray:
    return np.arange(1, 1 + count * 4, dtype=np.float32).reshape(count, 4)


def test_captions_keep_their_images(tmp_path: Path) -> None:
    draw_images(tmp_path, 3)
    rows = ["image,caption", "000.png,one", "001.png,two", "001.png,three", "gone.png,four"]
    (tmp_path / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    gallery = read_gallery(tmp_path / "captions.csv", limit=None)
    assert gallery.keys == ("000.png", "001.png")
    assert list(zip(gallery.captions, gallery.owners, strict=True)) == [("one", 0), ("two", 1), ("three", 1)]
    assert [left.item for left in gallery.skipped] == ["gone.png"]
    assert read_gallery(tmp_path / "captions.csv", limit=1).captions == ("one",)


def test_images_of_shards_become_files(tmp_path: Path) -> None:
    """As in a retrieval set of CLIP_benchmark: a caption in each line; the processes that encode read files."""
    first, second = draw_images(tmp_path / "photos", 2)
    shard = tmp_path / "set" / "test" / "0.tar"
    shard.parent.mkdir(parents=True)
    with tarfile.open(shard, "w") as tar:
        for number, (path, captions) in enumerate(((first, "one\ntwo"), (second, "three"))):
            tar.add(path, f"{number}.png")
            text = tarfile.TarInfo(f"{number}.txt")
            text.size = len(captions)
            tar.addfile(text, io.BytesIO(captions.encode()))
    (tmp_path / "set" / "dataset_type.txt").write_text("retrieval")
    with pytest.raises(DataError, match="holds shards"):
        read_gallery(tmp_path / "set", limit=None)
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        gallery = read_gallery(tmp_path / "set", limit=None, folder=folder)
        assert gallery.keys == ("0.tar/0.png", "0.tar/1.png")
        assert gallery.captions == ("one", "two", "three") and gallery.owners == (0, 0, 1)
        assert [path.read_bytes() for path in gallery.paths] == [first.read_bytes(), second.read_bytes()]
        assert {path.parent for path in gallery.paths} == {folder}


def test_a_cache_knows_images_by_their_content(tmp_path: Path) -> None:
    """Renamed images keep their vectors; images that the cache has never seen are skipped with the reason."""
    paths = draw_images(tmp_path / "photos", 5)
    vectors = some_vectors(2)
    write_cache(tmp_path / "cache", [paths[3], paths[1]], vectors)
    paths[1].rename(paths[1].with_name("zebra.png"))
    stored, teacher = cached_teacher(tmp_path / "cache", read_gallery(tmp_path / "photos", limit=None))
    assert stored.keys == ("003.png", "zebra.png")
    np.testing.assert_array_equal(teacher.images, vectors)
    assert {left.item for left in stored.skipped} == {"000.png", "002.png", "004.png"}
    assert teacher.name == "master"


def test_captions_follow_when_images_are_left_out(tmp_path: Path) -> None:
    paths = draw_images(tmp_path, 3)
    (tmp_path / "captions.csv").write_text("image,caption\n000.png,a\n002.png,c\n001.png,b\n", encoding="utf-8")
    write_cache(tmp_path / "cache", paths[1:], some_vectors(2))
    stored, _ = cached_teacher(tmp_path / "cache", read_gallery(tmp_path / "captions.csv", limit=None))
    assert [(text, stored.keys[owner]) for text, owner in zip(stored.captions, stored.owners, strict=True)] == [
        ("c", "002.png"),
        ("b", "001.png"),
    ]


def test_a_cache_of_other_images_is_refused(tmp_path: Path) -> None:
    paths = draw_images(tmp_path / "photos", 4)
    write_cache(tmp_path / "cache", paths[:2], some_vectors(2))
    paths[0].unlink()
    paths[1].unlink()
    with pytest.raises(DataError, match="none of the 2 images"):
        cached_teacher(tmp_path / "cache", read_gallery(tmp_path / "photos", limit=None))


def test_a_cache_of_augmented_views_is_refused(tmp_path: Path) -> None:
    paths = draw_images(tmp_path / "photos", 2)
    write_cache(tmp_path / "cache", paths, some_vectors(2), augmentation={"crop": 0.5})
    with pytest.raises(DataError, match="augmented views"):
        cached_teacher(tmp_path / "cache", read_gallery(tmp_path / "photos", limit=None))


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match="no image that can be used"):
        read_gallery(tmp_path, limit=None)


@pytest.mark.parametrize("text", [True, False])
def test_a_live_teacher_answers_images_and_captions(
    text: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = FakeEncoder(text=text)
    monkeypatch.setattr("mobileclip_kit.bench.inputs.WorkerProcess", lambda **_: FakeProcess(encoder))
    draw_images(tmp_path, 3)
    (tmp_path / "captions.csv").write_text("image,caption\n000.png,red\n002.png,blue\n", encoding="utf-8")
    teacher = run_teacher("x", read_gallery(tmp_path, limit=None))
    assert teacher.name == "fake"
    assert teacher.images.shape == (2, 3)
    assert (teacher.texts is not None) == text


def test_queries_of_another_space_are_refused_before_anything_is_timed() -> None:
    with pytest.raises(ShapeError, match="9 numbers a vector, master has 3"):
        TeacherVectors("master", np.ones((2, 3), np.float32), queries=np.ones((4, 9), np.float32))
