"""What a search asks for, and the rows of the index that it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.confidence.background import Background
from mobileclip_kit.confidence.scorer import FIRST_HITS, UNCERTAIN_HITS, certain_count, confidences, default_line
from mobileclip_kit.errors import UsageError
from mobileclip_kit.formats import from_document
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.selection import Selection
from mobileclip_kit.schemas import Limit, check_limits
from mobileclip_kit.search.hits import order_ties
from mobileclip_kit.search.queries import parse_query
from mobileclip_kit.search.request import Filters, with_tags
from mobileclip_kit.web.library import Library

MAX_CHARACTERS = 10_000
MAX_TERMS = 32
MAX_QUERY_IMAGES = 8
MAX_PAGE = 500
TEXTNESS_LIMIT = 2.0
# No one scrolls further, and a browser page has a maximum height.
MAX_RANKED = 10_000
# With more images than this, only the first hits are ranked until someone scrolls further down.
_RANK_ALL_UP_TO = 200_000
_FIRST_HITS = 300
# So many hits get a confidence at once, and so many more as long as the last of them are certain.
_CONFIDENT_HITS, _MOST_CONFIDENT_HITS = 100, 2000
# The filters that go to the index as they are; folders have printable names here.
_FILTERS = ("taken", "near", "camera")


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """The body of ``POST /api/search``: a query, filters, and which of the hits to return.

    Attributes:
        words: A query in the syntax of :func:`mobileclip_kit.search.queries.parse_query`; empty for none.
        like: Ids of images in the index whose neighbours are wanted.
        images: Tokens of uploaded images.
        textness: Scale of the textness vector.
        folder: Printable name of a folder; empty for all.
        taken: A span of capture times, see :func:`mobileclip_kit.search.spans.parse_taken`; empty for all.
        near: A place, see :func:`mobileclip_kit.search.spans.parse_near`; empty for all.
        camera: Part of a camera's name; empty for all.
        copies_of: Id of an image: only this image and its copies.
        fold: Of each group of copies, only the first hit.
        tag: A label of `mckit tag`; empty for all.
        start: Index of the first hit to return.
        count: Number of hits to return; at most :data:`MAX_PAGE` are.
    """

    words: Annotated[str, Limit(longest=MAX_CHARACTERS)] = ""
    like: Annotated[tuple[str, ...], Limit(longest=MAX_QUERY_IMAGES)] = ()
    images: Annotated[tuple[str, ...], Limit(longest=MAX_QUERY_IMAGES)] = ()
    textness: Annotated[float, Limit(least=-TEXTNESS_LIMIT, most=TEXTNESS_LIMIT)] = 0.0
    folder: str = ""
    taken: str = ""
    near: str = ""
    camera: str = ""
    copies_of: str = ""
    fold: bool = False
    tag: str = ""
    start: Annotated[int, Limit(least=0)] = 0
    count: Annotated[int, Limit(least=0)] = 100

    def __post_init__(self) -> None:
        check_limits(self)
        if self.words and (terms := len(parse_query(self.words))) > MAX_TERMS:
            raise UsageError(f"The query has {terms} signed parts; the limit is {MAX_TERMS}.")
        if len(self.like) + len(self.images) > MAX_QUERY_IMAGES:
            raise UsageError(f"A query can have at most {MAX_QUERY_IMAGES} images.")
        self.selection()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SearchRequest:
        """Read the body of a request.

        Raises:
            UsageError: A key is unknown, a value has the wrong type or is out of range, or the query cannot be parsed.
        """
        # A lone surrogate is not a character: neither a tokenizer nor a file name can contain it.
        cleaned = {
            key: value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
            for key, value in document.items()
        }
        if isinstance(cleaned.get("words"), str):
            cleaned["words"] = cleaned["words"].strip()
        return from_document(cleaned, cls, where="The search request", error=UsageError)

    def selection(self, folder: str | None = None) -> Selection:
        """The filters as conditions on items; see :meth:`mobileclip_kit.search.request.Filters.selection`."""
        chosen: dict[str, Any] = {name: getattr(self, name) or None for name in _FILTERS}
        return Filters(**chosen).selection(folder)


@dataclass(frozen=True)
class Ranking:
    """Rows of the index in the order in which they are shown.

    Attributes:
        rows: ``(n,)``, best first.
        scores: Cosines, ``(n,)``; None when there is no query and the order is by time.
        candidates: Images that pass the filters; ``rows`` may be fewer.
        complete: Whether ``rows`` has everything that can be shown, or only the beginning.
        confidences: Of the first hits, ``(at most 2000,)``; None where they are not known.
        folded: Number of copies behind each hit, ``(n,)``; None where copies are not folded.
        same: How many of them are the same file byte for byte, ``(n,)``.
    """

    rows: NDArray[np.int64]
    scores: Vectors | None
    candidates: int
    complete: bool
    confidences: Vectors | None = None
    folded: NDArray[np.int64] | None = None
    same: NDArray[np.int64] | None = None

    @property
    def certain(self) -> int | None:
        """Number of hits up to the last certain one before many uncertain ones; None where this is not known."""
        return None if self.confidences is None else certain_count(self.confidences, default_line())

    @property
    def likely(self) -> int | None:
        """Number of those hits that are certain themselves; None where this is not known."""
        if self.confidences is None or self.certain is None:
            return None
        return int(np.count_nonzero(self.confidences[: self.certain] >= default_line()))

    def with_confidences(self, index: IndexReader, background: Background, judged: Vectors) -> Ranking:
        """The ranking with the confidences of its first hits, computed from the vector of a text, ``(d,)``."""
        rows = self.rows[:_MOST_CONFIDENT_HITS]
        hits = index.vectors(rows[:_CONFIDENT_HITS])
        sure, first = confidences(background, judged, hits), hits[:FIRST_HITS]  # they set the scale of all others
        while sure is not None and certain_count(sure, default_line()) + UNCERTAIN_HITS > len(sure) < len(rows):
            part = index.vectors(rows[len(sure) : len(sure) + _CONFIDENT_HITS])
            more = confidences(background, judged, np.concatenate([first, part]))
            assert more is not None, "known of every hit of a query, or of none"
            sure = np.concatenate([sure, more[len(first) :]])
        return replace(self, confidences=sure)

    def without(self, rows: Sequence[int]) -> Ranking:
        """The ranking without some rows, such as those of the query's own images."""
        return self._where(~np.isin(self.rows, list(rows)))

    def fold(self, copies: NDArray[np.int64], contents: NDArray[np.int64]) -> Ranking:
        """The ranking with the first hit of each group of copies, and the number of those behind it.

        Args:
            copies: Number of each row's group, −1 for none; see :attr:`mobileclip_kit.web.library.Library.copies`.
            contents: Number of each row's content; see :attr:`mobileclip_kit.web.library.Library.contents`.
        """
        groups = copies[self.rows]
        alone = -1 - np.arange(len(groups))
        _, first, counts = np.unique(np.where(groups < 0, alone, groups), return_index=True, return_counts=True)
        kept, behind = np.zeros(len(groups), np.bool_), np.zeros(len(groups), np.int64)
        kept[first], behind[first] = True, counts - 1
        _, content, files = np.unique(contents[self.rows], return_inverse=True, return_counts=True)
        return replace(self._where(kept), folded=behind[kept], same=files[content[kept]] - 1)

    def only_copies(self, copies: NDArray[np.int64], row: int | None) -> Ranking:
        """The hits of one image's group; the image alone where it has no copies."""
        group = -1 if row is None or row >= len(copies) else copies[row]
        return self._where(copies[self.rows] == group if group >= 0 else self.rows == row)

    def _where(self, kept: NDArray[np.bool_]) -> Ranking:
        return replace(
            self,
            rows=self.rows[kept],
            scores=None if self.scores is None else self.scores[kept],
            candidates=self.candidates - int(np.count_nonzero(~kept)),
        )


def rank(library: Library, request: SearchRequest, vector: Vectors | None) -> Ranking:
    """Rank the images that pass the request's filters.

    Args:
        library: The index.
        request: Its filters are applied. Its hits are ranked, and more where that costs little.
        vector: The query vector, ``(d,)``; None to list the newest images first.

    Raises:
        DataError: The folder or the tag is not in the index.
        IndexFormatError: The vector of a hit is damaged.
    """
    index = library.index
    folder = library.folder_named(request.folder) if request.folder else None
    allowed = index.allowed_rows(request.selection(folder))
    allowed = with_tags(index, allowed, [request.tag] if request.tag else [], library.tags)
    candidates = len(index.matrix) if allowed is None else int(np.count_nonzero(allowed))
    if vector is None:
        newest = library.summary.newest
        rows = newest if allowed is None else newest[allowed[newest]]
        return Ranking(rows[:MAX_RANKED], None, len(rows), complete=True)
    all_at_once = candidates <= _RANK_ALL_UP_TO or request.start + request.count > _FIRST_HITS
    k = MAX_RANKED if all_at_once else _FIRST_HITS
    (scores,), (rows,) = search_flat(index.matrix, vector[None], k, allowed=allowed)
    vectors = index.vectors(rows)  # refuses a damaged row

    def names_of(places: NDArray[np.intp]) -> list[str]:
        names = library.names_of(rows[places].tolist())
        return [names.get(row, "") for row in rows[places].tolist()]

    order = order_ties(vector, vectors, scores, names_of)
    return Ranking(rows[order], scores[order], candidates, complete=k == MAX_RANKED)
