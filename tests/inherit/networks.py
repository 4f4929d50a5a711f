"""Small networks whose weights are all different from 0, and choices of their units."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from mobileclip_kit.inherit.layout import Layout
from mobileclip_kit.networks.model import build_network

VIT: dict[str, Any] = {"image_size": 32, "patch_size": 16, "layers": 4, "width": 24, "head_width": 8}
CONV: dict[str, Any] = {"image_size": 64, "timm_model_name": "mckit_conv_s_64", "timm_pool": "", "timm_proj": "linear"}
POOLED: dict[str, Any] = {**CONV, "timm_model_name": "mckit_conv_l_64"}
PRODUCTS: dict[str, Any] = {**CONV, "timm_model_name": "mckit_conv_x_64"}
LOW_RANK: dict[str, Any] = {**CONV, "timm_model_name": "mckit_conv_x_4m_64"}
HYBRID_PRODUCTS: dict[str, Any] = {**CONV, "timm_model_name": "mckit_hybrid_x_64"}
HYBRID: dict[str, Any] = {**CONV, "timm_model_name": "mckit_hybrid_s_64"}
TEXT: dict[str, Any] = {"context_length": 8, "vocab_size": 30, "layers": 4, "width": 16, "heads": 2}
PREPROCESSING: dict[str, Any] = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "mode": "RGB",
                                 "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}  # fmt: skip


def clip_config(vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **more: Any) -> Any:
    """A small CLIP's configuration with some values of its towers changed."""
    towers = {"vision_cfg": {**VIT, **(vision or {})}, "text_cfg": {**TEXT, **(text or {})}}
    return copy.deepcopy({"embed_dim": 6, **towers, **more})


def clip(seed: int, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **more: Any) -> Any:
    """A small CLIP; no tensor of it is zero or one throughout."""
    return shaken(build_network(clip_config(vision, text, **more)), seed)


def conv_clip(seed: int) -> Any:
    """The same with a convolutional image tower."""
    return shaken(build_network({**clip_config(), "vision_cfg": CONV}), seed)


@torch.no_grad()
def shaken(network: Any, seed: int) -> Any:
    """Fresh random weights, biases and norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand(buffer.shape, generator=generator))
    return network


def uneven_choice(layout: Layout, seed: int) -> dict[str, Tensor]:
    """Another share of units in each group, never none."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for number, (name, units) in enumerate(layout.groups.items()):
        count = max(1, round(units * (0.35 + 0.11 * (number % 5))))
        kept[name] = torch.randperm(units, generator=generator)[:count].sort().values
    return kept


def inputs(size: int = 32) -> tuple[Tensor, Tensor]:
    """Three images and three texts."""
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(3, 3, size, size, generator=generator)
    return images, torch.randint(0, 30, (3, 8), generator=generator)
