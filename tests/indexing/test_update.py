"""Building an index and bringing it up to date."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, IndexFormatError, ModelError, ModelMismatchError, OutputError
from mobileclip_kit.images import load_pixels
from mobileclip_kit.index.folder import IndexReader, open_writer
from mobileclip_kit.index.store import Stamp, Store
from mobileclip_kit.indexing.listing import Found
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.indexing.scan import Changes, nothing_changed
from mobileclip_kit.indexing.update import update_index
from tests.indexing.fakes import COLOURS, ColourEncoder, NanEncoder, draw, draw_many


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        draw(tmp_path / "photos" / f"{name}.png", colour)
    for number in range(7):
        draw(tmp_path / "photos" / "more" / f"{number}.png", (number * 30, 9, 9))
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "index"


def update(photos: Path, out: Path, encoder: ColourEncoder | None = None, **given: object) -> IndexReport:
    confirm: Any = given.pop("confirm", None)
    options = IndexOptions(batch_size=4, workers=2, **given)
    return update_index(photos, encoder or ColourEncoder(), out, options, confirm=confirm)


def contents(out: Path) -> dict[str, list[float]]:
    with IndexReader(out) as index:
        return {item.name: index.matrix[item.row].tolist() for item in index.store.items() if item.row is not None}


def test_builds_an_index_of_unit_vectors_in_their_rows(photos: Path, out: Path) -> None:
    encoder = ColourEncoder()
    report = update(photos, out, encoder)
    assert (report.items, report.added, report.failed) == (10, 10, [])
    assert report.images_per_s > 0
    found = contents(out)
    assert set(found) == {"red.png", "green.png", "blue.png", *(f"more/{n}.png" for n in range(7))}
    for name, vector in found.items():
        expected = encoder.encode_images(load_pixels(photos / name, encoder.spec.require_image())[None])[0]
        np.testing.assert_array_equal(np.float32(vector), expected)


def test_an_unchanged_folder_costs_no_encoding(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update(photos, out)
    monkeypatch.setattr(Store, "items", None)  # reading every item takes longer than listing the folder
    encoder = ColourEncoder()
    report = update(photos, out, encoder)
    assert encoder.encoded == 0
    assert (report.items, report.unchanged, report.added, report.updated, report.removed) == (10, 10, 0, 0, 0)
    assert report.images_per_s == 0


def test_a_name_that_comes_twice_hides_no_image_that_vanished(photos: Path) -> None:
    """A tar may hold two images of one name."""
    library = [Found(str(photos / "red.png"), "red.png", 9, 1)] * 2
    stamps: dict[str, Stamp] = {"red.png": (9, 1, True), "green.png": (9, 1, True)}
    assert nothing_changed(library, stamps) is None
    assert nothing_changed(library[:1], {"red.png": (9, 1, True)}) == Changes(unchanged=1)


def test_touched_images_keep_their_vectors(photos: Path, out: Path) -> None:
    update(photos, out)
    before = contents(out)
    os.utime(photos / "red.png", (1, 1))
    encoder = ColourEncoder()
    report = update(photos, out, encoder)
    assert (encoder.encoded, report.unchanged, report.updated) == (0, 10, 0)
    assert contents(out) == before
    assert update(photos, out).unchanged == 10


def test_changed_images_get_new_vectors(photos: Path, out: Path) -> None:
    update(photos, out)
    before = contents(out)
    draw(photos / "red.png", COLOURS["green"])
    encoder = ColourEncoder()
    report = update(photos, out, encoder)
    assert (report.updated, report.added, report.unchanged) == (1, 0, 9)
    after = contents(out)
    assert after["red.png"] == before["green.png"]
    assert encoder.encoded == 0, "the content is that of green.png, which has a vector"
    draw(photos / "red.png", (1, 2, 3))
    assert update(photos, out, encoder).updated == encoder.encoded == 1


def test_moved_images_keep_their_rows(photos: Path, out: Path) -> None:
    update(photos, out)
    before = contents(out)
    (photos / "more").rename(photos / "elsewhere")
    encoder = ColourEncoder()
    report = update(photos, out, encoder)
    assert (report.moved, report.removed, report.added, encoder.encoded) == (7, 0, 0, 0)
    assert contents(out) == {name.replace("more/", "elsewhere/"): vector for name, vector in before.items()}
    with IndexReader(out) as index:
        assert index.allowed_rows() is None


def test_exchanged_names_exchange_their_vectors(photos: Path, out: Path) -> None:
    update(photos, out)
    before = contents(out)
    (photos / "red.png").rename(photos / "temporary")
    (photos / "blue.png").rename(photos / "red.png")
    (photos / "temporary").rename(photos / "blue.png")
    # Same size and time would hide the exchange from any tool that does not read the files.
    os.utime(photos / "red.png", (1, 1))
    os.utime(photos / "blue.png", (2, 2))
    update(photos, out)
    after = contents(out)
    assert (after["red.png"], after["blue.png"]) == (before["blue.png"], before["red.png"])


def test_deleted_images_are_forgotten(photos: Path, out: Path) -> None:
    update(photos, out)
    (photos / "red.png").unlink()
    report = update(photos, out)
    assert (report.removed, report.items) == (1, 9)
    assert "red.png" not in contents(out)


def test_duplicates_are_encoded_once_and_both_found(photos: Path, out: Path) -> None:
    update(photos, out)
    (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
    encoder = ColourEncoder()
    assert update(photos, out, encoder).added == 1
    assert encoder.encoded == 0
    assert contents(out)["copy.png"] == contents(out)["red.png"]


def test_a_vanished_library_is_not_forgotten_unasked(photos: Path, out: Path) -> None:
    update(photos, out)
    before = contents(out)
    for path in (photos / "more").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="7 of the index's 10 images") as caught:
        update(photos, out)
    assert "Add prune=True" in str(caught.value)
    assert contents(out) == before
    assert update(photos, out, prune=True).removed == 7
    assert len(contents(out)) == 3


def test_failures_are_kept_with_their_reason_and_retried_on_request(photos: Path, out: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    (photos / "empty.png").touch()
    report = update(photos, out)
    assert [item.name for item in report.failed] == ["broken.jpg", "empty.png"]
    assert report.items == 10
    assert report.failed[1].reason == "empty.png is empty."
    assert report.to_json()["failed"][1] == {"item": "empty.png", "reason": "empty.png is empty."}
    again = update(photos, out)
    assert (again.unchanged, again.decoded, len(again.failed)) == (10, 0, 2)
    assert update(photos, out, retry_failed=True).unchanged == 10

    draw(photos / "empty.png", (5, 5, 5))
    mended = update(photos, out)
    assert (mended.updated, [item.name for item in mended.failed]) == (1, ["broken.jpg"])


def test_a_link_that_leads_nowhere_is_stated_or_has_vanished(photos: Path, out: Path) -> None:
    target = draw(photos.parent / "elsewhere.png", (1, 2, 3))
    (photos / "link.png").symlink_to(target)
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    (photos / "loop.png").symlink_to(photos / "loop.png")
    report = update(photos, out)
    assert (report.items, sorted(item.name for item in report.failed)) == (11, ["gone.png", "loop.png"])
    assert update(photos, out).unchanged == 11
    target.unlink()
    assert update(photos, out).removed == 1


@pytest.mark.parametrize("year", [1600, 2300])
def test_a_time_that_no_store_can_hold_is_no_obstacle(photos: Path, out: Path, year: int) -> None:
    """Nanoseconds in 64 bits reach from 1677 to 2262; file systems reach further."""
    moment = (year - 1970) * 31_556_952
    os.utime(photos / "red.png", (moment, moment))
    if abs((photos / "red.png").stat().st_mtime - moment) > 1:
        pytest.skip("this file system knows no such time")
    assert update(photos, out).items == 10
    assert update(photos, out).unchanged == 10


def test_content_that_changed_behind_size_and_time_is_found_on_request(photos: Path, out: Path) -> None:
    image = photos / "red.bmp"
    draw(image, (220, 20, 20))
    moment = image.stat().st_mtime_ns
    update(photos, out)
    before = contents(out)
    draw(image, (20, 20, 220))
    os.utime(image, ns=(moment, moment))
    assert update(photos, out).unchanged == 11
    encoder = ColourEncoder()
    report = update(photos, out, encoder, rehash=True)
    assert (report.updated, report.unchanged, encoder.encoded) == (1, 10, 1)
    after = contents(out)
    assert [name for name in before if before[name] != after[name]] == ["red.bmp"]


def test_an_image_that_breaks_loses_its_vector(photos: Path, out: Path) -> None:
    update(photos, out)
    (photos / "red.png").write_bytes(b"overwritten")
    report = update(photos, out)
    assert [item.name for item in report.failed] == ["red.png"]
    assert "red.png" not in contents(out)
    with IndexReader(out) as index:
        allowed = index.allowed_rows()
        assert allowed is not None
        assert allowed.sum() == 9


def test_vectors_that_are_not_finite_are_refused(photos: Path, out: Path) -> None:
    report = update(photos, out, NanEncoder(always=False))
    assert [item.name for item in report.failed] == ["red.png"]
    assert "not finite" in str(report.failed[0].reason)
    assert report.items == 9
    with pytest.raises(ModelError, match="not finite"):
        update(photos, out.with_name("other"), NanEncoder(always=True))


def test_another_model_is_refused(photos: Path, out: Path) -> None:
    update(photos, out)
    with pytest.raises(ModelMismatchError):
        update(photos, out, ColourEncoder(model_hash="dead"))


def test_a_second_process_is_refused(photos: Path, out: Path) -> None:
    update(photos, out)
    with open_writer(out), pytest.raises(IndexFormatError, match="Another process"):
        update(photos, out)


def test_a_folder_without_images_is_no_library_but_an_indexed_one_may_become_empty(tmp_path: Path, out: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"none holds no images\.$"):
        update(tmp_path / "none", out)
    (tmp_path / "none" / "shard.tar").touch()
    with pytest.raises(DataError, match="Add tars=True"):
        update(tmp_path / "none", out)
    assert not out.exists()
    only = draw(tmp_path / "few" / "only.png", (1, 2, 3))
    parts = [update(tmp_path / "few", tmp_path / f"part{number}", shard=f"{number}/2").items for number in (1, 2)]
    assert sorted(parts) == [0, 1], "a part of a library may be empty"
    assert update(tmp_path / "few", out).items == 1
    only.unlink()
    assert (update(tmp_path / "few", out, prune=True).removed, contents(out)) == (1, {})
    assert update(tmp_path / "few", out).items == 0
    with pytest.raises(DataError, match="holds no images"):
        update(tmp_path / "few", out, force=True)


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names must be UTF-8 there")
def test_names_of_any_bytes_are_indexed(photos: Path, out: Path) -> None:
    names = [os.fsdecode(b"bad\xff.png"), "line\nbreak.png", "🐈.png", "a\"b'c.png"]
    for name in names:
        draw(photos / name, (len(name), 100, 100))
    (photos / os.fsdecode(b"broken\xfe.png")).write_bytes(b"x")
    report = update(photos, out)
    assert set(names) <= set(contents(out))
    assert "broken\\xfe.png" in str(report.failed[0].reason).replace("\\udcfe", "\\xfe")
    assert update(photos, out).unchanged == 14


def test_relative_folders_give_the_same_names(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update(photos, out)
    monkeypatch.chdir(photos)
    assert update(Path("."), out).unchanged == 10


def test_places_that_cannot_be_used(photos: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        update(tmp_path / "none", out)
    with pytest.raises(DataError, match="not a folder"):
        update(photos / "red.png", out)
    with pytest.raises(OutputError, match="not an index"):
        update(photos, photos)


def test_commits_now_and_then(photos: Path, out: Path) -> None:
    draw_many(photos / "many", 40)

    class Watching(ColourEncoder):
        seen: list[int] = []

        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            with IndexReader(out) as index:
                self.seen.append(len(index.matrix))
            return super().encode_images(pixels)

    update_index(photos, Watching(), out, IndexOptions(batch_size=4, commit_items=8))
    assert sorted(set(Watching.seen)) == list(range(0, 50, 8))


def test_what_was_finished_before_an_error_stays(photos: Path, out: Path) -> None:
    class Failing(ColourEncoder):
        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            if self.encoded >= 4:
                raise KeyboardInterrupt
            return super().encode_images(pixels)

    with pytest.raises(KeyboardInterrupt):
        update(photos, out, Failing())
    assert len(contents(out)) == 4
    assert update(photos, out).added == 6


def staged(out: Path) -> list[Path]:
    return list(out.parent.glob(f".{out.name}.*.staged"))


class Interrupted(ColourEncoder):
    """Stops after four images, as Ctrl-C would."""

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        """Mean colours, ``(n, 6)``."""
        if self.encoded >= 4:
            raise KeyboardInterrupt
        return super().encode_images(pixels)


def test_an_interrupted_rebuild_leaves_the_old_index_and_is_continued(photos: Path, out: Path) -> None:
    update(photos, out)
    before = contents(out)
    with pytest.raises(KeyboardInterrupt):
        update(photos, out, Interrupted("another"), force=True)
    assert contents(out) == before
    with IndexReader(out) as index:
        assert index.spec.model_hash == ColourEncoder().spec.model_hash
    encoder = ColourEncoder("another")
    report = update(photos, out, encoder, force=True)
    assert (report.items, report.unchanged, report.added, encoder.encoded) == (10, 4, 6, 6)
    with IndexReader(out) as index:
        assert index.spec.model_hash == "another"
    assert contents(out) == before  # the fakes see alike
    assert sorted(path.name for path in out.parent.iterdir()) == ["index", "photos"]


@pytest.mark.parametrize("other", ["model", "decoding", "damaged"])
def test_a_rebuild_begins_anew_where_the_interrupted_one_was_another(photos: Path, out: Path, other: str) -> None:
    update(photos, out)
    with pytest.raises(KeyboardInterrupt):
        update(photos, out, Interrupted(), force=True)
    if other == "damaged":
        (staged(out)[0] / "items.sqlite").write_bytes(b"damaged" * 100)
    encoder = ColourEncoder("another" if other == "model" else "c0ffee")
    assert update(photos, out, encoder, force=True, exact_pixels=other == "decoding").added == 10
    assert sorted(path.name for path in out.parent.iterdir()) == ["index", "photos"]


def test_what_an_interrupted_rebuild_left_goes_with_the_next_update(photos: Path, out: Path) -> None:
    update(photos, out)
    with pytest.raises(KeyboardInterrupt):
        update(photos, out, Interrupted(), force=True)
    assert len(staged(out)) == 1
    assert update(photos, out).unchanged == 10
    assert not staged(out)


def test_a_rebuild_that_did_nothing_leaves_nothing(photos: Path, out: Path) -> None:
    update(photos, out)
    with pytest.raises(ModelError):
        update(photos, out, NanEncoder(always=True), force=True)
    assert len(contents(out)) == 10
    assert sorted(path.name for path in out.parent.iterdir()) == ["index", "photos"]


def test_nobody_writes_an_index_that_is_being_rebuilt(photos: Path, out: Path) -> None:
    """The old one would take what the swap throws away; it can be read, though."""
    update(photos, out)
    refused = []

    class Meanwhile(ColourEncoder):
        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            assert len(contents(out)) == 10
            for rebuild in (False, True):
                with pytest.raises(IndexFormatError, match="Another process is writing the index"):
                    update(photos, out, force=rebuild)
                refused.append(rebuild)
            return super().encode_images(pixels)

    assert update(photos, out, Meanwhile(), force=True).added == 10
    assert refused[:2] == [False, True]
    assert update(photos, out).unchanged == 10


def test_several_encoders_give_the_index_that_one_gives(photos: Path, out: Path) -> None:
    draw_many(photos / "many", 60)
    (photos / "many" / "broken.png").write_bytes(b"x")
    options = IndexOptions(batch_size=4, encoders=3, commit_items=8)
    report = update_index(photos, ColourEncoder(seconds=0.002), out, options)
    assert (report.items, len(report.failed)) == (70, 1)
    update_index(photos, ColourEncoder(), out.with_name("one"), IndexOptions(batch_size=4))
    assert contents(out) == contents(out.with_name("one"))


def test_several_encoders_begin_with_one_image_that_loads_the_model(photos: Path, out: Path) -> None:
    draw_many(photos / "many", 20)
    sizes: list[int] = []

    class Noting(ColourEncoder):
        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            sizes.append(len(pixels))
            return super().encode_images(pixels)

    update_index(photos, Noting(), out, IndexOptions(batch_size=5, encoders=2))
    assert sizes[0] == 1
    assert sorted(sizes[1:]) == [5] * 6


def test_what_was_stored_before_an_error_of_several_encoders_stays(photos: Path, out: Path) -> None:
    draw_many(photos / "many", 40)

    class Failing(ColourEncoder):
        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            if self.encoded >= 20:
                raise ModelError("The model has had enough.")
            return super().encode_images(pixels)

    with pytest.raises(ModelError, match="enough"):
        update_index(photos, Failing(), out, IndexOptions(batch_size=4, encoders=2, workers=1))
    stored = len(contents(out))
    assert 4 <= stored <= 24
    assert update_index(photos, ColourEncoder(), out).added == 50 - stored


def test_a_rebuilt_index_keeps_the_textness_vector_of_its_model(photos: Path, out: Path) -> None:
    update(photos, out)
    (out / "textness.json").write_text("kept")
    update(photos, out, force=True)
    assert (out / "textness.json").read_text() == "kept"


def test_an_updated_index_holds_what_a_new_one_holds(photos: Path, out: Path) -> None:
    update(photos, out)
    (photos / "red.png").unlink()
    (photos / "more" / "1.png").rename(photos / "moved.png")
    draw(photos / "more" / "2.png", (9, 200, 9), size=33)
    draw(photos / "new.png", (1, 2, 3))
    update(photos, out)
    update(photos, out.with_name("anew"))
    assert contents(out) == contents(out.with_name("anew"))
