"""The folder: readers beside a writer, the lock, headers, refusals."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import IndexFormatError, OutputError
from mobileclip_kit.files import read_json
from mobileclip_kit.index import folder as folder_module
from mobileclip_kit.index.folder import IndexHeader, IndexReader, create_index, open_writer, staged_index
from mobileclip_kit.index.selection import Selection
from mobileclip_kit.index.store import Item
from mobileclip_kit.spec import ModelSpec
from tests.index.older import age
from tests.index.vectors import unit_rows

DIM = 8
HEADER = IndexHeader(
    spec=ModelSpec(name="m", embedding_dim=DIM, image=None, text=None, model_hash="ff"),
    model="models/m",
    images=os.fsdecode(b"/photos/\xff"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_index(tmp_path / "index", HEADER)
    return tmp_path / "index"


def test_a_new_index_is_empty_and_keeps_its_header(folder: Path) -> None:
    with IndexReader(folder) as index:
        assert index.header == HEADER
        assert index.matrix.shape == (0, DIM)
        assert index.allowed_rows() is None


def test_readers_see_what_was_committed_when_they_opened(folder: Path) -> None:
    rows = unit_rows(3, DIM)
    with open_writer(folder) as writer:
        writer.store.put(Item(name="a", row=writer.matrix.append(rows[:1])))
        writer.commit()
        writer.store.put(Item(name="b", row=writer.matrix.append(rows[1:2])))
        with IndexReader(folder) as index:
            np.testing.assert_array_equal(index.matrix, rows[:1])
            writer.commit()
            assert len(index.matrix) == 1
    with IndexReader(folder) as index:
        np.testing.assert_array_equal(index.matrix, rows[:2])
        assert index.store.names_of([0, 1]) == {0: "a", 1: "b"}


def test_rows_of_removed_items_are_masked(folder: Path) -> None:
    with open_writer(folder) as writer:
        writer.matrix.append(unit_rows(3, DIM))
        for row, name in enumerate("abc"):
            writer.store.put(Item(name=name, row=row))
        writer.store.remove(["b"])
        writer.commit()
    with IndexReader(folder) as index:
        allowed = index.allowed_rows()
        assert allowed is not None
        assert allowed.tolist() == [True, False, True]


def test_a_second_writer_gets_a_clear_error(folder: Path) -> None:
    with open_writer(folder):
        code = (
            "from pathlib import Path; import sys\n"
            "from mobileclip_kit.index.folder import open_writer\n"
            "with open_writer(Path(sys.argv[1])): pass"
        )
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Another process is writing the index" in done.stderr
        with pytest.raises(IndexFormatError, match="Another process"), open_writer(folder):
            pass
    with open_writer(folder):
        pass


@pytest.mark.parametrize(
    "damage",
    [
        {"model": None},
        {"model": "m"},
        {"model_path": 7},
        {"images": []},
        {"shard": [1]},
        {"shard": "12"},
        {"derived": 3},
    ],
)
def test_a_damaged_header_is_told(folder: Path, damage: dict[str, object]) -> None:
    document = read_json(folder / "index.json")
    (folder / "index.json").write_text(json.dumps({**document, **damage}))
    with pytest.raises(IndexFormatError, match=f"index.json: {next(iter(damage))}.* it must (be|have)"):
        IndexReader(folder)


def test_a_lock_that_cannot_be_made_is_told(folder: Path) -> None:
    (folder / "writer.lock").unlink(missing_ok=True)
    (folder / "writer.lock").mkdir()
    with pytest.raises(OutputError, match="cannot be written"), open_writer(folder):
        pass


def test_force_replaces_an_index_but_nothing_else(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        create_index(folder, HEADER)
    with open_writer(folder), pytest.raises(IndexFormatError, match="Another process"):
        replace(folder)
    replace(folder)
    (tmp_path / "photos").mkdir()
    create_index(tmp_path / "photos", HEADER)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.jpg").touch()
    with pytest.raises(OutputError, match="not an index"):
        replace(tmp_path / "more")


def replace(folder: Path) -> None:
    with staged_index(folder, HEADER, force=True) as staging, open_writer(staging):
        pass


def test_folders_that_are_no_index_and_newer_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexFormatError, match="does not exist"):
        IndexReader(tmp_path / "none")
    with pytest.raises(IndexFormatError, match="not an index"):
        IndexReader(tmp_path)
    document = read_json(folder / "index.json")
    (folder / "index.json").write_text(json.dumps({**document, "format_version": 2}))
    with pytest.raises(IndexFormatError, match="version 2"):
        IndexReader(folder)


def damaged(folder: Path, value: float) -> IndexReader:
    """An index of 20 rows, the fourth of which has got this number."""
    with open_writer(folder) as writer:
        writer.matrix.append(unit_rows(20, DIM))
        for row in range(20):
            writer.store.put(Item(name=f"{row:02d}", row=row))
        writer.commit()
    with (folder / "vectors.f32").open("r+b") as stream:
        stream.seek(3 * DIM * 4)
        stream.write(np.float32(value).tobytes())
    age(folder, 2)
    return IndexReader(folder)


@pytest.mark.parametrize("value", [1.7e35, np.nan, np.inf, -3.0])
def test_a_damaged_row_is_no_hit(folder: Path, value: float) -> None:
    """Otherwise it ranks first with a score of 1.7e35, or its score is no JSON."""
    with damaged(folder, value) as index:
        queries = np.eye(DIM, dtype=np.float32)[:1]
        with pytest.raises(
            IndexFormatError, match=r"vectors\.f32 is damaged: row 3 has length .* instead of 1"
        ) as error:
            index.nearest(queries, 20)
        assert "--force" in (error.value.hint or "")
        allowed = np.arange(20) != 3  # what nobody finds harms nobody
        assert 3 not in index.nearest(queries, 20, allowed=allowed)[1]


def test_a_damaged_row_is_not_handed_out(folder: Path) -> None:
    with damaged(folder, np.nan) as index:
        np.testing.assert_array_equal(index.vectors([2, 4]), unit_rows(20, DIM)[[2, 4]])
        assert index.vectors([]).shape == (0, DIM)
        with pytest.raises(IndexFormatError, match="row 3 has length nan"):
            index.vectors([2, 3])


def flip(path: Path, byte: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as stream:
        stream.seek(byte)
        value = stream.read(1)[0] ^ 1 << bit
        stream.seek(byte)
        stream.write(bytes([value]))


@pytest.mark.parametrize("rows", [1, 20, 5000])
def test_a_flipped_bit_of_the_matrix_is_found(folder: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the least one of a row that stays of length 1; in a large matrix when the row is found, or asked for."""
    for first in range(0, rows, 1500):  # several commits share a block
        with open_writer(folder) as writer:
            count = min(1500, rows - first)
            row = writer.matrix.append(unit_rows(count, DIM))
            for offset in range(count):
                writer.store.put(Item(name=f"{row + offset}", row=row + offset))
            writer.commit()
    with IndexReader(folder) as index:
        index.check_matrix()
    flip(folder / "vectors.f32", (rows - 1) * DIM * 4)
    with pytest.raises(IndexFormatError, match=rf"vectors\.f32 is damaged: rows \d+ to {rows - 1} are not") as error:
        IndexReader(folder)
    assert "--force" in (error.value.hint or "")
    monkeypatch.setattr(folder_module, "_CHECKED_AT_ONCE_BYTES", 0)
    with IndexReader(folder) as index:
        if rows == 5000:
            index.vectors([0])
        with pytest.raises(IndexFormatError, match="are not what was written"):
            index.vectors([rows - 1])
        with pytest.raises(IndexFormatError, match="are not what was written"):
            index.check_matrix()
    with open_writer(folder) as writer, pytest.raises(IndexFormatError, match="are not what was written"):
        writer.store.remove(["0"])
        writer.compact()


def test_a_thread_checks_the_matrix_without_the_store(folder: Path) -> None:
    """Its connection may be closed, or in use, while a thread reads the matrix: SQLite would end the process."""
    with open_writer(folder) as writer:
        writer.matrix.append(unit_rows(3, DIM))
        writer.store.put(Item(name="a", row=2))
        writer.commit()
    index = IndexReader(folder)
    sums = index.store.sums()
    index.close()
    index.check_matrix(sums)
    flip(folder / "vectors.f32", 2 * DIM * 4)
    with pytest.raises(IndexFormatError, match="are not what was written"):
        index.check_matrix(sums)


def test_a_changed_number_of_rows_is_found(folder: Path) -> None:
    """Fewer rows would hide images from every search."""
    with open_writer(folder) as writer:
        writer.matrix.append(unit_rows(3, DIM))
        writer.commit()
    with contextlib.closing(sqlite3.connect(folder / "items.sqlite")) as connection, connection:
        connection.execute("UPDATE matrix SET rows = 2")
    with pytest.raises(IndexFormatError, match=r"items\.sqlite is damaged: its number of rows"):
        IndexReader(folder)


@pytest.mark.parametrize("change", ["mtime_ns = mtime_ns + 4", "name = CAST('trjp/b' AS BLOB)", "row = -2"])
def test_a_changed_item_changes_no_filter(folder: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters read columns without looking at the items' checksums."""
    with open_writer(folder) as writer:
        writer.matrix.append(unit_rows(3, DIM))
        for row, name in enumerate(["trip/a", "trip/b", "c"]):
            writer.store.put(Item(name=name, row=row, mtime_ns=row))
        writer.commit()
    with contextlib.closing(sqlite3.connect(folder / "items.sqlite")) as connection, connection:
        connection.execute(f"UPDATE items SET {change} WHERE row = 1")
    with pytest.raises(IndexFormatError, match=r"items\.sqlite is damaged"):
        IndexReader(folder)
    monkeypatch.setattr(folder_module, "_CHECKED_AT_ONCE_BYTES", 0)
    if change.startswith("row"):
        with IndexReader(folder) as index, pytest.raises(IndexFormatError, match="damaged: an item lies in row -2"):
            index.allowed_rows(Selection(folder="trip"))


def test_indexes_without_checksums_get_them_from_their_next_writer(folder: Path) -> None:
    with open_writer(folder) as writer:
        writer.matrix.append(unit_rows(3, DIM))
        writer.store.put(Item(name="a", row=0))
        writer.store.put(Item(name="b", row=2))
        writer.commit()
    age(folder, 2)
    with IndexReader(folder) as index:
        assert index.store.sums() == []
        assert [item.name for item in index.store.items()] == ["a", "b"]
    with open_writer(folder) as writer:
        writer.commit()
    with IndexReader(folder) as index:
        assert [block.rows for block in index.store.sums()] == [3]
        index.store.check()
    with open_writer(folder) as writer:
        assert writer.compact() == 1
    with IndexReader(folder) as index:
        assert [block.rows for block in index.store.sums()] == [2]
        index.store.check()
        assert index.store.names_of([0, 1]) == {0: "a", 1: "b"}
