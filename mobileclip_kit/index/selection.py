"""Which items of a store may be found: the conditions that filters come down to."""

from __future__ import annotations

import os
from dataclasses import dataclass

# SQLite's integers have 64 bits: in nanoseconds they reach from 1677 to 2262.
_MOMENTS_NS = -(2**63), 2**63 - 1


def storable_ns(moment_ns: int) -> int:
    """The moment, or the nearest one that a store can hold: file systems know years before 1677 and after 2262."""
    return min(max(moment_ns, _MOMENTS_NS[0]), _MOMENTS_NS[1])


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Conditions that an item has to meet, each None for no condition.

    Attributes:
        folder: Leading part of the name, such as ``holidays/2024``.
        since_ns: Least modification time, in nanoseconds since 1970.
        until_ns: Modification time that is too late.
    """

    folder: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None

    def where(self) -> tuple[str, list[object]]:
        """The conditions in SQL, and the values of its question marks."""
        conditions, values = ["row IS NOT NULL"], list[object]()
        if self.folder is not None:
            prefix = os.fsencode(self.folder.rstrip("/") + "/")
            conditions.append("name >= ? AND name < ?")
            values += [prefix, prefix[:-1] + bytes([prefix[-1] + 1])]
        if self.since_ns is not None:
            conditions.append("mtime_ns >= ?")
            values.append(storable_ns(self.since_ns))
        if self.until_ns is not None:
            conditions.append("mtime_ns < ?")
            values.append(storable_ns(self.until_ns))
        return " AND ".join(conditions), values


EVERYTHING = Selection()
