"""An index that is built anew beside the old one, which can be searched until the new one takes its place.

The new one is staged under a name of its own. It stays there when its run is killed or fails: the next rebuild of the
same folder, by the same model and in the same way, goes on with it, and every other run removes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobileclip_kit.errors import MckitError
from mobileclip_kit.files import remove_staged, staged_place
from mobileclip_kit.index.folder import IndexHeader, IndexReader, create_index, index_lock
from mobileclip_kit.renames import install, remove


@contextlib.contextmanager
def rebuilt_index(folder: Path, header: IndexHeader, options: Mapping[str, Any]) -> Iterator[Path]:
    """Yield an index beside ``folder`` that takes its place when the block ends without an error.

    Args:
        folder: An index; its writer's lock is held.
        header: What the new ``index.json`` says.
        options: What else decides about the vectors: an interrupted rebuild with other options is not continued.

    Raises:
        IndexFormatError: Another process is writing the index.
        OutputError: The place cannot be written.
    """
    staging = staged_place(folder, {"index": header.to_json(), **options})
    with index_lock(folder):
        remove_staged(folder, keep=staging)
        if _items(staging) is None:
            remove(staging)
            create_index(staging, header)
        try:
            yield staging
        except BaseException:
            if not _items(staging):
                remove(staging)
            raise
        install(staging, folder, replace=True)


def _items(staging: Path) -> int | None:
    """How many items an interrupted rebuild holds; None where there is none, or a damaged one."""
    try:
        with IndexReader(staging) as index:
            return sum(1 for _ in index.store.items())
    except MckitError:
        return None
