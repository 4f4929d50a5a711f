"""A hybrid ViT for small pictures: a convolutional stem finds strokes and parts, a few transformer blocks relate them.

Four convolutional stages with batch norm bring a picture to a sixteenth of its size; its places become tokens with
learned positions, and their mean is the picture's vector. "Early Convolutions Help Transformers See Better" (arXiv
2106.14881) found that such a stem trains faster and more stably than cutting the picture into patches; widths and depth
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
from mobileclip_kit.networks.conv_tower import conv_stages

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
    """

    def __init__(
        self, widths: Sequence[int], residuals: Sequence[int], *, layers: int, heads: int, image_size: int
    ) -> None:
        super().__init__()
        if image_size < _STRIDE or image_size % _STRIDE:
            raise ModelError(f"A hybrid tower takes pictures of a multiple of {_STRIDE} px, not {image_size} px.")
        if len(widths) != _STAGES or widths[-1] % heads:
            raise ModelError(f"A hybrid tower has {_STAGES} stages; {widths} do not fit {heads} heads.")
        self.num_features = width = widths[-1]
        self.side = image_size // _STRIDE
        self.stages = conv_stages(widths, residuals)
        self.pos_embed = nn.Parameter(torch.randn(1, self.side**2, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, qkv_bias=True) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
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
        """Their mean, ``(n, width)``."""
        return tokens.mean(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, height, width)`` → ``(n, width)``."""
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
