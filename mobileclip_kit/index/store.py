"""The journal of an index: which images it holds, and in which row of the matrix each one's vector lies.

SQLite is the source of truth: whatever else lies in the folder counts only as far as a committed transaction says so.
Names are stored as bytes, so that every file name that a system allows finds its way back to its file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mobileclip_kit.errors import IndexFormatError, OutputError

_SCHEMA_VERSION = 2
# Version 1 had no generations; its readers know the first one only.
_READABLE_VERSIONS = (1, 2)
_SCHEMA = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    size_bytes INTEGER,
    mtime_ns INTEGER,
    sha256 BLOB,
    row INTEGER UNIQUE,
    reason TEXT,
    CHECK ((row IS NULL) <> (reason IS NULL))
);
CREATE TABLE matrix (rows INTEGER NOT NULL, generation INTEGER NOT NULL DEFAULT 0);
INSERT INTO matrix VALUES (0, 0);
"""
_FROM_VERSION_1 = f"""
BEGIN IMMEDIATE;
ALTER TABLE matrix ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = {_SCHEMA_VERSION};
COMMIT;
"""
_COLUMNS = "name, size_bytes, mtime_ns, sha256, row, reason"
_BUSY_SECONDS = 30.0
# SQLite's integers have 64 bits: in nanoseconds they reach from 1677 to 2262.
_MOMENTS_NS = -(2**63), 2**63 - 1
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
    """

    name: str
    size_bytes: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    row: int | None = None
    reason: str | None = None


def storable_ns(moment_ns: int) -> int:
    """The moment, or the nearest one that a store can hold: file systems know years before 1677 and after 2262."""
    return min(max(moment_ns, _MOMENTS_NS[0]), _MOMENTS_NS[1])


class Store:
    """The items of one index. Changes count when :meth:`commit` returns."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path

    @classmethod
    def create(cls, path: Path) -> None:
        """Make an empty store."""
        with _reporting(path), contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"{_SCHEMA}\nPRAGMA user_version = {_SCHEMA_VERSION};")

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
                if version == 1 and writable:
                    connection.executescript(_FROM_VERSION_1)
                connection.execute(f"PRAGMA query_only = {int(not writable)}")
            except BaseException:
                connection.close()
                raise
        return cls(connection, path)

    @property
    def rows(self) -> int:
        """Rows of the matrix that count, those of removed items included."""
        return self._number("SELECT rows FROM matrix")

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
            for record in self._connection.execute(f"SELECT {_COLUMNS} FROM items ORDER BY name"):
                yield _item(record)

    def failures(self) -> list[Item]:
        """The items without a vector, by name."""
        with _reporting(self.path):
            found = self._connection.execute(f"SELECT {_COLUMNS} FROM items WHERE row IS NULL ORDER BY name")
            return [_item(record) for record in found]

    def find(self, name: str) -> Item | None:
        """The item of that name."""
        with _reporting(self.path):
            found = self._connection.execute(f"SELECT {_COLUMNS} FROM items WHERE name = ?", (os.fsencode(name),))
            record = found.fetchone()
        return None if record is None else _item(record)

    def listing(self) -> Iterator[tuple[int, str, int | None]]:
        """Row, name and modification time (nanoseconds since 1970) of every item that has a row, by name."""
        with _reporting(self.path):
            found = self._connection.execute(
                "SELECT row, name, mtime_ns FROM items WHERE row IS NOT NULL ORDER BY name"
            )
            for row, name, mtime_ns in found:
                yield row, os.fsdecode(name), mtime_ns

    def item_in_row(self, row: int) -> Item | None:
        """The item whose vector lies in this row; None for the row of a removed item."""
        with _reporting(self.path):
            record = self._connection.execute(f"SELECT {_COLUMNS} FROM items WHERE row = ?", (row,)).fetchone()
        return None if record is None else _item(record)

    def names_of(self, rows: Sequence[int]) -> dict[int, str]:
        """The names of the items in these rows; rows of removed items are left out."""
        names: dict[int, str] = {}
        with _reporting(self.path):
            for start in range(0, len(rows), _VARIABLES):
                part = [int(row) for row in rows[start : start + _VARIABLES]]
                marks = ",".join("?" * len(part))
                found = self._connection.execute(f"SELECT row, name FROM items WHERE row IN ({marks})", part)
                names.update((row, os.fsdecode(name)) for row, name in found)
        return names

    def living_rows(
        self, *, folder: str | None = None, since_ns: int | None = None, until_ns: int | None = None
    ) -> list[int]:
        """The rows whose items still exist, on request only those below a folder or of a span of time.

        Args:
            folder: Leading part of the name, such as ``holidays/2024``.
            since_ns: Least modification time.
            until_ns: Modification time that is too late.
        """
        conditions, values = ["row IS NOT NULL"], list[object]()
        if folder is not None:
            prefix = os.fsencode(folder.rstrip("/") + "/")
            conditions.append("name >= ? AND name < ?")
            values += [prefix, prefix[:-1] + bytes([prefix[-1] + 1])]
        if since_ns is not None:
            conditions.append("mtime_ns >= ?")
            values.append(storable_ns(since_ns))
        if until_ns is not None:
            conditions.append("mtime_ns < ?")
            values.append(storable_ns(until_ns))
        with _reporting(self.path):
            found = self._connection.execute(f"SELECT row FROM items WHERE {' AND '.join(conditions)}", values)
            return [record[0] for record in found]

    def put(self, item: Item) -> None:
        """Add an item, or replace the one of the same name."""
        digest = None if item.sha256 is None else bytes.fromhex(item.sha256)
        values = (os.fsencode(item.name), item.size_bytes, item.mtime_ns, digest, item.row, item.reason)
        with _reporting(self.path):
            self._connection.execute(
                f"INSERT INTO items ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256, "
                "row = excluded.row, reason = excluded.reason",
                values,
            )

    def remove(self, names: Iterable[str]) -> None:
        """Forget items; their rows stay in the matrix and are never shown again."""
        with _reporting(self.path):
            self._connection.executemany("DELETE FROM items WHERE name = ?", ((os.fsencode(name),) for name in names))

    def commit(self, rows: int) -> None:
        """Make every change since the last commit count, together with the first ``rows`` rows of the matrix."""
        with _reporting(self.path):
            self._connection.execute("UPDATE matrix SET rows = ?", (rows,))
            self._connection.commit()

    def renumber(self, living: Sequence[int]) -> None:
        """Begin a new generation, in one transaction: the item in row ``living[n]`` lies in row n from now on.

        Args:
            living: The rows of all items, ascending.
        """
        with _reporting(self.path):
            # Ascending, a row only ever moves down into a place that has been left already: rows stay unique.
            moves = ((row, old) for row, old in enumerate(living) if row != old)
            self._connection.executemany("UPDATE items SET row = ? WHERE row = ?", moves)
            self._connection.execute("UPDATE matrix SET rows = ?, generation = generation + 1", (len(living),))
            self._connection.commit()

    def close(self) -> None:
        """Drop what was not committed."""
        self._connection.close()

    def _number(self, query: str) -> int:
        with _reporting(self.path):
            number: int = self._connection.execute(query).fetchone()[0]
        return number


def _item(record: tuple[bytes, int | None, int | None, bytes | None, int | None, str | None]) -> Item:
    name, size_bytes, mtime_ns, sha256, row, reason = record
    return Item(
        name=os.fsdecode(name),
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        sha256=None if sha256 is None else sha256.hex(),
        row=row,
        reason=reason,
    )


@contextlib.contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            raise OutputError(f"The disk is full ({path}).", hint="Free some space and run it again.") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexFormatError(f"{path} is being written by another process.", hint="Try again later.") from error
        raise IndexFormatError(
            f"{path} cannot be used: {error}.", hint="If it is damaged, remove the index and build it again."
        ) from error
