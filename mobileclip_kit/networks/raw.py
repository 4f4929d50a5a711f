"""Image vectors as they leave a tower, and training that tower alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def encode_raw(network: Any, images: Tensor) -> Tensor:
    """Image vectors that keep their norm.

    Args:
        network: An open_clip model.
        images: Normalised, ``(n, 3, height, width)``.

    Returns:
        ``(n, d)`` float32.
    """
    vectors: Tensor = network.encode_image(images, normalize=False)
    return vectors.float()


def freeze_all_but_image(network: nn.Module) -> None:
    """Let gradients flow into the image tower only."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("visual."))
