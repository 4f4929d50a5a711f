"""A hybrid ViT for small pictures: a convolutional stem finds edges and strokes, a few transformer blocks relate them.

Strided 3×3 convolutions with batch norm bring a picture to an eighth of its size; its places become tokens with learned
positions, and their mean is the picture's vector. "Early Convolutions Help Transformers See Better" (arXiv 2106.14881)
found that such a stem trains faster and more stably than cutting the picture into patches; widths and depth are ours.

It speaks timm's interface, so that open_clip can hold it (see :mod:`mobileclip_kit.networks.towers`).
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.conv_tower import ConvNorm

_STRIDE = 8


class HybridTower(nn.Module):
    """See the module's text.

    Args:
        width: Of the tokens; the stem's convolutions have a quarter, a half and all of it.
        layers: Transformer blocks.
        heads: Attention heads of each block.
        image_size: Pixels of each side, a multiple of 8; the positions belong to it.
    """

    def __init__(self, width: int, layers: int, heads: int, image_size: int) -> None:
        super().__init__()
        if image_size < _STRIDE or image_size % _STRIDE:
            raise ModelError(f"A hybrid tower takes pictures of a multiple of {_STRIDE} px, not {image_size} px.")
        if width % 4 or width % heads:
            raise ModelError(f"A width of {width} cannot be cut into four, or into {heads} heads.")
        self.num_features = width
        tokens = (image_size // _STRIDE) ** 2
        self.stem = nn.Sequential(
            ConvNorm(3, width // 4, stride=2),
            ConvNorm(width // 4, width // 2, stride=2),
            ConvNorm(width // 2, width, stride=2),
        )
        self.pos_embed = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, qkv_bias=True) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        # What open_clip asks timm models for.
        self.default_cfg: dict[str, Any] = {"input_size": (3, image_size, image_size), "pool_size": None}

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """There is no classifier: open_clip adds the projection."""

    def forward_features(self, images: Tensor) -> Tensor:
        """The last block's tokens, ``(n, tokens, width)``."""
        tokens = self.stem(images).flatten(2).transpose(1, 2) + self.pos_embed  # (n, tokens, width)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Their mean, ``(n, width)``."""
        return tokens.mean(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, height, width)`` → ``(n, width)``."""
        return self.forward_head(self.forward_features(images))
