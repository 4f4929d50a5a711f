"""Augmented views of images whose teacher vectors are stored (reinforced data, MobileCLIP, arXiv 2311.17049).

A view is fixed by the augmentation, a seed, its number and the image's content. The cache records the first two, so
that training shows the student the very views that the teacher saw, at the student's own size. View 0 is the image
itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.cache.build import Views
from mobileclip_kit.cache.folder import CacheDescription
from mobileclip_kit.distillation.augment import Augmentation, Replay
from mobileclip_kit.distillation.recipe import Recipe, section_from
from mobileclip_kit.errors import UsageError
from mobileclip_kit.spec import ImageSpec


def plan_views(
    plain: CacheDescription, augmentation: Augmentation, *, views: int, seed: int
) -> tuple[CacheDescription, Views]:
    """What a cache of augmented views is, and what makes them.

    Args:
        plain: The description of a cache of plain images.
        augmentation: How views differ.
        views: Of each image.
        seed: What they are drawn with.

    Raises:
        UsageError: The augmentation changes nothing, so that all views would be the same.
    """
    if augmentation.changes_nothing:
        raise UsageError(f"The augmentation changes nothing, so {views} views would be the same.",
                         hint="Pass a --recipe whose [augmentation] varies images.")  # fmt: skip
    image = plain.preprocessing
    assert image is not None
    recorded = json.loads(json.dumps({"seed": seed, **asdict(augmentation)}))  # lists, as it is read back

    def make(pixels: Pixels, identities: NDArray[np.uint64]) -> Sequence[Tensor]:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255.0)
        varied = [augmentation.apply(images, identities, seed=seed, epoch=view) for view in range(1, views)]
        return [_normalized(view, image) for view in (images, *varied)]

    return replace(plain, views=views, augmentation=recorded), make


def replay_views(recipe: Recipe, description: CacheDescription) -> tuple[Recipe, Replay | None]:
    """A recipe that shows the views a cache holds.

    Raises:
        UsageError: The recipe wants another augmentation than the one that the teacher saw.
    """
    if description.augmentation is None:
        return recipe, None
    recorded = dict(description.augmentation)
    seed = int(recorded.pop("seed"))
    stored = section_from(Augmentation, recorded, "the cache's augmentation")
    if not recipe.augmentation.changes_nothing and recipe.augmentation != stored:
        raise UsageError(
            f"The recipe {recipe.name} varies images in another way than the cache's teacher saw them.",
            hint="Leave [augmentation] out of the recipe, or make the cache with this recipe.",
        )
    return replace(recipe, augmentation=stored), Replay(seed, description.views)


def _normalized(images: Tensor, image: ImageSpec) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (image.mean, image.std))
    return (images - mean) / std
