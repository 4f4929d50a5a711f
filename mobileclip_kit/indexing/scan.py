"""What has changed in a folder since it was indexed, without looking at a pixel.

Size and modification time decide which files are looked into at all. New files of the size of a vanished one are hashed
here, so that a picture that moved keeps its vector; every other file is hashed when it is decoded.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mobileclip_kit.errors import DataError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.store import Item

# More than this share of an index vanishing at once looks like a folder that is not mounted.
PRUNE_SHARE = 0.2


@dataclass(frozen=True)
class Candidate:
    """A file on the disk that may need a vector.

    Attributes:
        path: The file.
        name: Relative to the indexed folder, with ``/``.
        size_bytes: Now.
        mtime_ns: Now.
        known: What the index holds under this name, or None.
    """

    path: Path
    name: str
    size_bytes: int
    mtime_ns: int
    known: Item | None


@dataclass
class Plan:
    """The steps from an index to the present state of its folder.

    Attributes:
        candidates: Files to be hashed and, if their content is new, decoded and encoded.
        moved: Vanished item → where its content lies now.
        removed: Items whose files are gone.
        unchanged: Files of the same size and time as before.
    """

    candidates: list[Candidate] = field(default_factory=list)
    moved: list[tuple[Item, Candidate]] = field(default_factory=list)
    removed: list[Item] = field(default_factory=list)
    unchanged: int = 0

    def check_removals(self, known: int, folder: Path) -> None:
        """Refuse to forget a large part of an index.

        Raises:
            DataError: More than :data:`PRUNE_SHARE` of the ``known`` items are gone.
        """
        if len(self.removed) > PRUNE_SHARE * known:
            raise DataError(
                f"{len(self.removed)} of the index's {known} pictures are no longer in {folder} "
                f"(the first is {self.removed[0].name!r}). Nothing was changed.",
                hint="Is the folder the right one, and mounted? Add --prune to remove them from the index.",
            )


def plan_update(pictures: Iterable[Path], folder: Path, items: Sequence[Item], *, retry_failed: bool = False) -> Plan:
    """Compare the files below a folder with the items of its index.

    Args:
        pictures: Picture files below ``folder``.
        folder: The indexed folder.
        items: What the index holds.
        retry_failed: Look again into unchanged files that failed before.
    """
    plan = Plan()
    vanished = {item.name: item for item in items}
    prefix = len(str(folder)) + 1 if str(folder) != os.sep else 1
    for path in pictures:
        name = str(path)[prefix:].replace(os.sep, "/")
        try:
            status = path.stat()
        except OSError:
            # Of a link that leads nowhere, whoever decodes it gives the reason, unless what it led to had a vector:
            # then that picture has vanished.
            if not path.is_symlink() or (name in vanished and vanished[name].row is not None):
                continue
            status = path.lstat()
        known = vanished.pop(name, None)
        if known is not None and (known.size_bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
            if known.row is not None or not retry_failed:
                plan.unchanged += 1
                continue
        plan.candidates.append(Candidate(path, name, status.st_size, status.st_mtime_ns, known))
    _find_moves(plan, vanished)
    plan.removed = list(vanished.values())
    return plan


def _find_moves(plan: Plan, vanished: dict[str, Item]) -> None:
    """Take the pictures that only changed their name out of ``plan.candidates`` and ``vanished``."""
    sizes = {item.size_bytes for item in vanished.values() if item.row is not None}
    lost: dict[str | None, list[Item]] = defaultdict(list)
    for item in vanished.values():
        if item.row is not None and item.sha256 is not None:
            lost[item.sha256].append(item)
    rest = []
    for candidate in plan.candidates:
        matches = lost.get(_hash(candidate.path)) if candidate.known is None and candidate.size_bytes in sizes else None
        if matches:
            item = matches.pop(0)
            del vanished[item.name]
            plan.moved.append((item, candidate))
        else:
            rest.append(candidate)
    plan.candidates = rest


def _hash(path: Path) -> str | None:
    try:
        return sha256_of_file(path)
    except OSError:
        # Whoever decodes it will say what is wrong with it.
        return None
