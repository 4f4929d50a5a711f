"""What images are called: a name on the page that is safe to show, and an address that is not a path.

An image's id is the row of its vector and a stamp of its name, ``12-9f3a0c1e``. The stamp makes an address that was
kept from before a rebuild lead nowhere instead of to another image.
"""

from __future__ import annotations

import hashlib
import os
import re

# Zero-width joiners hold emoji and Indic letters together. Other invisible characters could turn a name around or hide
# a part of it.
_JOINERS = "\u200c\u200d"
_ID = re.compile(r"(\d{1,18})-([0-9a-f]{8})")


def shown(name: str) -> str:
    """The name in one line of visible characters; line breaks, controls and bytes that are not UTF-8 are escaped."""
    visible = "".join(
        character
        if character.isprintable() or character in _JOINERS or "\ud800" <= character <= "\udfff"
        else character.encode("unicode_escape").decode()
        for character in name
    )
    return visible.encode("utf-8", "backslashreplace").decode("utf-8")


def image_id(row: int, name: str) -> str:
    """The address of the image ``name`` whose vector lies in ``row``."""
    return f"{row}-{_stamp(name)}"


def row_of(address: str) -> int | None:
    """The row in an image's id, or None when it is none."""
    found = _ID.fullmatch(address)
    return None if found is None else int(found.group(1))


def _stamp(name: str) -> str:
    return hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
