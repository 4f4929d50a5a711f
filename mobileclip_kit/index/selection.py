"""Which items of a store may be found: the conditions that filters come down to."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

# SQLite's integers have 64 bits: in nanoseconds they reach from 1677 to 2262.
_MOMENTS_NS = -(2**63), 2**63 - 1


def storable_ns(moment_ns: int) -> int:
    """The moment, or the nearest one that a store can hold: file systems know years before 1677 and after 2262."""
    if -(2**63) <= moment_ns < 2**63:  # nearly all: this is asked for each file of a library
        return moment_ns
    return min(max(moment_ns, _MOMENTS_NS[0]), _MOMENTS_NS[1])


_EARTH_KM = 6371.0088  # mean radius of the Earth, IUGG
FARTHEST_KM = 20_016  # no point is farther from another one


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """The length of the great circle between two points in degrees, by the haversine formula."""
    first, second = math.radians(latitude), math.radians(other_latitude)
    across, along = math.sin((first - second) / 2), math.sin(math.radians(longitude - other_longitude) / 2)
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(across**2 + math.cos(first) * math.cos(second) * along**2)))


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span of capture times, each end None for an open one. The lower end belongs to it, the upper end does not.

    Attributes:
        since_us: Local time by the camera's clock, see ``PhotoFacts.taken_us``.
        until_us: The same.
        since_ns: The same moment by this machine's clock, in nanoseconds since 1970: for images that have only the
            time of their file.
        until_ns: The same.
    """

    since_us: int | None = None
    until_us: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Conditions that an item has to meet, each None for no condition.

    Attributes:
        folder: Leading part of the name, such as ``holidays/2024``.
        since_ns: Least modification time, in nanoseconds since 1970.
        until_ns: Modification time that is too late.
        taken: When the image was taken; the time of the file counts where its header has none.
        near: Latitude and longitude in degrees, and the greatest distance in km. Images without a place do not meet it.
        camera: A part of the camera's name, whatever the case.
    """

    folder: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    taken: Span | None = None
    near: tuple[float, float, float] | None = None
    camera: str | None = None

    @property
    def asks_facts(self) -> bool:
        """Whether a condition cannot be met by items of a store without facts."""
        return self.near is not None or self.camera is not None

    def where(self, *, has_facts: bool) -> tuple[str, list[object]]:
        """The conditions in SQL, and the values of its question marks.

        Args:
            has_facts: Whether the store has columns for ``PhotoFacts``.
        """
        conditions, values = ["row IS NOT NULL"], list[object]()
        if self.folder is not None:
            prefix = os.fsencode(self.folder.rstrip("/") + "/")
            conditions.append("name >= ? AND name < ?")
            values += [prefix, prefix[:-1] + bytes([prefix[-1] + 1])]
        _between("mtime_ns", self.since_ns, self.until_ns, conditions, values)
        if self.taken is not None:
            by_file: list[str] = ["taken_us IS NULL"] if has_facts else ["1"]
            by_camera: list[str] = ["taken_us IS NOT NULL"] if has_facts else ["0"]
            if has_facts:
                _between("taken_us", self.taken.since_us, self.taken.until_us, by_camera, values)
            by_file.append("mtime_ns IS NOT NULL")
            _between("mtime_ns", self.taken.since_ns, self.taken.until_ns, by_file, values)
            conditions.append(f"({' AND '.join(by_camera)} OR {' AND '.join(by_file)})")
        if self.near is not None:
            latitude, longitude, distance = self.near
            conditions.append("latitude IS NOT NULL AND distance_km(latitude, longitude, ?, ?) <= ?")
            values += [latitude, longitude, distance]
        if self.camera is not None:
            conditions.append("instr(lower(camera), ?) > 0")
            values.append(_ascii_lower(self.camera))
        return " AND ".join(conditions), values


EVERYTHING = Selection()


def _between(column: str, low: int | None, high: int | None, conditions: list[str], values: list[object]) -> None:
    for end, comparison in ((low, ">="), (high, "<")):
        # Later times are stored as the last one, which an upper end beyond it must not exclude.
        if end is not None and not (comparison == "<" and end > _MOMENTS_NS[1]):
            conditions.append(f"{column} {comparison} ?")
            values.append(storable_ns(end))


def _ascii_lower(text: str) -> str:
    """As SQLite's ``lower``, which knows ASCII letters only."""
    return "".join(each.lower() if each.isascii() else each for each in text)
