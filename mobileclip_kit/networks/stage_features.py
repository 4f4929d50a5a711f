"""A backbone of timm whose vector has the features of several stages, not of the last one alone.

The last features of a classifier have lost what its classes do not need: colours, textures, places. Earlier stages
still have it. Where images are too few to train the backbone, a linear head on all of them comes closer to a teacher
than one on the last features (docs/distillation.md has figures). The weights keep timm's names behind ``backbone.``.
"""

from __future__ import annotations

import inspect
from typing import Any

import timm
import torch
from torch import Tensor, nn

# The last stages that are read. Their variance is kept off 0, where its root has no gradient.
_STAGES, _LEAST_VARIANCE = 5, 1e-6
PREFIX = "mckit_stages_"
# Backbones that can be read so by name. Each must be registered with timm before open_clip can build it.
BACKBONES = (
    "convnext_atto", "convnext_tiny", "edgenext_small", "efficientnet_b0", "efficientnet_lite0", "fastvit_t8",
    "ghostnet_100", "mobilenetv2_100", "mobilenetv2_140", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "regnetx_004", "repvit_m1", "resnet18", "resnet50", "test_byobnet", "test_efficientnet",
)  # fmt: skip


class StageFeatures(nn.Module):
    """The pooled features of a backbone, then means and standard deviations of the channels of its last five stages.

    It speaks timm's interface, so that open_clip can hold it.

    Args:
        name: An architecture of timm with two-dimensional features.
        options: timm's arguments for it.

    Attributes:
        backbone: timm's network without its classifier.
        widths: Numbers of each part of the vector, in order.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self.backbone: Any = timm.create_model(name, num_classes=0, **options)
        self.default_cfg: dict[str, Any] = {**self.backbone.default_cfg, "pool_size": None}
        known = inspect.signature(self.backbone.forward_intermediates).parameters
        self._every = {"extra_blocks": True} if "extra_blocks" in known else {}
        with torch.no_grad():
            was_training, size = self.training, self.default_cfg["input_size"]
            parts = self.eval().parts(torch.zeros(1, *size))
            self.train(was_training)
        self.widths = [part.shape[1] for part in parts]
        self.num_features = sum(self.widths)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """There is no classifier: open_clip adds the projection."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass."""
        self.backbone.set_grad_checkpointing(enable)

    def parts(self, images: Tensor) -> list[Tensor]:
        """The pooled features, then mean and standard deviation of each stage, all ``(n, channels)``."""
        last, stages = self.backbone.forward_intermediates(images, **self._every)
        found = [self.backbone.forward_head(last, pre_logits=True)]
        for grid in stages[-_STAGES:]:  # (n, channels, height, width)
            mean = grid.mean(dim=(2, 3), keepdim=True)
            found += [mean.flatten(1), ((grid - mean).square().mean(dim=(2, 3)) + _LEAST_VARIANCE).sqrt()]
        return found

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, height, width)`` → ``(n, num_features)``."""
        return torch.cat(self.parts(images), dim=1)
