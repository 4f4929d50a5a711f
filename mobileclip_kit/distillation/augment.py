"""Augmentation of image batches, each image's change a pure function of (seed, epoch, image).

No generator carries state from batch to batch. A resumed run therefore sees what the uninterrupted one would have seen,
and a teacher's vectors of augmented views can be stored and replayed: the numbers alone reproduce the view. Crops are
cut from the image as the model's own preprocessing made it, on the whole batch at once.

A cache of views (reinforced data, MobileCLIP, arXiv 2311.17049) records augmentation and seed, so that training shows
the student the same views that the teacher saw, at the student's own size. View 0 is the image itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.cache.build import Views
from mobileclip_kit.cache.folder import CacheDescription
from mobileclip_kit.data.images import random_numbers
from mobileclip_kit.distillation.randaugment import GREY, randaugment
from mobileclip_kit.distillation.recipe import Recipe
from mobileclip_kit.distillation.tables import Augmentation
from mobileclip_kit.errors import UsageError
from mobileclip_kit.formats import from_document
from mobileclip_kit.spec import ImageSpec

# The two axes of colour beside it (NTSC's I and Q); greys have none of either.
_CHROMA = ((0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
_NUMBERS = 10  # random numbers that one image's augmentation uses, without RandAugment's
# SimCLR's blur (arXiv 2002.05709, appendix A): standard deviations in pixels of an image of 224.
_BLUR_PX, _BLUR_SIDE = (0.1, 2.0), 224


def augment(images: Tensor, identities: NDArray[np.uint64], how: Augmentation, *, seed: int, epoch: int) -> Tensor:
    """Vary a batch.

    Args:
        images: RGB in 0…1, ``(n, 3, height, width)`` float32.
        identities: One number an image, see :func:`mobileclip_kit.data.images.identity_of`, ``(n,)``.
        how: The recipe's table.
        seed: Of the run.
        epoch: Each epoch varies an image in another way.

    Returns:
        The same shape and range.
    """
    if how.changes_nothing:
        return images
    numbers = random_numbers(
        identities, seed=seed, epoch=epoch, count=_NUMBERS + 2 * how.operations
    )  # (n, 10 …) in 0…1
    drawn = torch.from_numpy(numbers.astype(np.float32)).to(images.device)
    if how.crop_scale != (1.0, 1.0) or how.crop_ratio != (1.0, 1.0) or how.flip:
        images = _cropped(images, drawn, how)
    if how.operations:
        images = randaugment(images, drawn[:, _NUMBERS:], how.magnitude)
    images = _recoloured(images, drawn, how)
    return _blurred(images, drawn[:, 9], how.blur) if how.blur else images


def _cropped(images: Tensor, drawn: Tensor, how: Augmentation) -> Tensor:
    low, high = how.crop_scale
    area = low + (high - low) * drawn[:, 0]
    narrow, wide = np.log(how.crop_ratio)
    root = torch.exp(0.5 * (narrow + (wide - narrow) * drawn[:, 1]))
    width = (area.sqrt() * root).clamp(max=1.0)
    height = (area.sqrt() / root).clamp(max=1.0)
    # affine_grid's coordinates run over −1…1: the crop's centre may move by what the crop leaves free.
    across = (1.0 - width) * (2.0 * drawn[:, 2] - 1.0)
    down = (1.0 - height) * (2.0 * drawn[:, 3] - 1.0)
    mirrored = torch.where(drawn[:, 4] < how.flip, -width, width)
    zero = torch.zeros_like(width)
    rows = torch.stack([torch.stack([mirrored, zero, across], 1), torch.stack([zero, height, down], 1)], 1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)  # (n, height, width, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _recoloured(images: Tensor, drawn: Tensor, how: Augmentation) -> Tensor:
    def factor(column: int, spread: float) -> Tensor:
        return (1.0 + spread * (2.0 * drawn[:, column] - 1.0)).view(-1, 1, 1, 1)

    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    if how.brightness:
        images = images * factor(5, how.brightness)
    if how.contrast:
        mean = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = mean + (images - mean) * factor(6, how.contrast)
    if how.hue:
        images = _turned(images, 2.0 * torch.pi * how.hue * (2.0 * drawn[:, 8] - 1.0))
    if how.saturation or how.grey:
        pale = (images * weights).sum(1, keepdim=True)
        # One number decides both: its lowest part makes the image grey, the rest spreads over the factors.
        number = drawn[:, 7].view(-1, 1, 1, 1)
        spread = ((number - how.grey) / max(1.0 - how.grey, 1e-9)).clamp(min=0.0)
        kept = torch.where(number < how.grey, 0.0, 1.0 + how.saturation * (2.0 * spread - 1.0))
        images = pale + (images - pale) * kept
    return images.clamp(0.0, 1.0)


def _turned(images: Tensor, angles: Tensor) -> Tensor:
    """Images with their colours turned by ``angles`` ``(n,)`` about the axis of greys."""
    split = torch.tensor((GREY, *_CHROMA), device=images.device)  # RGB → grey and two axes of colour
    turn = torch.eye(3, device=images.device).repeat(len(images), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = angles.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angles.sin(), angles.sin()
    return torch.einsum("nij,njhw->nihw", torch.linalg.inv(split) @ turn @ split, images)


def _blurred(images: Tensor, numbers: Tensor, share: float) -> Tensor:
    """A ``share`` of the images blurred; ``numbers`` ``(n,)`` in 0…1 say which, and how much."""
    chosen = torch.nonzero(numbers < share)[:, 0]
    if not len(chosen):
        return images
    side, (low, high) = max(images.shape[2:]) / _BLUR_SIDE, _BLUR_PX
    reach = max(1, round(3 * high * side))
    spread = side * (low + (high - low) * numbers[chosen, None] / share)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / spread) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)  # (chosen · 3, 2 · reach + 1)
    planes = F.pad(images[chosen], (reach,) * 4, mode="replicate").flatten(0, 1)[None]  # (1, chosen · 3, …)
    planes = F.conv2d(planes, weights[:, None, None, :], groups=len(weights))
    planes = F.conv2d(planes, weights[:, None, :, None], groups=len(weights))
    return images.index_copy(0, chosen, planes.view(len(chosen), *images.shape[1:]))


@dataclass(frozen=True)
class Replay:
    """Stored views of a teacher, shown to the student again exactly.

    Attributes:
        seed: What the views were drawn with.
        views: How many each image has; epoch e replays view e mod views. View 0 is the image itself.
    """

    seed: int
    views: int


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
    if not augmentation.operations:  # as in the caches of versions without RandAugment, which are extended
        del recorded["operations"], recorded["magnitude"]

    def make(pixels: Pixels, identities: NDArray[np.uint64]) -> Sequence[Tensor]:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255.0)
        varied = [augment(images, identities, augmentation, seed=seed, epoch=view) for view in range(1, views)]
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
    stored = from_document(recorded, Augmentation, where="the cache's augmentation", error=UsageError)
    if not recipe.augmentation.changes_nothing and recipe.augmentation != stored:
        raise UsageError(
            f"The recipe {recipe.name} varies images in another way than the cache's teacher saw them.",
            hint="Leave [augmentation] out of the recipe, or make the cache with this recipe.",
        )
    return replace(recipe, augmentation=stored), Replay(seed, description.views)


def _normalized(images: Tensor, image: ImageSpec) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (image.mean, image.std))
    return (images - mean) / std
