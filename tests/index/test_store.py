"""The journal: names of any bytes, commits, filters, damage."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from mobileclip_kit.errors import IndexFormatError
from mobileclip_kit.index.selection import Selection
from mobileclip_kit.index.store import Item, Store

DIGEST = "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Store.create(tmp_path / "items.sqlite")
    return tmp_path / "items.sqlite"


def put(path: Path, *items: Item) -> None:
    store = Store.open(path, writable=True)
    for item in items:
        store.put(item)
    store.commit(sum(item.row is not None for item in items))
    store.close()


@pytest.mark.parametrize(
    "name", ["a.jpg", "line\nbreak.jpg", "quo\"te's.jpg", "🐈/猫.jpg", os.fsdecode(b"\xff\xfe.jpg")]
)
def test_names_of_any_bytes_come_back(path: Path, name: str) -> None:
    item = Item(name=name, size_bytes=1, mtime_ns=2, sha256=DIGEST, row=0)
    put(path, item)
    store = Store.open(path, writable=False)
    assert store.find(name) == store.item_in_row(0) == item
    assert store.item_in_row(7) is None
    assert list(store.listing()) == [(0, name, 2)]
    assert store.names_of([0, 7]) == {0: name}
    store.close()


def test_what_is_not_committed_never_happened(path: Path) -> None:
    store = Store.open(path, writable=True)
    store.put(Item(name="a", row=0))
    store.close()
    store = Store.open(path, writable=True)
    assert store.rows == 0
    assert list(store.items()) == []
    store.close()


def test_put_replaces_and_remove_forgets(path: Path) -> None:
    store = Store.open(path, writable=True)
    store.put(Item(name="a", row=0))
    store.put(Item(name="a", reason="damaged"))
    store.put(Item(name="b", row=1))
    store.remove(["missing"])
    store.commit(2)
    assert [(item.name, item.row) for item in store.items()] == [("a", None), ("b", 1)]
    assert [item.reason for item in store.failures()] == ["damaged"]
    assert (store.rows, store.vectors) == (2, 1)
    store.close()


def test_filters_by_folder_and_time(path: Path) -> None:
    names = ["a.jpg", "trip/1.jpg", "trip/2.jpg", "trip2/1.jpg"]
    put(path, *(Item(name=name, mtime_ns=10 * row, row=row) for row, name in enumerate(names)))
    store = Store.open(path, writable=False)
    assert sorted(store.living_rows(Selection(folder="trip"))) == [1, 2]
    assert sorted(store.living_rows(Selection(folder="trip/", since_ns=20))) == [2]
    assert sorted(store.living_rows(Selection(since_ns=10, until_ns=30))) == [1, 2]
    store.close()


def test_names_of_more_rows_than_one_statement_takes(path: Path) -> None:
    put(path, *(Item(name=f"{row}", row=row) for row in range(2500)))
    store = Store.open(path, writable=False)
    assert store.names_of(range(2500)) == {row: f"{row}" for row in range(2500)}
    store.close()


def test_a_vector_and_a_reason_exclude_each_other(path: Path) -> None:
    store = Store.open(path, writable=True)
    with pytest.raises(IndexFormatError):
        store.put(Item(name="a", row=0, reason="damaged"))
    store.close()


def test_damaged_missing_and_newer_stores_are_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(IndexFormatError, match="missing"):
        Store.open(tmp_path / "none.sqlite", writable=False)
    (tmp_path / "garbage.sqlite").write_bytes(b"no database at all, " * 100)
    with pytest.raises(IndexFormatError, match="garbage.sqlite"):
        Store.open(tmp_path / "garbage.sqlite", writable=False)
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(IndexFormatError, match="version 0"):
        Store.open(tmp_path / "empty.sqlite", writable=False)


def test_readers_cannot_write(path: Path) -> None:
    store = Store.open(path, writable=False)
    with pytest.raises(IndexFormatError):
        store.put(Item(name="a", row=0))
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "row = 1",
        "name = x'62'",
        "name = 5",
        "size_bytes = 8",
        "mtime_ns = NULL",
        "sha256 = 'text'",
        "checksum = checksum + 1",
    ],
)
def test_an_item_that_was_changed_is_named(path: Path, change: str) -> None:
    """A flipped bit may leave the database whole."""
    put(path, Item(name="a.jpg", size_bytes=9, mtime_ns=2, sha256=DIGEST, row=0))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE matrix SET rows = 2")
        connection.execute(f"UPDATE items SET {change}")
    store = Store.open(path, writable=False)
    for read in (lambda: list(store.items()), lambda: store.names_of([0, 1]), store.check):
        with pytest.raises(
            IndexFormatError, match=r"items\.sqlite is damaged: the entry of .* is not what was written"
        ):
            read()
    assert len(store.stamps()) == 1  # whose checksums are not compared, so that names may be anything
    store.close()


def test_a_number_of_rows_that_does_not_fit_is_found(path: Path) -> None:
    put(path, Item(name="a.jpg", row=0))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE matrix SET rows = 0")
    store = Store.open(path, writable=False)
    with pytest.raises(IndexFormatError, match="lies in row 0 of 0"):
        store.check()
    store.close()


def test_a_schema_that_is_no_text_is_told(path: Path) -> None:
    data = path.read_bytes()
    for name in (b"TABLE matrix", b"TABLE items"):
        path.write_bytes(data.replace(name, b"T\xf3BLE" + name[5:]).replace(b"NOT NULL", b"N\xf3T NULL"))
        with pytest.raises(IndexFormatError, match=r"items\.sqlite"):
            Store.open(path, writable=False).rows  # noqa: B018


def test_a_store_that_is_filled_at_once_is_the_one_that_single_items_make(tmp_path: Path) -> None:
    names = ["b.jpg", "a'\n.jpg", os.fsdecode(b'\xff"\\.jpg')]
    failed = Item(name="c.jpg", reason="It is no image.")
    Store.create(tmp_path / "filled")
    with contextlib.closing(Store.open(tmp_path / "filled", writable=True)) as store:
        with store.filling():
            store.add_rows(names, 7)
            store.put(failed)
        store.commit(10)
        store.check()
        assert {item.row: item for item in store.items()} == {
            None: failed, **{row: Item(name=name, row=row) for row, name in enumerate(names, start=7)}
        }  # fmt: skip
        store.put(Item(name="b.jpg", row=1))  # replaces, as ever
        assert store.find("b.jpg") == Item(name="b.jpg", row=1)


def test_a_store_cannot_be_filled_with_two_items_of_one_name(tmp_path: Path) -> None:
    Store.create(tmp_path / "filled")
    with contextlib.closing(Store.open(tmp_path / "filled", writable=True)) as store:
        with pytest.raises(IndexFormatError, match="UNIQUE"), store.filling():
            store.add_rows(["a.jpg", "a.jpg"], 0)


_ENDLESS = "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t)"


@pytest.mark.parametrize(
    "statements",
    [
        f"ALTER TABLE items RENAME TO others; CREATE VIEW items AS SELECT * FROM others WHERE {_ENDLESS}",
        f"CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items WHERE {_ENDLESS}; END",
        "ALTER TABLE items ADD COLUMN large AS (hex(zeroblob(100000000)))",
    ],
)
def test_no_statement_of_a_store_from_elsewhere_is_run(path: Path, statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
    for writable in (False, True):
        with pytest.raises(IndexFormatError, match=r"items\.sqlite holds a view, a trigger or a computed column"):
            Store.open(path, writable=writable)
