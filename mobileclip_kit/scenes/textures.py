"""Textures of backgrounds: functions ``(side, rng) -> (side, side)`` of weights, in 0…1 after clipping.

A weight mixes a background's two colours. All lengths are shares of the image's side, so a texture looks the same at
every size, apart from edges, which are about a pixel wide.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.scenes.rng import between

Texture = Callable[[int, Random], NDArray[np.float32]]


def plain(side: int, rng: Random) -> NDArray[np.float32]:
    """One even weight."""
    return np.full((side, side), between(rng, 0, 1), dtype=np.float32)


def gradient(side: int, rng: Random) -> NDArray[np.float32]:
    """A straight ramp in any direction."""
    x, y = _grid(side)
    turn = between(rng, 0, 2 * np.pi)
    return np.asarray(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), dtype=np.float32)


def glow(side: int, rng: Random) -> NDArray[np.float32]:
    """A ramp outwards from a point."""
    x, y = _grid(side)
    return np.asarray(1.3 * np.hypot(x - between(rng, 0.2, 0.8), y - between(rng, 0.2, 0.8)), dtype=np.float32)


def stripes(turn: float) -> Texture:
    """Parallel bands at an angle in radians, 0 being upright ones."""

    def draw(side: int, rng: Random) -> NDArray[np.float32]:
        x, y = _grid(side)
        periods = between(rng, 3, 7)
        phase = between(rng, 0, 2 * np.pi)
        return _edge(np.sin(2 * np.pi * periods * (x * np.cos(turn) + y * np.sin(turn)) + phase), side, periods)

    return draw


def checks(side: int, rng: Random) -> NDArray[np.float32]:
    """A chessboard."""
    x, y = _grid(side)
    periods = between(rng, 2, 4.5)
    return _edge(np.sin(2 * np.pi * periods * x) * np.sin(2 * np.pi * periods * y), side, periods)


def diamonds(side: int, rng: Random) -> NDArray[np.float32]:
    """A chessboard on its corner."""
    x, y = _grid(side)
    periods = between(rng, 2, 4)
    return _edge(np.sin(2 * np.pi * periods * (x + y)) * np.sin(2 * np.pi * periods * (x - y)), side, periods)


def dots(side: int, rng: Random) -> NDArray[np.float32]:
    """Dots in rows."""
    x, y = _grid(side)
    periods = between(rng, 4, 7)
    wave = np.cos(2 * np.pi * periods * x) + np.cos(2 * np.pi * periods * y)
    return _edge(wave - 0.7, side, periods)


def lattice(side: int, rng: Random) -> NDArray[np.float32]:
    """Thin crossing lines."""
    x, y = _grid(side)
    periods = between(rng, 4, 8)
    return _edge(np.maximum(np.cos(2 * np.pi * periods * x), np.cos(2 * np.pi * periods * y)) - 0.85, side, periods)


def bricks(side: int, rng: Random) -> NDArray[np.float32]:
    """The joints of a wall."""
    x, y = _grid(side)
    rows = round(between(rng, 5, 9))
    row = np.floor(y * rows)
    across = (x * rows / 2 + row % 2 / 2) % 1
    joint = 1.6 * rows / side
    return np.asarray((y * rows % 1 < joint) | (across < joint / 2), dtype=np.float32)


def waves(side: int, rng: Random) -> NDArray[np.float32]:
    """Wavy bands."""
    x, y = _grid(side)
    periods, bends = between(rng, 4, 7), between(rng, 2, 4)
    return _edge(np.sin(2 * np.pi * (periods * y + 0.35 * np.sin(2 * np.pi * bends * x))), side, periods)


def zigzag(side: int, rng: Random) -> NDArray[np.float32]:
    """Bands with corners."""
    x, y = _grid(side)
    periods = between(rng, 3, 6)
    return _edge(np.sin(2 * np.pi * (periods * y + np.abs(x * periods % 1 - 0.5))), side, periods)


def rays(side: int, rng: Random) -> NDArray[np.float32]:
    """Wedges around a point."""
    x, y = _grid(side)
    turn = np.arctan2(y - between(rng, 0.2, 0.8), x - between(rng, 0.2, 0.8))
    return _edge(np.sin(turn * round(between(rng, 6, 11))), side, 8)


def rings(side: int, rng: Random) -> NDArray[np.float32]:
    """Circles around a point."""
    x, y = _grid(side)
    periods = between(rng, 4, 8)
    radius = np.hypot(x - between(rng, 0.2, 0.8), y - between(rng, 0.2, 0.8))
    return _edge(np.sin(2 * np.pi * periods * radius), side, periods)


def smoke(side: int, rng: Random) -> NDArray[np.float32]:
    """Soft clouds."""
    cloud = np.zeros((side, side), dtype=np.float32)
    for cells, weight in ((3, 0.55), (6, 0.3), (12, 0.15)):
        cloud += weight * _smooth_noise(side, cells, rng)
    return np.asarray((cloud - 0.5) * 1.8 + 0.5, dtype=np.float32)


def speckle(side: int, rng: Random) -> NDArray[np.float32]:
    """Fine grain."""
    return _smooth_noise(side, 32, rng)


def camouflage(side: int, rng: Random) -> NDArray[np.float32]:
    """Patches with sharp edges."""
    return np.asarray(np.clip((_smooth_noise(side, 5, rng) - 0.5) * 14 + 0.5, 0, 1), dtype=np.float32)


def wood(side: int, rng: Random) -> NDArray[np.float32]:
    """Bent grain."""
    x, y = _grid(side)
    bend = _smooth_noise(side, 3, rng)
    return np.asarray(
        0.5 + 0.5 * np.sin(2 * np.pi * (between(rng, 7, 11) * y + 1.2 * bend + 0.2 * x)), dtype=np.float32
    )


def confetti(side: int, rng: Random) -> NDArray[np.float32]:
    """Small spots here and there."""
    x, y = _grid(side)
    weights = np.zeros((side, side), dtype=np.float32)
    for _ in range(36):
        across, down, radius = between(rng, 0, 1), between(rng, 0, 1), between(rng, 0.015, 0.035)
        weights[np.hypot(x - across, y - down) < radius] = 1
    return weights


def hills(side: int, rng: Random) -> NDArray[np.float32]:
    """A ground under a wavy horizon."""
    x, y = _grid(side)
    ridge = between(rng, 0.5, 0.75) + 0.08 * np.sin(2 * np.pi * (between(rng, 0.6, 1.6) * x + between(rng, 0, 1)))
    return np.asarray(np.clip((y - ridge) * side + 0.5, 0, 1), dtype=np.float32)


def ripples(side: int, rng: Random) -> NDArray[np.float32]:
    """Water."""
    x, y = _grid(side)
    bend = np.sin(2 * np.pi * between(rng, 3, 5) * x + 9 * y) + 0.6 * np.sin(2 * np.pi * 7 * x - 14 * y)
    return np.asarray(0.5 + 0.5 * np.sin(2 * np.pi * between(rng, 6, 9) * y + 0.8 * bend), dtype=np.float32)


def _grid(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    steps = np.asarray((np.arange(side) + 0.5) / side, dtype=np.float32)
    x = np.broadcast_to(steps[None, :], (side, side))
    y = np.broadcast_to(steps[:, None], (side, side))
    return x, y


def _edge(signal: NDArray[np.float32], side: int, periods: float) -> NDArray[np.float32]:
    """Turn a wave −1…1 of so many periods into soft-edged bands, about a pixel wide at the edge."""
    return np.asarray(np.clip(signal * side / (2 * np.pi * periods) + 0.5, 0, 1), dtype=np.float32)


def _smooth_noise(side: int, cells: int, rng: Random) -> NDArray[np.float32]:
    values = np.array([[rng.random() for _ in range(cells + 1)] for _ in range(cells + 1)], dtype=np.float32)
    image = Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)
