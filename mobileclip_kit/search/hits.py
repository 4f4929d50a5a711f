"""The images nearest to query vectors, with their confidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.confidence.background import Background
from mobileclip_kit.confidence.scorer import FIRST_HITS, certain_count, confidences
from mobileclip_kit.errors import UsageError
from mobileclip_kit.files import one_line
from mobileclip_kit.index.folder import IndexReader

# Equal images score equally up to rounding, which depends on the batches in which they were encoded and on where their
# rows lie in the matrix: so many digits of a score count, and scores that differ by less may be equal.
_DIGITS, _TIE = 6, 2e-6


@dataclass(frozen=True)
class Hit:
    """An image that a search found.

    Attributes:
        rank: From 1 on.
        item: The image's name in the index.
        score: Cosine similarity to the query.
        confidence: Probability that it is right; None where it cannot be told, as for image queries.
        copies: Further files of the same content, where they were folded into this hit.
        path: Its file; None when the index knows no folder of images, or the image lies in a tar or at a URL.
    """

    rank: int
    item: str
    score: float
    path: Path | None = field(default=None, compare=False)
    confidence: float | None = field(default=None, compare=False)
    copies: tuple[str, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """The object in ``--json`` documents."""
        confidence = None if self.confidence is None else round(self.confidence, 3)
        return {"rank": self.rank, "item": self.item, "score": self.score, "confidence": confidence,
                "copies": list(self.copies)}  # fmt: skip


def search(
    index: IndexReader,
    queries: Vectors,
    k: int = 10,
    *,
    allowed: NDArray[np.bool_] | None = None,
    without: frozenset[str] = frozenset(),
    background: Background | None = None,
    judged: Vectors | None = None,
) -> list[list[Hit]]:
    """The images nearest to each query; those of equal scores are in the order of their names.

    Args:
        index: Opened.
        queries: Unit rows, ``(q, d)``.
        k: Hits wanted for each query.
        allowed: A mask from :meth:`IndexReader.allowed_rows`; None for every image that is still there.
        without: Names that are never hits, such as the item that others shall be like.
        background: Of the index, if the queries are texts and hits shall have a confidence.
        judged: Vectors that confidences are computed from, ``(q, d)``; None for the queries themselves.

    Returns:
        At most ``k`` hits for each query, best first; fewer when the index holds fewer.

    Raises:
        ShapeError: The width is not the index's.
        UsageError: ``k`` is below 1.
    """
    if k < 1:
        raise UsageError(f"{k} hits were asked for; it must be at least 1.")
    if allowed is None:
        allowed = index.allowed_rows()
    wanted = k + len(without)
    least = wanted if background is None else max(wanted, FIRST_HITS + len(without))
    root = index.header.folder
    results = []
    found = _nearest_rows(index, queries, least, allowed)
    for query, text, rows in zip(queries, queries if judged is None else judged, found, strict=True):
        names = index.names_of(rows.tolist())
        rows = rows[[row in names for row in rows.tolist()]]
        vectors = index.vectors(rows)
        scores = _exact_scores(vectors, query)
        order = sorted(range(len(rows)), key=lambda place: (-scores[place], names[int(rows[place])]))
        order = [place for place in order if without.isdisjoint(_names_of(names[int(rows[place])]))][
            : max(k, least - len(without))
        ]
        sure = None if background is None else confidences(background, text, vectors[order])
        results.append(
            [
                Hit(
                    rank=rank,
                    item=(name := names[int(rows[place])]),
                    score=float(scores[place]),
                    path=_path_of(root, name),
                    confidence=None if sure is None else float(sure[rank - 1]),
                )
                for rank, place in enumerate(order[:k], start=1)
            ]
        )
    return results


def order_ties(
    query: Vectors, vectors: Vectors, scores: Vectors, names_of: Callable[[NDArray[np.intp]], Sequence[str]]
) -> NDArray[np.intp]:
    """The order in which hits of equal scores are in the order of their names.

    Args:
        query: ``(d,)``.
        vectors: Of the hits, ``(n, d)``, best first.
        scores: Their cosines, ``(n,)``.
        names_of: The names of some of the hits, which are asked for where scores are equal up to rounding.

    Returns:
        Places of the hits, ``(n,)``.
    """
    order = np.arange(len(scores))
    equal = np.append(scores[:-1] - scores[1:] <= _TIE, False)
    tied = np.flatnonzero(equal | np.roll(equal, 1))
    names, exact = names_of(tied), _exact_scores(vectors[tied], query)
    order[tied] = tied[sorted(range(len(tied)), key=lambda place: (-exact[place], names[place]))]
    return order


def _exact_scores(vectors: Vectors, query: Vectors) -> NDArray[np.float64]:
    """Cosines ``(n,)`` of each row by itself, equal for equal images."""
    scores: NDArray[np.float64] = np.einsum("kd,d->k", vectors, query, dtype=np.float64)
    return scores.round(_DIGITS)


def search_files(index: IndexReader, queries: Vectors, k: int = 10, **options: Any) -> list[list[Hit]]:
    """As :func:`search`, with files of the same content as one hit: the first by name."""
    asked = k
    while True:
        found = search(index, queries, asked, **options)
        folded = [_fold_copies(index, hits)[:k] for hits in found]
        if all(len(few) == k or len(hits) < asked for few, hits in zip(folded, found, strict=True)):
            return folded
        asked *= 4


def _fold_copies(index: IndexReader, hits: Sequence[Hit]) -> list[Hit]:
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        item = index.store.find(hit.item)
        groups.setdefault((item and item.sha256) or hit.item, []).append(hit)
    return [
        replace(first, rank=rank, copies=tuple(copy.item for copy in copies))
        for rank, (first, *copies) in enumerate(groups.values(), start=1)
    ]


def _names_of(name: str) -> tuple[str, str]:
    """An item's name, and as lists of hits show it."""
    return name, one_line(name)


def certain_hits(hits: Sequence[Hit], min_confidence: float | None) -> list[Hit]:
    """The hits of at least this confidence, up to many in a row of a lower one; all where it is None or not known."""
    sure = np.array([hit.confidence for hit in hits if hit.confidence is not None], np.float32)
    if min_confidence is None or len(sure) < len(hits):
        return list(hits)
    return [hits[place] for place in np.flatnonzero(sure[: certain_count(sure, min_confidence)] >= min_confidence)]


def _nearest_rows(
    index: IndexReader, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None
) -> list[NDArray[np.int64]]:
    """The rows of at least k hits of each query, with all that score as much as the last of them."""
    found: list[NDArray[np.int64]] = []
    scores, rows = index.nearest(queries, k + 1, allowed=allowed)
    for number in range(len(queries)):
        some, own, asked = scores[number], rows[number], k + 1
        while own.size >= asked and own[-1] >= 0 and some[-1] >= some[k - 1] - _TIE:
            asked *= 4
            more = index.nearest(queries[number : number + 1], asked, allowed=allowed)
            some, own = more[0][0], more[1][0]
        near = (own >= 0) & (some >= (some[k - 1] - _TIE if some.size >= k else -np.inf))
        found.append(own[near])
    return found


def _path_of(root: Path | None, name: str) -> Path | None:
    return None if root is None or ".tar/" in name else root / name
