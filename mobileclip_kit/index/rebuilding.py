"""An index that is built anew beside the old one, which can be searched until the new one takes its place.

The new one is staged under a name of its own. It stays there when its run is killed or fails: the next rebuild of the
same folder, by the same model and in the same way, goes on with it, and every other run removes it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobileclip_kit.errors import MckitError
from mobileclip_kit.files import continued_place
from mobileclip_kit.index.folder import (
    TEXTNESS_FILE,
    IndexHeader,
    IndexReader,
    create_index,
    index_lock,
    is_index,
)


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
    made_of = {"index": header.to_json(), **options}
    with continued_place(folder, made_of, index_lock(folder), _items) as staging:
        if not is_index(staging):
            create_index(staging, header)
        yield staging
        # The user has put it there, and it belongs to the model.
        if (folder / TEXTNESS_FILE).is_file() and IndexHeader.read(folder).spec.model_hash == header.spec.model_hash:
            shutil.copyfile(folder / TEXTNESS_FILE, staging / TEXTNESS_FILE)


def _items(staging: Path) -> int:
    """How many items an interrupted rebuild holds; 0 where there is none, or a damaged one."""
    try:
        with IndexReader(staging) as index:
            return sum(1 for _ in index.store.items())
    except MckitError:
        return 0
