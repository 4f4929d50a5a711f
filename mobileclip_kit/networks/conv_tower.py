"""A plain convolutional image tower for small images, quick to train on a CPU.

Four stages, each a strided 3×3 convolution that halves the image, the last two followed by residual convolutions;
batch norm and ReLU after every one. The head sees the whole last grid, flattened rather than averaged: where a thing is
matters ("left of"), and so does the order of letters.

At 64 px and at an equal time of training on one core it told three to five times as many of synthetic scenes' things
and words apart as CLIP's ResNet with attention pooling or a transformer behind a convolutional stem did.

It speaks timm's interface, so that open_clip can hold it (see :mod:`mobileclip_kit.networks.towers`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ModelError

_STRIDE = 16


class ConvTower(nn.Module):
    """See the module's text.

    Args:
        widths: Channels of the four stages.
        blocks: Residual convolutions after the strided one of each stage.
        image_size: Pixels of each side, a multiple of 16; the head's size follows from it.
        pooled: Whether the head also sees each channel's greatest value, wherever it stands.
        products: So many times each channel is multiplied, place by place, with a mixture of all channels that is
            learned; the head also sees the products' sums. What a linear head makes of a grid is a sum over places: it
            tells which colours and which things an image has, and not which has which. A product does: red and star,
            at the same place.
        rank: How many numbers a first matrix makes of all this before open_clip's projection; 0 leaves it out. Two
            matrices have far fewer parameters than their product, which is most of a narrow tower.
        cell: The head sees the mean of so many places a side, of a grid of 4 × 4 at 64 px. The greatest values and the
            products are still those of all places.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int],
        blocks: tuple[int, int, int, int],
        image_size: int,
        *,
        pooled: bool = False,
        products: int = 0,
        rank: int = 0,
        cell: int = 1,
    ) -> None:
        super().__init__()
        if image_size < _STRIDE or image_size % _STRIDE:
            raise ModelError(f"A convolutional tower takes images of a multiple of {_STRIDE} px, not {image_size} px.")
        self.stages = conv_stages(widths, blocks)
        side = image_size // _STRIDE // cell
        self.pooled, self.products, self.cell = pooled, products, cell
        if products:
            self.mix = Mixture(widths[-1], products)
        features = widths[-1] * (side * side + pooled + products)
        self.rank, self.num_features = rank, rank or features
        if rank:
            self.reduce = nn.Linear(features, rank, bias=False)
        # What open_clip asks timm models for.
        self.default_cfg: dict[str, Any] = {"input_size": (3, image_size, image_size), "pool_size": None}

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """There is no classifier: open_clip adds the projection."""

    def forward_features(self, images: Tensor) -> Tensor:
        """The last stage's grid, ``(n, channels, height / 16, width / 16)``."""
        for stage in self.stages:
            images = stage(images)
        return images

    def forward_head(self, grid: Tensor) -> Tensor:
        """What open_clip's projection sees, ``(n, num_features)``."""
        row = self.head_inputs(grid)
        return self.reduce(row) if self.rank else row

    def head_inputs(self, grid: Tensor) -> Tensor:
        """The last grid as one row, with greatest values and products beside it: what the head's first matrix sees."""
        cells = grid if self.cell == 1 else F.avg_pool2d(grid, self.cell)
        parts = [cells.flatten(2)]  # (n, channels, cells)
        if self.pooled:
            parts.append(grid.flatten(2).amax(dim=2, keepdim=True))
        if self.products:
            parts.append(self.mix(grid))
        return torch.cat(parts, dim=2).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, height, width)`` → ``(n, num_features)``."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(self, images: Tensor, **options: Any) -> tuple[Tensor, list[Tensor]]:
        """The last grid, and the grids of all stages; timm's options that choose among them are not needed here."""
        grids = []
        for stage in self.stages:
            images = stage(images)
            grids.append(images)
        return images, grids


def conv_stages(widths: Sequence[int], blocks: Sequence[int]) -> nn.ModuleList:
    """Stages that each halve an image of three channels, then look again: a strided convolution and residual ones.

    Args:
        widths: Channels of each stage.
        blocks: Residual convolutions of each stage.
    """
    stages, channels = [], 3
    for width, count in zip(widths, blocks, strict=True):
        layers: list[nn.Module] = [ConvNorm(channels, width, stride=2)]
        layers += [Residual(width) for _ in range(count)]
        stages.append(nn.Sequential(*layers))
        channels = width
    return nn.ModuleList(stages)


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        conv = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        super().__init__(OrderedDict(conv=conv, norm=nn.BatchNorm2d(width), act=nn.ReLU()))


class Residual(nn.Module):
    """``x + ReLU(norm(conv(x)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, grid: Tensor) -> Tensor:
        """The same shape."""
        return grid + F.relu(self.norm(self.conv(grid)))


class Mixture(nn.Module):
    """Products of each channel with learned mixtures of all, see :class:`ConvTower`.

    Args:
        width: Channels.
        products: For each of them.
    """

    def __init__(self, width: int, products: int) -> None:
        super().__init__()
        self.products = products
        self.conv = nn.Conv2d(width, width * products, 1, bias=False)
        self.norm = nn.BatchNorm2d(width * products)

    def forward(self, grid: Tensor) -> Tensor:
        """``(n, width, h, w)`` → sums over the places, ``(n, width, products)``."""
        mixed: Tensor = self.norm(self.conv(grid)).unflatten(1, (-1, self.products))  # (n, width, products, h, w)
        # Divided by the root of their number, sums are as large as their terms.
        return (mixed * grid.unsqueeze(2)).mean(dim=(3, 4)) * math.sqrt(grid.shape[2] * grid.shape[3])
