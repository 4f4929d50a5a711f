"""Random choices that are the same on every machine and Python version.

Python guarantees the sequence of ``Random.random`` across versions, but not those of ``choice`` and ``shuffle``, so all
functions here use only ``Random.random``.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")


def seeded(*parts: object) -> Random:
    """A generator whose seed is computed from ``parts``."""
    return Random("/".join(map(str, parts)))


def between(rng: Random, low: float, high: float) -> float:
    """A uniform number in ``low`` … ``high``."""
    return low + (high - low) * rng.random()


def below(rng: Random, count: int) -> int:
    """A uniform whole number in 0 … ``count - 1``."""
    return int(rng.random() * count)


def pick(rng: Random, items: Sequence[Item]) -> Item:
    """One of ``items``, all with the same probability."""
    return items[int(rng.random() * len(items))]


def weighted(rng: Random, items: Sequence[tuple[Item, float]]) -> Item:
    """One of ``items`` = (item, weight), with a probability proportional to its weight."""
    left = rng.random() * sum(weight for _, weight in items)
    for item, weight in items:
        left -= weight
        if left < 0:
            return item
    return items[-1][0]


def happens(rng: Random, probability: float) -> bool:
    """True with the given probability."""
    return rng.random() < probability
