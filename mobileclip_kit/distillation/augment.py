"""Augmentation of image batches, each image's change a pure function of (seed, epoch, image).

No generator carries state from batch to batch. A resumed run therefore sees what the uninterrupted one would have seen,
and a teacher's vectors of augmented views can be stored and replayed: the numbers alone reproduce the view. Crops are
cut from the image as the model's own preprocessing made it, on the whole batch at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.data.images import identity_of
from mobileclip_kit.errors import UsageError

# Weights of red, green and blue in an image's grey (ITU-R BT.601, as Pillow's mode L).
_GREY = (0.299, 0.587, 0.114)
# The two axes of colour beside it (NTSC's I and Q); greys have none of either.
_CHROMA = ((0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
_NUMBERS = 10  # random numbers that one image's augmentation uses
# SimCLR's blur (arXiv 2002.05709, appendix A): standard deviations in pixels of an image of 224.
_BLUR_PX, _BLUR_SIDE = (0.1, 2.0), 224


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How images are varied. The defaults leave them as they are.

    Attributes:
        crop_scale: Least and greatest share of the image's area that a crop keeps.
        crop_ratio: Least and greatest width : height of a crop.
        flip: Probability of mirroring left and right.
        brightness: Colours are multiplied by a factor from 1 ± this.
        contrast: Distances from the image's mean grey are multiplied by a factor from 1 ± this.
        saturation: Distances from each pixel's grey are multiplied by a factor from 1 ± this.
        hue: Colours are turned by an angle of up to this share of the whole circle either way, brightness kept.
        grey: Probability of losing all colour.
        blur: Probability of a Gaussian blur of 0.1 to 2 pixels of an image of 224, as SimCLR's.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0.0 < low <= high <= 1.0:
            raise UsageError(f"crop_scale is {list(self.crop_scale)}; it must be two rising numbers in 0…1.")
        narrow, wide = self.crop_ratio
        if not 0.0 < narrow <= wide:
            raise UsageError(f"crop_ratio is {list(self.crop_ratio)}; it must be two rising numbers above 0.")
        for name in ("flip", "brightness", "contrast", "saturation", "grey", "blur"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be in 0…1.")
        if not 0.0 <= self.hue <= 0.5:
            raise UsageError(f"hue is {self.hue}; it must be in 0…0.5, half of the circle either way.")

    @property
    def changes_nothing(self) -> bool:
        """Whether every image stays as it is."""
        return all(getattr(self, field.name) == field.default for field in fields(self))

    def apply(self, images: Tensor, identities: NDArray[np.uint64], *, seed: int, epoch: int) -> Tensor:
        """Vary a batch.

        Args:
            images: RGB in 0…1, ``(n, 3, height, width)`` float32.
            identities: One number an image, see :func:`mobileclip_kit.data.images.identity_of`, ``(n,)``.
            seed: Of the run.
            epoch: Each epoch varies an image in another way.

        Returns:
            The same shape and range.
        """
        if self.changes_nothing:
            return images
        numbers = random_numbers(identities, seed=seed, epoch=epoch, count=_NUMBERS)  # (n, 10) in 0…1
        drawn = torch.from_numpy(numbers.astype(np.float32)).to(images.device)
        if self.crop_scale != (1.0, 1.0) or self.crop_ratio != (1.0, 1.0) or self.flip:
            images = self._crop_and_flip(images, drawn)
        images = self._colour(images, drawn)
        return _blurred(images, drawn[:, 9], self.blur) if self.blur else images

    def _crop_and_flip(self, images: Tensor, drawn: Tensor) -> Tensor:
        low, high = self.crop_scale
        area = low + (high - low) * drawn[:, 0]
        narrow, wide = np.log(self.crop_ratio)
        root = torch.exp(0.5 * (narrow + (wide - narrow) * drawn[:, 1]))
        width = (area.sqrt() * root).clamp(max=1.0)
        height = (area.sqrt() / root).clamp(max=1.0)
        # affine_grid's coordinates run over −1…1: the crop's centre may move by what the crop leaves free.
        across = (1.0 - width) * (2.0 * drawn[:, 2] - 1.0)
        down = (1.0 - height) * (2.0 * drawn[:, 3] - 1.0)
        mirrored = torch.where(drawn[:, 4] < self.flip, -width, width)
        zero = torch.zeros_like(width)
        rows = torch.stack([torch.stack([mirrored, zero, across], 1), torch.stack([zero, height, down], 1)], 1)
        grid = F.affine_grid(rows, list(images.shape), align_corners=False)  # (n, height, width, 2)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _colour(self, images: Tensor, drawn: Tensor) -> Tensor:
        def factor(column: int, spread: float) -> Tensor:
            return (1.0 + spread * (2.0 * drawn[:, column] - 1.0)).view(-1, 1, 1, 1)

        weights = torch.tensor(_GREY, device=images.device).view(1, 3, 1, 1)
        if self.brightness:
            images = images * factor(5, self.brightness)
        if self.contrast:
            mean = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
            images = mean + (images - mean) * factor(6, self.contrast)
        if self.hue:
            images = _turned(images, 2.0 * torch.pi * self.hue * (2.0 * drawn[:, 8] - 1.0))
        if self.saturation or self.grey:
            pale = (images * weights).sum(1, keepdim=True)
            # One number decides both: its lowest part makes the image grey, the rest spreads over the factors.
            number = drawn[:, 7].view(-1, 1, 1, 1)
            spread = ((number - self.grey) / max(1.0 - self.grey, 1e-9)).clamp(min=0.0)
            kept = torch.where(number < self.grey, 0.0, 1.0 + self.saturation * (2.0 * spread - 1.0))
            images = pale + (images - pale) * kept
        return images.clamp(0.0, 1.0)


def _turned(images: Tensor, angles: Tensor) -> Tensor:
    """Images with their colours turned by ``angles`` ``(n,)`` about the axis of greys."""
    split = torch.tensor((_GREY, *_CHROMA), device=images.device)  # RGB → grey and two axes of colour
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


def random_numbers(identities: NDArray[np.uint64], *, seed: int, epoch: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in 0…1 for each image, a pure function of their arguments.

    The counter-based generator SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

    Returns:
        ``(n, count)``.
    """
    start = identities ^ np.uint64(identity_of(f"{seed}/{epoch}"))
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = _mix(start)[:, None] + steps[None, :]  # (n, count)
        return (_mix(z) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
