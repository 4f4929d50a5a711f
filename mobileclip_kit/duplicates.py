"""Copies of the same photo in an index: exact ones, and near ones such as resized, recompressed or slightly cropped.

Exact copies have the same content hash. Near ones have vectors that are close *and* perceptual hashes that are close.
Either alone confuses different photos: vectors those of one scene, hashes those of one layout. Images without
structure, such as black frames, have no near copies. How close vectors of
different photos are depends on the model, so distances count in units of the median distance between images of the
same index. ``benchmarks/duplicates.py`` measures the rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.store import Item
from mobileclip_kit.phash import BITS, FLAT, differing_bits
from mobileclip_kit.photo_facts import PhotoFacts
from mobileclip_kit.progress import track

# The two distances, each from 0 to about 1, may add up to this much; chosen on half of the planted copies.
LINE = 0.68
# Without hashes, in an index of an older mckit or of imported vectors, the vectors have to be nearly equal.
_LINE_WITHOUT_HASH = 1e-4
# Images that are compared at once: their product with as many others is 8 MB.
_FIRST, _SECOND = 256, 8192
_SAMPLE = 400
# Images whose hashes differ by less may be copies; the share of bits is doubled as in :func:`hash_distances`.
_DIFFERENT = 0.5
# The median distance where an index holds no two images that surely differ.
_TYPICAL = 0.5

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are copies of one another.

    Attributes:
        items: The best first: of the most pixels, then of the most bytes, then the oldest; links last. Each of the
            others is a copy of the first one.
        same: Whether each file is the first one byte for byte, in the same order; else it is a near copy.
        paths: Their files, in the same order; None where the index knows no folder of images.
    """

    items: tuple[str, ...]
    same: tuple[bool, ...]
    paths: tuple[Path | None, ...]

    @property
    def exact(self) -> bool:
        """Whether all files are the same byte for byte."""
        return all(self.same)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each image after the first one is: ``same file``, ``link`` or ``near copy``."""
        links = (path is not None and path.is_symlink() for path in self.paths[1:])
        return tuple("link" if is_link else "same file" if is_same else "near copy"
                     for is_link, is_same in zip(links, self.same[1:], strict=True))  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The object in ``--json`` documents."""
        return {"keep": self.items[0], "copies": self.items[1:], "kinds": self.kinds, "exact": self.exact}


def find_duplicates(index: IndexReader, *, stop: Callable[[], bool] = lambda: False) -> list[list[Item]]:
    """The groups of copies in an index, the best image of each first.

    Args:
        index: Opened.
        stop: Asked between blocks of images whether to give up.

    Returns:
        Groups of at least two items, in the order of the names of their first ones.

    Raises:
        IndexFormatError: The index is damaged.
    """
    items = [item for item in index.store.items() if item.row is not None and item.row < len(index.matrix)]
    return group_items(index, items, stop)


def group_items(index: IndexReader, items: Sequence[Item], stop: Callable[[], bool]) -> list[list[Item]]:
    """See :func:`find_duplicates`; ``items`` are those of the index that have a row."""
    ranked = sorted(items, key=_quality)
    images, taken, groups = _Images(index, ranked), np.zeros(len(ranked), np.bool_), []
    # The best image takes all its copies; what is no copy of it makes groups of its own, so that no chain of small
    # steps joins two photos that differ.
    for block in track(list(parts_of(np.arange(len(ranked)), _FIRST)), "compare", "blocks"):
        if stop():
            return []
        for place, copies in images.later_copies(block[~taken[block]]):
            others = copies[~taken[copies]]
            if taken[place] or not others.size:
                continue
            taken[others] = True
            # A link is never kept in place of a file: deleting the copies would delete the photo.
            members = [ranked[member] for member in (place, *others.tolist())]
            groups.append(sorted(members, key=partial(_is_link, index.header.folder)))
    return sorted(groups, key=lambda group: group[0].name)


def describe_group(group: Sequence[Item], root: Path | None) -> DuplicateGroup:
    """A group of items for users."""
    return DuplicateGroup(
        items=tuple(item.name for item in group),
        same=tuple(item.sha256 == group[0].sha256 is not None for item in group),
        paths=tuple(None if root is None or ".tar/" in item.name else root / item.name for item in group),
    )


def near_copies(distances: NDArray[np.floating], first: Rows, second: Rows, known: NDArray[np.bool_]) -> Any:
    """Which pairs are near copies, ``(n,)``.

    Args:
        distances: 1 − cosine in units of the index's median, ``(n,)``; see :func:`typical_distance`.
        first: Perceptual hashes, ``(n,)``.
        second: Those of the other images.
        known: Whether both hashes are known.
    """
    structured = (first != FLAT) & (second != FLAT)
    near = structured & (distances + hash_distances(first, second) <= LINE)
    return np.where(known, near, distances <= _LINE_WITHOUT_HASH)


def hash_distances(first: Rows, second: Rows) -> NDArray[np.float64]:
    """The share of differing bits, doubled: different images differ in half of them, ``(n,)``."""
    return differing_bits(first, second) / (BITS / 2)


def even_sample(count: int) -> Rows:
    """At most 400 numbers below ``count``, from the first to the last at even distances, ``(n,)``."""
    return np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64)


def typical_distance(vectors: Vectors, hashes: Rows | None = None) -> float:
    """The median of 1 − cosine between different images of a sample.

    Args:
        vectors: Unit rows of the images of :func:`even_sample`, ``(n, d)``.
        hashes: Perceptual hashes, ``(n,)``, by which copies are left out: a folder may hold little else.
    """
    first, second = np.triu_indices(len(vectors), 1)
    distances = 1 - (vectors @ vectors.T)[first, second]
    if hashes is not None:
        distances = distances[hash_distances(hashes[first], hashes[second]) >= _DIFFERENT]
    return max(float(np.median(distances)), 1e-6) if distances.size else _TYPICAL


class _Images:
    """What is compared of the images of an index, in the order in which they take their copies.

    Args:
        index: Opened.
        ranked: Its items with a row, the best first.
    """

    def __init__(self, index: IndexReader, ranked: Sequence[Item]) -> None:
        self._index, self._rows = index, np.array([item.row for item in ranked], np.int64)
        hashes = [(item.facts or PhotoFacts()).phash for item in ranked]
        self._known = np.array([each is not None for each in hashes], np.bool_)
        self._hashes = np.array([each or 0 for each in hashes], np.int64)
        some = np.argsort(self._rows)[even_sample(len(ranked))]
        self._typical = typical_distance(
            index.vectors(self._rows[some]), self._hashes[some] if self._known.all() else None
        )
        for part in parts_of(self._rows, _SECOND):
            index.vectors(part)  # damage is refused before any image is listed as a copy
        same = defaultdict(list)
        for place, item in enumerate(ranked):
            if item.sha256 is not None:
                same[item.sha256].append(place)
        # Image → all of the same bytes, and which of them it is.
        self._same = {place: (places, at) for places in same.values() for at, place in enumerate(places)}

    def later_copies(self, block: Rows) -> Iterator[tuple[int, Rows]]:
        """The copies of each image of a block among those that come after it, both in rising order."""
        if not block.size:
            return
        vectors, after = self._index.vectors(self._rows[block]), np.arange(block[0] + 1, len(self._rows))
        found = [self._near(block, vectors, part) for part in parts_of(after, _SECOND)]
        first, second = (np.concatenate([part[side] for part in found] or [block[:0]]) for side in (0, 1))
        for place in block.tolist():
            equal, at = self._same.get(place, ([], 0))
            if copies := {*second[first == place].tolist(), *equal[at + 1 :]}:
                yield place, np.array(sorted(copies), np.int64)

    def _near(self, block: Rows, vectors: Vectors, others: Rows) -> tuple[Rows, Rows]:
        """Pairs of near copies, the first of a block and the second after it among the others."""
        known = self._known[block][:, None] & self._known[others]
        # Most pairs are ruled out by their hashes, which is much less work than the product of their vectors.
        possible = differing_bits(self._hashes[block][:, None], self._hashes[others]) <= LINE * BITS / 2
        ours, theirs = np.nonzero((possible | ~known) & (others > block[:, None]))
        if not ours.size:
            return ours, theirs
        scores = (vectors @ self._index.matrix[self._rows[others]].T)[ours, theirs]
        first, second = block[ours], others[theirs]
        near = near_copies((1 - scores) / self._typical, self._hashes[first], self._hashes[second], known[ours, theirs])
        return first[near], second[near]


def _is_link(folder: Path | None, item: Item) -> bool:
    return folder is not None and (folder / item.name).is_symlink()


def _quality(item: Item) -> tuple[int, int, int, str]:
    """Sorts the best image first."""
    facts = item.facts or PhotoFacts()
    taken_ns = item.mtime_ns if facts.taken_us is None else 1000 * facts.taken_us
    pixels = (facts.width or 0) * (facts.height or 0)
    return -pixels, -(item.size_bytes or 0), 2**63 if taken_ns is None else taken_ns, item.name
