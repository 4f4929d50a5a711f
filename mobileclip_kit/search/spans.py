"""Times and places as users write them: ``2024-07..2024-08``, ``48.85,2.35,10``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from mobileclip_kit.errors import UsageError
from mobileclip_kit.index.selection import FARTHEST_KM, Span
from mobileclip_kit.photo_facts import local_us

_DAY = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?")
_FOREVER_NS = 2**63  # beyond what a store can hold


def parse_taken(text: str) -> Span:
    """A span of capture times: ``2024``, ``2024-07``, ``2024-07-14``, or two of them with ``..``; an end may be open.

    Both ends are included: ``2024-07..2024-08`` reaches from the first moment of July to the last one of August, and
    ``2024`` alone is the whole year. Times are those of the camera's clock.

    Raises:
        UsageError: The text is no such span, or its end lies before its beginning.
    """
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not (first or last):
        raise _wrong_span(text)
    begin = _unit(first, text)[0] if first else None
    end = _unit(last if dots else first, text)[1] if last or not dots else None
    if first and last and _unit(last, text)[0] < _unit(first, text)[0]:
        raise UsageError(f"No moment lies in {text!r}: it ends before it begins.", hint=f"Write {last}..{first}.")
    return Span(
        since_us=None if begin is None else local_us(begin),
        until_us=None if end is None else local_us(end),
        since_ns=None if begin is None else _machine_ns(begin),
        until_ns=None if end is None else _machine_ns(end),
    )


def parse_near(text: str) -> tuple[float, float, float]:
    """``LAT,LON,KM`` as three numbers: degrees north and east, and a distance.

    Raises:
        UsageError: The text is not of this form, the point is not on the globe, or the distance is not above 0 or more
            than half of the way around it.
    """
    try:
        latitude, longitude, distance = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"A place is written LAT,LON,KM, such as 48.858,2.294,5, not {text!r}.",
            hint="Degrees in the south and in the west are negative.",
        ) from error
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise UsageError(
            f"{text!r} is no place on Earth: a latitude is from -90 to 90, a longitude from -180 to 180 degrees."
        )
    if not 0 < distance <= FARTHEST_KM:
        raise UsageError(
            f"The distance in {text!r} must be above 0 and at most {FARTHEST_KM} km, half of the way around the Earth."
        )
    return latitude, longitude, distance


def _unit(text: str, whole: str) -> tuple[datetime, datetime | None]:
    """The first moment of a year, month or day and that of the next one; None after the year 9999."""
    found = _DAY.fullmatch(text)
    if found is None:
        raise _wrong_span(whole)
    year, month, day = (None if part is None else int(part) for part in found.groups())
    try:
        begin = datetime(year or 0, 1 if month is None else month, 1 if day is None else day)
    except ValueError as error:
        raise _wrong_span(whole) from error
    try:
        if day is not None:
            return begin, begin + timedelta(days=1)
        if month is not None and month < 12:
            return begin, datetime(begin.year, month + 1, 1)
        return begin, datetime(begin.year + 1, 1, 1)
    except (ValueError, OverflowError):
        return begin, None


def _machine_ns(moment: datetime) -> int:
    """A local time by this machine's clock, in nanoseconds since 1970."""
    try:
        return int(moment.timestamp()) * 1_000_000_000
    except (OverflowError, ValueError, OSError):  # the first and the last days of Python's years
        return -_FOREVER_NS if moment.year < 1970 else _FOREVER_NS


def _wrong_span(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is no time that images can be taken in.",
        hint="Write a year, month or day, or two of them: 2024, 2024-07, 2024-07-14..2024-08-02, 2024-07.. or ..2023.",
    )
