"""Writing files and folders so that a crash leaves either the old one or the new one, never half of one.

Everything is first written under a temporary name beside its destination (same file system, so that the rename is
atomic) and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobileclip_kit.errors import DataError, OutputError

_CHUNK_BYTES = 1 << 20

# What mckit's own folders hold. --force replaces only such a folder (or an empty one): `-o ~/Pictures --force` must
# not cost anybody their pictures.
FOLDER_MARKERS = (
    "model.json",
    "export.json",
    "cache.json",
    "index.json",
    "textness.json",
    "manifest.json",
    "truth.jsonl",
    "report.json",
    "training.json",
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
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent))
    staging.chmod(0o755)
    try:
        yield staging
        if destination.exists():
            retired = staging.with_suffix(".old")
            os.replace(destination, retired)
            os.replace(staging, destination)
            _remove(retired)
        else:
            os.replace(staging, destination)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextlib.contextmanager
def atomic_file(destination: Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path whose file takes ``destination``'s place when the block ends without an error."""
    check_can_write(destination, force=force)
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
    os.close(handle)
    staging = Path(name)
    staging.chmod(0o644)
    try:
        yield staging
        os.replace(staging, destination)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def check_can_write(destination: Path, *, force: bool) -> None:
    """Refuse a place that exists already or cannot be written, before any work is spent on it.

    Raises:
        OutputError: Names the place and says what to do.
    """
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


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, is not JSON, or is not an object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
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


def _made_by_mckit(folder: Path) -> bool:
    return any((folder / marker).is_file() for marker in FOLDER_MARKERS)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
