"""SHA-256 of the files that an export consists of, and a memory of those computed before.

A search reads one text and ends; hashing the text tower each time would cost more than executing it. So digests are
remembered in the user's cache folder, one for each path, together with device, inode, size and times of every file. A
file that was replaced or written to differs in one of them and is read again. What is only damaged on the disk does
not, so whoever has time to read a file does not ask the memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mobileclip_kit.errors import DataError, ExportError, OutputError
from mobileclip_kit.files import read_json, sha256_of_file, size_bytes, write_json
from mobileclip_kit.resources import cache_folder

MEMORY_FILE = "digests.json"
_MOST_REMEMBERED = 256
# A file that was written in the same tick of the clock as it was hashed may change without changing its times.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """A file or package as the manifest beside it lists it.

    Attributes:
        file: Its name within the folder.
        size_bytes: Of the file, or of all files of the package.
        sha256: Hex digest, see :func:`hash_path`.
    """

    file: str
    size_bytes: int
    sha256: str

    @classmethod
    def describe(cls, path: Path, **others: Any) -> Self:
        """Describe a file that has just been written."""
        return cls(file=path.name, size_bytes=size_bytes(path), sha256=hash_path(path), **others)

    def check(self, manifest: Path, *, hint: str, digest: Callable[[Path], str] | None = None) -> None:
        """Compare the file with what the manifest says.

        Args:
            manifest: In the folder of the file.
            hint: What to do where they differ.
            digest: :func:`hash_path` or :func:`read_digest`; None to compare the size alone.

        Raises:
            ExportError: The file is missing, has another size or was changed, or its name leads to another folder.
        """
        if Path(self.file).name != self.file or self.file in ("", "..") or len(self.file) > 200 or "\0" in self.file:
            raise ExportError(f"{manifest} names a file outside its folder: {self.file[:100]!r}.", hint=hint)
        path = manifest.with_name(self.file)
        if not path.exists():
            raise ExportError(f"{path} is missing.", hint=hint)
        actual = size_bytes(path)
        if actual != self.size_bytes:
            raise ExportError(f"{path} has {actual} bytes, but {manifest.name} says {self.size_bytes}.", hint=hint)
        if digest is not None and digest(path) != self.sha256:
            raise ExportError(f"{path} was changed: its SHA-256 is not the one in {manifest.name}.", hint=hint)


def hash_path(path: Path) -> str:
    """Hex SHA-256 of a file, or of a package: then of the sorted lines ``relative/path sha256`` of its files."""
    if not path.is_dir():
        return sha256_of_file(path)
    lines = [f"{child.relative_to(path).as_posix()} {sha256_of_file(child)}\n" for child in _files(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_digest(path: Path, *, from_memory: bool) -> str:
    """:func:`hash_path`, remembered for the next time.

    Args:
        path: A file or a package.
        from_memory: Accept what was computed when inodes, sizes and times were those of now; else read every byte.

    Returns:
        64 hex digits.
    """
    status = _status(path)
    known = _recall()
    # A digest: names need not be UTF-8, and nobody has to see them.
    key = hashlib.blake2b(os.fsencode(path.resolve()), digest_size=16).hexdigest()
    entry = known.get(key)
    remembered = entry.get("sha256") if isinstance(entry, dict) and entry.get("files") == status else None
    if from_memory and isinstance(remembered, str):
        return remembered
    digest = hash_path(path)
    settled = time.time_ns() - max((max(times) for _, _, _, _, *times in status), default=0) >= _SETTLED_NS
    if digest != remembered and settled and _status(path) == status:
        known.pop(key, None)
        kept = [*known.items(), (key, {"files": status, "sha256": digest})][-_MOST_REMEMBERED:]
        # Without a place to remember, the next time costs more; nothing else.
        with contextlib.suppress(OutputError, OSError):
            write_json(cache_folder() / MEMORY_FILE, dict(kept))
    return digest


def _files(package: Path) -> list[Path]:
    return sorted(child for child in package.rglob("*") if child.is_file())


def _status(path: Path) -> list[list[Any]]:
    """What changes when a file is replaced or written to, for each file of a package: JSON values."""
    found = []
    for file in _files(path) if path.is_dir() else [path]:
        status = file.stat()
        name = hashlib.blake2b(os.fsencode(file.relative_to(path)), digest_size=16).hexdigest()
        found.append([name, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return found


def _recall() -> dict[str, Any]:
    try:
        return read_json(cache_folder() / MEMORY_FILE)
    except (DataError, RuntimeError):  # not there yet, or damaged; RuntimeError: there is no home folder
        return {}
