"""The last place in an image tower where its computation still knows left from right.

* CLIP's ResNet: the last stage's output, before attention pooling.
* timm's convolutional towers, Swin and the like: what ``forward_features`` gives, before pooling.
* A transformer that pools its patches: its patch tokens after the last block.
* A transformer that pools by its class token: the patch tokens as they enter the last block's attention, since nothing
  after it reads them.
* Our towers for small images, :class:`~mobileclip_kit.networks.conv_tower.ConvTower` and
  :class:`~mobileclip_kit.networks.hybrid_tower.HybridTower`: their last convolutional stage and the second one. Each of
  the last stage's few places has seen nearly the whole image, so that it knows *what* but hardly *where*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.families import encode_raw, image_tower
from mobileclip_kit.networks.hybrid_tower import HybridTower
from mobileclip_kit.networks.model import Model

ToPlanes = Callable[[Tensor], Tensor]

_FINE_STAGES = 2  # of our towers for small images: a place of the second one has seen 7 × 7 pixels


@dataclass(frozen=True)
class Grid:
    """What a tower computed at one depth.

    Attributes:
        values: In the tower's own layout; gradients flow to it.
        to_planes: Brings the values, or their gradient, to ``(n, channels, rows, columns)``.
        by_place: Whether a place's gradient is taken as it is rather than averaged over all places.
    """

    values: Tensor
    to_planes: ToPlanes
    by_place: bool = False


@dataclass(frozen=True)
class TowerPass:
    """A pass through an image tower.

    Attributes:
        grids: One or more; a heat map is the product of theirs.
        vectors: ``(n, d)``, as ``encode_image`` gives them, not normalised.
    """

    grids: tuple[Grid, ...]
    vectors: Tensor


def run_tower(model: Model, images: Tensor) -> TowerPass:
    """Run the image tower of a model and keep its grids.

    Args:
        model: An open_clip model in eval mode.
        images: Normalised, ``(n, 3, height, width)``.

    Raises:
        ModelError: The tower is of a kind that is not known here.
    """
    network: Any = model.network
    visual = image_tower(network)
    with torch.enable_grad():
        if isinstance(getattr(visual, "trunk", None), (ConvTower, HybridTower)):
            return _staged(visual, images)
        if hasattr(visual, "trunk"):
            return _timm(visual, network, images)
        if hasattr(visual, "layer4") and hasattr(visual, "attnpool"):
            return _cut(visual.layer4, network, images, _as_they_are)
        if hasattr(visual, "transformer") and hasattr(visual, "grid_size"):
            by_class_token = visual.attn_pool is None and visual.pool_type == "tok"
            block = visual.transformer.resblocks[-1]
            to_planes = _from_tokens(prefix=1, shape=visual.grid_size)
            return _cut(block.ln_1 if by_class_token else block, network, images, to_planes)
    raise _unknown(model.spec.name, visual)


def _staged(visual: Any, images: Tensor) -> TowerPass:
    trunk = visual.trunk
    with torch.no_grad():
        fine = images
        for stage in trunk.stages[:_FINE_STAGES]:
            fine = stage(fine)
    fine.requires_grad_()
    last = fine
    for stage in trunk.stages[_FINE_STAGES:]:
        last = stage(last)
    features = trunk.relate(last) if isinstance(trunk, HybridTower) else last
    vectors = visual.head(trunk.forward_head(features))
    return TowerPass((Grid(last, _as_they_are), Grid(fine, _as_they_are, by_place=True)), vectors)


def _timm(visual: Any, network: Any, images: Tensor) -> TowerPass:
    trunk = visual.trunk
    if hasattr(trunk, "blocks") and hasattr(trunk, "num_prefix_tokens") and hasattr(trunk, "patch_embed"):
        to_planes = _from_tokens(prefix=trunk.num_prefix_tokens, shape=trunk.patch_embed.grid_size)
        block = trunk.blocks[-1]
        return _cut(block.norm1 if trunk.global_pool == "token" else block, network, images, to_planes)
    with torch.no_grad():
        values = trunk.forward_features(images)
    if values.ndim != 4:
        raise _unknown(type(trunk).__name__, trunk)
    values.requires_grad_()
    vectors = visual.head(trunk.forward_head(values))
    channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
    return TowerPass((Grid(values, _from_channels_last if channels_last else _as_they_are),), vectors)


def _cut(module: nn.Module, network: Any, images: Tensor, to_planes: ToPlanes) -> TowerPass:
    """Run the tower with ``module``'s output as a leaf."""
    leaves: list[Tensor] = []

    def cut(_: nn.Module, __: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        # A copy travels on: the layer that follows may write into it (the ResNet's ReLU does).
        return leaves[-1].clone()

    handle = module.register_forward_hook(cut)
    try:
        vectors = encode_raw(network, images)
    finally:
        handle.remove()
    return TowerPass((Grid(leaves[-1], to_planes),), vectors)


def _as_they_are(values: Tensor) -> Tensor:
    return values


def _from_channels_last(values: Tensor) -> Tensor:
    return values.permute(0, 3, 1, 2)


def _from_tokens(*, prefix: int, shape: tuple[int, int]) -> ToPlanes:
    rows, columns = shape

    def to_planes(tokens: Tensor) -> Tensor:
        patches = tokens[:, prefix:]  # (n, rows · columns, channels)
        return patches.transpose(1, 2).reshape(len(patches), -1, rows, columns)

    return to_planes


def _unknown(name: str, tower: object) -> ModelError:
    return ModelError(
        f"{name} has an image tower of the kind {type(tower).__name__}, whose last feature map is not known.",
        hint="Heat maps are drawn for CLIP's ResNet and transformer and for timm's towers.",
    )
