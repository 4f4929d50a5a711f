"""The last place in an image tower where its computation still knows left from right.

* CLIP's ResNet: the last stage's output, before attention pooling.
* timm's convolutional towers, Swin and the like: what ``forward_features`` gives, before pooling or flattening.
* A transformer that pools its patches: its patch tokens after the last block.
* A transformer that pools by its class token: the patch tokens as they enter the last block's attention, since nothing
  after it reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.model import Model

Tokens = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LastGrid:
    """A pass through an image tower, cut open where the grid is.

    Attributes:
        leaf: What the tower computed there, in its own layout; gradients flow from ``vectors`` to it and stop.
        vectors: ``(n, d)``, as ``encode_image`` gives them, not normalised.
        to_grid: Brings the leaf, or its gradient, to ``(n, channels, rows, columns)``.
        by_place: Whether the head weighs every place of the grid on its own.
    """

    leaf: Tensor
    vectors: Tensor
    to_grid: Tokens
    by_place: bool = False


def last_grid(model: Model, images: Tensor) -> LastGrid:
    """Run the image tower of a model.

    Args:
        model: An open_clip model in eval mode.
        images: Normalised, ``(n, 3, height, width)``.

    Raises:
        ModelError: The tower is of a kind that is not known here.
    """
    network: Any = model.network
    visual = network.visual
    with torch.enable_grad():
        if hasattr(visual, "trunk"):
            return _timm(visual, network, images)
        if hasattr(visual, "layer4") and hasattr(visual, "attnpool"):
            return _cut(visual.layer4, network, images, lambda grid: grid)
        if hasattr(visual, "transformer") and hasattr(visual, "grid_size"):
            by_class_token = visual.attn_pool is None and visual.pool_type == "tok"
            block = visual.transformer.resblocks[-1]
            to_grid = _tokens_to_grid(prefix=1, shape=visual.grid_size)
            return _cut(block.ln_1 if by_class_token else block, network, images, to_grid)
    raise _unknown(model.spec.name, visual)


def _timm(visual: Any, network: Any, images: Tensor) -> LastGrid:
    trunk = visual.trunk
    if hasattr(trunk, "blocks") and hasattr(trunk, "num_prefix_tokens") and hasattr(trunk, "patch_embed"):
        to_grid = _tokens_to_grid(prefix=trunk.num_prefix_tokens, shape=trunk.patch_embed.grid_size)
        block = trunk.blocks[-1]
        return _cut(block.norm1 if trunk.global_pool == "token" else block, network, images, to_grid)
    with torch.no_grad():
        leaf = trunk.forward_features(images)
    if leaf.ndim != 4:
        raise _unknown(type(trunk).__name__, trunk)
    leaf.requires_grad_()
    vectors = visual.head(trunk.forward_head(leaf))
    channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
    to_grid = (lambda grid: grid.permute(0, 3, 1, 2)) if channels_last else (lambda grid: grid)
    return LastGrid(leaf, vectors, to_grid, by_place=isinstance(trunk, ConvTower))


def _cut(module: nn.Module, network: Any, images: Tensor, to_grid: Tokens) -> LastGrid:
    """Run the tower with ``module``'s output as a leaf."""
    leaves: list[Tensor] = []

    def cut(_: nn.Module, __: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        # A copy travels on: the layer that follows may write into it (the ResNet's ReLU does).
        return leaves[-1].clone()

    handle = module.register_forward_hook(cut)
    try:
        vectors = network.encode_image(images)
    finally:
        handle.remove()
    return LastGrid(leaves[-1], vectors, to_grid)


def _tokens_to_grid(*, prefix: int, shape: tuple[int, int]) -> Tokens:
    rows, columns = shape

    def to_grid(tokens: Tensor) -> Tensor:
        patches = tokens[:, prefix:]  # (n, rows · columns, channels)
        return patches.transpose(1, 2).reshape(len(patches), -1, rows, columns)

    return to_grid


def _unknown(name: str, tower: object) -> ModelError:
    return ModelError(
        f"{name} has an image tower of the kind {type(tower).__name__}, whose last feature map is not known.",
        hint="Heat maps are drawn for CLIP's ResNet and transformer and for timm's towers.",
    )
