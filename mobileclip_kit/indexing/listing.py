"""The images of a library: files below a folder, members of its tar shards, or one worker's share of them.

A webdataset shard is a plain ``.tar`` whose members are read where they lie: nothing is unpacked. Its images are
called ``SHARD.tar/MEMBER``. Compressed tars cannot be entered in the middle and are refused, each with its reason.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit.cluster import part_of
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.images import image_suffixes, list_images
from mobileclip_kit.index.selection import storable_ns

TAR_SUFFIX = ".tar"
_SQUEEZED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Found:
    """An image that is there now.

    Attributes:
        path: The file, or the tar that holds it.
        name: Relative to the indexed folder, with ``/``.
        size_bytes: Of the image.
        mtime_ns: Of the file, of the tar for a member; see :func:`mobileclip_kit.index.selection.storable_ns`.
        offset: Where the image begins in the tar; None for a file of its own.
        reason: Why it cannot be read at all, or None.
    """

    path: Path
    name: str
    size_bytes: int
    mtime_ns: int
    offset: int | None = None
    reason: str | None = None

    def source(self) -> Path | bytes:
        """What a decoder takes: the file, or the member's bytes.

        Raises:
            OSError: The tar cannot be read.
        """
        if self.offset is None:
            return self.path
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size_bytes)

    def sha256(self) -> str:
        """Hex digest of the image's bytes.

        Raises:
            OSError: They cannot be read.
        """
        source = self.source()
        return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of_file(source)


def list_library(folder: Path, *, tars: bool = False, shard: tuple[int, int] | None = None) -> Iterator[Found]:
    """Every image of a library, in the order of its path.

    Args:
        folder: Absolute.
        tars: Look into ``.tar`` files too.
        shard: ``(i, n)``: only the i-th of n parts, i from 1 on. A file belongs to a part by the hash of its name, and
            a tar as a whole, so that parts stay the same when others are added.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    prefix = len(str(folder)) + 1 if str(folder) != os.sep else 1
    suffixes = image_suffixes() | ({TAR_SUFFIX, *(f".{end.rsplit('.', 1)[1]}" for end in _SQUEEZED)} if tars else set())
    for path in list_images(folder, suffixes):
        name = str(path)[prefix:].replace(os.sep, "/")
        if shard is not None and part_of(name, shard[1]) != shard[0]:
            continue
        try:
            status = path.stat()
        except OSError as error:
            # A broken link, or a file that vanished while it was listed.
            if path.is_symlink():
                moment = storable_ns(path.lstat().st_mtime_ns)
                yield Found(path, name, 0, moment, reason=f"{name} is a broken link: {error.strerror}.")
            continue
        moment = storable_ns(status.st_mtime_ns)
        if tars and path.suffix.lower() == TAR_SUFFIX:
            yield from _members(path, name, moment)
        elif tars and name.lower().endswith(_SQUEEZED):
            reason = f"{name} is a compressed tar: unpack it to a plain .tar first."
            yield Found(path, name, status.st_size, moment, reason=reason)
        elif path.suffix.lower() in image_suffixes():
            yield Found(path, name, status.st_size, moment)


def find_image(folder: Path, name: str) -> Path | bytes:
    """The image of an item: its file, which may have vanished, or its bytes out of a tar.

    Raises:
        DataError: The tar no longer has it.
    """
    head, mark, member = name.partition(f"{TAR_SUFFIX}/")
    tar = folder / (head + TAR_SUFFIX)
    if not mark or not tar.is_file():
        return folder / name
    for found in _members(tar, head + TAR_SUFFIX, 0):
        if found.name == name and found.reason is None:
            return found.source()
    raise DataError(f"{member} is no longer in {tar}.")


def _members(path: Path, name: str, mtime_ns: int) -> Iterator[Found]:
    suffixes = image_suffixes()
    try:
        with tarfile.open(path, "r:", errors="surrogateescape") as tar:
            for member in tar:
                # The list that tarfile keeps of what it has seen is of no use to us, and long.
                tar.members = []  # type: ignore[attr-defined]
                hidden = os.path.basename(member.name).startswith(".")
                if member.isfile() and not hidden and os.path.splitext(member.name)[1].lower() in suffixes:
                    inner = member.name.removeprefix("./")
                    yield Found(path, f"{name}/{inner}", member.size, mtime_ns, offset=member.offset_data)
    except (tarfile.TarError, OSError) as error:
        # What came before the damage was found; the damage itself is an item without a vector.
        yield Found(path, name, path.stat().st_size, mtime_ns, reason=f"{name} is cut off or no tar: {error}.")
