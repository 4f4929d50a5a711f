"""Where things stand: sizes and places of one to three objects in an image or in half of one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from mobileclip_kit.scenes.rng import below, between, happens, pick, weighted
from mobileclip_kit.scenes.truth import Relation, Size

Region = tuple[float, float, float, float]

_WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
_HALVES: dict[Relation, tuple[Region, Region]] = {
    "left of": ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)),
    "right of": ((0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0)),
    "above": ((0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)),
    "below": ((0.0, 0.5, 1.0, 1.0), (0.0, 0.0, 1.0, 0.5)),
}
# A size's extent, as a share of the image's side. The gaps between the ranges keep the words honest.
_EXTENTS: dict[Size, tuple[float, float]] = {"small": (0.32, 0.4), "medium": (0.46, 0.56), "big": (0.64, 0.92)}


@dataclass(frozen=True)
class Spot:
    """Where one object stands; lengths are shares of the image's side.

    Attributes:
        x: Of its middle, from the left.
        y: Of its middle, from the top.
        extent: Longer side of its upright box.
        angle: Degrees clockwise.
        mirror: Whether it faces the other way.
        stretch: Width over height, relative to the drawing.
    """

    x: float
    y: float
    extent: float
    angle: float
    mirror: bool
    stretch: float


def lay_out_one(rng: Random) -> tuple[Size, tuple[Spot, ...]]:
    """One to three objects of one kind in the whole image."""
    count = weighted(rng, ((1, 0.64), (2, 0.21), (3, 0.15)))
    if count == 1:
        size: Size = weighted(rng, (("big", 0.5), ("medium", 0.28), ("small", 0.22)))
        return size, (_spot(rng, _WHOLE, between(rng, *_EXTENTS[size])),)
    size = "medium" if count == 2 and happens(rng, 0.6) else "small"
    cells = _cells(rng, count, _WHOLE, size)
    extent = min(between(rng, *_EXTENTS[size]), _room(cells[0]))
    return size, tuple(_spot(rng, cell, extent * between(rng, 0.94, 1.0)) for cell in cells)


def lay_out_pair(rng: Random, relation: Relation) -> tuple[tuple[Size, tuple[Spot, ...]], ...]:
    """Two groups of one or two objects, each in its half of the image."""
    groups = []
    for region in _HALVES[relation]:
        count = weighted(rng, ((1, 0.72), (2, 0.2), (3, 0.08)))
        size: Size = "medium" if count < 3 and happens(rng, 0.85) else "small"
        cells = _cells(rng, count, region, size)
        extent = min(between(rng, *_EXTENTS[size]), _room(cells[0]))
        groups.append((size, tuple(_spot(rng, cell, extent * between(rng, 0.94, 1.0)) for cell in cells)))
    return tuple(groups)


def _cells(rng: Random, count: int, region: Region, size: Size) -> tuple[Region, ...]:
    """Divide a region into one cell for each object."""
    left, top, right, bottom = region
    middle, centre = (left + right) / 2, (top + bottom) / 2
    if count == 1:
        return (region,)
    wide, tall = right - left > 0.9, bottom - top > 0.9
    if not (wide and tall):
        along = range(count)
        if wide:
            return tuple((step / count, top, (step + 1) / count, bottom) for step in along)
        return tuple((left, step / count, right, (step + 1) / count) for step in along)
    quarters = (
        (left, top, middle, centre), (middle, top, right, centre),
        (left, centre, middle, bottom), (middle, centre, right, bottom),
    )  # fmt: skip
    if size == "small" and happens(rng, 0.3):
        steps = tuple((step / count, (step + 1) / count) for step in range(count))
        return pick(rng, (
            tuple((low, 0.0, high, 1.0) for low, high in steps),
            tuple((0.0, low, 1.0, high) for low, high in steps),
            tuple((low, low, high, high) for low, high in steps),
            tuple((low, 1 - high, high, 1 - low) for low, high in steps),
        ))  # fmt: skip
    if count == 2:
        return pick(rng, ((quarters[0], quarters[3]), (quarters[1], quarters[2]),
                          ((left, top, middle, bottom), (middle, top, right, bottom)),
                          ((left, top, right, centre), (left, centre, right, bottom))))  # fmt: skip
    empty = below(rng, 4)
    return tuple(quarter for position, quarter in enumerate(quarters) if position != empty)


def _room(cell: Region) -> float:
    return min(cell[2] - cell[0], cell[3] - cell[1]) * 0.97


def _spot(rng: Random, cell: Region, extent: float) -> Spot:
    left, top, right, bottom = cell
    return Spot(
        x=between(rng, left + extent / 2, right - extent / 2),
        y=between(rng, top + extent / 2, bottom - extent / 2),
        extent=extent,
        angle=between(rng, -18, 18),
        mirror=happens(rng, 0.5),
        stretch=between(rng, 0.88, 1.14),
    )
