"""Queries as vectors: words with signs and weights, items of the index, vectors that somebody else encoded.

A query is a weighted sum of unit vectors, scaled to length 1: "beach -people" is two texts of the weights 1 and −1.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ModelMismatchError, ShapeError, UsageError
from mobileclip_kit.files import counted, one_line
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.index.store import Item
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.prompts import encode_prompts

# A sign that stands before a word, as in "beach -people"; not the hyphen of "t-shirt".
_SIGN = re.compile(r"(?:^|(?<=\s))([+-])(?=\S)")
_WEIGHT = re.compile(r":(\d+(?:\.\d+)?|\.\d+)\s*$")

# Names that a misspelt one is compared with: a million take minutes.
_COMPARED_NAMES = 20_000


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
    terms = [term for term in terms if term.text.strip("+- ") and term.weight != 0]
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
    """Vectors of queries in words; see :func:`encode_judged`."""
    return encode_judged(encoder, queries, templates=templates, beside=beside)[0]


def encode_judged(
    encoder: Encoder, queries: Sequence[str], *, templates: Sequence[str] = (), beside: Vectors | None = None
) -> tuple[Vectors, Vectors]:
    """Vectors of queries in words, and what the confidence of their hits is computed from.

    Args:
        encoder: With a text tower.
        queries: In the language of :func:`parse_query`.
        templates: Sentences with ``{}`` in the place of a text, whose vectors are averaged; none for the text alone.
        beside: Unit rows ``(m, d)``, such as images, that are added to every query.

    Returns:
        Unit rows, ``(q, d)``, and those of the words alone that are asked for: a vector from which words were taken
        away lies where no text does. Such a row is zero where a query only takes words away.

    Raises:
        ModelError: The model has no text tower.
        UsageError: A query is empty, or a template has no ``{}``.
    """
    parsed = [parse_query(query) for query in queries]
    texts = list(dict.fromkeys(term.text for terms in parsed for term in terms))
    vector_of = dict(zip(texts, encode_prompts(encoder, texts, templates), strict=True))
    rows, judged = [], []
    for terms in parsed:
        weights, vectors = [term.weight for term in terms], np.stack([vector_of[term.text] for term in terms])
        wanted = [max(weight, 0.0) for weight in weights]
        judged.append(combine(wanted, vectors) if any(wanted) else np.zeros_like(vectors[0]))
        if beside is not None:
            weights, vectors = weights + [1.0] * len(beside), np.concatenate([vectors, beside])
        rows.append(combine(weights, vectors))
    return np.stack(rows), np.stack(judged)


def finite_rows(vectors: Vectors) -> Vectors:
    """Query vectors as an array.

    Raises:
        ShapeError: These are not rows of finite numbers.
    """
    try:
        rows: Vectors = np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise ShapeError("Query vectors must be rows of numbers, (q, d) float32.") from error
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ShapeError(f"Query vectors must be rows of finite numbers, (q, d) float32; these are {rows.shape}.")
    return rows


def vectors_of_items(index: IndexReader, names: Sequence[str]) -> Vectors:
    """The stored vectors of items, ``(n, d)``: "more like this".

    Raises:
        DataError: An item is not in the index, or has no vector.
        IndexFormatError: A vector is damaged.
    """
    rows = []
    for name in names:
        item = index.store.find(name) or _item_shown_as(index, name)
        if item is None:
            raise DataError(f"{name!r} is not in the index {index.path}.", hint=_nearest_names(index, name))
        if item.row is None:
            raise DataError(f"{name!r} has no vector in the index {index.path}: {item.reason}")
        rows.append(item.row)
    return index.vectors(rows)


def _item_shown_as(index: IndexReader, name: str) -> Item | None:
    """The item that lists of hits show under this name, because its own has invisible characters."""
    known = index.store.items() if "\\" in name else ()
    return next((item for item in known if one_line(item.name) == name), None)


def _nearest_names(index: IndexReader, name: str) -> str:
    """A hint at items that may be meant: the same file name in another folder first, then similar names."""
    known = [item.name for item in index.store.items() if item.row is not None]
    meant = [other for other in known if other.rsplit("/", 1)[-1] == name.rsplit("/", 1)[-1]]
    meant = meant or difflib.get_close_matches(name, known[:_COMPARED_NAMES], n=3)
    shown = ", ".join(f"'{one_line(each)}'" for each in meant[:3])
    return f"Did you mean {shown}?" if meant else "Name it as the hits of a search do."


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
        held, named = counted(len(matrix), "vector"), counted(len(labels), "name")
        raise DataError(f"{path} holds {held}, but {names} holds {named}.")
    vectors, bad = scale_rows(matrix)
    if bad.any():
        raise DataError(f"Vector {int(np.flatnonzero(bad)[0])} of {path} is zero or not finite.")
    return labels, vectors
