"""Thumbnails: made once, and kept in one SQLite file of limited size.

They are kept in the user's cache folder and not in the index: an index may be on a read-only medium, and a photo in two
indexes needs one thumbnail. A thumbnail belongs to a path, a size and a modification time, so a changed image gets a
new one. The least recently used ones are removed first.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from mobileclip_kit.errors import OutputError
from mobileclip_kit.images import load_image

FILE_NAME = "thumbnails.sqlite"
SIDE_PIXELS = 480
LIMIT_BYTES = 512 << 20
_VERSION = 1
_QUALITY = 78
_METHOD = 2  # libwebp's default of 4 takes twice as long for 3 % fewer bytes
_MAX_PROFILE_BYTES = 16 << 10
_TRIM_SHARE = 0.1
_TOUCH_S = 3600
_BUSY_S = 5.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS thumbnails "
    "(key BLOB PRIMARY KEY, used INTEGER NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL)"
)


def make_thumbnail(source: Path | bytes, side: int = SIDE_PIXELS) -> bytes:
    """An image as WebP, upright, at most ``side`` pixels long; smaller images keep their size.

    Raises:
        ImageError: The image cannot be decoded.
    """
    # The antialiasing filter needs more pixels than it produces.
    image = load_image(source, least_side=2 * side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=_METHOD, icc_profile=_rgb_profile(image))
    return stream.getvalue()


def make_jpeg(source: Path, side: int) -> bytes:
    """An image as a JPEG at most ``side`` pixels long.

    Raises:
        ImageError: The image cannot be decoded.
    """
    image = load_image(source)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, icc_profile=_rgb_profile(image))
    return stream.getvalue()


def thumbnail_key(path: Path, status: os.stat_result) -> bytes:
    """The key of a thumbnail: a hash of the file's path, size and modification time, and of the thumbnail format."""
    what = f"\0{status.st_size}\0{status.st_mtime_ns}\0{SIDE_PIXELS}\0{_VERSION}"
    return hashlib.blake2b(os.fsencode(path) + what.encode(), digest_size=16).digest()


class Thumbnails:
    """The file of thumbnails, which any thread and any process may use.

    Args:
        folder: Folder of the file; made if it does not exist.
        limit_bytes: Size of all thumbnails together.

    Attributes:
        problem: Why thumbnails are not kept (a full disk, for example); they are still made.

    Raises:
        OutputError: The folder cannot be written, or the file is damaged.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path, self._limit = folder / FILE_NAME, limit_bytes
        self._lock = threading.Lock()
        self.problem: str | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"Thumbnails cannot be kept in {folder}: {error}.", hint="Choose another place with --thumbnails DIR."
            ) from error
        try:
            # What a crash costs here is made again.
            self._file.execute("PRAGMA synchronous = OFF")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute(_SCHEMA)
            self._bytes = self._total()
        except sqlite3.Error as error:
            self._file.close()
            raise OutputError(
                f"The thumbnails in {self._path} cannot be used: {error}.",
                hint="Remove that file, or choose another place with --thumbnails DIR.",
            ) from error

    def get(self, key: bytes) -> bytes | None:
        """A kept thumbnail, or None."""
        with self._lock, self._recording_errors():
            found = self._file.execute("SELECT data, used FROM thumbnails WHERE key = ?", (key,)).fetchone()
            if found is None:
                return None
            now = int(time.time())
            if now - found[1] > _TOUCH_S:
                self._file.execute("UPDATE thumbnails SET used = ? WHERE key = ?", (now, key))
            data: bytes = found[0]
            return data
        return None

    def put(self, key: bytes, data: bytes) -> None:
        """Keep a thumbnail."""
        with self._lock, self._recording_errors():
            values = (key, int(time.time()), len(data), data)
            self._file.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?)", values)
            self._bytes += len(data)
            if self._bytes > self._limit:
                self._trim()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _trim(self) -> None:
        """Remove the least recently used ones, and a tenth more than needed so that this is rare."""
        excess = self._total() - (1 - _TRIM_SHARE) * self._limit
        keys = []
        for key, size in self._file.execute("SELECT key, size FROM thumbnails ORDER BY used, rowid"):
            if excess <= 0:
                break
            keys.append((key,))
            excess -= size
        self._file.execute("BEGIN")
        self._file.executemany("DELETE FROM thumbnails WHERE key = ?", keys)
        self._file.execute("COMMIT")
        self._bytes = self._total()

    def _total(self) -> int:
        total: int = self._file.execute("SELECT coalesce(sum(size), 0) FROM thumbnails").fetchone()[0]
        return total

    @contextlib.contextmanager
    def _recording_errors(self) -> Iterator[None]:
        """Record an error and continue: a failing cache costs time, not images."""
        try:
            yield
            self.problem = None
        except sqlite3.Error as error:
            if self._file.in_transaction:
                self._file.rollback()
            self.problem = f"Thumbnails are not kept: {self._path}: {error}."


def _rgb_profile(image: Image.Image) -> bytes | None:
    """The colour profile if it is for RGB; that of a grey or CMYK image is wrong after the conversion."""
    profile = image.info.get("icc_profile")
    usable = isinstance(profile, bytes) and profile[16:20] == b"RGB " and len(profile) <= _MAX_PROFILE_BYTES
    return profile if usable else None
