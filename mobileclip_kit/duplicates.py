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
# So many nearest images of each are compared with it; larger groups hold together through their best image.
_NEIGHBOURS = 32
_QUERIES_AT_ONCE = 256
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
        """What each image after the first one is: ``same file`` or ``near copy``."""
        return tuple("same file" if is_same else "near copy" for is_same in self.same[1:])

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
    place_of = {item.row: place for place, item in enumerate(ranked)}
    copies: dict[int, set[int]] = defaultdict(set)
    for first, second in _pairs(index, ranked, place_of, stop):
        copies[first].add(second)
        copies[second].add(first)
    # The best image takes all its copies; what is no copy of it makes groups of its own, so that no chain of small
    # steps joins two photos that differ.
    taken: set[int] = set()
    groups = []
    for place in range(len(ranked)):
        if place in taken or place not in copies:
            continue
        members = [place, *sorted(copies[place] - taken - {place})]
        if len(members) > 1:
            taken.update(members)
            # A link is never kept in place of a file: deleting the copies would delete the photo.
            groups.append(sorted((ranked[member] for member in members), key=partial(_is_link, index.header.folder)))
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


def _pairs(
    index: IndexReader, ranked: Sequence[Item], place_of: dict[int | None, int], stop: Callable[[], bool]
) -> Iterator[tuple[int, int]]:
    """Places of items that are copies of each other."""
    same = defaultdict(list)
    for place, item in enumerate(ranked):
        if item.sha256 is not None:
            same[item.sha256].append(place)
    for places in same.values():
        yield from ((places[0], other) for other in places[1:])
    hashes = [(item.facts or PhotoFacts()).phash for item in ranked]
    known = np.array([each is not None for each in hashes], np.bool_)
    bits = np.array([each or 0 for each in hashes], np.int64)
    rows = np.array([item.row for item in ranked], np.int64)
    some = np.argsort(rows)[even_sample(len(rows))]
    typical = typical_distance(index.vectors(rows[some]), bits[some] if known.all() else None)
    allowed = index.allowed_rows()
    for block in track(list(parts_of(np.arange(len(ranked)), _QUERIES_AT_ONCE)), "compare", "blocks"):
        if stop():
            return
        scores, found = index.nearest(index.vectors(rows[block]), _NEIGHBOURS + 1, allowed=allowed)
        first = np.repeat(block, found.shape[1])
        second = np.array([place_of.get(row, -1) for row in found.ravel().tolist()], np.int64)
        near = near_copies((1 - scores.ravel()) / typical, bits[first], bits[second], known[first] & known[second])
        kept = near & (second >= 0) & (first != second)
        yield from zip(first[kept].tolist(), second[kept].tolist(), strict=True)


def _is_link(folder: Path | None, item: Item) -> bool:
    return folder is not None and (folder / item.name).is_symlink()


def _quality(item: Item) -> tuple[int, int, int, str]:
    """Sorts the best image first."""
    facts = item.facts or PhotoFacts()
    taken_ns = item.mtime_ns if facts.taken_us is None else 1000 * facts.taken_us
    pixels = (facts.width or 0) * (facts.height or 0)
    return -pixels, -(item.size_bytes or 0), 2**63 if taken_ns is None else taken_ns, item.name
