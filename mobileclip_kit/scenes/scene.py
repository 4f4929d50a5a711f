"""The synthetic scenes: each image follows from a seed and its index alone, in any order and any process.

What is shown is the same everywhere; pixels may differ by a level between versions of numpy, Pillow and FreeType.

Splits: ``train`` never shows a held-out combination of kind and colour, ``test`` shows all, ``unseen`` shows held-out
ones only. ``gallery`` has as many images of each word alone as of its thing. ``pairs`` has at 2k a scene and at
2k + 1 the same scene with a word written on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import UsageError
from mobileclip_kit.scenes.captions import caption
from mobileclip_kit.scenes.plan import SceneConfig, SceneConstraints, ScenePlan, make_plan, without_word
from mobileclip_kit.scenes.render import render
from mobileclip_kit.scenes.rng import happens, seeded
from mobileclip_kit.scenes.truth import Truth

Split = Literal["train", "test", "unseen", "gallery", "pairs"]

SPLITS: tuple[Split, ...] = get_args(Split)
LEAST_SIZE = 16
MOST_SIZE = 1024
DEFAULT_CONFIG = SceneConfig()


@dataclass(frozen=True, eq=False)
class Scene:
    """One image of the world.

    Attributes:
        image: RGB ``(size, size, 3)``.
        captions: One or more, all true; of a word alone some name only the thing, as the web does.
        truth: What it shows.
    """

    image: NDArray[np.uint8]
    captions: tuple[str, ...]
    truth: Truth


def draw_scene(
    seed: int, index: int, size: int, *, split: Split = "train", config: SceneConfig = DEFAULT_CONFIG
) -> Scene:
    """Draw one image.

    Args:
        seed: Names the world; equal seeds give equal images.
        index: Which image, from 0. Any order, any process.
        size: Pixels of its sides, 16…1024. The same scene is drawn at every size.
        split: See the module's docstring.
        config: What the world is made of.

    Raises:
        UsageError: ``size`` is out of range, ``index`` negative or ``split`` unknown.
    """
    if split == "gallery":
        return draw_gallery_scene(seed, index, size, config=config)
    if split == "pairs":
        return draw_text_pair(seed, index // 2, size, config=config)[index % 2]
    if split not in SPLITS:
        raise UsageError(f"The synthetic scenes has no split {split!r}.", hint=f"Splits: {', '.join(SPLITS)}.")
    rng = _generator(seed, split, index, size)
    if split == "unseen":
        constraints = SceneConstraints(form="pair" if happens(rng, 0.25) else "thing", combinations="held out")
    else:
        constraints = SceneConstraints(combinations="seen" if split == "train" else "all")
    return _scene(rng, make_plan(rng, config, constraints), size, f"{split}/{seed}/{index}", config)


def draw_gallery_scene(seed: int, index: int, size: int, *, config: SceneConfig = DEFAULT_CONFIG) -> Scene:
    """Draw one image of a gallery that is fair to words and things: even indices show a thing, odd ones its word.

    Any ``2 · len(config.kinds)`` images in a row from a multiple of it hold each name once as thing and once as word.

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

    Outside the word's box (and its outline and blur) the two are equal pixel by pixel.

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
