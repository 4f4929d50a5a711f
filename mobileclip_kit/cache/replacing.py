"""A cache that is made anew beside the old one, which can be read until the new one takes its place.

The new one is staged under a name of its own. It stays there when its run is killed or fails: the next run that makes
the same cache goes on with it, and every other run removes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.cache.writer import cache_lock, is_cache, is_unfinished
from mobileclip_kit.errors import MckitError
from mobileclip_kit.files import check_can_write, recover, remove_staged, staged_place
from mobileclip_kit.renames import install, remove


@contextlib.contextmanager
def cache_place(path: Path, made_of: Mapping[str, Any], *, force: bool) -> Iterator[Path]:
    """Yield the folder to write a cache to: its own, or one that replaces it when the block ends without an error.

    Args:
        path: The cache.
        made_of: All that decides about its contents: an interrupted run with something else is not continued.
        force: Replace what lies there.

    Raises:
        CacheError: Another process is writing the cache.
        OutputError: The place cannot be written, or holds something else.
    """
    recover(path)
    is_free = not path.exists() or is_unfinished(path) or (path.is_dir() and not any(path.iterdir()))
    if not force or is_free:
        yield path
        return
    check_can_write(path, force=True)
    staging = staged_place(path, made_of)
    with cache_lock(path) if is_cache(path) else contextlib.nullcontext():
        remove_staged(path, keep=staging)
        if not _items(staging):
            remove(staging)
        try:
            yield staging
        except BaseException:
            if not _items(staging):
                remove(staging)
            raise
        install(staging, path, replace=True)


def _items(staging: Path) -> int:
    """How many items an interrupted run left; 0 where there are none, or damaged ones."""
    try:
        return len(TeacherCache.open(staging))
    except MckitError:
        return 0
