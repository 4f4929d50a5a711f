"""Files behind URLs such as ``s3://bucket/photos``, read through fsspec with whatever protocols are installed.

Packages of protocols raise errors of their own classes. A file that is gone is a ``FileNotFoundError`` here, as on a
disk, and one that may not be read a ``PermissionError``; everything else, such as a server that does not answer, is a
``DataError`` that ends the run, because each of the files that follow would fail for the same reason.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from mobileclip_kit.errors import DataError, first_line
from mobileclip_kit.extras import missing_extra

# The keys under which file systems of fsspec give the time of the last change.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "Last-Modified", "created")


@dataclass(frozen=True)
class RemoteFile:
    """A file below a URL.

    Attributes:
        name: Relative to the URL, with ``/``.
        url: Its own URL.
        size_bytes: None where the server does not say.
        mtime_ns: When it was last changed, in nanoseconds since 1970; None where the server does not say.
    """

    name: str
    url: str
    size_bytes: int | None
    mtime_ns: int | None


def is_url(place: str | Path) -> bool:
    """Whether a place is an fsspec URL and not a path."""
    return "://" in str(place)


def as_place(place: str | Path) -> Path | str:
    """A path, or a URL as it is: its two slashes would not survive a path."""
    text = str(place)
    return (text if text.endswith("://") else text.rstrip("/")) if is_url(text) else Path(place)


def check_url(url: str) -> None:
    """Refuse a URL at which nothing is.

    Raises:
        DataError: Nothing is there, the server cannot be reached, or no package for the protocol is installed.
        MissingExtraError: fsspec is not installed.
    """
    files, path = file_system(url)
    with _reading(url):
        if files.exists(path):
            return
        try:
            files.info(path)  # tells a server that does not answer from one that has nothing there
        except FileNotFoundError as error:
            if isinstance(error.__cause__, OSError):
                raise ConnectionError(first_line(error.__cause__)) from error
    raise DataError(f"{url} does not exist.")


def list_files(url: str, suffixes: Collection[str]) -> Iterator[RemoteFile]:
    """The files below a URL whose names have one of the suffixes, by name; hidden files and folders are left out.

    Args:
        url: A folder of an object store or a server. A web server must list its folders as pages of links.
        suffixes: In lower case, with the dot.

    Raises:
        DataError: Nothing is there, or it cannot be listed.
    """
    files, path = file_system(url)
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(FileNotFoundError), _reading(url):
        files.invalidate_cache()
        found = files.find(path, detail=True)
    if not found:
        check_url(url)  # nothing below it, or nothing at all
    for full, about in sorted(found.items()):
        name = full[len(path.rstrip("/")) :].lstrip("/")
        if posixpath.splitext(name)[1].lower() not in suffixes or any(part[:1] == "." for part in name.split("/")):
            continue
        if about.get("size") is None:  # a page of links says no more
            with contextlib.suppress(OSError), _reading(f"{url}/{name}"):
                about = files.info(full)
        yield RemoteFile(name, f"{url.rstrip('/')}/{name}", about.get("size"), _mtime_ns(about))


def read_bytes(url: str, start: int = 0, size_bytes: int | None = None) -> bytes:
    """The bytes of a file, or some of them.

    Raises:
        DataError: It cannot be read.
        OSError: It is not there, may not be read, or ends before ``size_bytes`` were read.
    """
    files, path = file_system(url)
    with _reading(url):
        data = bytes(files.cat_file(path, start=start or None, end=None if size_bytes is None else start + size_bytes))
    if size_bytes is not None and len(data) != size_bytes:
        raise OSError(f"{url} ends within an image")
    return data


@contextlib.contextmanager
def open_url(url: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[IO[bytes]]:
    """A file, opened for reading.

    Args:
        url: Its URL.
        passing: Errors of the block that say something about the file's content, not about its server.

    Raises:
        DataError: It cannot be read.
        OSError: It is not there, or may not be read.
    """
    files, path = file_system(url)
    with _reading(url, passing), files.open(path, "rb") as stream:
        yield stream


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        DataError: No package for the protocol is installed, or nobody knows the protocol.
        MissingExtraError: fsspec is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise missing_extra(f"Reading {url}", "ray") from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{url} cannot be opened: {error}.",
            hint="Install the package of its protocol, such as s3fs, gcsfs, or aiohttp for https.",
        ) from error
    return files, str(path)


@contextlib.contextmanager
def _reading(url: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    try:
        yield
    except passing:
        raise
    except (FileNotFoundError, PermissionError) as error:  # of a file system that may give no reason
        number = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EACCES
        raise OSError(number, os.strerror(number), url) from error  # of the same class
    except Exception as error:
        reason = first_line(error) or type(error).__name__
        raise DataError(
            f"{url} cannot be read: {reason.removesuffix('.')}.",
            hint="Run the same command again when it can: what was finished is kept.",
        ) from error


def _mtime_ns(about: dict[str, Any]) -> int | None:
    moment: Any = next((about[key] for key in _TIMES if about.get(key)), None)
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            import email.utils  # takes long to import

            parsed = email.utils.parsedate_tz(moment)
            moment = None if parsed is None else email.utils.mktime_tz(parsed)
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None if moment is None else int(moment * 1_000_000) * 1000
