"""What the page asks, checked: every field of a request that a browser, or anything else, may have filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Self

from mobileclip_kit.errors import UsageError
from mobileclip_kit.search import parse_query

MAX_CHARACTERS = 10_000
MAX_TERMS = 32
MAX_BESIDE = 8
MAX_PAGE = 500
TEXTNESS_LIMIT = 2.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """One query with its filters; equal questions have equal answers as long as the index stays the same.

    Attributes:
        words: In the language of :func:`mobileclip_kit.search.parse_query`; empty for none.
        like: Ids of images of the index that the hits shall be like.
        images: Tokens of images that were handed in.
        textness: Scale of the textness vector; 0 for none.
        folder: As the page shows it; None for all.
        first_day: Only images changed on this day or later.
        last_day: Only images changed on this day or earlier.
    """

    words: str = ""
    like: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    textness: float = 0.0
    folder: str | None = None
    first_day: date | None = None
    last_day: date | None = None

    @property
    def since_ns(self) -> int | None:
        """The first moment that counts, in nanoseconds since 1970."""
        return None if self.first_day is None else _midnight_ns(self.first_day)

    @property
    def until_ns(self) -> int | None:
        """The first moment that is too late, in nanoseconds since 1970."""
        return None if self.last_day is None else _midnight_ns(self.last_day + timedelta(days=1))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the body of a search request.

        Raises:
            UsageError: A field is of the wrong kind or too long, or the words cannot be read as a query.
        """
        words = _text(document, "words").strip()
        if len(words) > MAX_CHARACTERS:
            raise UsageError(f"The query has {len(words):,} characters; at most {MAX_CHARACTERS:,} are read.")
        if words and (terms := len(parse_query(words))) > MAX_TERMS:
            raise UsageError(f"The query has {terms} signed parts; at most {MAX_TERMS} are read.")
        like, images = _texts(document, "like"), _texts(document, "images")
        if len(like) + len(images) > MAX_BESIDE:
            raise UsageError(f"At most {MAX_BESIDE} images can be looked for at once.")
        return cls(
            words=words,
            like=like,
            images=images,
            textness=_scale(document.get("textness")),
            folder=_text(document, "folder") or None,
            first_day=_day(document, "first_day"),
            last_day=_day(document, "last_day"),
        )


def page_of(document: Mapping[str, Any]) -> tuple[int, int]:
    """Which hits are wanted: the first one's number, from 0 on, and how many.

    Raises:
        UsageError: They are no such numbers.
    """
    start, count = document.get("start", 0), document.get("count", 100)
    for name, value in (("start", start), ("count", count)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageError(f"{name} is {value!r}; it must be a whole number from 0 on.")
    return start, min(count, MAX_PAGE)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a text, not {type(value).__name__}.")
    # Half a surrogate pair is no character: no tokenizer and no file name can do anything with it.
    return value.encode("utf-8", "replace").decode("utf-8")


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{name} must be a list of texts.")
    return tuple(dict.fromkeys(value))


def _scale(value: Any) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"textness is {value!r}; it must be a number.")
    # Compared as it is: JSON knows whole numbers that no float can hold, and NaN compares as false.
    if not abs(value) <= TEXTNESS_LIMIT:
        raise UsageError(
            f"textness is {str(value)[:20]}; it must lie between −{TEXTNESS_LIMIT:g} and {TEXTNESS_LIMIT:g}."
        )
    return float(value)


def _day(document: Mapping[str, Any], name: str) -> date | None:
    text = _text(document, name)
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        _midnight_ns(day)
        _midnight_ns(day + timedelta(days=1))
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{name} is {text!r}; it must be a day such as 2024-12-31.") from error
    return day


def _midnight_ns(day: date) -> int:
    """Where a day begins on this machine's clock."""
    return int(datetime.combine(day, time()).timestamp()) * 1_000_000_000
