"""What has changed in a folder since it was indexed, without looking at a pixel.

Size and modification time decide which files are looked into at all. New files of the size of a vanished one are hashed
here, so that an image that moved keeps its vector; every other file is hashed when it is decoded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mobileclip_kit.errors import DataError
from mobileclip_kit.index.store import Item, Stamp
from mobileclip_kit.indexing.listing import Found

# More than this share of an index vanishing at once looks like a folder that is not mounted.
PRUNE_SHARE = 0.2
_NO_STAMP: Stamp = (-1, None, False)


@dataclass(frozen=True)
class FileToEncode:
    """An image that may need a vector.

    Attributes:
        found: What is there now.
        known: What the index holds under this name, or None.
    """

    found: Found
    known: Item | None


@dataclass
class Changes:
    """The differences between an index and the present state of its folder.

    Attributes:
        files: Files to be hashed and, if their content is new, decoded and encoded.
        moved: Vanished item → where its content lies now.
        removed: Items whose files are gone.
        unchanged: Files with a vector, of the same size and time as before.
    """

    files: list[FileToEncode] = field(default_factory=list)
    moved: list[tuple[Item, FileToEncode]] = field(default_factory=list)
    removed: list[Item] = field(default_factory=list)
    unchanged: int = 0

    def check_removals(self, known: int, folder: Path | str, confirm: Callable[[str], bool] | None = None) -> None:
        """Refuse to forget a large part of an index.

        Args:
            known: Items of the index.
            folder: For the message.
            confirm: Asked whether to go on; None for no.

        Raises:
            DataError: More than :data:`PRUNE_SHARE` of the ``known`` items are gone, and it is not confirmed.
        """
        if len(self.removed) > PRUNE_SHARE * known:
            question = f"{len(self.removed)} of the index's {known} images are no longer in {folder}. Forget them?"
            if confirm is not None and confirm(question):
                return
            raise DataError(
                f"{len(self.removed)} of the index's {known} images are no longer in {folder} "
                f"(the first is {self.removed[0].name!r}). Nothing was changed.",
                hint="Is the folder the right one, and mounted? Add --prune to remove them from the index.",
            )


def nothing_changed(library: Sequence[Found], stamps: Mapping[str, Stamp]) -> Changes | None:
    """The comparison of a library in which nothing changed, without reading its items; None where something did.

    Args:
        library: The images that are there.
        stamps: See :meth:`~mobileclip_kit.index.store.Store.stamps`.
    """
    failed, left = 0, dict(stamps)
    for found in library:
        # Taken out, since a tar may hold two images of one name.
        size_bytes, mtime_ns, has_row = left.pop(found.name, _NO_STAMP)
        if found.size_bytes != size_bytes or found.mtime_ns != mtime_ns:
            return None
        if not has_row:
            failed += 1
        elif found.reason is not None or mtime_ns is None:
            return None
    return None if left else Changes(unchanged=len(library) - failed)


def compare_library(
    library: Iterable[Found], items: Sequence[Item], *, retry_failed: bool = False, rehash: bool = False
) -> Changes:
    """Compare the images of a library with the items of its index.

    Args:
        library: The images that are there.
        items: What the index holds.
        retry_failed: Look again into unchanged files that failed before.
        rehash: Look again into unchanged files that have a vector: size and time may lie.
    """
    changes = Changes()
    vanished = {item.name: item for item in items}
    for found in library:
        known = vanished.get(found.name)
        if found.reason is not None and known is not None and known.row is not None:
            # A link whose target had a vector and is gone: the image has vanished.
            continue
        vanished.pop(found.name, None)
        same = known is not None and (known.size_bytes, known.mtime_ns) == (found.size_bytes, found.mtime_ns)
        # Without a time, from a server that tells none, only the content says whether it is the same.
        if known is not None and same and (found.mtime_ns is not None or known.row is None):
            if not (retry_failed if known.row is None else rehash):
                changes.unchanged += known.row is not None
                continue
        changes.files.append(FileToEncode(found, known))
    _find_moves(changes, vanished)
    changes.removed = list(vanished.values())
    return changes


def _find_moves(changes: Changes, vanished: dict[str, Item]) -> None:
    """Take the images that only changed their name out of ``changes.files`` and ``vanished``."""
    sizes = {item.size_bytes for item in vanished.values() if item.row is not None}
    lost: dict[str | None, list[Item]] = defaultdict(list)
    for item in vanished.values():
        if item.row is not None and item.sha256 is not None:
            lost[item.sha256].append(item)
    rest = []
    for file in changes.files:
        found = file.found
        matches = lost.get(_hash(found)) if file.known is None and found.size_bytes in sizes else None
        if matches:
            item = matches.pop(0)
            del vanished[item.name]
            changes.moved.append((item, file))
        else:
            rest.append(file)
    changes.files = rest


def _hash(found: Found) -> str | None:
    try:
        return found.sha256()
    except OSError:
        # Whoever decodes it will say what is wrong with it.
        return None
