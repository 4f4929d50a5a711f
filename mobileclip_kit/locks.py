"""Locks that end with the process that holds them, however it ends.

The writer's lock of an index or a cache lets one process write while any number read. It is an exclusive SQLite
transaction on an empty file in the folder, which works on Windows too. The lock of a temporary file or folder says
that it is still worked on.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mobileclip_kit.errors import MckitError, OutputError

try:
    import fcntl

    CAN_LOCK = True
except ImportError:  # Windows
    CAN_LOCK = False

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
                connection.execute("PRAGMA journal_mode = MEMORY")  # no second file, which a kill would leave behind
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


def try_lock(path: Path) -> int | None:
    """A descriptor that holds a file's or folder's lock; None where somebody else does, and on Windows."""
    if not CAN_LOCK:
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def unlock(lock: int | None) -> None:
    """Release what :func:`try_lock` gave."""
    if lock is not None:
        os.close(lock)
