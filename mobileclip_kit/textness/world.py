"""Textness questions to a drawn world, whose truth is exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.data.scenes.folder import WORLD_FILE
from mobileclip_kit.data.scenes.queries import thing_queries, weakness_queries
from mobileclip_kit.data.scenes.truth import TRUTH_FILE, Truth, read_truth
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_json
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


def is_pair_world(folder: Path) -> bool:
    """Whether a folder was drawn by ``mckit scenes N --split pairs``: each scene without a word, then with one."""
    path = folder / WORLD_FILE
    return path.is_file() and (folder / TRUTH_FILE).is_file() and read_json(path).get("split") == "pairs"


def encode_world_pairs(folder: Path, encoder: Encoder, *, limit: int | None = None) -> tuple[Vectors, Vectors]:
    """Vectors of a drawn world's scenes without and with a word, row by row the same scene, each ``(n, d)``.

    A model that reads the words of the drawn world alone learns its textness from these, not from other words.

    Raises:
        DataError: The pictures do not come in such pairs.
        ImageError: A picture cannot be decoded.
        ModelError: The model has no image tower.
    """
    rows = read_truth(folder / TRUTH_FILE)
    clean, worded = rows[0::2], rows[1::2]
    if len(rows) % 2 or any(a.word is not None or b.word is None for a, b in zip(clean, worded, strict=True)):
        raise DataError(f"The pictures of {folder} are not pairs without and with a word.", hint="Draw it again.")
    vectors = _encode([folder / row.image for row in rows[: None if limit is None else 2 * limit]], encoder)
    return vectors[0::2], vectors[1::2]


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
