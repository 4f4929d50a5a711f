"""Backgrounds: textures in any two colours, and places such as grass that have colours of their own.

A texture is a function of the pixel coordinates. It returns weights, clipped to 0…1, that mix the two colours of the
background. All lengths are fractions of the side of the image, so a texture looks the same at every size, except for
edges, which are about one pixel wide. The colours are chosen so that every object in the image stands out from both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.scenes.objects import COLOURS, Rgb
from mobileclip_kit.scenes.rng import below, between, happens, pick, seeded

Floats = NDArray[np.float32]
# An array of floats, (side, side).
Weights = Any
# The x and y coordinates of the pixels, 0…1, each (side, side), and a random number generator.
Texture = Callable[[Floats, Floats, Random], Weights]


def plain(x: Floats, y: Floats, rng: Random) -> Weights:
    """The same weight everywhere."""
    return np.full(x.shape, between(rng, 0, 1))


def gradient(x: Floats, y: Floats, rng: Random) -> Weights:
    """A linear gradient in any direction."""
    turn = between(rng, 0, 2 * np.pi)
    return 0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)


def glow(x: Floats, y: Floats, rng: Random) -> Weights:
    """A radial gradient around a point."""
    return 1.3 * np.hypot(x - between(rng, 0.2, 0.8), y - between(rng, 0.2, 0.8))


def stripes(turn: float) -> Texture:
    """Parallel stripes at an angle in radians; 0 is vertical."""

    def draw(x: Floats, y: Floats, rng: Random) -> Weights:
        periods = between(rng, 3, 7)
        phase = between(rng, 0, 2 * np.pi)
        return _edge(np.sin(2 * np.pi * periods * (x * np.cos(turn) + y * np.sin(turn)) + phase), len(x), periods)

    return draw


def checks(x: Floats, y: Floats, rng: Random) -> Weights:
    """A chessboard."""
    periods = between(rng, 2, 4.5)
    return _edge(np.sin(2 * np.pi * periods * x) * np.sin(2 * np.pi * periods * y), len(x), periods)


def diamonds(x: Floats, y: Floats, rng: Random) -> Weights:
    """A chessboard rotated by 45 degrees."""
    periods = between(rng, 2, 4)
    return _edge(np.sin(2 * np.pi * periods * (x + y)) * np.sin(2 * np.pi * periods * (x - y)), len(x), periods)


def dots(x: Floats, y: Floats, rng: Random) -> Weights:
    """Dots in rows."""
    periods = between(rng, 4, 7)
    wave = np.cos(2 * np.pi * periods * x) + np.cos(2 * np.pi * periods * y)
    return _edge(wave - 0.7, len(x), periods)


def lattice(x: Floats, y: Floats, rng: Random) -> Weights:
    """A grid of thin lines."""
    periods = between(rng, 4, 8)
    return _edge(np.maximum(np.cos(2 * np.pi * periods * x), np.cos(2 * np.pi * periods * y)) - 0.85, len(x), periods)


def bricks(x: Floats, y: Floats, rng: Random) -> Weights:
    """The joints of a brick wall."""
    rows = round(between(rng, 5, 9))
    row = np.floor(y * rows)
    across = (x * rows / 2 + row % 2 / 2) % 1
    joint = 1.6 * rows / len(x)
    return (y * rows % 1 < joint) | (across < joint / 2)


def waves(x: Floats, y: Floats, rng: Random) -> Weights:
    """Wavy stripes."""
    periods, bends = between(rng, 4, 7), between(rng, 2, 4)
    return _edge(np.sin(2 * np.pi * (periods * y + 0.35 * np.sin(2 * np.pi * bends * x))), len(x), periods)


def zigzag(x: Floats, y: Floats, rng: Random) -> Weights:
    """Zigzag stripes."""
    periods = between(rng, 3, 6)
    return _edge(np.sin(2 * np.pi * (periods * y + np.abs(x * periods % 1 - 0.5))), len(x), periods)


def rays(x: Floats, y: Floats, rng: Random) -> Weights:
    """Wedges around a point."""
    turn = np.arctan2(y - between(rng, 0.2, 0.8), x - between(rng, 0.2, 0.8))
    return _edge(np.sin(turn * round(between(rng, 6, 11))), len(x), 8)


def rings(x: Floats, y: Floats, rng: Random) -> Weights:
    """Concentric circles."""
    periods = between(rng, 4, 8)
    radius = np.hypot(x - between(rng, 0.2, 0.8), y - between(rng, 0.2, 0.8))
    return _edge(np.sin(2 * np.pi * periods * radius), len(x), periods)


def smoke(x: Floats, y: Floats, rng: Random) -> Weights:
    """Smooth noise."""
    cloud = np.zeros(x.shape, dtype=np.float32)
    for cells, weight in ((3, 0.55), (6, 0.3), (12, 0.15)):
        cloud += weight * _smooth_noise(len(x), cells, rng)
    return (cloud - 0.5) * 1.8 + 0.5


def speckle(x: Floats, y: Floats, rng: Random) -> Weights:
    """Fine grain."""
    return _smooth_noise(len(x), 32, rng)


def camouflage(x: Floats, y: Floats, rng: Random) -> Weights:
    """Patches with sharp edges."""
    return np.clip((_smooth_noise(len(x), 5, rng) - 0.5) * 14 + 0.5, 0, 1)


def wood(x: Floats, y: Floats, rng: Random) -> Weights:
    """Distorted grain."""
    bend = _smooth_noise(len(x), 3, rng)
    return 0.5 + 0.5 * np.sin(2 * np.pi * (between(rng, 7, 11) * y + 1.2 * bend + 0.2 * x))


def confetti(x: Floats, y: Floats, rng: Random) -> Weights:
    """Small spots at random positions."""
    weights = np.zeros(x.shape, dtype=np.float32)
    for _ in range(36):
        across, down, radius = between(rng, 0, 1), between(rng, 0, 1), between(rng, 0.015, 0.035)
        weights[np.hypot(x - across, y - down) < radius] = 1
    return weights


def hills(x: Floats, y: Floats, rng: Random) -> Weights:
    """Ground below a wavy horizon."""
    ridge = between(rng, 0.5, 0.75) + 0.08 * np.sin(2 * np.pi * (between(rng, 0.6, 1.6) * x + between(rng, 0, 1)))
    return np.clip((y - ridge) * len(x) + 0.5, 0, 1)


def ripples(x: Floats, y: Floats, rng: Random) -> Weights:
    """Water."""
    bend = np.sin(2 * np.pi * between(rng, 3, 5) * x + 9 * y) + 0.6 * np.sin(2 * np.pi * 7 * x - 14 * y)
    return 0.5 + 0.5 * np.sin(2 * np.pi * between(rng, 6, 9) * y + 0.8 * bend)


def _grid(side: int) -> tuple[Floats, Floats]:
    steps = np.asarray((np.arange(side) + 0.5) / side, dtype=np.float32)
    x = np.broadcast_to(steps[None, :], (side, side))
    y = np.broadcast_to(steps[:, None], (side, side))
    return x, y


def _edge(signal: NDArray[np.float32], side: int, periods: float) -> NDArray[np.float32]:
    """Turn a wave in −1…1 with the given number of periods into stripes whose edges are about one pixel wide."""
    return np.asarray(np.clip(signal * side / (2 * np.pi * periods) + 0.5, 0, 1), dtype=np.float32)


def _smooth_noise(side: int, cells: int, rng: Random) -> NDArray[np.float32]:
    values = np.array([[rng.random() for _ in range(cells + 1)] for _ in range(cells + 1)], dtype=np.float32)
    image = Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)


_VARIANTS = 6
_LEAST_CONTRAST = 34.0
_LEAST_LIGHTNESS_STEP = 34.0
_LEAST_PAIR_DISTANCE = 5.0
_MOST_PAIR_DISTANCE = 40.0


@dataclass(frozen=True)
class Background:
    """A texture and its description in captions.

    Attributes:
        texture: Computes the mixing weights.
        phrase: "on a striped background"; empty if captions do not mention the background.
        colours: The two colours of a place ("on grass"); None for a texture in any colours.
    """

    texture: Texture
    phrase: str = ""
    colours: tuple[Rgb, Rgb] | None = None


@dataclass(frozen=True)
class Backdrop:
    """A chosen background: its name, its two colours, its variant, and whether it is mirrored.

    Attributes:
        name: A name in :data:`BACKGROUNDS`.
        colours: RGB of weight 0 and of weight 1.
        variant: Index of one of the prepared variants of the texture.
        mirror: Whether it is flipped horizontally.
    """

    name: str
    colours: tuple[Rgb, Rgb]
    variant: int
    mirror: bool


def choose_backdrop(rng: Random, colours: tuple[str, ...], *, for_words: bool = False) -> Backdrop:
    """Choose a background from which all of ``colours`` stand out.

    Args:
        rng: The random number generator.
        colours: Names in ``objects.COLOURS``.
        for_words: Require a difference in lightness, not only in hue: letters are thin and have no outline.
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
    """Distance between two sRGB colours in CIE L*a*b* (1976): 2.3 is just noticeable, black to white is 100."""
    return float(np.linalg.norm(_lab(first) - _lab(second)))


@functools.lru_cache(maxsize=512)
def _mask(name: str, side: int, variant: int) -> Image.Image:
    weights = BACKGROUNDS[name].texture(*_grid(side), seeded("background", name, variant)).astype(np.float32)
    return Image.fromarray(np.round(np.clip(weights, 0, 1) * 255).astype(np.uint8))


def legible(first: Rgb, second: Rgb) -> bool:
    """Whether thin strokes in one colour are legible on the other."""
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
    "plain": Background(plain, "on a plain background"),
    "gradient": Background(gradient),
    "glow": Background(glow),
    "stripes": Background(stripes(0.0), "on a striped background"),
    "bars": Background(stripes(np.pi / 2), "on a striped background"),
    "slanted stripes": Background(stripes(np.pi / 4), "on a striped background"),
    "checks": Background(checks, "on a checked background"),
    "diamonds": Background(diamonds, "on a checked background"),
    "dots": Background(dots, "on a dotted background"),
    "lattice": Background(lattice, "on a grid"),
    "bricks": Background(bricks, "on a brick wall"),
    "waves": Background(waves, "on a wavy background"),
    "zigzag": Background(zigzag),
    "rays": Background(rays),
    "rings": Background(rings),
    "smoke": Background(smoke),
    "speckle": Background(speckle),
    "camouflage": Background(camouflage),
    "confetti": Background(confetti),
    "hills": Background(hills),
    "grass": Background(speckle, "on grass", ((150, 205, 120), (116, 178, 92))),
    "sea": Background(ripples, "on the sea", ((110, 176, 214), (152, 206, 232))),
    "sky": Background(gradient, "in the sky", ((150, 200, 240), (216, 236, 250))),
    "sand": Background(speckle, "on sand", ((232, 208, 160), (216, 190, 138))),
    "snow": Background(smoke, "on snow", ((240, 244, 250), (214, 224, 238))),
    "night": Background(confetti, "at night", ((24, 26, 58), (196, 196, 210))),
    "wood": Background(wood, "on wood", ((196, 152, 104), (174, 128, 82))),
}

_SHADES: tuple[Rgb, ...] = (
    (245, 242, 235), (228, 230, 232), (200, 203, 206), (165, 168, 172), (125, 128, 134), (88, 92, 98), (58, 60, 66),
    (250, 226, 220), (250, 238, 205), (228, 243, 215), (212, 240, 238), (214, 228, 250), (232, 220, 248),
    (214, 166, 158), (214, 190, 140), (162, 190, 142), (138, 188, 188), (146, 170, 206), (178, 158, 200),
    (122, 90, 92), (96, 108, 84), (72, 106, 112), (78, 92, 124), (98, 82, 120),
    (44, 52, 74), (40, 62, 54), (70, 46, 54), (56, 44, 76),
)  # fmt: skip
