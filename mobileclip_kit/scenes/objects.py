"""The kinds and colours of the synthetic scenes, and how a kind is drawn.

Held-out combinations: for each kind, one colour never occurs in training (for each colour, a tenth of the kinds). The
query "a purple banana" then tests a model that has seen purple things and bananas, but no purple banana.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileclip_kit import formats
from mobileclip_kit.files import read_json
from mobileclip_kit.scenes.sprites import INKS, Pen, Sprite, arc_points, draw_kind, make_sprite

Rgb = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of object, as ``kinds.json`` describes it.

    Attributes:
        plural: "leaves".
        shows: Description of the drawing, for readers.
        strokes: The strokes of the drawing in the unit square, from bottom to top: a method of :class:`~sprites.Pen`,
            an ink, and the arguments of the method. ``{"arc": [x, y, radius, start, end]}`` gives the points of an arc.
        accent: RGB of the secondary part.
        light: RGB of the light details.
    """

    plural: str
    shows: str
    strokes: tuple[tuple[Any, ...], ...]
    accent: Rgb = (130, 136, 148)
    light: Rgb = (250, 250, 244)

    def draw(self, pen: Pen) -> None:
        """Draw the kind in the unit square."""
        for method, ink, *values in self.strokes:
            arguments: list[Any] = []
            for value in values:
                if isinstance(value, Mapping):
                    arguments += arc_points(*value["arc"])
                else:
                    arguments.append(value)
            getattr(pen, method)(INKS[ink], *arguments)


_KINDS_FILE = Path(__file__).with_name("kinds.json")
KINDS: dict[str, Kind] = {
    name: formats.from_document(kind, Kind, where=f"{_KINDS_FILE}: {name}")
    for name, kind in read_json(_KINDS_FILE).items()
}

COLOURS: dict[str, Rgb] = {
    "red": (216, 30, 38),
    "orange": (247, 128, 22),
    "yellow": (252, 218, 40),
    "green": (36, 152, 58),
    "blue": (32, 84, 210),
    "purple": (122, 46, 172),
    "pink": (252, 132, 188),
    "brown": (122, 72, 36),
    "black": (26, 26, 30),
    "white": (250, 250, 248),
}

_KIND_ORDER = {name: position for position, name in enumerate(KINDS)}
_COLOUR_ORDER = {name: position for position, name in enumerate(COLOURS)}
_DARK_INK: Rgb = (22, 22, 28)
# Dark details and outlines would be invisible on a black thing.
_DARK_INK_ON_BLACK: Rgb = (138, 138, 144)


def held_out(kind: str, colour: str) -> bool:
    """Whether a combination never occurs in training: one colour for each kind, a tenth of all combinations."""
    return (3 * _KIND_ORDER[kind] + _COLOUR_ORDER[colour]) % len(COLOURS) == 7


@functools.lru_cache(maxsize=4 * len(KINDS))
def kind_sprite(kind: str, side_px: int) -> Sprite:
    """The ink weights (RGBA) of a kind, drawn in a square of ``side_px`` pixels."""
    return make_sprite(draw_kind(KINDS[kind].draw, side_px))


def ink_matrix(kind: str, colour: str, tint: tuple[float, float, float]) -> tuple[float, ...]:
    """The 3×4 matrix from ink weights to RGB, for ``Image.convert``.

    Args:
        kind: A name in :data:`KINDS`.
        colour: A name in :data:`COLOURS`.
        tint: Added to red, green and blue (0…255), so that no two objects have exactly the same red.
    """
    dark = _DARK_INK_ON_BLACK if colour == "black" else _DARK_INK
    look = KINDS[kind]
    rows: list[float] = []
    for channel in range(3):
        base = dark[channel]
        main = COLOURS[colour][channel] + tint[channel]
        rows += [(ink - base) / 255 for ink in (main, look.light[channel], look.accent[channel])] + [base]
    return tuple(rows)
