"""Images in a terminal, by the protocols of kitty, iTerm2 and sixel.

Sources: the graphics protocol of kitty (sw.kovidgoyal.net/kitty/graphics-protocol), inline images of iTerm2
(iterm2.com/documentation-images.html), and sixel graphics of DEC's VT330 and VT340.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.arrays import parts_of
from mobileclip_kit.errors import UsageError

Protocol = Literal["kitty", "iterm", "sixel"]
VARIABLE = "MCKIT_TERMINAL"
# Values of TERM_PROGRAM and beginnings of TERM.
_PROGRAMS: dict[str, Protocol] = {"ghostty": "kitty", "iTerm.app": "iterm", "WezTerm": "iterm", "vscode": "iterm"}
_TERMS: dict[str, Protocol] = {"xterm-kitty": "kitty", "xterm-ghostty": "kitty", "foot": "sixel", "mlterm": "sixel",
                               "contour": "sixel"}  # fmt: skip
_CHUNK = 4096
_COLOURS = 128
_BAND = 6  # rows of pixels in one character of sixel


def find_protocol(environment: Mapping[str, str]) -> Protocol:
    """The protocol that the variables of a terminal point to.

    Raises:
        UsageError: None of them does, or :data:`VARIABLE` names none.
    """
    named = environment.get(VARIABLE, "")
    for protocol in get_args(Protocol):
        if named == protocol:
            return protocol  # type: ignore[no-any-return]
    known = ", ".join(get_args(Protocol))
    if named:
        raise UsageError(f"{VARIABLE} is {named!r}; it must be one of {known}.")
    found = _PROGRAMS.get(environment.get("TERM_PROGRAM", ""))
    if found is None:
        term = environment.get("TERM", "")
        found = next((protocol for start, protocol in _TERMS.items() if term.startswith(start)), None)
    if found is None:
        raise UsageError(
            "This terminal does not say that it can show images.",
            hint=f"Use --sheet FILE or --html FILE, or set {VARIABLE} to one of {known}.",
        )
    return found


def encode_image(image: Image.Image, protocol: Protocol) -> str:
    """What a terminal has to receive to show an image where the cursor is."""
    if protocol == "sixel":
        return _sixel(image)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    if protocol == "iterm":
        return f"\x1b]1337;File=inline=1;size={len(stream.getvalue())}:{data}\x07\n"
    chunks = list(parts_of(data, _CHUNK))
    keys = ["a=T,f=100,", *[""] * (len(chunks) - 1)]
    more = [1] * (len(chunks) - 1) + [0]
    parts = zip(keys, more, chunks, strict=True)
    return "".join(f"\x1b_G{key}m={flag};{chunk}\x1b\\" for key, flag, chunk in parts) + "\n"


def _sixel(image: Image.Image) -> str:
    reduced = image.convert("RGB").quantize(_COLOURS)
    pixels = np.asarray(reduced)
    height, width = pixels.shape
    palette = np.asarray(reduced.getpalette(), np.uint8).reshape(-1, 3)
    colours = [f"#{number};2;" + ";".join(str(round(int(value) / 2.55)) for value in palette[number])
               for number in np.unique(pixels)]  # fmt: skip
    bands = ["$".join(_band(pixels[top : top + _BAND])) for top in range(0, height, _BAND)]
    return f'\x1bP0;1q"1;1;{width};{height}{"".join(colours)}{"-".join(bands)}\x1b\\\n'


def _band(rows: NDArray[np.uint8]) -> Iterator[str]:
    """Six rows of pixels, colour by colour: the bits of each column's character say which of them have the colour."""
    weights = (1 << np.arange(len(rows)))[:, None]
    for colour in np.unique(rows):
        values = ((rows == colour) * weights).sum(axis=0)  # (width,)
        starts = np.flatnonzero(np.diff(values, prepend=-1))
        lengths = np.diff(np.append(starts, len(values)))
        yield f"#{colour}" + "".join(
            f"!{length}{chr(63 + value)}" if length > 3 else chr(63 + value) * length
            for value, length in zip(values[starts], lengths, strict=True)
        )
