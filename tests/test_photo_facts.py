"""What headers say: times with zones and fractions, places, cameras, and rubbish that counts as absent."""

from __future__ import annotations

import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile

from mobileclip_kit.photo_facts import PhotoFacts, read_facts
from tests.photos import CHANGED, FRACTION, MAKE, MODEL, ORIENTATION, PARIS, TAKEN, ZONE, save_photo


def facts_of(path: Path, **tags: Any) -> PhotoFacts:
    found = read_facts(save_photo(path, **tags))
    assert found is not None
    return found


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_time_place_camera_and_size_of_an_image(tmp_path: Path, suffix: str) -> None:
    facts = facts_of(
        tmp_path / f"photo.{suffix}",
        first={MAKE: "Canon", MODEL: "Canon EOS 5D", CHANGED: "2026:01:01 00:00:00"},
        exif={TAKEN: "2024:07:14 23:59:58", ZONE: "-07:30", FRACTION: "25"},
        gps=PARIS,
    )
    assert facts.taken == datetime(2024, 7, 14, 23, 59, 58, 250_000)
    assert (facts.zone_minutes, facts.camera, facts.width, facts.height) == (-450, "Canon EOS 5D", 8, 6)
    assert (facts.latitude, facts.longitude) == (48.858194, 2.2945)
    assert read_facts((tmp_path / f"photo.{suffix}").read_bytes()) == facts


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "gif", "bmp"])
def test_no_pixel_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / f"plain.{suffix}")
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    assert read_facts(tmp_path / f"plain.{suffix}") == PhotoFacts(width=8, height=6)


def test_the_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    facts = facts_of(tmp_path / "a.jpg", first={ORIENTATION: 6, MAKE: "Pear", MODEL: "Phone 3"})
    assert (facts.width, facts.height, facts.camera) == (6, 8, "Pear Phone 3")


@pytest.mark.parametrize(
    ("exif", "year"),
    [
        ({TAKEN: "0000:00:00 00:00:00", 0x9004: "2019:05:06 07:08:09"}, 2019),
        ({0x9004: "2019:05:06 07:08:09"}, 2019),
        ({TAKEN: "9999:12:31 23:59:59"}, 2021),
        ({TAKEN: "2024:13:01 00:00:00"}, 2021),
        ({TAKEN: "    :  :     :  :  "}, 2021),
        ({TAKEN: b"\xff\xfe\x00"}, 2021),
        ({TAKEN: "1825:01:01 00:00:00"}, 2021),
    ],
)
def test_an_impossible_time_counts_as_absent_and_the_next_tag_as_the_time(
    tmp_path: Path, exif: dict[int, Any], year: int
) -> None:
    taken = facts_of(tmp_path / "a.jpg", first={CHANGED: "2021:01:01 00:00:00"}, exif=exif).taken
    assert taken is not None and taken.year == year


@pytest.mark.parametrize(
    ("zone", "minutes"), [("Z", 0), ("+05:45", 345), ("+99:00", None), ("+02:75", None), ("", None)]
)
def test_the_zone_of_a_time(tmp_path: Path, zone: str, minutes: int | None) -> None:
    facts = facts_of(tmp_path / "a.jpg", exif={TAKEN: "2024:07:14 12:00:00", ZONE: zone, FRACTION: "x"})
    assert facts.zone_minutes == minutes
    assert facts.taken == datetime(2024, 7, 14, 12)


@pytest.mark.parametrize(
    "changed",
    [
        {1: "X"},
        {1: ""},
        {2: (91.0, 0.0, 0.0)},
        {2: (48.0, 60.0, 0.0)},
        {2: (48.0,)},
        {2: (float("inf"), 0.0, 0.0)},
        {4: (181.0, 0.0, 0.0)},
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
    ],
)
def test_a_place_that_is_none_counts_as_absent(tmp_path: Path, changed: dict[int, Any]) -> None:
    facts = facts_of(tmp_path / "a.png", gps={**PARIS, **changed})
    assert (facts.latitude, facts.longitude) == (None, None)


def test_rational_numbers_without_a_denominator_are_no_place(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg", gps={**PARIS, 2: (77.0, 51.0, 29.0)})
    data = path.read_bytes()
    wrong = data.replace(struct.pack(">II", 77, 1), struct.pack(">II", 77, 0)).replace(
        struct.pack("<II", 77, 1), struct.pack("<II", 77, 0)
    )
    assert wrong != data
    facts = read_facts(wrong)
    assert facts is not None and facts.latitude is None and facts.width == 8


def test_damaged_exif_data_leave_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 6)).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(40)))
    assert read_facts(path) == PhotoFacts(width=8, height=6)


def test_a_file_that_is_no_image_has_no_facts(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    assert read_facts(tmp_path / "a.jpg") is None and read_facts(tmp_path / "gone.jpg") is None
