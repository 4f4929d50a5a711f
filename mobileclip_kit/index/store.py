"""The journal of an index: which images it holds, and in which row of the matrix each one's vector lies.

SQLite is the source of truth: whatever else lies in the folder counts only as far as a committed transaction says so.
Names are stored as bytes, so that every file name that a system allows finds its way back to its file.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from mobileclip_kit.arrays import parts_of
from mobileclip_kit.errors import IndexFormatError, OutputError, UsageError
from mobileclip_kit.index.selection import EVERYTHING, Selection, distance_km
from mobileclip_kit.index.vectors import BlockSum
from mobileclip_kit.photo_facts import PhotoFacts

_SCHEMA_VERSION = 4
# Version 1 had no generations; its readers know the first one only. Version 2 had no checksums, version 3 no facts.
_READABLE_VERSIONS = (1, 2, 3, 4)
_FACTS = tuple(field.name for field in fields(PhotoFacts))
_NO_FACTS = (None,) * len(_FACTS)
_FACT_TYPES = {"latitude": "REAL", "longitude": "REAL", "camera": "TEXT"}
_DECLARED_FACTS = ", ".join(f"{name} {_FACT_TYPES.get(name, 'INTEGER')}" for name in _FACTS)
# Stores that an older mckit made have UNIQUE columns instead, which cannot be dropped for a while.
_INDEXES = "CREATE UNIQUE INDEX items_name ON items (name); CREATE UNIQUE INDEX items_row ON items (row);"
_SCHEMA = f"""
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL,
    size_bytes INTEGER,
    mtime_ns INTEGER,
    sha256 BLOB,
    row INTEGER,
    reason TEXT,
    checksum INTEGER,
    {_DECLARED_FACTS},
    CHECK ((row IS NULL) <> (reason IS NULL))
);
{_INDEXES}
CREATE TABLE matrix (rows INTEGER NOT NULL, generation INTEGER NOT NULL DEFAULT 0);
INSERT INTO matrix VALUES (0, 0);
"""
_BLOCKS = """
CREATE TABLE blocks (
    generation INTEGER NOT NULL,
    block INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (generation, block)
) WITHOUT ROWID;
"""
# What would run statements of the file's author when an item is read or written: such a statement need not end.
_FOREIGN = """
SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'
UNION ALL SELECT 1 FROM pragma_table_xinfo('items') WHERE hidden <> 0
UNION ALL SELECT 1 FROM pragma_table_xinfo('matrix') WHERE hidden <> 0
UNION ALL SELECT 1 FROM pragma_table_xinfo('blocks') WHERE hidden <> 0
"""
_COLUMNS = "name, size_bytes, mtime_ns, sha256, row, reason"
_ALL_COLUMNS = ", ".join((_COLUMNS, *_FACTS))
_FACTS_GONE = ", ".join(f"{name} = NULL" for name in _FACTS)


def _insert_statement(columns: str) -> str:
    names = [*columns.split(", "), "checksum"]
    return f"INSERT INTO items ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _put_statement(columns: str, rest: str = "") -> tuple[str, str]:
    """What adds an item, and what has to follow where one of the same name shall be replaced."""
    names = [*columns.split(", ")[1:], "checksum"]
    updates = ", ".join((*(f"{name} = excluded.{name}" for name in names), *filter(None, [rest])))
    return _insert_statement(columns), f" ON CONFLICT (name) DO UPDATE SET {updates}"


# Binding a value costs as much as storing it: items without facts, such as a million imported vectors, bind fewer.
_ADD_ROW = _insert_statement("name, row")
_PUT, _PUT_WITHOUT_FACTS = _put_statement(_ALL_COLUMNS), _put_statement(_COLUMNS, _FACTS_GONE)
# What has to be done to a store of each older version; the matrix's checksums are computed by its next writer.
_UPGRADES = {
    1: "ALTER TABLE matrix ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;",
    2: f"ALTER TABLE items ADD COLUMN checksum INTEGER; {_BLOCKS} "
    f"UPDATE items SET checksum = item_checksum({_COLUMNS});",
    3: " ".join(f"ALTER TABLE items ADD COLUMN {declared};" for declared in _DECLARED_FACTS.split(", ")),
}
_BUSY_SECONDS = 30.0
# Size and modification time of an item's file, and whether the item has a row.
Stamp = tuple[int | None, int | None, bool]
_CHECKED_AT_ONCE = 4096
# SQLite takes at least 999 variables in one statement, whatever its version.
_VARIABLES = 900


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of an index: either it has a row of the matrix, or a reason why not.

    Attributes:
        name: Path relative to the indexed folder, with ``/``; bytes that are not UTF-8 are surrogate-escaped.
        size_bytes: The file's size when it was read; None for vectors made elsewhere.
        mtime_ns: The file's modification time then, in nanoseconds since 1970.
        sha256: Hex digest of the file's bytes; None when it could not be read.
        row: Row of the matrix, or None after a failure.
        reason: Why the image has no vector, or None.
        facts: What its header says, and its perceptual hash; None when nobody has looked yet.
    """

    name: str
    size_bytes: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    row: int | None = None
    reason: str | None = None
    facts: PhotoFacts | None = None


class Store:
    """The items of one index. Changes count when :meth:`commit` returns.

    Attributes:
        path: The file.
        has_facts: Whether it has columns for :class:`PhotoFacts`; older versions that are only read have none.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, version: int = _SCHEMA_VERSION) -> None:
        self._connection, self.path, self._has_sums = connection, path, version >= 3
        self.has_facts, self._is_filling = version >= 4, False
        self._columns = _ALL_COLUMNS if self.has_facts else _COLUMNS
        if self._has_sums:
            self._columns += ", checksum"

    @classmethod
    def create(cls, path: Path) -> None:
        """Make an empty store."""
        with _reporting(path), contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"{_SCHEMA}{_BLOCKS}\nPRAGMA user_version = {_SCHEMA_VERSION};")

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> Self:
        """Open a store.

        Raises:
            IndexFormatError: The file is missing, damaged, or of another version.
        """
        if not path.is_file():
            raise IndexFormatError(f"{path} is missing.", hint="Build the index again.")
        with _reporting(path):
            # Not mode=ro: after a killed writer, the first reader has to roll its transaction back.
            uri = f"{path.absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version not in _READABLE_VERSIONS:
                    raise IndexFormatError(
                        f"{path} has version {version}; this mckit reads version {_SCHEMA_VERSION}.",
                        hint="Update mckit, or build the index again.",
                    )
                if connection.execute(_FOREIGN).fetchone() is not None:
                    raise IndexFormatError(
                        f"{path} holds a view, a trigger or a computed column, which mckit never makes.",
                        hint="Build the index again.",
                    )
                if version < _SCHEMA_VERSION and writable:
                    version = _upgrade(connection, version)
                connection.execute(f"PRAGMA query_only = {int(not writable)}")
                connection.create_function("distance_km", 4, distance_km, deterministic=True)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path, version=version)

    @property
    def rows(self) -> int:
        """Rows of the matrix that count, those of removed items included."""
        rows = self._number("SELECT rows FROM matrix")
        if self._has_sums:
            wrong = "SELECT count(*) FROM matrix JOIN (SELECT sum(rows) AS summed FROM blocks WHERE generation = "
            # There are none after the upgrade of an older store, until its writer commits.
            if self._number(f"{wrong} (SELECT generation FROM matrix)) WHERE summed <> rows"):
                raise self._damaged("its number of rows is not that of its checksums")
        return rows

    @property
    def generation(self) -> int:
        """How often the matrix has been compacted: rows of two generations have nothing to do with each other."""
        with _reporting(self.path):
            if self._connection.execute("PRAGMA user_version").fetchone()[0] == 1:
                return 0
        return self._number("SELECT generation FROM matrix")

    @property
    def vectors(self) -> int:
        """Items that have a row."""
        return self._number("SELECT count(row) FROM items")

    def items(self) -> Iterator[Item]:
        """All of them, by name."""
        with _reporting(self.path):
            for record in self._connection.execute(f"SELECT {self._columns} FROM items ORDER BY name"):
                yield self._item(record)

    def stamps(self) -> dict[str, Stamp]:
        """By name what says that a file is as before; the items' checksums are not compared."""
        with _reporting(self.path):
            found = self._connection.execute("SELECT name, size_bytes, mtime_ns, row IS NOT NULL FROM items")
            # A damaged name is no bytes; it is then no file's name either, and reading the item will say so.
            return {os.fsdecode(name) if isinstance(name, bytes) else repr(name): (size, moment, bool(has_row))
                    for name, size, moment, has_row in found}  # fmt: skip

    def failures(self) -> list[Item]:
        """The items without a vector, by name."""
        with _reporting(self.path):
            found = self._connection.execute(f"SELECT {self._columns} FROM items WHERE row IS NULL ORDER BY name")
            return [self._item(record) for record in found]

    def find(self, name: str) -> Item | None:
        """The item of that name."""
        with _reporting(self.path):
            found = self._connection.execute(f"SELECT {self._columns} FROM items WHERE name = ?", (os.fsencode(name),))
            record = found.fetchone()
        return None if record is None else self._item(record)

    def listing(self) -> Iterator[tuple[int, str, int | None]]:
        """Row, name and modification time (nanoseconds since 1970) of every item that has a row, by name."""
        for row, name, mtime_ns, _ in self.dated_listing():
            yield row, name, mtime_ns

    def dated_listing(self) -> Iterator[tuple[int, str, int | None, int | None]]:
        """As :meth:`listing`, with the local time of the exposure in microseconds (``PhotoFacts.taken_us``)."""
        taken = "taken_us" if self.has_facts else "NULL"
        with _reporting(self.path):
            found = self._connection.execute(
                f"SELECT row, name, mtime_ns, {taken} FROM items WHERE row IS NOT NULL ORDER BY name"
            )
            for row, name, mtime_ns, taken_us in found:
                yield row, os.fsdecode(name), mtime_ns, taken_us

    def without_facts(self) -> list[Item]:
        """The items with a row into whose headers nobody has looked yet, by name: an older mckit wrote them."""
        with _reporting(self.path):
            found = self._connection.execute(
                f"SELECT {self._columns} FROM items WHERE row IS NOT NULL AND width IS NULL ORDER BY name"
            )
            return [self._item(record) for record in found]

    def item_in_row(self, row: int) -> Item | None:
        """The item whose vector lies in this row; None for the row of a removed item."""
        with _reporting(self.path):
            record = self._connection.execute(f"SELECT {self._columns} FROM items WHERE row = ?", (row,)).fetchone()
        return None if record is None else self._item(record)

    def names_of(self, rows: Sequence[int]) -> dict[int, str]:
        """The names of the items in these rows; rows of removed items are left out."""
        names: dict[int, str] = {}
        with _reporting(self.path):
            for part in parts_of([int(row) for row in rows], _VARIABLES):
                marks = ",".join("?" * len(part))
                found = self._connection.execute(f"SELECT {self._columns} FROM items WHERE row IN ({marks})", part)
                items = map(self._item, found)
                names.update((item.row, item.name) for item in items if item.row is not None)
        return names

    def living_rows(self, selection: Selection = EVERYTHING) -> list[int]:
        """The rows whose items still exist and meet the conditions."""
        if selection.asks_facts and not self.has_facts:
            raise UsageError(
                f"The index {self.path.parent} knows no places and cameras: an older mckit wrote it.",
                hint="Bring it up to date with `mckit index FOLDER --model M -o INDEX`; no image is decoded again.",
            )
        conditions, values = selection.where(has_facts=self.has_facts)
        with _reporting(self.path):
            return [
                record[0] for record in self._connection.execute(f"SELECT row FROM items WHERE {conditions}", values)
            ]

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Add all items of a new store in the block: their order by name and row is made once, at its end.

        Raises:
            IndexFormatError: Two items have the same name or row.
        """
        with _reporting(self.path):
            self._connection.executescript("DROP INDEX items_name; DROP INDEX items_row; PRAGMA cache_size = -65536;")
        self._is_filling = True
        yield
        self._is_filling = False
        with _reporting(self.path):
            for statement in _INDEXES.split("; "):
                self._connection.execute(statement)

    def add_rows(self, names: Sequence[str], first: int) -> None:
        """Add items of which only name and row are known, in :meth:`filling`.

        Args:
            names: New ones.
            first: The row of the first of them; the others follow.
        """
        encoded = map(os.fsencode, names)
        # What _checksum makes of them.
        records = ((name, row, zlib.crc32(b"(%a, None, None, None, None)" % name) + row)
                   for row, name in enumerate(encoded, start=first))  # fmt: skip
        with _reporting(self.path):
            self._connection.executemany(_ADD_ROW, records)

    def put(self, *items: Item) -> None:
        """Add items, or replace those of the same names."""
        with _reporting(self.path):
            for is_bare, part in itertools.groupby(items, key=lambda item: item.facts is None):
                put = _PUT_WITHOUT_FACTS if is_bare else _PUT
                self._connection.executemany(put[0] if self._is_filling else "".join(put), map(_record, part))

    def remove(self, names: Iterable[str]) -> None:
        """Forget items; their rows stay in the matrix and are never shown again."""
        with _reporting(self.path):
            self._connection.executemany("DELETE FROM items WHERE name = ?", ((os.fsencode(name),) for name in names))

    def sums(self, blocks: Iterable[int] | None = None) -> list[BlockSum]:
        """The checksums of the matrix's blocks, or of some of them; none where an older mckit wrote the index.

        Args:
            blocks: Their numbers; None for all.
        """
        if not self._has_sums:
            return []
        chosen = "SELECT block, rows, crc FROM blocks WHERE generation = (SELECT generation FROM matrix)"
        with _reporting(self.path):
            if blocks is None:
                return [BlockSum(*record) for record in self._connection.execute(f"{chosen} ORDER BY block")]
            found = (self._connection.execute(f"{chosen} AND block = ?", (block,)).fetchone() for block in blocks)
            return [BlockSum(*record) for record in found if record is not None]

    def check(self, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Read everything: the structure of the file, every item, and whether the numbers of rows fit.

        Args:
            stop: Asked now and then whether to give up.

        Raises:
            IndexFormatError: Something is not what was written.
        """
        with _reporting(self.path):
            found = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise self._damaged(str(found))
        before, outside = (self.generation, self.rows), None
        part = f"SELECT rowid, {self._columns} FROM items WHERE rowid > ? ORDER BY rowid LIMIT {_CHECKED_AT_ONCE}"
        last = -(2**63)
        with _reporting(self.path):
            # In parts: a writer waits for whoever reads.
            while found := self._connection.execute(part, (last,)).fetchall():
                if stop():
                    return
                last = found[-1][0]
                for _, *record in found:
                    if not self._has_sums or record[-1] != _checksum(*record[:-1]):
                        self._item(record)  # names it
                    if record[4] is not None and not 0 <= record[4] < before[1]:
                        outside = self._item(record)
        # A writer may have added rows or renumbered them in the meantime.
        if outside is not None and before == (self.generation, self.rows):
            raise self._damaged(f"{outside.name!r} lies in row {outside.row} of {before[1]}")

    def commit(self, rows: int, sums: Iterable[BlockSum] = ()) -> None:
        """Make every change since the last commit count, together with the first ``rows`` rows of the matrix.

        Args:
            rows: Rows of the matrix that count from now on.
            sums: The checksums that have changed.
        """
        with _reporting(self.path):
            self._connection.execute("UPDATE matrix SET rows = ?", (rows,))
            self._put_sums(sums)
            self._connection.commit()

    def renumber(self, living: Sequence[int], sums: Iterable[BlockSum] = ()) -> None:
        """Begin a new generation, in one transaction: the item in row ``living[n]`` lies in row n from now on.

        Args:
            living: The rows of all items, ascending.
            sums: The checksums of the new matrix.
        """
        with _reporting(self.path):
            # Ascending, a row only ever moves down into a place that has been left already: rows stay unique.
            moves = ((row, row, old) for row, old in enumerate(living) if row != old)
            self._connection.executemany("UPDATE items SET checksum = checksum - row + ?, row = ? WHERE row = ?", moves)
            self._connection.execute("UPDATE matrix SET rows = ?, generation = generation + 1", (len(living),))
            self._connection.execute("DELETE FROM blocks")
            self._put_sums(sums)
            self._connection.commit()

    def close(self) -> None:
        """Drop what was not committed."""
        self._connection.close()

    def _put_sums(self, sums: Iterable[BlockSum]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO blocks VALUES ((SELECT generation FROM matrix), ?, ?, ?)",
            ((each.block, each.rows, each.crc) for each in sums),
        )

    def _number(self, query: str) -> int:
        with _reporting(self.path):
            record = self._connection.execute(query).fetchone()
        if record is None or not isinstance(record[0], int) or record[0] < 0:
            raise self._damaged("a number of rows is none")
        number: int = record[0]
        return number

    def _item(self, record: Sequence[Any]) -> Item:
        values = record[: len(record) - self._has_sums]
        name, size_bytes, mtime_ns, sha256, row, reason, *facts = values
        try:
            if self._has_sums and record[-1] != _checksum(*values):
                raise ValueError("its checksum differs")
            return Item(
                name=os.fsdecode(name),
                size_bytes=size_bytes,
                mtime_ns=mtime_ns,
                sha256=None if sha256 is None else sha256.hex(),
                row=row,
                reason=reason,
                facts=PhotoFacts(**dict(zip(_FACTS, facts, strict=True)))
                if tuple(facts) not in ((), _NO_FACTS)
                else None,
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise self._damaged(f"the entry of {name!r} is not what was written") from error

    def _damaged(self, reason: str) -> IndexFormatError:
        return IndexFormatError(f"{self.path} is damaged: {reason}.", hint="Build the index again with --force.")


def _record(item: Item) -> tuple[Any, ...]:
    """The values of an item's columns; those of its facts only if it has any."""
    digest = None if item.sha256 is None else bytes.fromhex(item.sha256)
    values = (os.fsencode(item.name), item.size_bytes, item.mtime_ns, digest, item.row, item.reason)
    if item.facts is not None:
        values += tuple(getattr(item.facts, name) for name in _FACTS)
    return (*values, _checksum(*values))


def _checksum(name: Any, size_bytes: Any, mtime_ns: Any, sha256: Any, row: Any, reason: Any, *facts: Any) -> int:
    """An item's checksum. The row is added, so that :meth:`Store.renumber` need not compute it anew.

    Without facts it is that of version 3.
    """
    known = () if facts == _NO_FACTS else facts
    rest = repr((name, size_bytes, mtime_ns, sha256, reason, *known)).encode("utf-8", "surrogatepass")
    return zlib.crc32(rest) + (-1 if row is None else int(row))


def _upgrade(connection: sqlite3.Connection, version: int) -> int:
    """Bring a store of an older version up to date, in one transaction."""
    connection.create_function("item_checksum", 6, _checksum, deterministic=True)
    steps = " ".join(step for older, step in _UPGRADES.items() if older >= version)
    connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
    return _SCHEMA_VERSION


@contextlib.contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes damaged bytes in its message
        raise IndexFormatError(f"{path} is damaged.", hint="Build the index again with --force.") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            raise OutputError(f"The disk is full ({path}).", hint="Free some space and run it again.") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexFormatError(f"{path} is being written by another process.", hint="Try again later.") from error
        raise IndexFormatError(
            f"{path} cannot be used: {error}.", hint="If it is damaged, remove the index and build it again."
        ) from error
