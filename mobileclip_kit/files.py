"""Writing files and folders so that a crash leaves either the old one or the new one, never half of one.

Everything is first written under a temporary name beside its destination (same file system, so that the rename is
atomic), brought to the disk, and renamed when it is complete; :mod:`mobileclip_kit.renames` says how. A process that is
killed leaves its temporary ``.NAME.*.part`` behind. Every writer holds a lock on its own, which ends with its process;
so the next writer of the same destination knows what nobody works on any more, and removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobileclip_kit import __version__
from mobileclip_kit.errors import DataError, OutputError
from mobileclip_kit.locks import CAN_LOCK, try_lock, unlock
from mobileclip_kit.renames import RETIRED, install, remove

_CHUNK_BYTES = 1 << 20
_STAGED = ".part"
_KEPT = ".staged"
_DIGEST_DIGITS = 12
# A writer makes its temporary file and locks it a moment later; until then it only looks abandoned.
_LEAST_AGE_SECONDS = 5.0

# What mckit's own folders hold. --force replaces only such a folder (or an empty one): `-o ~/Images --force` must
# not cost anybody their images.
FOLDER_MARKERS = (
    "model.json",
    "export.json",
    "cache.json",
    "index.json",
    "textness.json",
    "quickstart.json",
    "manifest.json",
    "truth.jsonl",
    "report.json",
    "training.json",
    "vectors.json",
    "comparison.json",
)


@contextlib.contextmanager
def atomic_folder(destination: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder that takes ``destination``'s place when the block ends without an error.

    Args:
        destination: The folder to make. Its parents are made too.
        force: Replace what stands there already.

    Raises:
        OutputError: ``destination`` exists and ``force`` is False, or the place cannot be written.
    """
    check_can_write(destination, force=force)
    _remove_abandoned(destination)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=_STAGED, dir=destination.parent))
    lock = try_lock(staging)
    staging.chmod(0o755)
    try:
        yield staging
        install(staging, destination, replace=force)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        unlock(lock)


@contextlib.contextmanager
def atomic_file(destination: Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path whose file takes ``destination``'s place when the block ends without an error."""
    check_can_write(destination, force=force)
    _remove_abandoned(destination)
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=_STAGED, dir=destination.parent)
    os.close(handle)
    staging = Path(name)
    lock = try_lock(staging)
    staging.chmod(0o644)
    try:
        yield staging
        install(staging, destination, replace=force)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    finally:
        unlock(lock)


def check_can_write(destination: Path, *, force: bool) -> None:
    """Refuse a place that exists already or cannot be written, before any work is spent on it.

    Raises:
        OutputError: Names the place and says what to do.
    """
    recover(destination)
    if destination.exists() and not force:
        raise OutputError(f"{destination} exists already.", hint="Choose another -o or add --force to replace it.")
    if destination.is_dir() and any(destination.iterdir()) and not _made_by_mckit(destination):
        raise OutputError(
            f"{destination} holds files that mckit did not make, so --force does not replace it.",
            hint="Choose another -o, or remove the folder yourself.",
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {destination.parent}: {error.strerror}.") from error
    if not os.access(destination.parent, os.W_OK):
        raise OutputError(f"The folder {destination.parent} cannot be written.", hint="Choose another -o.")


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` as indented UTF-8 JSON, atomically."""
    with atomic_file(path) as staging:
        staging.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a UTF-8 text; ``utf-8-sig`` also takes one that begins with a byte order mark.

    Raises:
        DataError: The file is missing or cannot be read.
        UnicodeDecodeError: It is not UTF-8; the caller knows what it should have been.
    """
    try:
        return path.read_text(encoding=encoding)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, is not JSON, or is not an object.
    """
    try:
        document = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds a JSON {type(document).__name__}, not an object.")
    return document


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all the files below a folder (an ``.mlpackage`` is a folder)."""
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size


def staged_place(destination: Path, made_of: Mapping[str, Any]) -> Path:
    """Where a long work is staged that the next run shall find and continue: ``.NAME.DIGEST.staged``.

    Args:
        destination: What it shall become.
        made_of: All that decides about the result: a run that makes another one finds another place.
    """
    text = json.dumps({"mckit": __version__, **made_of}, sort_keys=True)
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:_DIGEST_DIGITS]
    return destination.with_name(f".{destination.name}.{digest}{_KEPT}")


def remove_staged(destination: Path, *, keep: Path | None = None) -> None:
    """Remove what interrupted runs staged for ``destination``, whose lock the caller holds, but for ``keep``."""
    digits = re.compile(rf"\.[0-9a-f]{{{_DIGEST_DIGITS}}}\{_KEPT}")
    for left in _leftovers(destination, _KEPT):
        if left != keep and digits.fullmatch(left.name.removeprefix(f".{destination.name}")):
            remove(left)


def recover(destination: Path) -> None:
    """Undo what a kill between two renames did: an old folder gets its name back, or goes if the new one has it.

    Only systems that cannot exchange two names leave such a folder; see :mod:`mobileclip_kit.renames`.
    """
    for left in sorted(_leftovers(destination, RETIRED), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if not left.is_dir() or not (_made_by_mckit(left) or not any(left.iterdir())):
            continue
        with contextlib.suppress(OSError):  # another writer was faster, or it is not ours to open
            lock = try_lock(left)
            if lock is None and CAN_LOCK:
                continue  # its writer is between the two renames
            try:
                if os.path.lexists(destination):
                    remove(left)
                else:
                    os.rename(left, destination)
            finally:
                unlock(lock)


def _remove_abandoned(destination: Path) -> None:
    """Remove what killed writers of this destination left."""
    for left in _leftovers(destination, _STAGED):
        with contextlib.suppress(OSError):  # another writer was faster, or it is not ours to open
            lock = try_lock(left)
            if lock is not None and time.time() - left.stat().st_mtime >= _LEAST_AGE_SECONDS:
                remove(left)
            unlock(lock)


def _leftovers(destination: Path, suffix: str) -> list[Path]:
    """The temporary files and folders of a destination that end in ``suffix``."""
    prefix = f".{destination.name}."
    if not destination.parent.is_dir():
        return []
    # Names of longer destinations begin alike: what tempfile adds has no further dot.
    return [left for left in destination.parent.iterdir()
            if left.name.startswith(prefix) and left.suffix == suffix and not left.is_symlink()
            and "." not in left.name.removeprefix(prefix).removesuffix(suffix)]  # fmt: skip


def _made_by_mckit(folder: Path) -> bool:
    return any((folder / marker).is_file() for marker in FOLDER_MARKERS)
