"""Putting a finished file or folder in its place, so that there is no moment without one.

Linux's ``renameat2`` and macOS's ``renamex_np`` exchange two names in one step: the new folder takes the old one's name
and the old one the new one's. On Windows and some network file systems it takes two renames. The old folder is called
``.NAME.*.old`` in between, and the next writer gives it its name back if a kill left it so. What is installed is on the
disk before its name is.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from mobileclip_kit.errors import OutputError
from mobileclip_kit.locks import try_lock, unlock

RETIRED = ".old"
_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS
_NOT_THERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
# Above this number, writing back the whole file system at once is faster than one file after the other.
_MANY_FILES = 256

Exchange = Callable[[bytes, bytes], int]


def install(staging: Path, destination: Path, *, replace: bool) -> None:
    """Give a finished file or folder its name; what had the name before is removed.

    Args:
        staging: It lies beside the destination, under a temporary name that ends in a suffix.
        destination: Its name.
        replace: Whether something may stand there already.

    Raises:
        OutputError: Something stands there and ``replace`` is False.
    """
    sync(staging)
    if replace and not staging.is_dir() and not destination.is_dir():
        os.replace(staging, destination)
    elif _rename_to_free_name(staging, destination):
        pass
    elif not replace:
        raise OutputError(f"{destination} exists already.", hint="Choose another name, or add --force to replace it.")
    elif exchange(staging, destination):
        _sync_one(destination.parent)
        remove(staging)
    else:
        _rename_twice(staging, destination)
    _sync_one(destination.parent)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    call = _exchange_call()
    if call is None or call(os.fsencode(first), os.fsencode(second)) != 0:
        code = ctypes.get_errno() if call is not None else errno.ENOSYS
        if code not in _NOT_THERE:
            raise OSError(code, os.strerror(code), str(first), None, str(second))
        return False
    return True


def sync(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if not path.is_dir() or path.is_symlink():
        _sync_one(path)
        return
    inside = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    if len(inside) > _MANY_FILES and _sync_file_system(path):
        return
    for file in inside:
        if not file.is_symlink():
            _sync_one(file)
    for folder, _, _ in os.walk(path, topdown=False):
        _sync_one(Path(folder))


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _rename_to_free_name(staging: Path, destination: Path) -> bool:
    if os.path.lexists(destination):
        return False
    try:
        os.rename(staging, destination)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False  # another process was faster
    return True


def _rename_twice(staging: Path, destination: Path) -> None:
    retired = staging.with_suffix(RETIRED)
    # The lock tells other writers that this is no leftover; it follows the folder to its other name.
    lock = try_lock(destination)
    try:
        os.replace(destination, retired)
        try:
            os.replace(staging, destination)
        except BaseException:
            os.replace(retired, destination)
            raise
        remove(retired)
    finally:
        unlock(lock)


@functools.cache
def _exchange_call() -> Exchange | None:
    """The C library's call, or None."""
    if not sys.platform.startswith(("linux", "darwin")):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        rename = getattr(library, "renamex_np", None)
        if rename is None:
            return None
        rename.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint)
        return lambda first, second: int(rename(first, second, _EXCHANGE))
    rename_at = getattr(library, "renameat2", None)
    if rename_at is None:
        return None
    rename_at.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return lambda first, second: int(rename_at(_AT_FDCWD, first, _AT_FDCWD, second, _EXCHANGE))


def _sync_file_system(path: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        return int(call(handle)) == 0
    finally:
        os.close(handle)


def _sync_one(path: Path) -> None:
    windows = os.name == "nt"
    if windows and path.is_dir():
        return  # Windows opens no folders
    try:
        handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    except PermissionError:
        return  # written, and not for us to open
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_THERE:  # some file systems know no such thing for folders
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)
