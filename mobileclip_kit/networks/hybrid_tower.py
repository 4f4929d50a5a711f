"""A hybrid ViT for small images: a convolutional stem finds strokes and parts, a few transformer blocks relate them.

Four convolutional stages with batch norm bring an image to a sixteenth of its size; its places become tokens with
learned positions, and their mean is the image's vector. "Early Convolutions Help Transformers See Better" (arXiv
2106.14881) found that such a stem trains faster and more stably than cutting the image into patches; widths and depth
are ours. At 64 px there are 16 tokens, so that the blocks cost less than the stem.

It speaks timm's interface, so that open_clip can hold it (see :mod:`mobileclip_kit.networks.towers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.conv_tower import Mixture, conv_stages

_STAGES = 4
_STRIDE = 2**_STAGES


class HybridTower(nn.Module):
    """See the module's text.

    Args:
        widths: Channels of the four convolutional stages; the last is the tokens' width.
        residuals: Residual convolutions of each stage.
        layers: Transformer blocks.
        heads: Attention heads of each block.
        image_size: Pixels of each side, a multiple of 16; the positions belong to it.
        products: So many times each channel of the last tokens is multiplied with a mixture of all, see
            :class:`~mobileclip_kit.networks.conv_tower.ConvTower`; the head sees the products beside the tokens' mean.
    """

    def __init__(
        self,
        widths: Sequence[int],
        residuals: Sequence[int],
        *,
        layers: int,
        heads: int,
        image_size: int,
        products: int = 0,
    ) -> None:
        super().__init__()
        if image_size < _STRIDE or image_size % _STRIDE:
            raise ModelError(f"A hybrid tower takes images of a multiple of {_STRIDE} px, not {image_size} px.")
        if len(widths) != _STAGES or widths[-1] % heads:
            raise ModelError(f"A hybrid tower has {_STAGES} stages; {widths} do not fit {heads} heads.")
        width = widths[-1]
        self.products = products
        self.num_features = width * (1 + products)
        self.side = image_size // _STRIDE
        self.stages = conv_stages(widths, residuals)
        self.pos_embed = nn.Parameter(torch.randn(1, self.side**2, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, qkv_bias=True) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        if products:
            self.mix = Mixture(width, products)
        # What open_clip asks timm models for.
        self.default_cfg: dict[str, Any] = {"input_size": (3, image_size, image_size), "pool_size": None}

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """There is no classifier: open_clip adds the projection."""

    def forward_features(self, images: Tensor) -> Tensor:
        """The last block's tokens, ``(n, tokens, width)``."""
        for stage in self.stages:
            images = stage(images)
        return self.relate(images)

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Their mean, and the products of each channel behind it, ``(n, num_features)``."""
        mean = tokens.mean(dim=1)
        if not self.products:
            return mean
        grid = tokens.transpose(1, 2).reshape(-1, tokens.shape[2], self.side, self.side)
        return torch.cat((mean.unsqueeze(2), self.mix(grid)), dim=2).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, height, width)`` → ``(n, num_features)``."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(self, images: Tensor, **options: Any) -> tuple[Tensor, list[Tensor]]:
        """The last tokens, and the grids of the first three stages and of the tokens.

        timm's options that choose among them are not needed here.
        """
        grids = []
        for stage in self.stages:
            images = stage(images)
            grids.append(images)
        tokens = self.relate(images)
        grids[-1] = tokens.transpose(1, 2).reshape(images.shape)
        return tokens, grids

    def relate(self, grid: Tensor) -> Tensor:
        """The last stage's grid ``(n, width, rows, columns)`` → the last block's tokens, ``(n, tokens, width)``."""
        tokens = grid.flatten(2).transpose(1, 2) + self.pos_embed  # (n, tokens, width)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed
