"""Textness questions to a drawn world, whose truth is exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.data.scenes.queries import thing_queries, weakness_queries
from mobileclip_kit.data.scenes.truth import TRUTH_FILE, Truth, read_truth
from mobileclip_kit.errors import DataError
from mobileclip_kit.images import load_pixels
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.textness.evaluate import Questions

Vectors = NDArray[np.float32]

_BATCH = 32
_TEMPLATE = "a photo of {}"


@dataclass(frozen=True)
class WorldQuestions:
    """The three kinds of questions.

    Attributes:
        typographic: "a photo of a car" to all pictures; a picture of only the word car is wrong.
        clean: "a red car" to the pictures without words.
        reading: "car" to all pictures; those with the written word are right.
    """

    typographic: Questions
    clean: Questions
    reading: Questions


def ask_world(folder: Path, encoder: Encoder, *, template: str = _TEMPLATE) -> WorldQuestions:
    """Encode a folder made by ``mckit scenes N --split gallery`` and the questions to it.

    Args:
        folder: With ``truth.jsonl``.
        encoder: With both towers.
        template: The typographic query, with ``{}`` where "a car" goes.

    Raises:
        DataError: The folder is no drawn world, or has no pictures of words beside things.
        ImageError: A picture cannot be decoded.
        ModelError: The model lacks a tower.
    """
    encoder.spec.require_text()
    path = folder / TRUTH_FILE
    if not path.is_file():
        raise DataError(
            f"{folder} is not a drawn world: it has no {TRUTH_FILE}.",
            hint="Draw one with `mckit scenes 1000 --split gallery -o DIR`.",
        )
    rows = read_truth(path)
    weak, things = weakness_queries(rows, template), thing_queries(row for row in rows if row.word is None)
    if not weak or not things:
        raise DataError(
            f"{folder} holds no pictures of words beside pictures of the things that they name.",
            hint="Draw a world with `mckit scenes 1000 --split gallery -o DIR`.",
        )
    vectors = _encode([folder / row.image for row in rows], encoder)
    plain = [number for number, row in enumerate(rows) if row.word is None]
    place = {row.image: number for number, row in enumerate(rows)}
    plain_place = {rows[number].image: rank for rank, number in enumerate(plain)}
    words = sorted({row.word.text for row in rows if row.word is not None})
    return WorldQuestions(
        typographic=Questions(
            encoder.encode_texts([query.text for query in weak]),
            vectors,
            [_rows(query.things, place) for query in weak],
            [_rows(query.words, place) for query in weak],
        ),
        clean=Questions(
            encoder.encode_texts([query.text for query in things]),
            vectors[plain],
            [_rows(query.right, plain_place) for query in things],
        ),
        reading=Questions(encoder.encode_texts(words), vectors, [_rows(_written(rows, word), place) for word in words]),
    )


def _written(rows: Sequence[Truth], word: str) -> list[str]:
    return [row.image for row in rows if row.word is not None and row.word.text == word]


def _rows(images: Iterable[str], place: Mapping[str, int]) -> frozenset[int]:
    return frozenset(place[image] for image in images)


def _encode(pictures: Sequence[Path], encoder: Encoder) -> Vectors:
    spec = encoder.spec.require_image()
    parts = []
    with Progress("encode", total=len(pictures), unit="pictures") as progress:
        for start in range(0, len(pictures), _BATCH):
            batch = [load_pixels(picture, spec) for picture in pictures[start : start + _BATCH]]
            parts.append(encoder.encode_images(np.stack(batch)))
            progress.advance(len(batch))
    return np.concatenate(parts)
