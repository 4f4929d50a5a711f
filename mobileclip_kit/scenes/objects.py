"""The kinds and colours of the synthetic scenes, and how a kind becomes pixels.

Held-out combinations: each kind has one colour (and each colour a tenth of the kinds) that training never shows, so
that "a purple banana" can be asked of a model that has seen purple things and bananas only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from mobileclip_kit.scenes import drawings
from mobileclip_kit.scenes.sprites import Pen, Sprite, draw_kind, make_sprite

Rgb = tuple[int, int, int]

_WOOD: Rgb = (122, 78, 44)
_GREEN: Rgb = (72, 150, 64)
_CREAM: Rgb = (240, 224, 190)
_STEEL: Rgb = (130, 136, 148)
_ROSE: Rgb = (240, 130, 140)
_FLAME: Rgb = (252, 156, 38)
_PAPER: Rgb = (250, 250, 244)
_GOLD: Rgb = (250, 208, 70)


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        draw: Draws it in the unit square.
        plural: "leaves".
        accent: RGB of its secondary part.
        light: RGB of its light details.
    """

    draw: Callable[[Pen], None]
    plural: str
    accent: Rgb = _STEEL
    light: Rgb = _PAPER


KINDS: dict[str, Kind] = {
    "star": Kind(drawings.star, "stars"),
    "heart": Kind(drawings.heart, "hearts"),
    "house": Kind(drawings.house, "houses"),
    "tree": Kind(drawings.tree, "trees", accent=_WOOD),
    "car": Kind(drawings.car, "cars"),
    "bus": Kind(drawings.bus, "buses"),
    "boat": Kind(drawings.boat, "boats", accent=_WOOD),
    "fish": Kind(drawings.fish, "fish"),
    "bird": Kind(drawings.bird, "birds", accent=_FLAME),
    "cat": Kind(drawings.cat, "cats", accent=_ROSE),
    "dog": Kind(drawings.dog, "dogs", accent=_ROSE),
    "flower": Kind(drawings.flower, "flowers", accent=_GREEN, light=_GOLD),
    "sun": Kind(drawings.sun, "suns"),
    "moon": Kind(drawings.moon, "moons"),
    "cloud": Kind(drawings.cloud, "clouds"),
    "umbrella": Kind(drawings.umbrella, "umbrellas", accent=_WOOD),
    "key": Kind(drawings.key, "keys"),
    "cup": Kind(drawings.cup, "cups"),
    "bottle": Kind(drawings.bottle, "bottles"),
    "apple": Kind(drawings.apple, "apples", accent=_GREEN),
    "banana": Kind(drawings.banana, "bananas"),
    "mushroom": Kind(drawings.mushroom, "mushrooms", accent=_CREAM),
    "kite": Kind(drawings.kite, "kites"),
    "rocket": Kind(drawings.rocket, "rockets", accent=_FLAME),
    "plane": Kind(drawings.plane, "planes"),
    "train": Kind(drawings.train, "trains"),
    "clock": Kind(drawings.clock, "clocks"),
    "hat": Kind(drawings.hat, "hats"),
    "chair": Kind(drawings.chair, "chairs"),
    "lamp": Kind(drawings.lamp, "lamps", light=_GOLD),
    "book": Kind(drawings.book, "books"),
    "guitar": Kind(drawings.guitar, "guitars", accent=_WOOD),
    "snail": Kind(drawings.snail, "snails", accent=_CREAM),
    "ladder": Kind(drawings.ladder, "ladders"),
    "anchor": Kind(drawings.anchor, "anchors"),
    "leaf": Kind(drawings.leaf, "leaves"),
    "tent": Kind(drawings.tent, "tents"),
    "crown": Kind(drawings.crown, "crowns"),
    "bell": Kind(drawings.bell, "bells"),
    "bike": Kind(drawings.bike, "bikes"),
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
# Dark details and outlines on a black thing would vanish.
_DARK_INK_ON_BLACK: Rgb = (138, 138, 144)


def held_out(kind: str, colour: str) -> bool:
    """Whether this combination is kept out of training: one colour for each kind, a tenth of all combinations."""
    return (3 * _KIND_ORDER[kind] + _COLOUR_ORDER[colour]) % len(COLOURS) == 7


@functools.lru_cache(maxsize=4 * len(KINDS))
def kind_sprite(kind: str, side_px: int) -> Sprite:
    """A kind's ink weights (RGBA), drawn in a square of ``side_px`` pixels."""
    return make_sprite(draw_kind(KINDS[kind].draw, side_px))


def ink_matrix(kind: str, colour: str, tint: tuple[float, float, float]) -> tuple[float, ...]:
    """The 3×4 matrix from ink weights to RGB, for ``Image.convert``.

    Args:
        kind: A name in :data:`KINDS`.
        colour: A name in :data:`COLOURS`.
        tint: Added to the colour's red, green and blue (0…255), so that no two reds are quite the same.
    """
    dark = _DARK_INK_ON_BLACK if colour == "black" else _DARK_INK
    look = KINDS[kind]
    rows: list[float] = []
    for channel in range(3):
        base = dark[channel]
        main = COLOURS[colour][channel] + tint[channel]
        rows += [(ink - base) / 255 for ink in (main, look.light[channel], look.accent[channel])] + [base]
    return tuple(rows)
