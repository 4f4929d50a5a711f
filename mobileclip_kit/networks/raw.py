"""Vectors as they leave a tower."""

from __future__ import annotations

from typing import Any

from torch import Tensor


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


def encode_text_raw(network: Any, ids: Tensor) -> Tensor:
    """Text vectors that keep their norm.

    Args:
        network: An open_clip model.
        ids: ``(n, context)``.

    Returns:
        ``(n, d)`` float32.
    """
    vectors: Tensor = network.encode_text(ids, normalize=False)
    return vectors.float()
