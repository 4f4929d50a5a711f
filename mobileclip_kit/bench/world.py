"""How well a model knows the built-in world, whose truth is exact.

Two galleries are asked. The *mixed* one (split ``test``) shows everything, unseen combinations of kind and colour among
it: it gives right-first rates for things and for written words. The *fair* one (split ``gallery``) has as many pictures
of each word alone as of its thing: it gives the share of things whose written name is found first, CLIP's weakness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mobileclip_kit.bench.accuracy import right_first
from mobileclip_kit.data.scenes.queries import (
    Query,
    WeaknessQuery,
    count_queries,
    reading_queries,
    relation_queries,
    thing_queries,
    weakness_queries,
)
from mobileclip_kit.data.scenes.truth import Truth, read_truth
from mobileclip_kit.errors import DataError
from mobileclip_kit.images import load_pixels
from mobileclip_kit.runtime.encoder import Encoder, Vectors
from mobileclip_kit.textness.evaluate import Questions, answer

_BATCH = 64


class Reader(Protocol):
    """Whatever gives vectors of texts."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, ``(n, d)``."""
        ...


@dataclass(frozen=True)
class EncodedGallery:
    """Pictures of the built-in world with their truth and one model's vectors.

    Attributes:
        truth: What each picture shows.
        vectors: Unit rows in the same order, ``(n, d)``.
    """

    truth: Sequence[Truth]
    vectors: Vectors

    def rows(self, keys: frozenset[str]) -> frozenset[int]:
        """The rows of pictures given by their keys."""
        return frozenset(row for row, truth in enumerate(self.truth) if truth.image in keys)

    def where(self, keep: Callable[[Truth], bool]) -> EncodedGallery:
        """The pictures whose truth passes a test."""
        kept = [row for row, truth in enumerate(self.truth) if keep(truth)]
        return EncodedGallery([self.truth[row] for row in kept], self.vectors[kept])


def encode_gallery(folder: Path, encoder: Encoder) -> EncodedGallery:
    """Encode every picture of a folder that ``mckit scenes`` drew.

    Raises:
        DataError: The folder has no truth, or no picture.
        ImageError: A picture is damaged.
    """
    truth = list(read_truth(folder))
    if not truth:
        raise DataError(f"{folder} has no pictures.", hint="Draw some with `mckit scenes`.")
    spec = encoder.spec.require_image()
    batches = [
        encoder.encode_images(
            np.stack([load_pixels(folder / row.image, spec) for row in truth[start : start + _BATCH]])
        )
        for start in range(0, len(truth), _BATCH)
    ]
    return EncodedGallery(truth, np.concatenate(batches))


def ask(encoder: Reader, gallery: EncodedGallery, queries: Sequence[Query]) -> Questions:
    """Queries with their right rows."""
    return Questions(
        encoder.encode_texts([query.text for query in queries]),
        gallery.vectors,
        [gallery.rows(query.right) for query in queries],
    )


def ask_for_things(encoder: Reader, gallery: EncodedGallery, queries: Sequence[WeaknessQuery]) -> Questions:
    """Queries whose right rows show the thing and whose wrong rows show only its name."""
    return Questions(
        encoder.encode_texts([query.text for query in queries]),
        gallery.vectors,
        [gallery.rows(query.things) for query in queries],
        [gallery.rows(query.words) for query in queries],
    )


def measure_world(encoder: Reader, mixed: EncodedGallery, fair: EncodedGallery) -> dict[str, float]:
    """The figures of one model, shares in 0…1.

    Args:
        encoder: Of texts, into the space of the pictures' vectors.
        mixed: Of the split ``test``.
        fair: Of the split ``gallery``.

    Returns:
        ``right_first`` ("a red star"), ``right_first_unseen`` (combinations that training never showed),
        ``reading_right_first`` ("the word car"), ``count_right_first``, ``relation_right_first``, and
        ``word_over_thing`` ("a photo of a car" answered by a picture of the word before any of the thing). A kind of
        query that the galleries have none of is left out.
    """
    things = thing_queries(mixed.truth)
    asked = {
        "right_first": things,
        "right_first_unseen": [query for query in things if query.unseen],
        "reading_right_first": reading_queries(mixed.truth),
        "count_right_first": count_queries(mixed.truth),
        "relation_right_first": relation_queries(mixed.truth),
    }
    figures = {}
    for name, queries in asked.items():
        if queries:
            questions = ask(encoder, mixed, queries)
            figures[name] = right_first(questions.queries, questions.gallery, questions.right)
    weakness = weakness_queries(fair.truth)
    if weakness:
        errors = answer(ask_for_things(encoder, fair, weakness)).word_over_thing
        assert errors is not None  # every weakness query has both things and words
        figures["word_over_thing"] = errors
    return figures
