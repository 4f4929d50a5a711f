"""The images of a library: files below a folder or a URL, members of its tar shards, or one worker's share of them.

A webdataset shard is a plain ``.tar`` whose members are read where they lie: nothing is unpacked. Its images are
called ``SHARD.tar/MEMBER``. Compressed tars cannot be entered in the middle and are refused, each with its reason.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mobileclip_kit.cluster import part_of
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.images import image_suffixes, list_entries
from mobileclip_kit.index.selection import storable_ns
from mobileclip_kit.urls import is_url, list_files, open_url, read_bytes

TAR_SUFFIX = ".tar"
_SQUEEZED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Found(NamedTuple):
    """An image that is there now. A tuple, because a library has many: a frozen dataclass takes longer to make.

    Attributes:
        path: The file, or the tar that holds it; its URL if it is remote. A str, because making a ``Path`` takes as
            long as finding the file.
        name: Relative to the indexed folder, with ``/``.
        size_bytes: Of the image.
        mtime_ns: Of the file, of the tar for a member; see :func:`mobileclip_kit.index.selection.storable_ns`. None
            where a server does not say it.
        offset: Where the image begins in the tar; None for a file of its own.
        reason: Why it cannot be read at all, or None.
    """

    path: str
    name: str
    size_bytes: int
    mtime_ns: int | None
    offset: int | None = None
    reason: str | None = None

    def source(self) -> Path | bytes:
        """What a decoder takes: the file, or the member's bytes.

        Raises:
            DataError: The image's server cannot be reached.
            OSError: The tar or the URL cannot be read.
        """
        if is_url(self.path):
            return read_bytes(self.path, self.offset or 0, None if self.offset is None else self.size_bytes)
        if self.offset is None:
            return Path(self.path)
        with open(self.path, "rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size_bytes)

    def sha256(self) -> str:
        """Hex digest of the image's bytes.

        Raises:
            DataError: The image's server cannot be reached.
            OSError: They cannot be read.
        """
        source = self.source()
        return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of_file(source)


def list_library(
    folder: Path | str, *, tars: bool = False, shard: tuple[int, int] | None = None, passed: list[Path] | None = None
) -> Iterator[Found]:
    """Every image of a library, in the order of its path.

    Args:
        folder: Absolute; a URL is a str.
        tars: Look into ``.tar`` files too.
        shard: ``(i, n)``: only the i-th of n parts, i from 1 on. A file belongs to a part by the hash of its name, and
            a tar as a whole, so that parts stay the same when others are added.
        passed: See :func:`mobileclip_kit.images.list_images`.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    images = image_suffixes()
    suffixes = images | ({TAR_SUFFIX, *(f".{end.rsplit('.', 1)[1]}" for end in _SQUEEZED)} if tars else set())

    def is_wanted(name: str) -> bool:
        return shard is None or part_of(name, shard[1]) == shard[0]

    if isinstance(folder, str):
        files = _at_url(folder, suffixes, is_wanted)
    else:
        files = _on_disk(folder, suffixes, is_wanted, passed)
    if not tars:
        yield from files
        return
    for found in files:
        suffix = os.path.splitext(found.name)[1].lower()
        if found.reason is not None or suffix in images:
            yield found
        elif suffix == TAR_SUFFIX:
            yield from _members(found)
        elif found.name.lower().endswith(_SQUEEZED):
            yield found._replace(reason=f"{found.name} is a compressed tar: unpack it to a plain .tar first.")


def _on_disk(
    folder: Path, suffixes: frozenset[str], is_wanted: Callable[[str], bool], passed: list[Path] | None
) -> Iterator[Found]:
    prefix = len(str(folder)) + 1 if str(folder) != os.sep else 1
    for entry in list_entries(folder, suffixes, passed=passed):
        name = entry.path[prefix:].replace(os.sep, "/")
        if not is_wanted(name):
            continue
        try:
            status = entry.stat()
        except OSError as error:
            # A broken link, or a file that vanished while it was listed.
            if os.path.islink(entry.path):
                moment = storable_ns(os.lstat(entry.path).st_mtime_ns)
                yield Found(entry.path, name, 0, moment, reason=f"{name} is a broken link: {error.strerror}.")
            continue
        yield Found(entry.path, name, status.st_size, storable_ns(status.st_mtime_ns))


def _at_url(url: str, suffixes: frozenset[str], is_wanted: Callable[[str], bool]) -> Iterator[Found]:
    for file in list_files(url, suffixes):
        if is_wanted(file.name):
            moment = None if file.mtime_ns is None else storable_ns(file.mtime_ns)
            yield Found(file.url, file.name, file.size_bytes or 0, moment)


def find_image(folder: Path | str, name: str) -> Path | bytes:
    """The image of an item: its file, which may have vanished, or its bytes out of a tar or from a URL.

    Raises:
        DataError: The tar no longer has it, or the URL cannot be read.
    """
    head, mark, member = name.partition(f"{TAR_SUFFIX}/")
    tar = f"{folder}/{head}{TAR_SUFFIX}" if isinstance(folder, str) else folder / (head + TAR_SUFFIX)
    try:
        if not mark and isinstance(folder, str):
            return read_bytes(f"{folder}/{name}")
        if isinstance(folder, Path) and (not mark or not Path(tar).is_file()):
            return folder / name
        for found in _members(Found(str(tar), head + TAR_SUFFIX, 0, 0)):
            if found.name == name and found.reason is None:
                return found.source()
    except OSError as error:
        raise DataError(f"{name} cannot be read in {folder}: {error.strerror or error}.") from error
    raise DataError(f"{member} is no longer in {tar}.")


def _members(archive: Found) -> Iterator[Found]:
    path, name, mtime_ns, suffixes = archive.path, archive.name, archive.mtime_ns, image_suffixes()
    try:
        opened = open_url(path, passing=(tarfile.TarError,)) if is_url(path) else open(path, "rb")
        with opened as stream, tarfile.open(fileobj=stream, mode="r:", errors="surrogateescape") as tar:
            for member in tar:
                # The list that tarfile keeps of what it has seen is of no use to us, and long.
                tar.members = []  # type: ignore[attr-defined]
                hidden = os.path.basename(member.name).startswith(".")
                if member.isfile() and not hidden and os.path.splitext(member.name)[1].lower() in suffixes:
                    inner = member.name.removeprefix("./")
                    yield Found(path, f"{name}/{inner}", member.size, mtime_ns, offset=member.offset_data)
    except (tarfile.TarError, OSError) as error:
        # What came before the damage was found; the damage itself is an item without a vector.
        yield archive._replace(reason=f"{name} is cut off or no tar: {error}.")
