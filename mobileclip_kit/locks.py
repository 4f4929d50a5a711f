"""The writer's lock of an index or a cache: one process writes, any number read.

It is an exclusive SQLite transaction on an empty file in the folder. The system releases it when the process ends,
however it ends, on Windows too.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mobileclip_kit.errors import MckitError, OutputError

LOCK_FILE = "writer.lock"


@contextlib.contextmanager
def writer_lock(folder: Path, *, what: str, busy: type[MckitError]) -> Iterator[None]:
    """Hold the lock of a folder while the block runs.

    Args:
        folder: It exists.
        what: What lies there, for the message: "index".
        busy: The error when another process holds the lock.

    Raises:
        OutputError: The folder cannot be written.
    """
    file = folder / LOCK_FILE
    while True:
        before = _identity(file)
        try:
            connection = sqlite3.connect(file, timeout=0, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise OutputError(f"{folder} cannot be written: {error}.") from error
        with contextlib.closing(connection):
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                    raise OutputError(f"{folder} cannot be written: {error}.") from error
                raise busy(
                    f"Another process is writing the {what} {folder}.",
                    hint="Wait until it is done, then run it again.",
                ) from error
            # A writer that was just replacing the folder held the lock of the old one: the file must still be the same.
            if before is not None and before == _identity(file):
                yield
                return


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
