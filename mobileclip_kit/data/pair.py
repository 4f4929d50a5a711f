"""What every data source yields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """One picture and the captions that belong to it.

    Attributes:
        key: The picture's name within its source, with ``/`` on every system: stable across runs and machines.
        image: The file, or the encoded bytes when the source is an archive.
        captions: None or more texts; sources of pictures alone give ``()``.
    """

    key: str
    image: Path | bytes
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why: listed for the user, never silent.

    Attributes:
        item: The picture's key, or what its source calls it.
        reason: One sentence.
    """

    item: str
    reason: str
