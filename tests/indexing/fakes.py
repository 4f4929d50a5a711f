"""A small encoder and small images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec

DIM = 6
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 40), "blue": (30, 40, 230)}


class ColourEncoder(Encoder):
    """Vectors are mean colours, and a text is the colour that it names: an encoder whose answers are known.

    Attributes:
        encoded: Images encoded so far.
        seconds: How long each batch takes at least.
    """

    runtime = "fake"

    def __init__(self, model_hash: str = "c0ffee", seconds: float = 0.0, *, model_path: str | None = None) -> None:
        super().__init__(
            ModelSpec(
                name="colours",
                embedding_dim=DIM,
                image=ImageSpec(height=8, width=8),
                text=TextSpec(),
                model_hash=model_hash,
            )
        )
        self.encoded, self.seconds, self.model_path = 0, seconds, model_path

    def _run_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mean colours, ``(n, 6)``."""
        time.sleep(self.seconds)
        self.encoded += len(pixels)
        return self._unit(pixels.reshape(len(pixels), -1, 3).mean(axis=1))

    def encode_texts(self, texts: str | Sequence[str]) -> NDArray[np.float32]:
        """The colours that are named, ``(n, 6)``."""
        texts = [texts] if isinstance(texts, str) else texts
        colours = [[value for word, value in COLOURS.items() if word in text] or [(90, 90, 90)] for text in texts]
        return self._unit(np.array([np.mean(found, axis=0) for found in colours]))

    def _unit(self, colours: NDArray[np.floating]) -> NDArray[np.float32]:
        wide = np.concatenate([colours, colours[:, ::-1] ** 2 / 255], axis=1) + 1
        return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


class NanEncoder(ColourEncoder):
    """Gives NaN for images that are mostly red, or for all of them."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always

    def _run_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mean colours, or NaN, ``(n, 6)``."""
        vectors = super()._run_images(pixels)
        vectors[(pixels[..., 0].mean(axis=(1, 2)) > 200) | self.always] = np.nan
        return vectors


def draw(path: Path, colour: tuple[int, int, int], size: int = 10) -> Path:
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)
    return path


def draw_many(folder: Path, count: int) -> None:
    """Write ``count`` different images."""
    for number in range(count):
        draw(folder / f"{number:04d}.png", (number % 256, 255 - number % 256, number // 256 * 40))
