"""Vectors of images as they are, and of the same images with words written on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from mobileclip_kit.arrays import Pixels, Vectors
from mobileclip_kit.errors import DataError, ImageError
from mobileclip_kit.images import load_pixels, resize_and_crop
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import ImageSpec
from mobileclip_kit.textness.lettering import draw_words

# Words are written at twice the model's resolution and then scaled down with the image, as they are in photos.
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class PairVectors:
    """Vectors of pairs, and what could not be used.

    Attributes:
        clean: ``(n, d)``.
        text: ``(n, d)``, row by row the same images with words.
        failed: Images that could not be decoded, each with its reason.
    """

    clean: Vectors
    text: Vectors
    failed: list[tuple[Path, str]]


def encode_pairs(
    images: Sequence[Path], encoder: Encoder, *, seed: int = 0, copies: int = 1, batch_size: int = 16
) -> PairVectors:
    """Encode images clean and with words.

    Args:
        images: Files; those that cannot be decoded are listed.
        encoder: With an image tower.
        seed: Of the words; the words of an image depend on it and on the image's place in the list alone.
        copies: Copies with different words made of each image; the clean row is repeated for each.
        batch_size: Pairs encoded at once.

    Raises:
        DataError: No image can be decoded.
    """
    spec = encoder.spec.require_image()
    clean, text = [], []
    failed: list[tuple[Path, str]] = []
    with Progress("textness", total=len(images), unit="images") as progress:
        source = _load_pairs(images, spec, seed, copies, batch_size)
        while batch := list(islice(source, batch_size)):
            pairs = [pair for pair in batch if isinstance(pair, list)]
            failed += [pair for pair in batch if isinstance(pair, tuple)]
            if pairs:
                vectors = encoder.encode_images(np.stack([pixels for pair in pairs for pixels in pair]))
                vectors = vectors.reshape(len(pairs), copies + 1, -1)
                clean.append(np.repeat(vectors[:, 0], copies, axis=0))
                text.append(vectors[:, 1:].reshape(len(pairs) * copies, -1))
            progress.advance(len(batch))
    if not clean:
        reason = f": {failed[0][1]}" if failed else "."
        raise DataError(f"None of {len(images)} images can be used{reason}")
    return PairVectors(np.concatenate(clean), np.concatenate(text), failed)


def encode_files(images: Sequence[Path], encoder: Encoder, *, batch_size: int = 32) -> PairVectors:
    """Encode images as they are: real photos with words in them. The clean half of the result is empty."""
    spec = encoder.spec.require_image()
    rows, failed = [np.empty((0, encoder.spec.embedding_dim), np.float32)], []
    for start in range(0, len(images), batch_size):
        pixels = []
        for image in images[start : start + batch_size]:
            try:
                pixels.append(load_pixels(image, spec))
            except ImageError as error:
                failed.append((image, error.message))
        if pixels:
            rows.append(encoder.encode_images(np.stack(pixels)))
    return PairVectors(rows[0], np.concatenate(rows), failed)


def pair_pixels(image: Path, spec: ImageSpec, rngs: Sequence[np.random.Generator]) -> list[Pixels]:
    """An image's pixels, clean first, then with words by each generator.

    Raises:
        ImageError: It cannot be decoded.
    """
    large = replace(spec, height=_SUPERSAMPLING * spec.height, width=_SUPERSAMPLING * spec.width)
    canvas = Image.fromarray(load_pixels(image, large))
    return [resize_and_crop(version, spec) for version in (canvas, *(draw_words(canvas, rng) for rng in rngs))]


def _load_pairs(
    images: Sequence[Path], spec: ImageSpec, seed: int, copies: int, batch_size: int
) -> Iterator[list[Pixels] | tuple[Path, str]]:
    def load(number: int) -> list[Pixels] | tuple[Path, str]:
        rngs = [np.random.default_rng([seed, number, copy]) for copy in range(copies)]
        try:
            return pair_pixels(images[number], spec, rngs)
        except ImageError as error:
            return images[number], error.message

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), batch_size):
            yield from pool.map(load, range(start, min(start + batch_size, len(images))))
