"""A synthetic scenes and one model's vectors of it: encoded once, asked for many things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.images import load_pixels
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.scenes.queries import Query, WeaknessQuery
from mobileclip_kit.scenes.truth import Truth, read_truth
from mobileclip_kit.textness.evaluate import Questions

_BATCH = 64


class Reader(Protocol):
    """Whatever gives vectors of texts."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, ``(n, d)``."""
        ...


@dataclass(frozen=True)
class EncodedGallery:
    """Images of the synthetic scenes with their truth and one model's vectors.

    Attributes:
        truth: What each image shows.
        vectors: Unit rows in the same order, ``(n, d)``.

    Raises:
        ShapeError: There are more or fewer vectors than images.
    """

    truth: Sequence[Truth]
    vectors: Vectors

    def __post_init__(self) -> None:
        if len(self.truth) != len(self.vectors):
            raise ShapeError(f"{len(self.truth)} images, but {len(self.vectors)} vectors.")

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {truth.image: row for row, truth in enumerate(self.truth)}

    def rows(self, keys: Iterable[str]) -> frozenset[int]:
        """The rows of images given by their keys; keys of other galleries have none."""
        return frozenset(self._places[key] for key in keys if key in self._places)

    def where(self, keep: Callable[[Truth], bool]) -> EncodedGallery:
        """The images whose truth passes a test."""
        kept = [row for row, truth in enumerate(self.truth) if keep(truth)]
        return EncodedGallery([self.truth[row] for row in kept], self.vectors[kept])


def encode_gallery(folder: Path, encoder: Encoder, *, limit: int | None = None) -> EncodedGallery:
    """Encode the images of a folder that ``mckit scenes`` drew.

    Args:
        folder: With ``truth.jsonl``.
        encoder: With an image tower.
        limit: The first so many.

    Raises:
        DataError: The folder has no truth, or no image.
        ImageError: An image is damaged.
        ModelError: The model has no image tower.
    """
    truth = list(read_truth(folder))[:limit]
    if not truth:
        raise DataError(f"{folder} has no images.", hint="Draw some with `mckit scenes`.")
    spec = encoder.spec.require_image()
    batches = []
    with Progress("encode", total=len(truth), unit="images") as progress:
        for start in range(0, len(truth), _BATCH):
            pixels = [load_pixels(folder / row.image, spec) for row in truth[start : start + _BATCH]]
            batches.append(encoder.encode_images(np.stack(pixels)))
            progress.advance(len(pixels))
    return EncodedGallery(truth, np.concatenate(batches))


def ask(reader: Reader, gallery: EncodedGallery, queries: Sequence[Query]) -> Questions:
    """Queries with their right rows."""
    return Questions(
        reader.encode_texts([query.text for query in queries]),
        gallery.vectors,
        [gallery.rows(query.right) for query in queries],
    )


def ask_for_things(reader: Reader, gallery: EncodedGallery, queries: Sequence[WeaknessQuery]) -> Questions:
    """Queries whose right rows show the thing and whose wrong rows show only its name."""
    return Questions(
        reader.encode_texts([query.text for query in queries]),
        gallery.vectors,
        [gallery.rows(query.things) for query in queries],
        [gallery.rows(query.words) for query in queries],
    )
