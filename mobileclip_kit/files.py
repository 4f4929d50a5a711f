"""Atomic writing of files and folders: a crash leaves either the old content or the new one.

Everything is first written under a temporary name in the destination's folder, flushed to disk, and renamed when it is
complete; see :mod:`mobileclip_kit.renames`. A process that is killed leaves its temporary ``.NAME.*.part`` behind. Each
writer locks its temporary file, and the lock ends with the process, so the next writer of the same destination can
recognise and remove abandoned files.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import json
import os
import re
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from mobileclip_kit import __version__
from mobileclip_kit.errors import DataError, OutputError
from mobileclip_kit.locks import CAN_LOCK, try_lock, unlock
from mobileclip_kit.renames import RETIRED, install, remove

MAX_NESTING = 100
SEAL_KEY = "content_sha256"
_STAGED = ".part"
_KEPT = ".staged"
_DIGEST_DIGITS = 12
# A writer locks its temporary file a moment after making it; until then it looks abandoned.
_LEAST_AGE_SECONDS = 1.0
# Zero-width joiners hold emoji and Indic letters together. Other invisible characters could reverse or hide a part of
# a name.
_JOINERS = "\u200c\u200d"
# The process's stderr while it is redirected, once for each thread that wants silence.
_STDERR_LOCK, _STDERR = threading.Lock(), list[int]()

# The files by which mckit's own folders are recognised. --force replaces only a folder of the kind that is made, or an
# empty one: `-o ~/Photos --force` deletes no images, and `mckit export student -o student --force` no model.
FOLDER_MARKERS = {
    "model.json": "a model folder", "export.json": "an export", "cache.json": "a cache", "index.json": "an index",
    "quickstart.json": "a quickstart", "manifest.json": "a bundle", "truth.jsonl": "a folder of scenes",
    "report.json": "a report", "training.json": "a run", "vectors.json": "a folder of vectors",
    "comparison.json": "a comparison of exports", "push.json": "a model card",
    "layout.json": "an export for another program",
}  # fmt: skip


@contextlib.contextmanager
def atomic_folder(destination: Path, *, force: bool = False, kinds: Collection[str] = FOLDER_MARKERS) -> Iterator[Path]:
    """Yield an empty folder that becomes ``destination`` when the block ends without an error.

    Args:
        destination: The folder to make; its parents are made too.
        force: Replace an existing one.
        kinds: See :func:`check_can_write`.

    Raises:
        OutputError: ``destination`` exists and ``force`` is False, or it cannot be written.
    """
    check_can_write(destination, force=force, kinds=kinds)
    _remove_abandoned(_leftovers(destination, _STAGED))
    staging = tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=_STAGED, dir=destination.parent)
    with _installed(Path(staging), destination, mode=0o755, replace=force):
        yield Path(staging)


@contextlib.contextmanager
def atomic_file(destination: Path, *, force: bool = True, is_tidy: bool = False) -> Iterator[Path]:
    """Yield a temporary path whose file becomes ``destination`` when the block ends without an error.

    Args:
        destination: The file to make.
        force: Replace an existing one.
        is_tidy: Its folder was checked and tidied by :func:`remove_abandoned_files`. Each file would list the folder
            again otherwise.
    """
    if not is_tidy:
        check_can_write(destination, force=force)
        _remove_abandoned(_leftovers(destination, _STAGED))
    handle, staging = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=_STAGED, dir=destination.parent)
    os.close(handle)
    with _installed(Path(staging), destination, mode=0o644, replace=force):
        yield Path(staging)


@contextlib.contextmanager
def _installed(staging: Path, destination: Path, *, mode: int, replace: bool) -> Iterator[None]:
    """Hold the lock of a temporary file or folder, then rename it to its destination, or remove it after an error."""
    lock = try_lock(staging)
    staging.chmod(mode)
    try:
        yield
        install(staging, destination, replace=replace)
    except BaseException:
        remove(staging)
        raise
    finally:
        unlock(lock)


def check_can_write(destination: Path, *, force: bool, kinds: Collection[str] = ()) -> None:
    """Refuse a destination that exists or cannot be written, before any work is done.

    Args:
        destination: The file or folder to make.
        force: Replace an existing one.
        kinds: Keys of :data:`FOLDER_MARKERS`: the folders that ``force`` replaces; none for a file, which replaces
            files alone.

    Raises:
        OutputError: The destination exists and ``force`` is False, is something else, or cannot be written.
    """
    recover(destination)
    if destination.exists() and not force:
        raise OutputError(f"{destination} exists already.", hint="Choose another name, or add --force to replace it.")
    if destination.is_dir() and (not kinds or any(destination.iterdir())) and not _is_one_of(kinds, destination):
        known = next((kind for marker, kind in FOLDER_MARKERS.items() if (destination / marker).is_file()), "")
        is_what = f"is {known or 'a folder'}" if known or not kinds else "contains files that mckit did not make"
        raise OutputError(
            f"{destination} {is_what}, so --force does not replace it.",
            hint="Choose another -o, or remove the folder yourself.",
        )
    if destination.is_file() and kinds:
        raise OutputError(f"{destination} is a file, so --force does not replace it.", hint="Choose another -o.")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {destination.parent}: {error.strerror}.") from error
    if not os.access(destination.parent, os.W_OK):
        raise OutputError(f"The folder {destination.parent} cannot be written.", hint="Choose another -o.")


def counted(number: int, noun: str) -> str:
    """Such as "1 copy", "2 copies" and "3 images"."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else several}"


def told(item: str, reason: str) -> str:
    """An item and why it was left out, without its name twice where the reason begins with it."""
    for name in (item, item.rsplit("/", 1)[-1]):
        folder, found, rest = reason.partition(f"{name} ")
        if found and (not folder or (folder.endswith("/") and name == item)):
            return f"{folder}{item} {rest}"
    return f"{item}: {reason}"


def one_line(name: str) -> str:
    """The name on one line of visible characters; control characters and bytes that are not UTF-8 are escaped."""
    return "".join(
        character if character.isprintable() or character in _JOINERS else character.encode("unicode_escape").decode()
        for character in name
    )


def near_paths(path: Path) -> list[str]:
    """The paths beside one that does not exist whose names are nearest to its own, at most two."""
    try:
        names = {each.name for each in path.parent.iterdir() if not each.name.startswith(".")} - {path.name}
    except OSError:
        return []
    return [str(path.with_name(name)) for name in difflib.get_close_matches(path.name, sorted(names), n=2, cutoff=0.7)]


def check_no_source(out: Path, sources: Iterable[Path], what: str) -> None:
    """Refuse an output that is one of the folders it shall be merged of.

    Raises:
        OutputError: Names it.
    """
    if out.exists() and any(source.exists() and source.samefile(out) for source in sources):
        raise OutputError(f"{out} is one of the {what} to be merged.", hint="Choose another -o.")


def nothing_at(path: Path, hint: str) -> tuple[str, str]:
    """Message and hint for a path that does not exist: the nearest ones beside it, or else ``hint``."""
    near = near_paths(path)
    return f"{path} does not exist.", f"Did you mean {' or '.join(near)}?" if near else hint


def write_json(path: Path, document: Any, *, sealed: bool = False) -> None:
    """Write ``document`` as indented UTF-8 JSON, atomically.

    Args:
        path: The file.
        document: JSON values.
        sealed: Add the SHA-256 of an object's content as its last key, which :func:`read_json` compares and removes.
    """
    if sealed:
        document = seal(document)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_file(path) as staging:
        # Bytes of file names that are not UTF-8 become escapes, as JSON has them too.
        staging.write_text(text, encoding="utf-8", errors="backslashreplace")


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading, but no pipe or device, which may never end.

    Raises:
        DataError: It is something else than a file or a folder.
        OSError: It is missing, a folder, or cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError(f"{path} is not a file but a pipe or a device.", hint="Save its content to a file first.")
    return path.open("rb")


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a UTF-8 file; ``utf-8-sig`` also accepts a byte order mark.

    Raises:
        DataError: The file is missing or cannot be read.
        UnicodeDecodeError: The file is not UTF-8.
    """
    try:
        with open_file(path) as stream, io.TextIOWrapper(stream, encoding) as text:
            return text.read()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def parse_json(text: str | bytes) -> Any:
    """Values of a JSON text from elsewhere.

    Raises:
        ValueError: It is not JSON, is not UTF-8, holds a number that is not finite, or is nested more than
            :data:`MAX_NESTING` deep.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    check_nesting(document)
    return document


def check_nesting(document: Any) -> None:
    """Refuse values nested more than :data:`MAX_NESTING` deep, on which functions that call themselves would fail.

    Raises:
        ValueError: They are.
    """
    level: list[dict[Any, Any] | list[Any]] = [[document]]
    for _ in range(MAX_NESTING + 1):
        level = [value for each in level for value in (each.values() if isinstance(each, dict) else each)
                 if isinstance(value, dict | list)]  # fmt: skip
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_NESTING} deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Keep what libraries of other languages write to the process's stderr off the terminal.

    Threads may overlap here: the first to enter redirects it, and the last to leave restores it.
    """
    with _STDERR_LOCK:
        if not _STDERR:
            sys.stderr.flush()
            _STDERR.append(os.dup(2))
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        else:
            _STDERR.append(_STDERR[0])
    try:
        yield
    finally:
        with _STDERR_LOCK:
            kept = _STDERR.pop()
            if not _STDERR:
                os.dup2(kept, 2)
                os.close(kept)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, is not JSON, is not an object, or was changed after it was sealed.
    """
    try:
        document = parse_json(read_text(path))
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON: {error}.", hint="If mckit wrote it, copy it again, or make it again."
        ) from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds a JSON {type(document).__name__}, not an object.")
    if SEAL_KEY in document and document.pop(SEAL_KEY) != _digest(document):
        raise DataError(
            f"{path} was changed: its content does not have the SHA-256 in {SEAL_KEY}.",
            hint=f"Copy the file again, or make it again. If the change is intended, remove {SEAL_KEY}.",
        )
    return document


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the SHA-256 of its content, which :func:`read_json` compares."""
    # As it is read: tuples become lists, and keys texts.
    return {**document, SEAL_KEY: _digest(json.loads(json.dumps(document)))}


def _digest(document: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a document as JSON with sorted keys and no white space."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(folder: Path, name: str, sha256: str, *, source: str, hint: str) -> None:
    """Compare a file with the SHA-256 that a document beside it names.

    Args:
        folder: The folder of both.
        name: The file, relative to the folder.
        sha256: Hex digest.
        source: Name of the document.
        hint: How to make the file anew.

    Raises:
        DataError: The file is missing or was changed, or is not below the folder: documents come from others, too.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{folder / source} names a file outside its folder: {name[:100]!r}.", hint=hint)
    if not path.is_file() or sha256_of_file(path) != sha256:
        what = "was changed: its SHA-256 is not the one in" if path.is_file() else "is missing, named by"
        raise DataError(f"{path} {what} {source}.", hint=hint)


def size_bytes(path: Path) -> int:
    """Size of a file, or of all files below a folder (an ``.mlpackage`` is a folder)."""
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size


def remove_staged(destination: Path, *, keep: Path | None = None) -> None:
    """Remove the staging folders of ``destination``, whose lock the caller holds, except ``keep``."""
    digits = re.compile(rf"\.[0-9a-f]{{{_DIGEST_DIGITS}}}\{_KEPT}")
    for left in _leftovers(destination, _KEPT):
        if left != keep and digits.fullmatch(left.name.removeprefix(f".{destination.name}")):
            remove(left)


@contextlib.contextmanager
def continued_place(
    destination: Path,
    made_of: Mapping[str, Any],
    lock: contextlib.AbstractContextManager[None],
    count: Callable[[Path], int],
) -> Iterator[Path]:
    """Yield a folder ``.NAME.DIGEST.staged`` that replaces ``destination`` when the block ends without an error.

    It stays when its run is killed or fails: a later run of the same ``made_of`` continues it, every other one removes
    it.

    Args:
        destination: What is replaced.
        made_of: Everything that determines the result; a run with another result has another staging folder.
        lock: The writer's lock of ``destination``.
        count: How many items a staging folder holds: 0 for one that is not worth keeping.
    """
    text = json.dumps({"mckit": __version__, **made_of}, sort_keys=True)
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:_DIGEST_DIGITS]
    staging = destination.with_name(f".{destination.name}.{digest}{_KEPT}")
    with lock:
        remove_staged(destination, keep=staging)
        if not count(staging):
            remove(staging)
        try:
            yield staging
        except BaseException:
            if not count(staging):
                remove(staging)
            raise
        install(staging, destination, replace=True)


def recover(destination: Path) -> None:
    """Repair the result of a kill between two renames: restore the old folder, or remove it if the new one exists.

    This happens only on systems that cannot exchange two names; see :mod:`mobileclip_kit.renames`.
    """
    for left in sorted(_leftovers(destination, RETIRED), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if not left.is_dir() or not (_is_one_of(FOLDER_MARKERS, left) or not any(left.iterdir())):
            continue
        with contextlib.suppress(OSError):  # another writer was faster, or there is no permission
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


def remove_abandoned_files(folder: Path, suffix: str) -> None:
    """Remove the temporary files of killed writers of all files of a folder whose names end in ``suffix``."""
    staged = (left for left in folder.iterdir() if left.suffix == _STAGED and left.name[0] == ".")
    _remove_abandoned([left for left in staged if Path(left.stem).stem.endswith(suffix) and not left.is_symlink()])


def _remove_abandoned(leftovers: Sequence[Path]) -> None:
    """Remove temporary files, unless their writers live."""
    for left in leftovers:
        with contextlib.suppress(OSError):  # another writer was faster, or there is no permission
            lock = try_lock(left)
            if lock is None:
                continue
            missing_age = _LEAST_AGE_SECONDS - (time.time() - left.stat().st_mtime)
            if missing_age > 0:  # of a run that was killed just now, or of one that is about to lock it
                unlock(lock)
                time.sleep(min(missing_age, _LEAST_AGE_SECONDS))
                lock = try_lock(left)
            if lock is not None:
                remove(left)
            unlock(lock)


def _leftovers(destination: Path, suffix: str) -> list[Path]:
    """The temporary files and folders of a destination that end in ``suffix``."""
    prefix = f".{destination.name}."
    if not destination.parent.is_dir():
        return []
    # The names of other destinations can begin in the same way; what tempfile adds has no further dot.
    return [left for left in destination.parent.iterdir()
            if left.name.startswith(prefix) and left.suffix == suffix and not left.is_symlink()
            and "." not in left.name.removeprefix(prefix).removesuffix(suffix)]  # fmt: skip


def _is_one_of(kinds: Collection[str], folder: Path) -> bool:
    return any((folder / marker).is_file() for marker in kinds)
