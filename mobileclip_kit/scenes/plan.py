"""What an image is to show, before a pixel is drawn: chosen at random, independent of the image's size."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from mobileclip_kit.errors import UsageError
from mobileclip_kit.scenes.backgrounds import Backdrop, choose_backdrop, legible
from mobileclip_kit.scenes.layout import Spot, lay_out_one, lay_out_pair
from mobileclip_kit.scenes.objects import COLOURS, KINDS, held_out
from mobileclip_kit.scenes.rng import between, happens, pick, weighted
from mobileclip_kit.scenes.truth import Form, Relation, Size
from mobileclip_kit.scenes.words import TYPEFACES

Combinations = Literal["seen", "all", "held out"]

_RELATIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below")


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What the world is made of. The defaults are rich, yet a small model learns to read them in minutes.

    Reading is the hard part: with many typefaces and small words it stays at chance for long.

    Attributes:
        kinds: Names of the kinds that occur, as objects and as words.
        word_share: Share of images of a word alone.
        word_over_share: Share of images of a word over objects.
        pair_share: Share of images of two kinds of objects; the rest shows one kind.
        bare_share: Share of captions of things that name the kind alone.
        word_caption_share: Share of captions of words that say that it is a word.
        word_width: Least and most width of a word, as shares of the image.
        letter_width: Least width of a letter, as a share of the image: long words are wide ones.
        word_angle: Most degrees by which a word is turned.
        typefaces: (name, weight) of each typeface.
        captions: Captions drawn for an image; equal ones are given once.
        blur_share: Share of blurred images.
        noise: Most standard deviation of the noise, in levels of 0…255.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    word_share: float = 0.32
    word_over_share: float = 0.08
    pair_share: float = 0.16
    bare_share: float = 0.15
    word_caption_share: float = 0.5
    word_width: tuple[float, float] = (0.55, 0.97)
    letter_width: float = 0.1
    word_angle: float = 8.0
    typefaces: tuple[tuple[str, float], ...] = (("sans bold", 4), ("serif bold", 4), ("sans", 1), ("mono bold", 1))
    captions: int = 3
    blur_share: float = 0.25
    noise: float = 7.0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        unknown += [name for name, _ in self.typefaces if name not in TYPEFACES]
        if unknown:
            raise UsageError(f"The synthetic scenes has no kind or typeface named {', '.join(unknown)}.")
        if len(self.kinds) < 2 or not self.typefaces:
            raise UsageError("The synthetic scenes needs at least two kinds and one typeface.")
        for name in ("word_share", "word_over_share", "pair_share", "bare_share", "word_caption_share", "blur_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must lie in 0…1.")
        forms = self.word_share + self.word_over_share + self.pair_share
        # Decimal fractions that make up 1 may come to a little more as sums of binary ones.
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
        size: Of each.
        spots: Where each stands.
        tint: Added to the colour's red, green and blue.
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
        text: What it says.
        typeface: A name in ``words.TYPEFACES``.
        colour: A name in ``objects.COLOURS``.
        x: Of its middle, as a share of the image.
        y: The same, from the top.
        width: As a share of the image.
        angle: Degrees clockwise.
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
    """What happens to the whole image at the end.

    Attributes:
        gain: Brightness.
        slope: How much brighter the image becomes across and down.
        blur: Radius in 64ths of the image's side; 0 is none.
        noise: Standard deviation in levels of 0…255.
        noise_at: Where in the store of noise, 0…1 across and down.
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
    """One image. ``relation`` says where the first group is as seen from the second."""

    form: Form
    groups: tuple[Group, ...]
    relation: Relation | None
    word: WordPlan | None
    backdrop: Backdrop
    finish: PostProcessing


@dataclass(frozen=True)
class SceneConstraints:
    """What is settled before the dice are thrown.

    Attributes:
        form: What the image shows; None leaves it to the shares.
        kind: Of the (first) object or of the word; None leaves it to chance.
        combinations: Which combinations of kind and colour may occur.
    """

    form: Form | None = None
    kind: str | None = None
    combinations: Combinations = "all"


def make_plan(rng: Random, config: SceneConfig, constraints: SceneConstraints) -> ScenePlan:
    """Choose what an image shows."""
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
    """The same image before anybody wrote on it."""
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
    """Keep a word from hiding a single object: only a big one is written over."""
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
