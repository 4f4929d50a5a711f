"""Libraries behind URLs: object stores and servers, by fsspec's protocols."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.caching import CacheRequest, make_caches
from mobileclip_kit.errors import DataError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing.listing import find_image, list_library
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.urls import as_place, check_url, list_files, read_bytes

URL = "memory://bucket/photos"


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tar(image: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        about = tarfile.TarInfo("d.png")
        about.size = len(image)
        archive.addfile(about, io.BytesIO(image))
    return stream.getvalue()


@pytest.fixture
def bucket() -> Iterator[Any]:
    """A store in memory with two images, one of them in a folder, a shard, and what is no image."""
    files = fsspec.filesystem("memory")
    held = {"a.png": png(1), "sub/b.png": png(2), "notes.txt": b"x", ".hidden/c.png": png(3), "shard.tar": tar(png(4))}
    files.pipe({f"/bucket/photos/{name}": data for name, data in held.items()})
    yield files
    files.rm("/bucket", recursive=True)


def names_of(index: Path) -> dict[str, bool]:
    with IndexReader(index) as reader:
        return {item.name: item.row is not None for item in reader.store.items()}


def test_a_url_is_indexed_as_the_folder_with_the_same_files(bucket: Any, onnx_export: Export, tmp_path: Path) -> None:
    encoder, options = open_encoder(onnx_export.path), IndexOptions(tars=True)
    bucket.get("/bucket/photos", str(tmp_path / "photos"), recursive=True)
    vectors = []
    for place, out in ((URL, tmp_path / "remote"), (tmp_path / "photos", tmp_path / "local")):
        assert update_index(place, encoder, out, options).added == 3
        with IndexReader(out) as reader:
            vectors.append({item.name: reader.matrix[item.row] for item in reader.store.items()})
            assert reader.header.images == str(place)
    assert list(vectors[0]) == list(vectors[1]) == ["a.png", "shard.tar/d.png", "sub/b.png"]
    np.testing.assert_allclose([*vectors[0].values()], [*vectors[1].values()], atol=1e-6)
    again = update_index(URL, encoder, tmp_path / "remote", options)
    assert (again.unchanged, again.added, again.decoded) == (3, 0, 0)
    bucket.mv("/bucket/photos/a.png", "/bucket/photos/z.png")
    assert update_index(URL, encoder, tmp_path / "remote", options).moved == 1
    assert find_image(URL, "sub/b.png") == png(2) and find_image(URL, "shard.tar/d.png") == png(4)


def test_a_server_is_asked_once_whether_anything_is_there(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    exists = type(bucket).exists
    monkeypatch.setattr(type(bucket), "exists", lambda self, path, **options: asked.append(path) or exists(self, path))
    assert len(list(list_library(URL))) == 2 and asked == []
    with pytest.raises(DataError, match="memory://bucket/none does not exist"):
        list(list_library("memory://bucket/none"))
    assert len(asked) == 1


def test_an_image_without_a_time_is_read_again_and_keeps_its_vector(
    bucket: Any, onnx_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.urls._TIMES", ())
    encoder = open_encoder(onnx_export.path)
    update_index(URL, encoder, tmp_path / "index")
    assert update_index(URL, encoder, tmp_path / "index").unchanged == 2
    changed = png(1)[:-20] + b"\0" * 20  # of the same size
    bucket.pipe({"/bucket/photos/a.png": changed})
    report = update_index(URL, encoder, tmp_path / "index")
    assert (report.unchanged, report.updated + len(report.failed)) == (1, 1)


def test_an_image_that_vanishes_is_a_failure_and_a_server_that_does_not_answer_ends_the_run(
    bucket: Any, onnx_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, read = open_encoder(onnx_export.path), type(bucket).cat_file
    error: list[Exception] = [FileNotFoundError("/bucket/photos/a.png")]

    def cat_file(self: Any, path: str, **options: Any) -> bytes:
        if path.endswith("a.png") and error:
            raise error[0]
        return read(self, path, **options)

    monkeypatch.setattr(type(bucket), "cat_file", cat_file)
    report = update_index(URL, encoder, tmp_path / "index")
    assert [item.reason for item in report.failed] == ["a.png cannot be read: No such file or directory."]
    assert names_of(tmp_path / "index") == {"a.png": False, "sub/b.png": True}
    error[:] = [RuntimeError("connection reset.")]
    options = IndexOptions(retry_failed=True)
    with pytest.raises(DataError, match=r"memory://bucket/photos/a.png cannot be read: connection reset\.") as caught:
        update_index(URL, encoder, tmp_path / "index", options)
    assert "what was finished is kept" in str(caught.value.hint)
    assert names_of(tmp_path / "index") == {"a.png": False, "sub/b.png": True}
    error.clear()
    assert update_index(URL, encoder, tmp_path / "index", options).updated == 1
    bucket.mv("/bucket/photos", "/bucket/gone", recursive=True)
    with pytest.raises(DataError, match="memory://bucket/photos does not exist"):
        update_index(URL, encoder, tmp_path / "index")
    assert names_of(tmp_path / "index") == {"a.png": True, "sub/b.png": True}


def test_a_server_that_does_not_answer_is_not_taken_for_an_empty_one(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def info(path: str) -> dict[str, Any]:  # as fsspec's file system for http
        raise FileNotFoundError(path) from OSError("Cannot connect to host")

    monkeypatch.setattr(bucket, "exists", lambda path: False)
    monkeypatch.setattr(bucket, "info", info)
    with pytest.raises(DataError, match="cannot be read: Cannot connect to host"):
        check_url(URL)
    monkeypatch.undo()
    with pytest.raises(DataError, match="does not exist"):
        check_url(f"{URL}/nothing")


def test_a_shard_whose_server_fails_is_not_taken_for_a_short_one(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(type(bucket), "open", lambda *given, **options: Broken())
    with pytest.raises(DataError, match=r"shard.tar cannot be read: .*Connection reset by peer"):
        list(list_library(URL, tars=True))
    with pytest.raises(DataError, match=r"shard.tar cannot be read: .*Connection reset by peer"):
        list(open_source(f"{URL}/shard.tar"))


def test_a_url_without_images_is_refused(bucket: Any, onnx_export: Export, tmp_path: Path) -> None:
    bucket.pipe({"/bucket/texts/a.txt": b"x"})
    with pytest.raises(DataError, match="memory://bucket/texts holds no images"):
        update_index("memory://bucket/texts", open_encoder(onnx_export.path), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_protocol_that_is_not_installed_or_not_known_is_one_sentence() -> None:
    with pytest.raises(DataError, match="nowhere://x cannot be opened: Protocol not known: nowhere"):
        list(list_files("nowhere://x", {".png"}))


def test_a_cache_is_made_of_the_images_at_a_url(bucket: Any, tiny_model_folder: Path, tmp_path: Path) -> None:
    request = CacheRequest(teachers=(str(tiny_model_folder),), data=URL, out=tmp_path / "cache")
    (report,), _ = make_caches(request)
    cache = TeacherCache.open(tmp_path / "cache")
    assert (report.items, sorted(cache.keys)) == (2, ["a.png", "sub/b.png"])


def test_urls_are_told_from_paths() -> None:
    assert as_place("s3://bucket/photos/") == "s3://bucket/photos"
    assert as_place("photos/") == Path("photos")


def test_parts_of_a_file_are_read(bucket: Any) -> None:
    assert read_bytes(f"{URL}/a.png", 4, 6) == png(1)[4:10]
    with pytest.raises(OSError, match="ends within an image"):
        read_bytes(f"{URL}/a.png", 4, 1 << 20)
