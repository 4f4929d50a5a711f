"""Comparing and ranking rows of vectors: cosine, top-k, overlap@k, MAP@N, recall@k, precision@1, zero-shot accuracy.

Every accuracy figure of the package is computed here, on vectors from any encoder. Search is exact. Of two equal scores
the lower row comes first, so that a collapsed model (all vectors alike) scores at chance and not at 1. Figures are
shares from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError

Rows = NDArray[np.intp]

# Queries scored at once: 256 × 100,000 images in float32 are 100 MB.
_BLOCK = 256
# Neighbours compared by nearest_overlap.
NEAREST = 10
# The depths that PicCollage reports.
MAP_DEPTHS = tuple(range(10, 21))
RECALL_DEPTHS = (1, 5, 10)


def scale_rows(vectors: ArrayLike) -> tuple[Vectors, NDArray[np.bool_]]:
    """Scale rows to length 1 where that is possible.

    Args:
        vectors: ``(n, d)``.

    Returns:
        The rows, ``(n, d)``, and which of them have no direction (zero, or not finite), ``(n,)``; those become zero.
    """
    array = np.asarray(vectors)
    if array.dtype in (np.float16, np.float32):  # whose squares neither overflow nor vanish in float64
        lengths = np.sqrt(np.einsum("nd,nd->n", array, array, dtype=np.float64))
        bad = ~np.isfinite(lengths) | (lengths == 0)
        lengths[bad] = np.inf
        with np.errstate(invalid="ignore"):
            rows = np.divide(array, lengths[:, None], out=np.empty(array.shape, np.float32), casting="same_kind")
        rows[bad] = 0
        return rows, bad
    wide = array.astype(np.float64)
    # Divided by the largest entry first, so that no square overflows or vanishes.
    largest = np.abs(wide).max(axis=1, keepdims=True)
    bad = ~np.isfinite(largest[:, 0]) | (largest[:, 0] == 0)
    wide = np.divide(wide, largest, where=~bad[:, None], out=np.zeros_like(wide))
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, lengths, where=~bad[:, None], out=np.zeros_like(wide)).astype(np.float32), bad


def unit_rows(vectors: ArrayLike, what: str = "The vectors") -> Vectors:
    """Scale rows to length 1.

    Args:
        vectors: ``(n, d)``.
        what: Names the vectors in the error message.

    Raises:
        ShapeError: Not two-dimensional.
        DataError: A row is zero or not finite.
    """
    array = np.asarray(vectors)
    if array.ndim != 2:
        raise ShapeError(f"{what} have the shape {array.shape}; (n, d) is wanted.")
    rows, bad = scale_rows(array)
    if bad.any():
        raise DataError(
            f"{what} hold {bad.sum()} of {len(rows)} rows that are zero or not finite, row {bad.argmax()} first.",
            hint="The model that made them is broken, or overflows in its precision.",
        )
    return rows


def score_blocks(queries: Vectors, gallery: Vectors) -> Iterator[tuple[slice, Vectors]]:
    """Cosines of unit rows, ``(block, n)`` at a time, with the slice of the queries that each block holds.

    Raises:
        ShapeError: Widths differ.
    """
    if queries.shape[1] != gallery.shape[1]:
        raise ShapeError(
            f"Vectors of width {queries.shape[1]} cannot be compared with vectors of width {gallery.shape[1]}."
        )
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(queries)))
        yield rows, queries[rows] @ gallery.T


def best_first(scores: NDArray[np.floating], k: int | None = None) -> Rows:
    """Columns of the ``k`` greatest scores of each line (all by default), best first; ties go to the lower column."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def top_k(queries: ArrayLike, gallery: ArrayLike, k: int, *, exclude_self: bool = False) -> Rows:
    """The rows of the gallery nearest to each query, best first.

    Args:
        queries: ``(q, d)``.
        gallery: ``(n, d)``.
        k: Number of rows for each query.
        exclude_self: Query i is row i of the gallery and is not among its own results.

    Returns:
        ``(q, k)`` rows of the gallery.

    Raises:
        ShapeError: Widths differ, or ``exclude_self`` with another number of queries than rows.
        DataError: The gallery has fewer than k other rows.
    """
    wanted, rows = unit_rows(queries, "The queries"), unit_rows(gallery, "The gallery")
    available = len(rows) - int(exclude_self)
    if not 1 <= k <= available:
        raise DataError(f"The best {k} of {available} cannot be named.", hint="Take more images or a smaller k.")
    if exclude_self and len(wanted) != len(rows):
        raise ShapeError(f"{len(wanted)} queries are not the {len(rows)} rows of the gallery.")
    best = np.empty((len(wanted), k), dtype=np.intp)
    for block, scores in score_blocks(wanted, rows):
        if exclude_self:
            scores[np.arange(len(scores)), np.arange(block.start, block.stop)] = -np.inf
        best[block] = best_first(scores, k)
    return best


def row_cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of each row with the same row of the other matrix, in float64, so that equal rows give 1.

    Args:
        first: ``(n, d)``, rows of any length.
        second: ``(n, d)``.

    Returns:
        ``(n,)``; 0 where a row has no direction (zero, or not finite).

    Raises:
        ShapeError: The shapes differ.
    """
    if first.shape != second.shape:
        raise ShapeError(f"{first.shape} and {second.shape} are not vectors of the same inputs in one space.")
    a, b = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        usable = np.isfinite(lengths) & (lengths > 0)
        cosines = np.divide((a * b).sum(axis=1), lengths, where=usable, out=np.zeros(len(a)))
    clipped: NDArray[np.float64] = np.clip(cosines, -1, 1)
    return clipped


def mean_cosine(first: ArrayLike, second: ArrayLike) -> float:
    """Mean cosine between two models' vectors of the same inputs, ``(n, d)`` each, in one space.

    Raises:
        ShapeError: The shapes differ.
        DataError: A row is zero or not finite.
    """
    return float(row_cosines(unit_rows(first), unit_rows(second)).mean())


def nearest_overlap(wanted: ArrayLike, actual: ArrayLike, *, k: int = NEAREST) -> float | None:
    """Mean share of the ``k`` nearest that two sets of vectors of the same inputs agree on.

    Each input is a query among the others. With few inputs, ``k`` is at most half of the others, since choosing all of
    them would always agree.

    Args:
        wanted: ``(n, d)``.
        actual: ``(n, e)``, of the same inputs.
        k: Number of neighbours.

    Returns:
        0…1, or None for fewer than three inputs.
    """
    count = len(np.asarray(wanted))
    return None if count < 3 else overlap_at_k(actual, wanted, min(k, (count - 1) // 2))


def overlap_at_k(
    student: ArrayLike,
    teacher: ArrayLike,
    k: int,
    queries: ArrayLike | None = None,
    student_queries: ArrayLike | None = None,
) -> float:
    """Mean share of the first k images that two models have in common; arguments as in :func:`map_over_depths`."""
    relevant, found = _both_top(student, teacher, k, queries, student_queries)
    return float(_is_member(found, relevant).mean())


def map_over_depths(
    student: ArrayLike,
    teacher: ArrayLike,
    depths: Sequence[int] = MAP_DEPTHS,
    queries: ArrayLike | None = None,
    student_queries: ArrayLike | None = None,
) -> dict[int, float]:
    """MAP@N: mean average precision of the student's first N against the teacher's first N (PicCollage 2021).

    For each query the teacher's first N images are the relevant set R, and the student's first N are s₁ … s_N:
    ``AP = 1/N · Σᵢ [sᵢ ∈ R] · |{s₁ … sᵢ} ∩ R| / i``; MAP@N is the mean AP over the queries. It is 1 when both find the
    same N images, in any order, and near 0 for unrelated rankings of many images.

    Args:
        student: ``(n, d)``, the student's vectors of the images.
        teacher: ``(n, e)``, the teacher's vectors of the same images; e may differ from d unless both use ``queries``.
        depths: Each N.
        queries: ``(q, e)`` vectors, of texts for example, for the teacher, and for the student as well unless
            ``student_queries`` is given. None: each image is a query among the others.
        student_queries: ``(q, d)``, the same queries in the student's own vectors.

    Returns:
        ``{N: share}``.

    Raises:
        ShapeError: Numbers of images or of queries differ, or widths do not fit.
        DataError: There are fewer images than the greatest N.
    """
    relevant, found = _both_top(student, teacher, max(depths), queries, student_queries)
    figures = {}
    for n in depths:
        hits = _is_member(found[:, :n], relevant[:, :n])
        precision = np.cumsum(hits, axis=1) / np.arange(1, n + 1)
        figures[n] = float((precision * hits).sum(axis=1).mean() / n)
    return figures


def agreement(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    queries: ArrayLike | None = None,
    student_queries: ArrayLike | None = None,
) -> dict[str, float]:
    """All figures of agreement with a teacher that the number of images allows.

    Returns:
        ``map_at_10`` … ``map_at_20``, ``map_at_10_to_20`` (their mean), ``overlap_at_1``, ``…_5``, ``…_10``, without
        the depths that need more images.
    """
    available = len(np.asarray(teacher)) - int(queries is None)
    depths = [n for n in MAP_DEPTHS if n <= available]
    figures: dict[str, float] = {}
    if depths:
        maps = map_over_depths(student, teacher, depths, queries, student_queries)
        figures.update({f"map_at_{n}": value for n, value in maps.items()})
        if len(depths) == len(MAP_DEPTHS):
            figures["map_at_10_to_20"] = float(np.mean(list(maps.values())))
    for k in RECALL_DEPTHS:
        if k <= available:
            figures[f"overlap_at_{k}"] = overlap_at_k(student, teacher, k, queries, student_queries)
    return figures


def recall_at_k(
    image_vectors: ArrayLike, text_vectors: ArrayLike, text_to_image: Sequence[int], ks: Sequence[int] = RECALL_DEPTHS
) -> dict[str, dict[int, float]]:
    """Retrieval with captions as ground truth, both ways, with one or more captions an image.

    Args:
        image_vectors: ``(n, d)``.
        text_vectors: ``(m, d)``.
        text_to_image: ``(m,)``, the row of the image that each text describes.
        ks: Depths.

    Returns:
        ``{"text_to_image": {k: share of texts whose image is among the first k}, "image_to_text": {k: share of
        images any of whose texts is among the first k}}``. An image without texts is no query, but a candidate.

    Raises:
        ShapeError: Not one image for each text.
        DataError: A text's image is not in the gallery, or there is no text.
    """
    images, texts = unit_rows(image_vectors, "The image vectors"), unit_rows(text_vectors, "The text vectors")
    owner = np.asarray(text_to_image, dtype=np.intp)
    if owner.shape != (len(texts),):
        raise ShapeError(f"{len(texts)} texts have {owner.size} images; each text needs one.")
    if not len(texts) or owner.min() < 0 or owner.max() >= len(images):
        raise DataError(f"{len(texts)} texts do not all belong to one of the {len(images)} images.")
    described = np.unique(owner)
    captions = [np.flatnonzero(owner == image) for image in described]
    ranks = {
        "text_to_image": first_right_ranks(texts, images, owner[:, None]),
        "image_to_text": first_right_ranks(images[described], texts, captions),
    }
    return {way: {k: float((rank < k).mean()) for k in ks} for way, rank in ranks.items()}


def flatten_recall(recall: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """``{"text_to_image": {1: …}}`` as ``{"recall_at_1_text_to_image": …}``."""
    return {f"recall_at_{k}_{way}": value for way, figures in recall.items() for k, value in figures.items()}


def precision_at_1(query_vectors: ArrayLike, gallery: ArrayLike, right: Sequence[Collection[int]]) -> float:
    """Share of the queries whose first hit is right; arguments and errors as in :func:`first_right_ranks`."""
    return float((first_right_ranks(query_vectors, gallery, right) == 0).mean())


def first_right_ranks(
    query_vectors: ArrayLike, gallery: ArrayLike, right: Sequence[Collection[int]] | Rows, *, ties_behind: bool = False
) -> Rows:
    """Rank of the best right answer of each query, from 0.

    Args:
        query_vectors: ``(q, d)``.
        gallery: ``(n, d)``.
        right: For each query the rows of the gallery that answer it.
        ties_behind: Rank a right answer behind the wrong ones of the same score: collapsed vectors then find nothing.

    Returns:
        ``(q,)``.

    Raises:
        ShapeError: Not one set of right answers for each query.
        DataError: A query has no right answer, or there is no query.
    """
    queries, rows = unit_rows(query_vectors, "The queries"), unit_rows(gallery, "The gallery")
    if len(right) != len(queries):
        raise ShapeError(f"{len(queries)} queries have {len(right)} sets of right answers.")
    if not len(queries) or any(len(answers) == 0 for answers in right):
        raise DataError("Each query needs a right answer, and there must be at least one query.")
    ranks = np.empty(len(queries), dtype=np.intp)
    for block, scores in score_blocks(queries, rows):
        for row, line in zip(range(block.start, block.stop), scores, strict=True):
            answers = np.sort(np.fromiter(right[row], dtype=np.intp))
            best = answers[np.argmax(line[answers])]
            tied = line == line[best]
            ahead = tied.sum() - tied[answers].sum() if ties_behind else tied[:best].sum()
            ranks[row] = (line > line[best]).sum() + ahead
    return ranks


def zero_shot(image_vectors: ArrayLike, labels: Sequence[int], class_vectors: ArrayLike) -> dict[str, float]:
    """Classification by the nearest class vector.

    Args:
        image_vectors: ``(n, d)``.
        labels: ``(n,)``, each image's row of ``class_vectors``.
        class_vectors: ``(classes, d)``, see :func:`class_vectors`.

    Returns:
        ``{"top1": …, "top5": …}``; ``top5`` only with more than five classes.

    Raises:
        DataError: Fewer than two classes, no image, or a label without a class.
    """
    images, classes = unit_rows(image_vectors, "The image vectors"), unit_rows(class_vectors, "The class vectors")
    if len(classes) < 2:
        raise DataError(f"{len(classes)} class cannot be told from another one.", hint="Give two or more classes.")
    truth = np.asarray(labels, dtype=np.intp)
    if truth.shape != (len(images),):
        raise ShapeError(f"{len(images)} images have {truth.size} labels.")
    if not len(images) or truth.min() < 0 or truth.max() >= len(classes):
        raise DataError(f"{len(images)} images do not all have a label from 0 to {len(classes) - 1}.")
    ranks = first_right_ranks(images, classes, truth[:, None])
    return {f"top{k}": float((ranks < k).mean()) for k in (1, 5) if k < len(classes)}


def class_vectors(
    encode: Callable[[Sequence[str]], NDArray[np.float32]], names: Sequence[str], templates: Sequence[str] = ("a {}",)
) -> Vectors:
    """One vector for each class: the direction of the mean of its prompts' unit vectors (CLIP, arXiv 2103.00020).

    Args:
        encode: Texts in, ``(n, d)`` vectors out.
        names: The classes.
        templates: Prompts with ``{}`` in place of the name.

    Returns:
        ``(classes, d)``, rows of length 1.

    Raises:
        DataError: No name, no template, or a template without ``{}``.
    """
    if not names or not templates or any("{}" not in template for template in templates):
        raise DataError("Class vectors need names, and templates with {} in place of the name.")
    # str.replace, not str.format: a class may be called "{x}".
    texts = [template.replace("{}", name) for name in names for template in templates]
    prompts = unit_rows(encode(texts), "The prompts' vectors")
    return unit_rows(prompts.reshape(len(names), len(templates), -1).mean(axis=1), "The class vectors")


def _both_top(
    student: ArrayLike, teacher: ArrayLike, n: int, queries: ArrayLike | None, student_queries: ArrayLike | None
) -> tuple[Rows, Rows]:
    """The teacher's and the student's first n, ``(q, n)`` each."""
    ours, theirs = np.asarray(student), np.asarray(teacher)
    if len(ours) != len(theirs):
        raise ShapeError(f"{len(ours)} vectors and {len(theirs)} vectors are not of the same images.")
    if queries is None:
        if student_queries is not None:
            raise ShapeError("student_queries are given without queries.")
        return top_k(theirs, theirs, n, exclude_self=True), top_k(ours, ours, n, exclude_self=True)
    own = queries if student_queries is None else student_queries
    if len(np.asarray(own)) != len(np.asarray(queries)):
        raise ShapeError("The student and the teacher have different numbers of queries.")
    return top_k(queries, theirs, n), top_k(own, ours, n)


def _is_member(found: Rows, relevant: Rows) -> NDArray[np.bool_]:
    """Which of the found rows are in the same query's relevant set, ``(q, n)``."""
    return np.asarray((found[:, :, None] == relevant[:, None, :]).any(axis=2))
