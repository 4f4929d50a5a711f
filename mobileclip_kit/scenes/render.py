"""From a plan to pixels."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from mobileclip_kit.scenes.backgrounds import draw_backdrop
from mobileclip_kit.scenes.objects import COLOURS, ink_matrix, kind_sprite
from mobileclip_kit.scenes.plan import Group, PostProcessing, ScenePlan, WordPlan
from mobileclip_kit.scenes.sprite import place
from mobileclip_kit.scenes.truth import Box, Objects, Truth, Word
from mobileclip_kit.scenes.words import word_sprite

_MOST_WORD_HEIGHT = 0.62
_SHADOW_SHIFT = 0.05
_NOISE_MARGIN = 64


def render(plan: ScenePlan, side: int, name: str) -> tuple[NDArray[np.uint8], Truth]:
    """Draw a plan.

    Args:
        plan: What to draw.
        side: Pixels of the image's sides.
        name: Becomes the truth's ``image``.

    Returns:
        RGB ``(side, side, 3)`` and what it shows, with exact boxes.
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
    # A short word as wide as the image would be taller than it.
    width = min(word.width, _MOST_WORD_HEIGHT * sprite.width / sprite.height) * side
    # Room for the turned word above and below its middle, with a little for the outline.
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
    # Rows of side * 3 numbers: numpy would loop over a last axis of three numbers one by one.
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
    """The size in which the image's sprites are prepared: few sizes share one preparation."""
    return -(-side // 64) * 64


@functools.lru_cache(maxsize=4)
def _ramps(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    return np.repeat(ramp, 3)[None, :], ramp[:, None]


@functools.lru_cache(maxsize=4)
def _noise(side: int) -> NDArray[np.float32]:
    shape = side + _NOISE_MARGIN, 3 * (side + _NOISE_MARGIN)
    return np.random.Generator(np.random.PCG64(0)).standard_normal(shape, dtype=np.float32)
