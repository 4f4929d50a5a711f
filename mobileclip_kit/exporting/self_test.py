"""Sample inputs that travel with an export, so that a device can test itself before it is relied on.

float16 has gone wrong on some Neural Engines and GPUs without an error, which no check on another machine sees. An
application executes the samples when it first starts and compares its vectors with the ones in ``samples.json``; where
a cosine is below ``least_cosine`` it takes another compute unit, or another export.

The samples are generated images and built-in prompts, never the user's: exports are handed on.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit import formats
from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.samples import draw_images, tokenize_texts
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.torch import TorchEncoder
from mobileclip_kit.spec import Tower

_COUNT = 2
# Of the same float32 model on two processors.
_SAME = 0.99999


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """One image.

    Attributes:
        rgb_base64: Its pixels: three bytes each, row by row from the top, ``height · width · 3`` bytes.
        vector: The float32 model's unit vector of it.
    """

    rgb_base64: str
    vector: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """One text.

    Attributes:
        ids: Its token identifiers.
        vector: The float32 model's unit vector of it.
    """

    ids: tuple[int, ...]
    vector: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """``samples.json``.

    Attributes:
        least_cosine: What the export's vectors have to reach.
        image_height: In pixels; None without an image tower.
        image_width: In pixels.
        images: Empty without an image tower.
        texts: Empty without a text tower.
    """

    least_cosine: float
    image_height: int | None = None
    image_width: int | None = None
    images: tuple[ImageSample, ...] = ()
    texts: tuple[TextSample, ...] = ()

    def feeds(self, tower: Tower) -> tuple[NDArray[Any], Vectors]:
        """What a tower's ONNX graph takes, ``(n, 3, height, width)`` or ``(n, context)``, and the vectors."""
        if tower == "text":
            return np.array([each.ids for each in self.texts], np.int64), _rows(self.texts)
        stored = b"".join(base64.b64decode(each.rgb_base64) for each in self.images)
        pixels = np.frombuffer(stored, np.uint8).reshape(len(self.images), self.image_height, self.image_width, 3)  # type: ignore[arg-type]
        return (pixels.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32), _rows(self.images)


def write_samples(model: Model, path: Path, *, least_cosine: float) -> None:
    """Write samples with the vectors of a model."""
    encoder, image = TorchEncoder(model), model.spec.image
    images: tuple[ImageSample, ...] = ()
    texts: tuple[TextSample, ...] = ()
    if image is not None:
        pixels = draw_images(image, count=_COUNT).pixels
        images = tuple(
            ImageSample(rgb_base64=base64.b64encode(each.tobytes()).decode(), vector=_numbers(vector))
            for each, vector in zip(pixels, encoder.encode_images(pixels), strict=True)
        )
    if model.spec.text is not None:
        ids = tokenize_texts(model, None, count=_COUNT).ids
        texts = tuple(
            TextSample(ids=tuple(map(int, row)), vector=_numbers(vector))
            for row, vector in zip(ids, encoder.encode_ids(ids), strict=True)
        )
    height, width = (None, None) if image is None else (image.height, image.width)
    made = Samples(least_cosine=least_cosine, image_height=height, image_width=width, images=images, texts=texts)
    # Its digest is in the manifest.
    formats.write(path, made, sealed=False)


def check_samples(path: Path, model: Model) -> None:
    """Compare the vectors of samples with a model's own.

    Raises:
        ExportError: The file is damaged, or its vectors are another model's.
    """
    again = "Export the model again."
    samples = formats.read(path, Samples, error=ExportError, hint=again)
    encoder, image = TorchEncoder(model), model.spec.image
    pairs: list[tuple[Vectors, Sequence[ImageSample | TextSample]]] = []
    try:
        if samples.images and image is not None:
            shape = (len(samples.images), image.height, image.width, 3)
            stored = b"".join(base64.b64decode(each.rgb_base64) for each in samples.images)
            pairs.append((encoder.encode_images(np.frombuffer(stored, np.uint8).reshape(shape)), samples.images))
        if samples.texts and model.spec.text is not None:
            ids = np.array([each.ids for each in samples.texts], np.int64)
            pairs.append((encoder.encode_ids(ids), samples.texts))
        cosines = [row_cosines(found, _rows(given)) for found, given in pairs]
    except ValueError as error:
        raise ExportError(f"{path} is damaged: {error}.", hint=again) from error
    if any(float(each.min()) < _SAME for each in cosines):
        raise ExportError(f"The vectors in {path} are not those of {model.spec.name}.", hint=again)


def _numbers(vector: Vectors) -> tuple[float, ...]:
    # Eight digits hold every float32.
    return tuple(float(f"{value:.8g}") for value in vector.tolist())


def _rows(samples: Sequence[ImageSample | TextSample]) -> Vectors:
    return np.array([each.vector for each in samples], np.float32)
