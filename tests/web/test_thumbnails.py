"""Thumbnails: made once, kept within bounds, and never in the way."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from mobileclip_kit.errors import ImageError, OutputError
from mobileclip_kit.resources import cache_folder
from mobileclip_kit.web.thumbnails import (
    FILE_NAME,
    SIDE_PIXELS,
    Thumbnails,
    make_thumbnail,
    thumbnail_key,
)
from tests.web.serving import save_turned


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_thumbnails_fit_the_side_and_small_images_stay(tmp_path: Path) -> None:
    save_turned(tmp_path / "turned.jpg")
    Image.new("RGB", (30, 20)).save(tmp_path / "small.png")
    assert opened(make_thumbnail(tmp_path / "turned.jpg")).size == (SIDE_PIXELS // 2, SIDE_PIXELS)
    assert opened(make_thumbnail(tmp_path / "small.png")).size == (30, 20)
    Image.new("RGB", (4000, 2), (200, 10, 10)).save(tmp_path / "line.png")
    assert opened(make_thumbnail(tmp_path / "line.png")).size == (SIDE_PIXELS, 1)


def test_only_profiles_of_rgb_are_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (20, 20)).save(tmp_path / "rgb.png", icc_profile=profile)
    assert opened(make_thumbnail(tmp_path / "rgb.png")).info["icc_profile"] == profile
    grey = profile[:16] + b"GRAY" + profile[20:]
    Image.new("L", (20, 20)).save(tmp_path / "grey.png", icc_profile=grey)
    assert "icc_profile" not in opened(make_thumbnail(tmp_path / "grey.png")).info


def test_a_damaged_image_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    with pytest.raises(ImageError, match="bad.jpg"):
        make_thumbnail(tmp_path / "bad.jpg")


def test_another_content_has_another_key(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    first = thumbnail_key(path, path.stat())
    assert first == thumbnail_key(path, path.stat())
    path.write_bytes(b"other")
    assert first != thumbnail_key(path, path.stat()) != thumbnail_key(tmp_path / "b.png", path.stat())


def test_what_is_kept_outlives_the_program(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path / "new" / "cache")
    assert thumbnails.get(b"key") is None
    thumbnails.put(b"key", b"data")
    thumbnails.put(b"key", b"newer data")
    thumbnails.close()
    again = Thumbnails(tmp_path / "new" / "cache")
    assert again.get(b"key") == b"newer data"
    again.close()


def test_the_oldest_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = iter(range(0, 100_000_000, 10_000))
    monkeypatch.setattr("mobileclip_kit.web.thumbnails.time.time", lambda: next(moment))
    thumbnails = Thumbnails(tmp_path, limit_bytes=1000)
    for number in range(9):
        thumbnails.put(bytes([number]), bytes(100))
    assert thumbnails.get(b"\0") is not None  # looked at: no longer the oldest
    for number in range(9, 12):
        thumbnails.put(bytes([number]), bytes(100))
    kept = [number for number in range(12) if thumbnails.get(bytes([number])) is not None]
    assert kept == [0, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert len(kept) * 100 <= 1000
    thumbnails.close()


def test_two_programs_share_them(tmp_path: Path) -> None:
    one, other = Thumbnails(tmp_path), Thumbnails(tmp_path)
    one.put(b"key", b"data")
    assert other.get(b"key") == b"data"
    one.close()
    other.close()


def test_a_damaged_file_and_a_forbidden_place_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, and long enough to be taken for one" * 100)
    with pytest.raises(OutputError, match="Remove that file"):
        Thumbnails(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="with thumbnails=DIR"):
        Thumbnails(tmp_path / "file")


def test_a_cache_that_fails_is_told_and_costs_no_image(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path)
    thumbnails._file.execute("DROP TABLE thumbnails")
    assert thumbnails.get(b"key") is None
    thumbnails.put(b"key", b"data")
    assert thumbnails.problem is not None and "not kept" in thumbnails.problem
    thumbnails.close()


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "mckit"
