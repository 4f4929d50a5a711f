"""Images with EXIF tags, as cameras write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

MAKE, MODEL, ORIENTATION = 0x010F, 0x0110, 0x0112
TAKEN, ZONE, FRACTION, CHANGED = 0x9003, 0x9011, 0x9291, 0x0132
PARIS = {1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.2)}


def save_photo(
    path: Path,
    *,
    size: tuple[int, int] = (8, 6),
    colour: tuple[int, int, int] = (200, 30, 30),
    first: dict[int, Any] | None = None,
    exif: dict[int, Any] | None = None,
    gps: dict[int, Any] | None = None,
) -> Path:
    """A file of one colour whose header has tags in the first, the Exif and the GPS directory."""
    tags = Image.Exif()
    tags.update(first or {})
    if exif:
        tags.get_ifd(0x8769).update(exif)
    if gps:
        tags.get_ifd(0x8825).update(gps)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, exif=tags.tobytes())
    return path
