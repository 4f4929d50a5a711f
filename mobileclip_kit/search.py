"""Finding images: queries in words, images, items or vectors, and the hits that answer them.

A query is a weighted sum of unit vectors, scaled to length 1: "beach -people" is two texts of the weights 1 and −1.
"""

from __future__ import annotations

import difflib
import functools
import math
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arguments import Confidence, Count, check_arguments, listed_texts, python_errors, request_from
from mobileclip_kit.arrays import Vectors
from mobileclip_kit.confidence.background import Background, open_background
from mobileclip_kit.confidence.scorer import FIRST_HITS, confidences
from mobileclip_kit.errors import DataError, ModelError, ModelMismatchError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.options import Option
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder, open_export_encoder
from mobileclip_kit.spec import ModelSpec, stored_spec
from mobileclip_kit.textness.vector import TEXTNESS_FILE, Textness

if TYPE_CHECKING:
    from mobileclip_kit.indexing.report import IndexReport
    from mobileclip_kit.runtime.encoder import ImageLike

# A sign that stands before a word, as in "beach -people"; not the hyphen of "t-shirt".
_SIGN = re.compile(r"(?:^|(?<=\s))([+-])(?=\S)")
_WEIGHT = re.compile(r":(\d+(?:\.\d+)?|\.\d+)\s*$")


# Rows that are equal score equally up to rounding, which depends on where they lie in the matrix.
_TIE = 1e-6

# So many images of imported vectors are encoded to see whether a model made them. Other programs resize images
# differently, and quantised models differ a little.
_COMPARED_IMAGES, _SAME_MODEL = 3, 0.95

# Names that a misspelt one is compared with: a million take minutes.
_COMPARED_NAMES = 20_000


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What ``mckit search`` looks for beside words, and among which images; see :meth:`Index.search`."""

    images: Annotated[tuple[Path, ...], Option("An image to look for.", names=("--image",))] = ()
    items: Annotated[
        tuple[str, ...], Option("An image of the index: more like this.", names=("--like",), metavar="ITEM")
    ] = ()
    query_vectors: Annotated[Path | None, Option("A .npy matrix, a row for each query.")] = None
    query_names: Annotated[Path | None, Option("Names of those rows, a line each.")] = None
    k: Annotated[int, Option("Hits for each query.", names=("-k", "--top"), at_least=1)] = 10
    model: Annotated[
        str | None,
        Option("The index's model, if it is no longer where it was when the index was built.", names=("-m", "--model")),
    ] = None
    templates: Annotated[
        tuple[str, ...], Option('Such as "a photo of {}"; several are averaged.', names=("--template",))
    ] = ()
    textness: Annotated[float | None, Option("From −1 (avoid written words) to 1 (prefer them).")] = None
    textness_vector: Annotated[Path | None, Option("From `mckit textness fit`.")] = None
    folder: Annotated[str | None, Option("Only images below this folder of the index.")] = None
    since: Annotated[datetime | None, Option("Only images changed on this day or later.")] = None
    until: Annotated[datetime | None, Option("Only images changed before this day.")] = None
    min_confidence: Annotated[
        float | None,
        Option("Only hits that are right with this probability.", metavar="P", at_least=0, at_most=1),
    ] = None
    threads: Annotated[int | None, Option("Threads of the model's runtime.", at_least=1)] = None


@dataclass(frozen=True)
class Hit:
    """One answer.

    Attributes:
        rank: From 1 on.
        item: The image's name in the index.
        score: Cosine similarity to the query.
        confidence: Probability that it is right; None where it cannot be told, see docs/search.md.
        path: Its file; None when the index knows no folder of images, or the image lies in a tar.
    """

    rank: int
    item: str
    score: float
    path: Path | None = field(default=None, compare=False)
    confidence: float | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The object in ``--json`` documents."""
        confidence = None if self.confidence is None else round(self.confidence, 3)
        return {"rank": self.rank, "item": self.item, "score": self.score, "confidence": confidence}


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
            raise DataError(f"{name!r} is not in the index {index.path}.", hint=_nearest_names(index, name))
        if item.row is None:
            raise DataError(f"{name!r} has no vector in the index {index.path}: {item.reason}")
        rows.append(item.row)
    return index.vectors(rows)


def _nearest_names(index: IndexReader, name: str) -> str:
    """A hint at items that may be meant: the same file name in another folder first, then similar names."""
    known = [item.name for item in index.store.items() if item.row is not None]
    meant = [other for other in known if other.rsplit("/", 1)[-1] == name.rsplit("/", 1)[-1]]
    meant = meant or difflib.get_close_matches(name, known[:_COMPARED_NAMES], n=3)
    return f"Did you mean {', '.join(map(repr, meant[:3]))}?" if meant else "Name it as the hits of a search do."


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


def open_model(place: str | Path, *, threads: int | None = None, brief: bool = False) -> Encoder:
    """Open whatever has a model in it: what :func:`~mobileclip_kit.runtime.open.open_encoder` takes, or a bundle.

    Args:
        place: A model folder, an export, a bundle, an open_clip name or ``hf-hub:org/repo``.
        threads: Of the runtime; None lets it choose.
        brief: A few inputs are all that it will be asked: opening quickly counts for more than each of them.
    """
    if (Path(place) / "manifest.json").is_file():
        from mobileclip_kit.bundle import open_bundle

        encoder = open_export_encoder(open_bundle(Path(place)).as_export(), threads=threads, brief=brief)
        encoder.model_path = str(Path(place).absolute())
        return encoder
    return open_encoder(place, threads=threads, brief=brief)


def open_query_encoder(
    index: IndexReader, model: str | None, *, threads: int | None = None, brief: bool = False
) -> Encoder:
    """The model that the index belongs to.

    Args:
        index: Says where its model was.
        model: Where it is now; None for where it was.
        threads: Of the runtime.
        brief: See :func:`open_model`.

    Raises:
        ModelError: The index was made from vectors and none of its images is there to compare a model with, or its
            model is gone.
        ModelMismatchError: It is another model.
    """
    place = model or index.header.model
    is_unknown = index.spec.model_hash.startswith("vectors:")
    if place is None or (is_unknown and model is None):
        raise ModelError(
            f"The index {index.path} does not say which model its vectors come from.",
            hint="Pass --model M, or pass vectors of the same model with --query-vectors.",
        )
    if not is_unknown and (spec := stored_spec(place)) is not None:  # before torch is imported
        spec.check_same_model(index.spec.model_hash, f"The index {index.path}")
    try:
        encoder = open_model(place, threads=threads, brief=brief)
    except ModelError as error:
        if model is not None:
            raise
        raise ModelError(
            f"The model of the index {index.path} cannot be opened: {error.message}", hint="Pass --model M."
        ) from error
    _check_model(index, encoder)
    return encoder


def _check_model(index: IndexReader, encoder: Encoder) -> None:
    if index.spec.model_hash.startswith("vectors:"):
        _check_imported(index, encoder)
    else:
        encoder.spec.check_same_model(index.spec.model_hash, f"The index {index.path}")


def _check_imported(index: IndexReader, encoder: Encoder) -> None:
    """Refuse a model that does not give the vectors of an index of imported ones, judged by a few of its images."""
    if encoder.spec.embedding_dim != index.spec.embedding_dim:
        raise ModelMismatchError(
            f"The index {index.path} holds vectors of {index.spec.embedding_dim} numbers; those of {encoder.spec.name} "
            f"have {encoder.spec.embedding_dim}."
        )
    root = None if index.header.images is None else Path(index.header.images)
    images = [(row, root / name) for row, name, _ in index.store.listing() if root and (root / name).is_file()]
    images = images[:: max(1, len(images) // _COMPARED_IMAGES)][:_COMPARED_IMAGES]
    if not images:
        raise ModelError(
            f"The index {index.path} was made from vectors of an unknown model, and none of its images is there to "
            "compare the model with.",
            hint="Build it again from the vectors with --model M, and with --images FOLDER where the images are.",
        )
    cosines = (encoder.encode_images([path for _, path in images]) * index.vectors([row for row, _ in images])).sum(1)
    if (least := float(cosines.min())) < _SAME_MODEL:
        raise ModelMismatchError(
            f"The model {encoder.spec.name} did not make the vectors of {index.path}: its vector of "
            f"{images[int(cosines.argmin())][1]} has the cosine {least:.3f} to the stored one.",
            hint="Pass the model that made them, or pass query vectors of it with --query-vectors.",
        )


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
    background: Background | None = None,
) -> list[list[Hit]]:
    """The images nearest to each query; those of equal scores are in the order of their names.

    Args:
        index: Opened.
        queries: Unit rows, ``(q, d)``.
        k: Hits wanted for each query.
        allowed: A mask from :meth:`IndexReader.allowed_rows`; None for every image that is still there.
        without: Names that are never hits, such as the item that others shall be like.
        background: Of the index, if the queries are texts and hits shall have a confidence.

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
    wanted = k + len(without)
    least = wanted if background is None else max(wanted, FIRST_HITS + len(without))
    root = None if index.header.images is None else Path(index.header.images)
    results = []
    for query, rows in zip(queries, _nearest_rows(index, queries, least, allowed), strict=True):
        names = index.names_of(rows.tolist())
        rows = rows[[row in names for row in rows.tolist()]]
        vectors = index.vectors(rows)
        # Each row by itself, so that equal vectors have equal scores wherever they lie in the matrix.
        scores = np.einsum("kd,d->k", vectors, query, dtype=np.float64).astype(np.float32)
        order = sorted(range(len(rows)), key=lambda place: (-scores[place], names[int(rows[place])]))
        order = [place for place in order if names[int(rows[place])] not in without][: max(k, least - len(without))]
        sure = None if background is None else confidences(background, query, vectors[order])
        results.append(
            [
                Hit(
                    rank=rank,
                    item=(name := names[int(rows[place])]),
                    score=float(scores[place]),
                    path=_path_of(root, name),
                    confidence=None if sure is None else float(sure[rank - 1]),
                )
                for rank, place in enumerate(order[:k], start=1)
            ]
        )
    return results


def certain_hits(hits: Sequence[Hit], min_confidence: float | None) -> list[Hit]:
    """The hits without those of a lower confidence; None for all. Hits whose confidence is not known are kept."""
    least = 0.0 if min_confidence is None else min_confidence
    return [hit for hit in hits if hit.confidence is None or hit.confidence >= least]


def _nearest_rows(
    index: IndexReader, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None
) -> list[NDArray[np.int64]]:
    """The rows of at least k hits of each query, with all that score as much as the last of them."""
    found: list[NDArray[np.int64]] = []
    scores, rows = index.nearest(queries, k + 1, allowed=allowed)
    for number in range(len(queries)):
        some, own, asked = scores[number], rows[number], k + 1
        while own.size >= asked and own[-1] >= 0 and some[-1] >= some[k - 1] - _TIE:
            asked *= 4
            more = index.nearest(queries[number : number + 1], asked, allowed=allowed)
            some, own = more[0][0], more[1][0]
        near = (own >= 0) & (some >= (some[k - 1] - _TIE if some.size >= k else -np.inf))
        found.append(own[near])
    return found


def _path_of(root: Path | None, name: str) -> Path | None:
    return None if root is None or ".tar/" in name else root / name


def below(index: IndexReader, folder: str | None) -> str | None:
    """A folder of the library as names in the index begin with it; None for the whole library."""
    if folder is None:
        return None
    name = posixpath.normpath(folder)
    if name.startswith("/") and index.header.images is not None:
        name = posixpath.relpath(name, index.header.images)
    return None if name == "." else name


def _ns(moment: datetime | date | str | None) -> int | None:
    if moment is None:
        return None
    try:
        if not isinstance(moment, date):
            moment = datetime.fromisoformat(moment)
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)
        return int(moment.timestamp()) * 1_000_000_000
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{moment} is no day that can be searched for.", hint="Write it as 2024-05-31.") from error


def span_ns(since: datetime | date | str | None, until: datetime | date | str | None) -> tuple[int | None, int | None]:
    """Two days in nanoseconds since 1970.

    Raises:
        UsageError: A day is none or beyond what can be searched for, or nothing lies between the two.
    """
    since_ns, until_ns = _ns(since), _ns(until)
    if since_ns is not None and until_ns is not None and since_ns >= until_ns:
        raise UsageError(f"No moment lies between since {str(since)[:10]} and until {str(until)[:10]}: swap them?")
    return since_ns, until_ns


class Index:
    """An index, opened for searching: the state of the moment it was opened.

    :func:`mobileclip_kit.open_index` and :func:`mobileclip_kit.build_index` return one. A context manager.

    Args:
        path: The index folder.
        model: Its model: an :class:`~mobileclip_kit.runtime.encoder.Encoder`, or where the model lies; None for where
            it was when the index was built. It is opened when a query needs it.
        threads: Of a model that is opened here.
        brief: See :func:`open_model`.

    Attributes:
        path: The index folder.
        report: The run that built or updated it in this process; None for an index that was only opened.

    Raises:
        IndexFormatError: The folder is no index, is damaged, or of another version.

    Example:
        >>> with mckit.open_index(index) as photos:
        ...     len(photos), [hit.rank for hit in photos.search("a red house", k=2)]
        (3, [1, 2])
    """

    def __init__(
        self,
        path: str | Path,
        model: Encoder | str | Path | None = None,
        *,
        threads: int | None = None,
        brief: bool = False,
    ) -> None:
        self.path = Path(path)
        self.report: IndexReport | None = None
        self._encoder = model if isinstance(model, Encoder) else None
        self._opening = {"model": None if model is None else str(model), "threads": threads, "brief": brief}
        self._open_reader: IndexReader | None = IndexReader(self.path)
        if self._encoder is not None:
            _check_model(self._reader, self._encoder)

    @property
    def _reader(self) -> IndexReader:
        if self._open_reader is None:
            raise UsageError(f"The index {self.path} is closed.", hint="Open it again with mobileclip_kit.open_index.")
        return self._open_reader

    @property
    def spec(self) -> ModelSpec:
        """The model whose vectors these are."""
        return self._reader.spec

    @property
    def items(self) -> list[str]:
        """The names of all images that have a vector, sorted."""
        return [name for _, name, _ in self._reader.store.listing()]

    @property
    def encoder(self) -> Encoder:
        """The index's model, opened when first asked for.

        Raises:
            ModelError: It is gone, or the index was made from vectors of an unknown model.
            ModelMismatchError: It is another model.
        """
        if self._encoder is None:
            self._encoder = open_query_encoder(self._reader, **self._opening)  # type: ignore[arg-type]
        return self._encoder

    @python_errors
    def search(
        self,
        query: str | None = None,
        *,
        image: ImageLike | None = None,
        like: str | Sequence[str] = (),
        k: int = 10,
        templates: str | Sequence[str] = (),
        textness: float = 0.0,
        textness_vector: str | Path | None = None,
        folder: str | None = None,
        since: datetime | date | str | None = None,
        until: datetime | date | str | None = None,
        min_confidence: float | None = None,
    ) -> list[Hit]:
        """The images that answer one query, best first.

        Args:
            query: Words. A sign before a word adds or takes away the text up to the next sign, on request with a
                weight: ``"beach -people +sunset:2"``.
            image: An image: a path, a Pillow image or a uint8 array. Beside words it is added to them.
            like: An item of the index, or several: more like this. Beside words they are added to them.
            k: The most hits.
            templates: A sentence such as ``"a photo of {}"``, or several, whose vectors are averaged.
            textness: Above 0 prefers images with written words, below 0 avoids them.
            textness_vector: A ``textness.json``; None for the one in the index or beside its model.
            folder: Only images below this folder of the library.
            since: Only images changed on this day or later: a ``datetime``, a ``date`` or ``"2024-05-31"``.
            until: Only images changed before this day.
            min_confidence: Leaves out hits of a lower confidence, from 0 to 1, so that nothing may be left. Hits whose
                confidence is None are kept: those of images and items, and of an index without a background (see
                ``confidence_problem``).

        Returns:
            At most ``k`` hits, each of a query in words with its ``confidence``.

        Raises:
            DataError: An item is not in the index, or the index has no such folder.
            ImageError: The image cannot be decoded.
            ModelError: The index's model is gone, or lacks a tower.
            UsageError: Nothing was asked for, the parts of the query cancel each other, or the index was closed.

        Example:
            >>> with mckit.open_index(index) as photos:
            ...     hits = photos.search("a dog -bicycle", k=1)
            ...     hits[0].path == photo.with_name(hits[0].item)
            True
        """
        check_arguments("search", query=(query, str | None))
        likes = listed_texts("search", "like", like)
        words, images = [] if query is None else [query], [] if image is None else [image]
        vectors = self.encode(words, images=images, like=likes, templates=templates)
        if len(vectors) > 1:  # an image and items without words
            vectors = combine([1.0] * len(vectors), vectors)[None]
        hits = self.search_vectors(
            vectors,
            k=k,
            textness=textness,
            textness_vector=textness_vector,
            without=likes,
            folder=folder,
            since=since,
            until=until,
            texts=bool(words) and not images and not likes,
            min_confidence=min_confidence,
        )
        return hits[0]

    def encode(
        self,
        words: str | Sequence[str] = (),
        *,
        images: Sequence[ImageLike] = (),
        like: str | Sequence[str] = (),
        templates: str | Sequence[str] = (),
    ) -> Vectors:
        """Query vectors: one for each of ``words``, or without words one for each image and item.

        Args:
            words: Queries as in :meth:`search`; images and items are added to each of them.
            images: Images that need not be in the index.
            like: Items of the index.
            templates: See :meth:`search`.

        Returns:
            Unit rows, ``(q, d)`` float32.

        Raises:
            MckitError: See :meth:`search`.
        """
        words, like = listed_texts("encode", "words", words), listed_texts("encode", "like", like)
        templates = listed_texts("encode", "templates", templates)
        if not (len(words) or len(images) or len(like)):
            raise UsageError("There is no query.", hint="Pass words, an image, or an item of the index.")
        beside = vectors_of_items(self._reader, like)
        if len(images):
            beside = np.concatenate([self.encoder.encode_images(images), beside])
        return encode_queries(self.encoder, words, templates=templates, beside=beside) if len(words) else beside

    def search_vectors(
        self,
        vectors: Vectors,
        *,
        k: int = 10,
        textness: float = 0.0,
        textness_vector: str | Path | None = None,
        without: str | Sequence[str] = (),
        folder: str | None = None,
        since: datetime | date | str | None = None,
        until: datetime | date | str | None = None,
        texts: bool = False,
        min_confidence: float | None = None,
    ) -> list[list[Hit]]:
        """The hits of several queries.

        Args:
            vectors: Unit rows, ``(q, d)`` float32.
            k: The most hits of each query.
            textness: See :meth:`search`.
            textness_vector: See :meth:`search`.
            without: Items that are never hits.
            folder: See :meth:`search`.
            since: See :meth:`search`.
            until: See :meth:`search`.
            texts: Whether these are vectors of texts alone; the hits of others have no confidence.
            min_confidence: See :meth:`search`.

        Returns:
            A list of at most ``k`` hits for each query, best first.

        Raises:
            DataError: The index has no such folder.
            ShapeError: The width is not the index's.
            UsageError: There is no textness vector, a day cannot be searched for, or ``k`` is below 1.
        """
        check_arguments(
            "search",
            k=(k, Count), textness=(textness, float), textness_vector=(textness_vector, Path | None),
            folder=(folder, str | None), since=(since, date | str | None), until=(until, date | str | None),
            min_confidence=(min_confidence, Confidence | None),
        )  # fmt: skip
        without = listed_texts("search", "without", without)
        since_ns, until_ns = span_ns(since, until)
        if textness:
            path = None if textness_vector is None else Path(textness_vector)
            vectors = find_textness(self._reader, path).apply(vectors, textness)
        prefix = below(self._reader, folder)
        allowed = self._reader.allowed_rows(folder=prefix, since_ns=since_ns, until_ns=until_ns)
        # Asked only where nothing is left: a folder that exists may hold nothing of these days.
        if prefix and allowed is not None and not allowed.any() and not self._reader.store.living_rows(folder=prefix):
            raise DataError(f"The index {self.path} holds no images below a folder {folder!r}.")
        background = self._background[0] if texts else None
        found = search(self._reader, vectors, k, allowed=allowed, without=frozenset(without), background=background)
        return [certain_hits(hits, min_confidence) for hits in found]

    @property
    def confidence_problem(self) -> str | None:
        """Why no hit of this index has a confidence, one sentence; None when those of queries in words have one."""
        return self._background[1]

    @functools.cached_property
    def _background(self) -> tuple[Background | None, str | None]:
        return open_background(self._reader)

    @python_errors
    def update(self, images: str | Path | None = None, **options: Any) -> IndexReport:
        """Bring the index up to date with its folder, and search the new state from now on.

        Args:
            images: The folder; None for the one that was indexed.
            **options: Those of :func:`mobileclip_kit.build_index`, such as ``prune=True``.

        Returns:
            The counts of the run; also kept as ``report``.

        Raises:
            MckitError: See :func:`mobileclip_kit.build_index`.
            UsageError: The index knows no folder of images.
        """
        from mobileclip_kit.indexing.options import IndexOptions
        from mobileclip_kit.indexing.update import update_index

        folder = images or self._reader.header.images
        if folder is None:
            raise UsageError(f"The index {self.path} knows no folder of images.", hint="Pass the folder.")
        if self._reader.header.shard is not None:
            options.setdefault("shard", "{}/{}".format(*self._reader.header.shard))
        chosen = request_from(IndexOptions, "update", ("images",), **options)
        self.report = update_index(Path(folder), self.encoder, self.path, chosen)
        self.close()
        self._open_reader = IndexReader(self.path)
        self.__dict__.pop("_background", None)
        return self.report

    def close(self) -> None:
        """Close the files; a closed index cannot be searched."""
        if self._open_reader is not None:
            self._open_reader.close()
            self._open_reader = None

    def __len__(self) -> int:
        """The number of images that have a vector."""
        return self._reader.store.vectors

    def __contains__(self, item: str) -> bool:
        found = self._reader.store.find(item)
        return found is not None and found.row is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
