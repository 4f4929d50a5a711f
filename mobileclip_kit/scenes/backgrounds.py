"""What lies behind the objects: textures in two colours, and places with colours of their own.

Colours are taken so that every object in the image stands out from both.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.scenes import textures
from mobileclip_kit.scenes.objects import COLOURS, Rgb
from mobileclip_kit.scenes.rng import below, between, happens, pick, seeded

_VARIANTS = 6
_LEAST_CONTRAST = 34.0
_LEAST_LIGHTNESS_STEP = 34.0
_LEAST_PAIR_DISTANCE = 5.0
_MOST_PAIR_DISTANCE = 40.0


@dataclass(frozen=True)
class Background:
    """A texture and what captions say of it.

    Attributes:
        texture: Gives the mixing weights.
        phrase: "on a striped background"; empty where words would say too much of too little.
        colours: The two colours of a place ("on grass"); None for a texture in any colours.
    """

    texture: textures.Texture
    phrase: str = ""
    colours: tuple[Rgb, Rgb] | None = None


@dataclass(frozen=True)
class Backdrop:
    """A chosen background: its name, its two colours, and which variant is drawn how.

    Attributes:
        name: A name in :data:`BACKGROUNDS`.
        colours: RGB of weight 0 and of weight 1.
        variant: Which of the texture's prepared variants.
        mirror: Flip left and right.
    """

    name: str
    colours: tuple[Rgb, Rgb]
    variant: int
    mirror: bool


def choose_backdrop(rng: Random, colours: tuple[str, ...], *, for_words: bool = False) -> Backdrop:
    """Choose a background from which all of ``colours`` stand out.

    Args:
        rng: Chooses.
        colours: Names in ``objects.COLOURS``.
        for_words: Thin strokes without an outline need a difference of lightness, not of hue alone.
    """
    pairs, names = _fitting(frozenset(colours), for_words)
    name = pick(rng, names)
    own = BACKGROUNDS[name].colours
    pair = pick(rng, pairs) if own is None else own
    shift = tuple(round(between(rng, -8, 8)) for _ in range(3))
    return Backdrop(
        name, (_shifted(pair[0], shift), _shifted(pair[1], shift)), below(rng, _VARIANTS), happens(rng, 0.5)
    )


def draw_backdrop(backdrop: Backdrop, side: int) -> Image.Image:
    """Draw a background as a square RGB image."""
    mask = _mask(backdrop.name, side, backdrop.variant)
    if backdrop.mirror:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = Image.new("RGB", (side, side), backdrop.colours[0])
    image.paste(backdrop.colours[1], mask=mask)
    return image


def contrast(first: Rgb, second: Rgb) -> float:
    """Distance of two sRGB colours in CIE L*a*b* (76): 2.3 is just noticeable, 100 is black to white."""
    return float(np.linalg.norm(_lab(first) - _lab(second)))


@functools.lru_cache(maxsize=512)
def _mask(name: str, side: int, variant: int) -> Image.Image:
    weights = BACKGROUNDS[name].texture(side, seeded("background", name, variant))
    return Image.fromarray(np.round(np.clip(weights, 0, 1) * 255).astype(np.uint8))


def legible(first: Rgb, second: Rgb) -> bool:
    """Whether thin strokes in one colour can be read on the other."""
    return bool(abs(_lab(first)[0] - _lab(second)[0]) >= _LEAST_LIGHTNESS_STEP)


@functools.lru_cache(maxsize=1024)
def _fitting(colours: frozenset[str], for_words: bool) -> tuple[tuple[tuple[Rgb, Rgb], ...], tuple[str, ...]]:
    """The pairs of colours, and the names of the backgrounds, from which ``colours`` stand out."""

    def fits(shade: Rgb) -> bool:
        inks = [COLOURS[colour] for colour in colours]
        return all(contrast(ink, shade) >= _LEAST_CONTRAST and (not for_words or legible(ink, shade)) for ink in inks)

    shades = [shade for shade in _SHADES if fits(shade)]
    pairs = tuple(
        (first, second)
        for first in shades
        for second in shades
        if _LEAST_PAIR_DISTANCE < contrast(first, second) < _MOST_PAIR_DISTANCE
    )
    names = tuple(
        name
        for name, background in BACKGROUNDS.items()
        if background.colours is None or all(fits(shade) for shade in background.colours)
    )
    return pairs, names


@functools.lru_cache(maxsize=1024)
def _lab(colour: Rgb) -> NDArray[np.float64]:
    srgb = np.array(colour, dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def _shifted(colour: Rgb, shift: tuple[int, ...]) -> Rgb:
    red, green, blue = (min(255, max(0, value + change)) for value, change in zip(colour, shift, strict=True))
    return red, green, blue


BACKGROUNDS: dict[str, Background] = {
    "plain": Background(textures.plain, "on a plain background"),
    "gradient": Background(textures.gradient),
    "glow": Background(textures.glow),
    "stripes": Background(textures.stripes(0.0), "on a striped background"),
    "bars": Background(textures.stripes(np.pi / 2), "on a striped background"),
    "slanted stripes": Background(textures.stripes(np.pi / 4), "on a striped background"),
    "checks": Background(textures.checks, "on a checked background"),
    "diamonds": Background(textures.diamonds, "on a checked background"),
    "dots": Background(textures.dots, "on a dotted background"),
    "lattice": Background(textures.lattice, "on a grid"),
    "bricks": Background(textures.bricks, "on a brick wall"),
    "waves": Background(textures.waves, "on a wavy background"),
    "zigzag": Background(textures.zigzag),
    "rays": Background(textures.rays),
    "rings": Background(textures.rings),
    "smoke": Background(textures.smoke),
    "speckle": Background(textures.speckle),
    "camouflage": Background(textures.camouflage),
    "confetti": Background(textures.confetti),
    "hills": Background(textures.hills),
    "grass": Background(textures.speckle, "on grass", ((150, 205, 120), (116, 178, 92))),
    "sea": Background(textures.ripples, "on the sea", ((110, 176, 214), (152, 206, 232))),
    "sky": Background(textures.gradient, "in the sky", ((150, 200, 240), (216, 236, 250))),
    "sand": Background(textures.speckle, "on sand", ((232, 208, 160), (216, 190, 138))),
    "snow": Background(textures.smoke, "on snow", ((240, 244, 250), (214, 224, 238))),
    "night": Background(textures.confetti, "at night", ((24, 26, 58), (196, 196, 210))),
    "wood": Background(textures.wood, "on wood", ((196, 152, 104), (174, 128, 82))),
}

_SHADES: tuple[Rgb, ...] = (
    (245, 242, 235), (228, 230, 232), (200, 203, 206), (165, 168, 172), (125, 128, 134), (88, 92, 98), (58, 60, 66),
    (250, 226, 220), (250, 238, 205), (228, 243, 215), (212, 240, 238), (214, 228, 250), (232, 220, 248),
    (214, 166, 158), (214, 190, 140), (162, 190, 142), (138, 188, 188), (146, 170, 206), (178, 158, 200),
    (122, 90, 92), (96, 108, 84), (72, 106, 112), (78, 92, 124), (98, 82, 120),
    (44, 52, 74), (40, 62, 54), (70, 46, 54), (56, 44, 76),
)  # fmt: skip
