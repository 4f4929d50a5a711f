"""Parts made by many workers, and libraries that grew apart, in one index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, ModelMismatchError, OutputError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing.importing import import_vectors
from mobileclip_kit.indexing.merging import merge_indexes
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from tests.indexing.fakes import ColourEncoder, draw, draw_many
from tests.indexing.test_importing import raw, write

PARTS = 4


def contents(folder: Path) -> dict[str, list[float]]:
    with IndexReader(folder) as index:
        return {item.name: index.matrix[item.row].tolist() for item in index.store.items() if item.row is not None}


def test_four_workers_make_what_one_makes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_many(photos / "a", 30)
    draw(photos / "twin.png", (0, 255, 0))
    (photos / "broken.jpg").write_bytes(b"no image")
    encoder = ColourEncoder()
    parts = []
    for number in range(1, PARTS + 1):
        parts.append(tmp_path / f"part{number}")
        report = update_index(photos, encoder, parts[-1], IndexOptions(shard=f"{number}/{PARTS}"))
        assert 0 < report.items < 31
    assert encoder.encoded == 31, "every image belongs to one part"

    report = merge_indexes(parts, tmp_path / "merged")
    update_index(photos, encoder, tmp_path / "whole")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    assert (report.items, [item.name for item in report.failed]) == (31, ["broken.jpg"])
    assert report.missing_shards == []

    draw(photos / "late.png", (9, 9, 9))
    encoder = ColourEncoder()
    report = update_index(photos, encoder, tmp_path / "merged")
    assert (report.unchanged, report.added, encoder.encoded) == (31, 1, 1), "a merged index is kept up like any other"


def test_parts_that_are_missing_are_told(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 12)
    parts = [tmp_path / f"part{number}" for number in (1, 3)]
    for number, part in zip((1, 3), parts, strict=True):
        update_index(tmp_path / "photos", ColourEncoder(), part, IndexOptions(shard=f"{number}/{PARTS}"))
    assert merge_indexes(parts, tmp_path / "some").missing_shards == ["2/4", "4/4"]
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "whole")
    assert merge_indexes([*parts, tmp_path / "whole"], tmp_path / "all").missing_shards == []


def test_a_part_is_brought_up_to_date_as_that_part_only(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 12)
    first = update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "part", IndexOptions(shard="1/2"))
    assert (
        update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "part", IndexOptions(shard="1/2")).unchanged
        == first.items
    )
    with pytest.raises(UsageError, match="the part 1/2 of its folder"):
        update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "part", IndexOptions(shard="2/2"))
    with pytest.raises(UsageError, match="the part 1/2"):
        update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "part")


def test_different_folders_become_the_one_above_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw(tmp_path / "photos" / name / "same.png", (len(name), 1, ord(name[0])))
        update_index(tmp_path / "photos" / name, ColourEncoder(), tmp_path / f"{name}.index")
    merge_indexes([tmp_path / "one.index", tmp_path / "two.index"], tmp_path / "merged")
    assert set(contents(tmp_path / "merged")) == {"one/same.png", "two/same.png"}
    assert update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "merged").unchanged == 2


def test_machines_that_saw_the_folder_elsewhere_are_told_where_it_is(tmp_path: Path) -> None:
    draw_many(tmp_path / "here", 4)
    (tmp_path / "there").symlink_to(tmp_path / "here")
    update_index(tmp_path / "here", ColourEncoder(), tmp_path / "a", IndexOptions(shard="1/2"))
    draw_many(tmp_path / "copy", 4)
    update_index(tmp_path / "copy", ColourEncoder(), tmp_path / "b", IndexOptions(shard="2/2"))
    merge_indexes([tmp_path / "a", tmp_path / "b"], tmp_path / "merged", images=tmp_path / "here")
    assert set(contents(tmp_path / "merged")) == {f"000{number}.png" for number in range(4)}


def test_of_one_name_the_vector_wins_over_the_failure_and_the_newer_over_the_older(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw(photos / "red.png", (1, 2, 3))
    (photos / "late.png").write_bytes(b"not yet")
    update_index(photos, ColourEncoder(), tmp_path / "old")
    draw(photos / "red.png", (200, 2, 3))
    draw(photos / "late.png", (4, 5, 6))
    update_index(photos, ColourEncoder(), tmp_path / "new")
    for order in (["old", "new"], ["new", "old"]):
        merge_indexes([tmp_path / name for name in order], tmp_path / "-".join(order))
        assert contents(tmp_path / "-".join(order)) == contents(tmp_path / "new")


def test_one_index_is_copied_without_the_rows_of_removed_images(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 10)
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "a")
    (tmp_path / "photos" / "0003.png").unlink()
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "a")
    merge_indexes([tmp_path / "a"], tmp_path / "b")
    with IndexReader(tmp_path / "b") as index:
        assert len(index.matrix) == 9
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 2)
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "a")
    update_index(tmp_path / "photos", ColourEncoder(model_hash="dead"), tmp_path / "b")
    with pytest.raises(ModelMismatchError):
        merge_indexes([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(OutputError, match="one of the indexes"):
        merge_indexes([tmp_path / "a"], tmp_path / "a", IndexOptions(force=True))
    with pytest.raises(UsageError, match="nothing to merge"):
        merge_indexes([], tmp_path / "out")
    encoder = ColourEncoder()
    import_vectors(*write(tmp_path, raw(1), ["0000.png"]), tmp_path / "c", encoder=encoder)
    with pytest.raises(UsageError, match="with images"):
        merge_indexes([tmp_path / "a", tmp_path / "c"], tmp_path / "out")
    import_vectors(*write(tmp_path, -raw(1), ["0000.png"]), tmp_path / "d", encoder=encoder)
    with pytest.raises(DataError, match="another one"):
        merge_indexes([tmp_path / "c", tmp_path / "d"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge_indexes([tmp_path / "c", tmp_path / "c"], tmp_path / "out")
    np.testing.assert_allclose(contents(tmp_path / "out")["0000.png"], contents(tmp_path / "c")["0000.png"])
