"""The one face that every runtime shows: images and texts in, float32 unit rows out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mobileclip_kit.arrays import Pixels, Vectors
from mobileclip_kit.spec import ModelSpec


class Encoder(Protocol):
    """A model that can be asked for vectors, whatever executes it.

    Attributes:
        spec: What it is fed and gives.
        runtime: ``torch``, ``onnxruntime``, ``coreml`` or ``mil``.
    """

    spec: ModelSpec
    runtime: str

    def encode_images(self, pixels: Pixels) -> Vectors:
        """Unit vectors of images.

        Args:
            pixels: RGB, resized and cropped by :func:`mobileclip_kit.images.load_pixels`, ``(n, height, width, 3)``
                uint8. Division by 255 and mean/std happen inside, so that no caller can forget them.

        Returns:
            ``(n, d)`` float32, rows of length 1.

        Raises:
            ModelError: The model has no image tower.
            ShapeError: ``pixels`` has another shape.
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of texts, ``(n, d)`` float32.

        Raises:
            ModelError: The model has no text tower.
        """
        ...
