"""Finding images: queries in words, images, items or vectors, and the hits that answer them.

A query is a weighted sum of unit vectors, scaled to length 1: "beach -people" is two texts of the weights 1 and −1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ModelError, ModelMismatchError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.textness.vector import TEXTNESS_FILE, Textness

# A sign that stands before a word, as in "beach -people"; not the hyphen of "t-shirt".
_SIGN = re.compile(r"(?:^|(?<=\s))([+-])(?=\S)")
_WEIGHT = re.compile(r":(\d+(?:\.\d+)?|\.\d+)\s*$")


@dataclass(frozen=True)
class Hit:
    """One answer.

    Attributes:
        rank: From 1 on.
        item: The image's name in the index.
        score: Cosine similarity to the query.
    """

    rank: int
    item: str
    score: float


@dataclass(frozen=True)
class Term:
    """A part of a query in words."""

    weight: float
    text: str


def parse_query(query: str) -> list[Term]:
    """Split a query at its signed words: ``"beach -people +sunset:2"``.

    Words without a sign form one text. A sign holds until the next one, so ``-a crowd of people`` is one text of the
    weight −1; a number after a colon is the weight of a signed text.

    Raises:
        UsageError: The query is empty, all its weights are 0, or one is too large for a number.
    """
    parts = _SIGN.split(query)
    terms = [Term(1.0, parts[0].strip())]
    for sign, text in zip(parts[1::2], parts[2::2], strict=True):
        found = _WEIGHT.search(text)
        weight, text = (float(found.group(1)), text[: found.start()]) if found else (1.0, text)
        if not math.isfinite(weight):
            raise UsageError(f"The weight of {text.strip()!r} is too large for a number.")
        terms.append(Term(-weight if sign == "-" else weight, text.strip()))
    terms = [term for term in terms if term.text and term.weight != 0]
    if not terms:
        raise UsageError("The query is empty.", hint='Say what to look for, such as "a red bicycle".')
    return terms


def combine(weights: Sequence[float], vectors: Vectors) -> Vectors:
    """The weighted sum of unit rows ``(n, d)``, scaled to length 1: ``(d,)``.

    Raises:
        UsageError: The sum is zero: its parts cancel each other.
    """
    scaled = np.asarray(weights, np.float64)
    # Only the ratios count; the greatest is 1, so that no square overflows and small weights do not look like none.
    scaled = scaled / np.abs(scaled).max()
    total = scaled @ vectors.astype(np.float64)
    norm = np.linalg.norm(total)
    if norm < 1e-6:
        raise UsageError("The parts of the query cancel each other: nothing is left to look for.")
    combined: Vectors = (total / norm).astype(np.float32)
    return combined


def encode_queries(
    encoder: Encoder, queries: Sequence[str], *, templates: Sequence[str] = (), beside: Vectors | None = None
) -> Vectors:
    """Vectors of queries in words.

    Args:
        encoder: With a text tower.
        queries: In the language of :func:`parse_query`.
        templates: Sentences with ``{}`` in the place of a text, whose vectors are averaged; none for the text alone.
        beside: Unit rows ``(m, d)``, such as images, that are added to every query.

    Returns:
        Unit rows, ``(q, d)``.

    Raises:
        ModelError: The model has no text tower.
        UsageError: A query is empty, or a template has no ``{}``.
    """
    for template in templates:
        if "{}" not in template:
            raise UsageError(f"The template {template!r} has no {{}} where the words shall stand.")
    parsed = [parse_query(query) for query in queries]
    texts = list(dict.fromkeys(term.text for terms in parsed for term in terms))
    sentences = [template.replace("{}", text) for text in texts for template in templates or ("{}",)]
    encoded = encoder.encode_texts(sentences).reshape(len(texts), -1, encoder.spec.embedding_dim)
    # (texts, templates, d) → a unit vector for each text
    vector_of = dict(zip(texts, scale_rows(encoded.mean(axis=1))[0], strict=True))
    rows = []
    for terms in parsed:
        weights, vectors = [term.weight for term in terms], [vector_of[term.text] for term in terms]
        if beside is not None:
            weights, vectors = weights + [1.0] * len(beside), [*vectors, *beside]
        rows.append(combine(weights, np.stack(vectors)))
    return np.stack(rows)


def vectors_of_items(index: IndexReader, names: Sequence[str]) -> Vectors:
    """The stored vectors of items, ``(n, d)``: "more like this".

    Raises:
        DataError: An item is not in the index, or has no vector.
        IndexFormatError: A vector is damaged.
    """
    rows = []
    for name in names:
        item = index.store.find(name)
        if item is None:
            raise DataError(f"{name!r} is not in the index {index.path}.", hint="Name it as the hits of a search do.")
        if item.row is None:
            raise DataError(f"{name!r} has no vector in the index {index.path}: {item.reason}")
        rows.append(item.row)
    return index.vectors(rows)


def load_query_vectors(path: Path, names: Path | None, dim: int) -> tuple[list[str], Vectors]:
    """Queries that somebody else encoded, scaled to length 1, and what to call them.

    Raises:
        DataError: A file cannot be used, the numbers differ, or a vector is zero or not finite.
        ModelMismatchError: The width is not the index's.
    """
    matrix = load_matrix(path)
    if matrix.shape[1] != dim:
        raise ModelMismatchError(f"{path} holds vectors of {matrix.shape[1]} numbers; the index holds {dim}.")
    labels = [f"vector {number}" for number in range(len(matrix))] if names is None else read_names(names)
    if len(labels) != len(matrix):
        raise DataError(f"{path} holds {len(matrix)} vectors, but {names} holds {len(labels)} names.")
    vectors, bad = scale_rows(matrix)
    if bad.any():
        raise DataError(f"Vector {int(np.flatnonzero(bad)[0])} of {path} is zero or not finite.")
    return labels, vectors


def open_query_encoder(
    index: IndexReader, model: str | None, *, threads: int | None = None, brief: bool = False
) -> Encoder:
    """The model that the index belongs to.

    Args:
        index: Remembers where its model was.
        model: Where it is now; None for where it was.
        threads: Of the runtime.
        brief: See :func:`mobileclip_kit.runtime.open.open_encoder`.

    Raises:
        ModelError: The index was made from vectors, or its model is gone.
        ModelMismatchError: It is another model.
    """
    place = model or index.header.model
    if place is None:
        raise ModelError(
            f"The index {index.path} does not say which model its vectors come from.",
            hint="Pass --model M, or vectors of the same model with --query-vectors.",
        )
    try:
        encoder = open_encoder(place, threads=threads, brief=brief)
    except ModelError as error:
        if model is not None:
            raise
        raise ModelError(
            f"The model of the index {index.path} cannot be opened: {error.message}", hint="Pass --model M."
        ) from error
    encoder.spec.check_same_model(index.spec.model_hash, f"The index {index.path}")
    return encoder


def find_textness(index: IndexReader, path: Path | None) -> Textness:
    """The textness vector to use: the given one, or the ``textness.json`` in the index or in its model's folder.

    Raises:
        DataError: It cannot be read.
        ModelMismatchError: It belongs to another model.
        UsageError: There is none.
    """
    folders = [index.path] + ([Path(index.header.model)] if index.header.model else [])
    places = [path] if path else [folder / TEXTNESS_FILE for folder in folders]
    for place in places:
        if path or place.is_file():
            textness = Textness.load(place)
            index.spec.check_same_model(textness.model_hash, f"The textness vector {place}")
            return textness
    raise UsageError(
        "--textness needs a textness vector, and there is none beside the index or its model.",
        hint="Make one with `mckit textness fit IMAGES --model M -o FILE` and pass it with --textness-vector.",
    )


def search(
    index: IndexReader,
    queries: Vectors,
    k: int = 10,
    *,
    allowed: NDArray[np.bool_] | None = None,
    without: frozenset[str] = frozenset(),
) -> list[list[Hit]]:
    """The images nearest to each query.

    Args:
        index: Opened.
        queries: Unit rows, ``(q, d)``.
        k: Hits wanted for each query.
        allowed: A mask from :meth:`IndexReader.allowed_rows`; None for every image that is still there.
        without: Names that are never hits, such as the item that others shall be like.

    Returns:
        At most ``k`` hits for each query, best first; fewer when the index holds fewer.

    Raises:
        ShapeError: The width is not the index's.
        UsageError: ``k`` is below 1.
    """
    if k < 1:
        raise UsageError(f"{k} hits were asked for; it must be at least 1.")
    if allowed is None:
        allowed = index.allowed_rows()
    scores, rows = index.nearest(queries, k + len(without), allowed=allowed)
    names = index.names_of(sorted(set(rows.ravel().tolist())))
    results = []
    for row_scores, row_numbers in zip(scores.tolist(), rows.tolist(), strict=True):
        pairs = [(names[row], score) for row, score in zip(row_numbers, row_scores, strict=True) if row in names]
        kept = [(name, score) for name, score in pairs if name not in without][:k]
        results.append([Hit(rank, name, score) for rank, (name, score) in enumerate(kept, start=1)])
    return results
