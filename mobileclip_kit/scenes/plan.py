"""The plan of an image: what it shows and where, chosen at random before drawing, whatever the size of the image."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated, Literal

from mobileclip_kit.errors import UsageError
from mobileclip_kit.options import Option
from mobileclip_kit.scenes.backgrounds import Backdrop, choose_backdrop, legible
from mobileclip_kit.scenes.objects import COLOURS, KINDS, held_out
from mobileclip_kit.scenes.rng import below, between, happens, pick, weighted
from mobileclip_kit.scenes.sprites import TYPEFACES
from mobileclip_kit.scenes.truth import Form, Relation, Size

Region = tuple[float, float, float, float]

_WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
_HALVES: dict[Relation, tuple[Region, Region]] = {
    "left of": ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)),
    "right of": ((0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0)),
    "above": ((0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)),
    "below": ((0.0, 0.5, 1.0, 1.0), (0.0, 0.0, 1.0, 0.5)),
}
# The extent of each size, as a share of the side of the image. The gaps between the ranges keep the words unambiguous.
_EXTENTS: dict[Size, tuple[float, float]] = {"small": (0.32, 0.4), "medium": (0.46, 0.56), "big": (0.64, 0.92)}


@dataclass(frozen=True)
class Spot:
    """The position of one object; lengths are shares of the side of the image.

    Attributes:
        x: Distance of its centre from the left.
        y: Distance of its centre from the top.
        extent: Longer side of its bounding box.
        angle: Rotation in degrees, clockwise.
        mirror: Whether it is flipped horizontally.
        stretch: Ratio of width to height, relative to the drawing.
    """

    x: float
    y: float
    extent: float
    angle: float
    mirror: bool
    stretch: float


def lay_out_one(rng: Random) -> tuple[Size, tuple[Spot, ...]]:
    """Positions of one to three objects of one kind in the whole image."""
    count = weighted(rng, ((1, 0.64), (2, 0.21), (3, 0.15)))
    if count == 1:
        size: Size = weighted(rng, (("big", 0.5), ("medium", 0.28), ("small", 0.22)))
        return size, (_spot(rng, _WHOLE, between(rng, *_EXTENTS[size])),)
    size = "medium" if count == 2 and happens(rng, 0.6) else "small"
    cells = _cells(rng, count, _WHOLE, size)
    extent = min(between(rng, *_EXTENTS[size]), _room(cells[0]))
    return size, tuple(_spot(rng, cell, extent * between(rng, 0.94, 1.0)) for cell in cells)


def lay_out_pair(rng: Random, relation: Relation) -> tuple[tuple[Size, tuple[Spot, ...]], ...]:
    """Positions of two groups of one or two objects, each in one half of the image."""
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


Combinations = Literal["seen", "all", "held out"]

_RELATIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below")


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """The contents of the scenes. The defaults are varied, but a small model learns to read the words within minutes.

    Reading is the most difficult task: with many typefaces and small words, it stays at chance level for a long time.

    Attributes:
        kinds: Names of the kinds that occur, as objects and as words.
        word_share: Share of images with only a word.
        word_over_share: Share of images with a word over objects.
        pair_share: Share of images with two kinds of objects; the other images show one kind.
        bare_share: Share of captions of things that name only the kind.
        word_caption_share: Share of captions of words that mention the word as such.
        word_width: Minimum and maximum width of a word, as shares of the image.
        letter_width: Minimum width of a letter, as a share of the image, so that long words are wide.
        word_angle: Maximum rotation of a word in degrees.
        typefaces: (name, weight) of each typeface.
        captions: Number of captions generated for each image; duplicates are dropped.
        blur_share: Share of blurred images.
        noise: Maximum standard deviation of the noise, in levels of 0…255.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    word_share: Annotated[float, Option("Share of images with only a word, in the splits train and test.")] = 0.32
    word_over_share: float = 0.08
    pair_share: Annotated[float, Option("Share of images with two kinds of things, in the same splits.")] = 0.16
    bare_share: float = 0.15
    word_caption_share: float = 0.5
    word_width: tuple[float, float] = (0.55, 0.97)
    letter_width: float = 0.1
    word_angle: float = 8.0
    typefaces: tuple[tuple[str, float], ...] = (("sans bold", 4), ("serif bold", 4), ("sans", 1), ("mono bold", 1))
    captions: Annotated[int, Option("Maximum number of captions of an image.")] = 3
    blur_share: float = 0.25
    noise: float = 7.0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        unknown += [name for name, _ in self.typefaces if name not in TYPEFACES]
        if unknown:
            raise UsageError(f"The synthetic scenes have no kind or typeface named {', '.join(unknown)}.")
        if len(self.kinds) < 2 or not self.typefaces:
            raise UsageError("The synthetic scenes need at least two kinds and one typeface.")
        for name in ("word_share", "word_over_share", "pair_share", "bare_share", "word_caption_share", "blur_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must lie in 0…1.")
        forms = self.word_share + self.word_over_share + self.pair_share
        # Decimal fractions whose sum is 1 may have a slightly larger sum in binary.
        if forms > 1 + 1e-9:
            raise UsageError(
                f"Words alone ({self.word_share:g}), words over things ({self.word_over_share:g}) and pairs of things "
                f"({self.pair_share:g}) come to {forms:g} of the images.",
                hint="Their shares may sum to 1 at most.",
            )
        if not 0 < self.word_width[0] <= self.word_width[1] <= 1:
            raise UsageError(f"The word width {self.word_width} must be a range within 0…1.")
        if self.captions < 1:
            raise UsageError(f"An image needs at least one caption, not {self.captions}.")


@dataclass(frozen=True)
class Group:
    """Objects of one kind and colour.

    Attributes:
        kind: A name in ``objects.KINDS``.
        colour: A name in ``objects.COLOURS``.
        size: Size of each object.
        spots: Position of each object.
        tint: Added to red, green and blue.
    """

    kind: str
    colour: str
    size: Size
    spots: tuple[Spot, ...]
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class WordPlan:
    """A written word.

    Attributes:
        text: The word itself.
        typeface: A name in ``sprites.TYPEFACES``.
        colour: A name in ``objects.COLOURS``.
        x: Distance of its centre from the left, as a share of the image.
        y: Distance of its centre from the top, likewise.
        width: Its width, as a share of the image.
        angle: Rotation in degrees, clockwise.
    """

    text: str
    typeface: str
    colour: str
    x: float
    y: float
    width: float
    angle: float


@dataclass(frozen=True)
class PostProcessing:
    """Changes of the whole image after drawing.

    Attributes:
        gain: Brightness.
        slope: Change of the brightness from left to right and from top to bottom.
        blur: Radius in 64ths of the side of the image; 0 for none.
        noise: Standard deviation in levels of 0…255.
        noise_at: Position in the precomputed noise, 0…1 horizontally and vertically.
        shadow: Opacity of the objects' shadows.
    """

    gain: float
    slope: tuple[float, float]
    blur: float
    noise: float
    noise_at: tuple[float, float]
    shadow: float


@dataclass(frozen=True)
class ScenePlan:
    """The plan of one image. ``relation`` is the position of the first group relative to the second."""

    form: Form
    groups: tuple[Group, ...]
    relation: Relation | None
    word: WordPlan | None
    backdrop: Backdrop
    finish: PostProcessing


@dataclass(frozen=True)
class SceneConstraints:
    """Properties of a scene that are fixed in advance; everything else is random.

    Attributes:
        form: The form of the image; None for a random one by the shares.
        kind: The kind of the (first) object or of the word; None for a random one.
        combinations: Which combinations of kind and colour may occur.
    """

    form: Form | None = None
    kind: str | None = None
    combinations: Combinations = "all"


def make_plan(rng: Random, config: SceneConfig, constraints: SceneConstraints) -> ScenePlan:
    """Choose the contents of an image."""
    form = constraints.form or _choose_form(rng, config)
    if form == "word":
        colour = pick(rng, tuple(COLOURS))
        alone = _choose_word(rng, config, constraints.kind or pick(rng, config.kinds), colour)
        return ScenePlan(
            form, (), None, alone, choose_backdrop(rng, (colour,), for_words=True), _choose_finish(rng, config)
        )
    if form == "pair":
        relation = pick(rng, _RELATIONS)
        first, second = lay_out_pair(rng, relation)
        one = _choose_group(rng, config, constraints, *first)
        other = one
        while (other.kind, other.colour) == (one.kind, one.colour):
            other = _choose_group(rng, config, replace(constraints, kind=None), *second)
        backdrop = choose_backdrop(rng, (one.colour, other.colour))
        return ScenePlan(form, (one, other), relation, None, backdrop, _choose_finish(rng, config))
    group = _choose_group(rng, config, constraints, *lay_out_one(rng))
    word: WordPlan | None = None
    if form == "word over thing":
        text = pick(rng, [kind for kind in config.kinds if kind != group.kind])
        word = _beside(group, _choose_word(rng, config, text, pick(rng, _legible_on(group.colour))))
    return ScenePlan(form, (group,), None, word, choose_backdrop(rng, (group.colour,)), _choose_finish(rng, config))


def without_word(plan: ScenePlan) -> ScenePlan:
    """The same image without the word."""
    return replace(plan, form="thing", word=None)


def _choose_form(rng: Random, config: SceneConfig) -> Form:
    forms: tuple[tuple[Form, float], ...] = (
        ("word", config.word_share),
        ("word over thing", config.word_over_share),
        ("pair", config.pair_share),
        ("thing", max(0.0, 1 - config.word_share - config.word_over_share - config.pair_share)),
    )
    return weighted(rng, forms)


def _choose_group(
    rng: Random, config: SceneConfig, constraints: SceneConstraints, size: Size, spots: tuple[Spot, ...]
) -> Group:
    kind = constraints.kind or pick(rng, config.kinds)
    wanted = {"seen": (False,), "all": (False, True), "held out": (True,)}[constraints.combinations]
    colour = pick(rng, [colour for colour in COLOURS if held_out(kind, colour) in wanted])
    tint = (between(rng, -12, 12), between(rng, -12, 12), between(rng, -12, 12))
    return Group(kind, colour, size, spots, tint)


def _choose_word(rng: Random, config: SceneConfig, text: str, colour: str) -> WordPlan:
    least, most = config.word_width
    width = between(rng, min(most, max(least, config.letter_width * len(text))), most)
    return WordPlan(
        text=text,
        typeface=weighted(rng, config.typefaces),
        colour=colour,
        x=between(rng, width / 2, 1 - width / 2),
        y=between(rng, 0.25, 0.75),
        width=width,
        angle=between(rng, -config.word_angle, config.word_angle),
    )


def _beside(group: Group, word: WordPlan) -> WordPlan:
    """Keep a word from hiding an object: words are written only over large objects."""
    if len(group.spots) > 1 or group.size == "big":
        return word
    return replace(word, y=0.8 if group.spots[0].y < 0.5 else 0.2)


def _choose_finish(rng: Random, config: SceneConfig) -> PostProcessing:
    return PostProcessing(
        gain=between(rng, 0.86, 1.06),
        slope=(between(rng, -0.14, 0.14), between(rng, -0.14, 0.14)),
        blur=between(rng, 0.3, 0.8) if happens(rng, config.blur_share) else 0.0,
        noise=between(rng, 0, config.noise),
        noise_at=(rng.random(), rng.random()),
        shadow=between(rng, 0.15, 0.45) if happens(rng, 0.4) else 0.0,
    )


@functools.cache
def _legible_on(colour: str) -> tuple[str, ...]:
    return tuple(other for other in COLOURS if legible(COLOURS[colour], COLOURS[other]))
