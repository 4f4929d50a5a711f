"""Dates, places and cameras of an index: read while indexing, added to older indexes, kept, and searched by."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing import decode
from mobileclip_kit.indexing.dumping import dump_index
from mobileclip_kit.indexing.importing import import_clip_retrieval
from mobileclip_kit.indexing.merging import merge_indexes
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.photo_facts import PhotoFacts
from mobileclip_kit.search.index import Index
from mobileclip_kit.search.request import Filters
from mobileclip_kit.search.spans import parse_near, parse_taken
from tests.index.older import age
from tests.indexing.fakes import ColourEncoder
from tests.photos import MAKE, MODEL, PARIS, TAKEN, save_photo

LONDON = {1: "N", 2: (51.0, 30.0, 26.0), 3: "W", 4: (0.0, 7.0, 39.0)}  # about 341 km from the Eiffel Tower
BY_FILE = datetime(2022, 3, 31, 23, 59, 59)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    save_photo(folder / "paris.jpg", exif={TAKEN: "2024:07:31 23:59:59"}, gps=PARIS, first={MAKE: "Canon", MODEL: "R5"})
    save_photo(folder / "trip" / "london.jpg", colour=(9, 9, 250), exif={TAKEN: "2024:08:01 00:00:00"}, gps=LONDON)
    save_photo(folder / "trip" / "old.jpg", colour=(9, 250, 9), exif={TAKEN: "1998:12:31 23:59:59"})
    file = save_photo(folder / "file.png", colour=(250, 250, 9))
    os.utime(file, (BY_FILE.timestamp(), BY_FILE.timestamp()))
    return folder


@pytest.fixture
def out(photos: Path, tmp_path: Path) -> Path:
    update(photos, tmp_path / "index")
    return tmp_path / "index"


def update(photos: Path, out: Path, encoder: ColourEncoder | None = None, **given: object) -> IndexReport:
    return update_index(photos, encoder or ColourEncoder(), out, IndexOptions(workers=1, **given))


def facts_of(out: Path) -> dict[str, PhotoFacts | None]:
    with IndexReader(out) as index:
        return {item.name: item.facts for item in index.store.items()}


def found(out: Path, **filters: object) -> list[str]:
    with Index(out, ColourEncoder()) as index:
        return sorted(hit.item.rpartition("/")[2].split(".")[0] for hit in index.search("red", **filters))


@pytest.mark.parametrize(
    ("taken", "names"),
    [
        ("2024-07", ["paris"]),
        ("2024-08", ["london"]),
        ("2024-08-01", ["london"]),
        ("2024-07-31..2024-08", ["london", "paris"]),
        ("2024", ["london", "paris"]),
        ("1998", ["old"]),
        ("..2022-03", ["file", "old"]),
        ("..2022-03-30", ["old"]),
        ("2022-03-31", ["file"]),  # by the time of its file
        ("2022-04..", ["london", "paris"]),
        ("0001..9999", ["file", "london", "old", "paris"]),
        ("9999-12-31", []),
        ("0001-01-01", []),
    ],
)
def test_images_are_found_by_when_they_were_taken(out: Path, taken: str, names: list[str]) -> None:
    assert found(out, taken=taken) == names


def test_images_are_found_by_place_camera_and_folder(out: Path) -> None:
    assert found(out, near="48.85,2.35,10") == found(out, near=(48.85, 2.35, 10)) == ["paris"]
    assert found(out, near="48.8582,2.2945,335") == ["paris"]
    assert found(out, near="48.8582,2.2945,345") == ["london", "paris"]
    assert found(out, near="-48.8582,-177.7055,1") == []
    assert found(out, camera="canon r") == ["paris"]
    assert found(out, camera="%") == []
    assert found(out, folder="trip", taken="2024") == ["london"]
    with pytest.raises(DataError, match="no images below a folder 'trap'"):
        found(out, folder="trap", taken="2024")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"taken": "2024-08..2024-07"}, "'2024-08..2024-07': it ends before it begins"),
        ({"taken": "2024-13"}, "'2024-13' is no time"),
        ({"taken": "0000"}, "'0000' is no time"),
        ({"taken": "10000"}, "'10000' is no time"),
        ({"taken": ".."}, "'..' is no time"),
        ({"taken": ""}, "'' is no time"),
        ({"taken": "2024..2025..2026"}, "is no time"),
        ({"taken": "2023-02-29"}, "'2023-02-29' is no time"),
        ({"near": "91,0,1"}, "'91,0,1' is no place on Earth"),
        ({"near": "0,181,1"}, "no place on Earth"),
        ({"near": "nan,0,1"}, "no place on Earth"),
        ({"near": "48,2"}, "written LAT,LON,KM"),
        ({"near": "48,2,0"}, "must be above 0 and at most 20016 km"),
        ({"near": (48.0, 2.0, float("inf"))}, "at most 20016 km, half of the way around the Earth"),
        ({"near": "48,2,nan"}, "at most 20016 km"),
        ({"near": "48,2,20017"}, "'48,2,20017' must be above 0 and at most 20016 km"),
        ({"near": "Paris"}, "written LAT,LON,KM"),
    ],
)
def test_spans_and_places_that_are_none_are_refused(filters: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Filters(**filters)


def test_a_span_includes_both_ends_and_its_parts_join() -> None:
    july, august, both = parse_taken("2024-07"), parse_taken("2024-08"), parse_taken("2024-07..2024-08")
    assert july.until_us == august.since_us and july.until_ns == august.since_ns
    assert (both.since_us, both.until_us) == (july.since_us, august.until_us)
    assert parse_taken("2024-07..").until_us is None is parse_taken("..2024").since_us
    assert parse_near(" 1, -2.5 ,3") == (1.0, -2.5, 3.0)


def test_an_older_index_gains_facts_without_decoding_and_opens_before(
    photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = facts_of(out)
    age(out, 3)
    assert set(facts_of(out).values()) == {None}
    assert found(out) == ["file", "london", "old", "paris"]
    with pytest.raises(UsageError, match="knows no places and cameras: an older mckit wrote it"):
        found(out, near="48.85,2.35,10")
    assert found(out, taken="2022") == ["file"]  # the times of files are known

    monkeypatch.setattr(decode.images, "load_pixels", None)  # no pixel is decoded
    encoder = ColourEncoder()
    assert (update(photos, out, encoder).headers, encoder.encoded) == (4, 0)
    assert update(photos, out).headers == 0
    for name, facts in facts_of(out).items():
        before = complete[name]
        assert facts is not None and before is not None
        assert (facts.taken_us, facts.latitude, facts.camera) == (before.taken_us, before.latitude, before.camera)
        assert facts.phash is None is not before.phash
    assert found(out, near="48.85,2.35,10") == ["paris"]


def test_facts_stay_with_images_that_move_are_touched_copied_or_merged(photos: Path, out: Path, tmp_path: Path) -> None:
    facts = facts_of(out)["paris.jpg"]
    (photos / "paris.jpg").rename(photos / "eiffel.jpg")
    shutil.copy(photos / "trip" / "london.jpg", photos / "twin.jpg")
    os.utime(photos / "trip" / "london.jpg", (5, 5))
    report = update(photos, out)
    assert (report.moved, report.added, report.decoded) == (1, 1, 0)
    now = facts_of(out)
    assert now["eiffel.jpg"] == facts and now["twin.jpg"] == now["trip/london.jpg"] is not None
    merge_indexes([out], tmp_path / "merged")
    assert facts_of(tmp_path / "merged") == now


def test_facts_are_dumped_and_come_back(photos: Path, out: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    dump_index(out, tmp_path / "dumped")
    import_clip_retrieval(tmp_path / "dumped", tmp_path / "with-images")
    assert facts_of(tmp_path / "with-images") == facts_of(out)
    shutil.rmtree(photos)
    import_clip_retrieval(tmp_path / "dumped", tmp_path / "alone")
    assert facts_of(tmp_path / "alone") == facts_of(out)
    assert found(tmp_path / "alone", near="48.85,2.35,10") == ["paris"]
