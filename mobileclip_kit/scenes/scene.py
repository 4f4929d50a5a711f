"""The synthetic scenes: each image depends only on a seed and its index, so images can be drawn in any order.

The contents are the same on every machine; pixels may differ by one level between versions of numpy, Pillow and
FreeType.

Splits: ``train`` has no held-out combinations of kind and colour, ``test`` has all combinations, ``unseen`` only the
held-out ones. ``gallery`` has as many images of each word alone as of its thing. In ``pairs``, image 2k is a scene, and
image 2k + 1 is the same scene with a word written on it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from mobileclip_kit.errors import UsageError
from mobileclip_kit.scenes.backgrounds import draw_backdrop
from mobileclip_kit.scenes.captions import caption
from mobileclip_kit.scenes.objects import COLOURS, ink_matrix, kind_sprite
from mobileclip_kit.scenes.plan import (
    Group,
    PostProcessing,
    SceneConfig,
    SceneConstraints,
    ScenePlan,
    WordPlan,
    make_plan,
    without_word,
)
from mobileclip_kit.scenes.rng import happens, seeded
from mobileclip_kit.scenes.sprites import place, word_sprite
from mobileclip_kit.scenes.truth import Box, Objects, Truth, Word

Split = Literal["train", "test", "unseen", "gallery", "pairs"]

SPLITS: tuple[Split, ...] = get_args(Split)
LEAST_SIZE = 16
MOST_SIZE = 1024
DEFAULT_CONFIG = SceneConfig()


@dataclass(frozen=True, eq=False)
class Scene:
    """One image.

    Attributes:
        image: RGB ``(size, size, 3)``.
        captions: One or more, all true. Some captions of a word alone name only the thing, as on the web.
        truth: The contents of the image.
    """

    image: NDArray[np.uint8]
    captions: tuple[str, ...]
    truth: Truth


def draw_scene(
    seed: int, index: int, size: int, *, split: Split = "train", config: SceneConfig = DEFAULT_CONFIG
) -> Scene:
    """Draw one image.

    Args:
        seed: Seed of the random choices.
        index: Number of the image, from 0.
        size: Width and height in pixels, 16…1024. The contents do not depend on it.
        split: See the docstring of this module.
        config: The contents of the scenes.

    Raises:
        UsageError: ``size`` is out of range, ``index`` negative or ``split`` unknown.
    """
    if split == "gallery":
        return draw_gallery_scene(seed, index, size, config=config)
    if split == "pairs":
        return draw_text_pair(seed, index // 2, size, config=config)[index % 2]
    if split not in SPLITS:
        raise UsageError(f"There is no split {split!r}.", hint=f"Splits: {', '.join(SPLITS)}.")
    rng = _generator(seed, split, index, size)
    if split == "unseen":
        constraints = SceneConstraints(form="pair" if happens(rng, 0.25) else "thing", combinations="held out")
    else:
        constraints = SceneConstraints(combinations="seen" if split == "train" else "all")
    return _scene(rng, make_plan(rng, config, constraints), size, f"{split}/{seed}/{index}", config)


def draw_gallery_scene(seed: int, index: int, size: int, *, config: SceneConfig = DEFAULT_CONFIG) -> Scene:
    """Draw one image of a gallery with equal numbers of words and things: even indices show a thing, odd ones its word.

    Each block of ``2 · len(config.kinds)`` images shows every kind once as a thing and once as a word.

    Raises:
        UsageError: ``size`` is out of range or ``index`` negative.
    """
    rng = _generator(seed, "gallery", index, size)
    constraints = SceneConstraints(
        form="word" if index % 2 else "thing", kind=config.kinds[index // 2 % len(config.kinds)]
    )
    return _scene(rng, make_plan(rng, config, constraints), size, f"gallery/{seed}/{index}", config)


def draw_text_pair(seed: int, index: int, size: int, *, config: SceneConfig = DEFAULT_CONFIG) -> tuple[Scene, Scene]:
    """Draw a scene of objects, and the same scene with the name of another kind written on it.

    Outside the box of the word (and its outline and blur), the pixels of both images are equal.

    Raises:
        UsageError: ``size`` is out of range or ``index`` negative.
    """
    rng = _generator(seed, "pairs", index, size)
    plan = make_plan(rng, config, SceneConstraints(form="word over thing"))
    name = f"pairs/{seed}/"
    clean = _scene(rng, without_word(plan), size, f"{name}{2 * index}", config)
    return clean, _scene(rng, plan, size, f"{name}{2 * index + 1}", config)


def _generator(seed: int, split: str, index: int, size: int) -> Random:
    if not LEAST_SIZE <= size <= MOST_SIZE:
        raise UsageError(
            f"Images of {size} px cannot be drawn.", hint=f"Choose a size of {LEAST_SIZE} to {MOST_SIZE} px."
        )
    if index < 0:
        raise UsageError(f"The index {index} is negative.", hint="Images are counted from 0.")
    return seeded(seed, split, index)


def _scene(rng: Random, plan: ScenePlan, size: int, name: str, config: SceneConfig) -> Scene:
    image, truth = render(plan, size, name)
    said = (
        caption(rng, truth, bare_share=config.bare_share, word_caption_share=config.word_caption_share)
        for _ in range(config.captions)
    )
    return Scene(image, tuple(dict.fromkeys(said)), truth)


_MOST_WORD_HEIGHT = 0.62
_SHADOW_SHIFT = 0.05
_NOISE_MARGIN = 64


def render(plan: ScenePlan, side: int, name: str) -> tuple[NDArray[np.uint8], Truth]:
    """Draw a plan.

    Args:
        plan: The plan of the image.
        side: Width and height in pixels.
        name: The key of the image: ``Truth.image``.

    Returns:
        RGB ``(side, side, 3)`` and the truth, with exact boxes.
    """
    image = draw_backdrop(plan.backdrop, side)
    objects = tuple(_draw_group(image, group, plan.finish.shadow) for group in plan.groups)
    word = None if plan.word is None else _draw_word(image, plan.word, outlined=bool(plan.groups))
    truth = Truth(
        image=name, form=plan.form, objects=objects, relation=plan.relation, background=plan.backdrop.name, word=word
    )
    return _finished(image, plan.finish), truth


def _draw_group(image: Image.Image, group: Group, shadow: float) -> Objects:
    side = image.width
    sprite = kind_sprite(group.kind, _master_px(side))
    matrix = ink_matrix(group.kind, group.colour, group.tint)
    boxes = []
    for spot in group.spots:
        drawn, (left, top) = place(
            sprite, spot.extent * side, (spot.x * side, spot.y * side),
            angle=spot.angle, mirror=spot.mirror, stretch=spot.stretch,
        )  # fmt: skip
        drawn = drawn.convert("RGBA")
        cover = drawn.getchannel("A")
        if shadow:
            shift = round(spot.extent * side * _SHADOW_SHIFT)
            veil = ImageChops.multiply(cover, Image.new("L", cover.size, round(shadow * 255)))
            image.paste((0, 0, 0), (left + shift, top + shift), veil)
        image.paste(drawn.convert("RGB").convert("RGB", matrix), (left, top), cover)
        boxes.append(_box(cover, (left, top), side))
    return Objects(kind=group.kind, colour=group.colour, size=group.size, boxes=tuple(boxes))


def _draw_word(image: Image.Image, word: WordPlan, *, outlined: bool) -> Word:
    side = image.width
    sprite = word_sprite(word.text, word.typeface, _master_px(side))
    # A short word as wide as the image would be taller than the image.
    width = min(word.width, _MOST_WORD_HEIGHT * sprite.width / sprite.height) * side
    # Space for the rotated word above and below its centre, including the outline.
    room = 0.5 * (sprite.height / sprite.width + math.sin(math.radians(abs(word.angle)))) * width + 0.03 * side
    centre = word.x * side, min(max(word.y * side, room), side - room)
    colour = COLOURS[word.colour]
    if outlined:
        grown = word_sprite(word.text, word.typeface, _master_px(side), stroked=True)
        cover, corner = place(grown, width, centre, across_only=True, angle=word.angle)
        image.paste((24, 24, 28) if sum(colour) > 380 else (250, 250, 246), corner, cover)
    cover, corner = place(sprite, width, centre, across_only=True, angle=word.angle)
    image.paste(colour, corner, cover)
    box = _box(cover, corner, side)
    return Word(text=word.text, typeface=word.typeface, colour=word.colour, angle=round(word.angle, 2), box=box)


def _finished(image: Image.Image, finish: PostProcessing) -> NDArray[np.uint8]:
    side = image.width
    if finish.blur:
        image = image.filter(ImageFilter.BoxBlur(finish.blur * side / 64))
    across, down = _ramps(side)
    light = finish.gain + finish.slope[0] * across + finish.slope[1] * down  # (side, side * 3)
    store = _noise(side)
    top, left = (int(share * _NOISE_MARGIN) for share in finish.noise_at)
    # Rows of side * 3 numbers: numpy is slow when the last axis has only three.
    pixels = np.asarray(image).reshape(side, side * 3) * light
    pixels += np.float32(0.5)
    pixels += store[top : top + side, 3 * left : 3 * (left + side)] * np.float32(finish.noise)
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8).reshape(side, side, 3)


def _box(cover: Image.Image, corner: tuple[int, int], side: int) -> Box:
    inked = cover.getbbox()
    assert inked is not None
    edges = (corner[0] + inked[0], corner[1] + inked[1], corner[0] + inked[2], corner[1] + inked[3])
    left, top, right, bottom = (round(min(side, max(0, edge)) / side, 4) for edge in edges)
    return left, top, right, bottom


def _master_px(side: int) -> int:
    """The size at which the sprites of an image are prepared; images of similar size share the sprites."""
    return -(-side // 64) * 64


@functools.lru_cache(maxsize=4)
def _ramps(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    return np.repeat(ramp, 3)[None, :], ramp[:, None]


@functools.lru_cache(maxsize=4)
def _noise(side: int) -> NDArray[np.float32]:
    shape = side + _NOISE_MARGIN, 3 * (side + _NOISE_MARGIN)
    return np.random.Generator(np.random.PCG64(0)).standard_normal(shape, dtype=np.float32)
