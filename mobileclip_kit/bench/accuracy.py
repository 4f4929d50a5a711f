"""What a model's vectors are worth: agreement with a teacher, retrieval, zero-shot classes, right answers first.

Pure functions of vectors, whoever made them. Cosine ranks, ties go to the lower row (see :mod:`.ranking`). All figures
are shares from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.metrics import Rows, score_blocks, top_k, unit_rows

# The depths that PicCollage reports.
MAP_DEPTHS = tuple(range(10, 21))


def map_at_n(
    student_vectors: ArrayLike,
    teacher_vectors: ArrayLike,
    n: int,
    queries: ArrayLike | None = None,
    student_queries: ArrayLike | None = None,
) -> float:
    """Mean average precision of the student's first N against the teacher's first N (PicCollage 2021).

    For each query the teacher's first N images are the relevant set R, and the student's first N are s₁ … s_N:
    ``AP = 1/N · Σᵢ [sᵢ ∈ R] · |{s₁ … sᵢ} ∩ R| / i``; the result is the mean AP over the queries. It is 1 when both name
    the same N images, in whatever order, and near 0 for unrelated rankings of many images.

    Args:
        student_vectors: ``(n, d)``, the student's vectors of the images.
        teacher_vectors: ``(n, e)``, the teacher's vectors of the same images; e may differ from d unless ``queries``
            serve both.
        n: Depth N of both lists.
        queries: ``(q, e)`` vectors (of texts, say) that ask the teacher's images, and the student's as well unless
            ``student_queries`` is given. None: every image asks the other ones, itself excluded.
        student_queries: ``(q, d)``, the same questions in the student's own vectors.

    Returns:
        A share from 0 to 1.

    Raises:
        ShapeError: The two have different images, or widths do not fit.
        DataError: There are fewer than N images to name.
    """
    return map_over_depths(student_vectors, teacher_vectors, (n,), queries, student_queries)[n]


def map_over_depths(
    student_vectors: ArrayLike,
    teacher_vectors: ArrayLike,
    depths: Sequence[int] = MAP_DEPTHS,
    queries: ArrayLike | None = None,
    student_queries: ArrayLike | None = None,
) -> dict[int, float]:
    """:func:`map_at_n` for several N, ranking once."""
    relevant, named = _both_top(student_vectors, teacher_vectors, max(depths), queries, student_queries)
    figures = {}
    for n in depths:
        hits = _is_member(named[:, :n], relevant[:, :n])
        precision = np.cumsum(hits, axis=1) / np.arange(1, n + 1)
        figures[n] = float((precision * hits).sum(axis=1).mean() / n)
    return figures


def overlap_at_k(
    a: ArrayLike,
    b: ArrayLike,
    k: int,
    queries: ArrayLike | None = None,
    student_queries: ArrayLike | None = None,
) -> float:
    """Mean share of the first k images that two models both name, each image asking the others.

    Args:
        a: ``(n, d)``, one model's vectors.
        b: ``(n, e)``, another model's vectors of the same images.
        k: Depth of both lists.
        queries: As in :func:`map_at_n`, with ``b`` in the teacher's place.
        student_queries: As in :func:`map_at_n`, with ``a`` in the student's place.
    """
    relevant, named = _both_top(a, b, k, queries, student_queries)
    return float(_is_member(named, relevant).mean())


def mean_cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Mean cosine between two models' vectors of the same images, where both live in one space."""
    first, second = unit_rows(a), unit_rows(b)
    if first.shape != second.shape:
        raise ShapeError(f"{first.shape} and {second.shape} are not vectors of the same images in one space.")
    return float(np.einsum("nd,nd->n", first, second).mean())


def recall_at_k(
    image_vectors: ArrayLike, text_vectors: ArrayLike, text_to_image: Sequence[int], ks: Sequence[int] = (1, 5, 10)
) -> dict[str, dict[int, float]]:
    """Retrieval against the truth of captions, both ways, with one or more captions an image.

    Args:
        image_vectors: ``(n, d)``.
        text_vectors: ``(m, d)``.
        text_to_image: ``(m,)``, the row of the image that each text describes.
        ks: Depths.

    Returns:
        ``{"text_to_image": {k: share of texts whose image is among the first k}, "image_to_text": {k: share of
        images any of whose texts is among the first k}}``. An image without texts asks nothing, but competes.

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
        "text_to_image": first_right_ranks(texts, images, [(row,) for row in owner]),
        "image_to_text": first_right_ranks(images[described], texts, captions),
    }
    return {way: {k: float((rank < k).mean()) for k in ks} for way, rank in ranks.items()}


def precision_at_1(query_vectors: ArrayLike, gallery: ArrayLike, right: Sequence[Collection[int]]) -> float:
    """The share of queries whose first hit truly answers them.

    Args:
        query_vectors: ``(q, d)``.
        gallery: ``(n, d)``.
        right: For each query the rows of the gallery that answer it.

    Raises:
        DataError: A query has no right answer, or there is no query.
    """
    return float((first_right_ranks(query_vectors, gallery, right) == 0).mean())


def first_right_ranks(query_vectors: ArrayLike, gallery: ArrayLike, right: Sequence[Collection[int]]) -> Rows:
    """The place of the best right answer of each query, from 0.

    Args:
        query_vectors: ``(q, d)``.
        gallery: ``(n, d)``.
        right: For each query the rows of the gallery that answer it.

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
        raise DataError("A query without a right answer cannot be judged, nor can no query at all.")
    ranks = np.empty(len(queries), dtype=np.intp)
    for block, scores in score_blocks(queries, rows):
        for row, line in zip(range(block.start, block.stop), scores, strict=True):
            answers = np.sort(np.fromiter(right[row], dtype=np.intp))
            best = answers[np.argmax(line[answers])]
            ranks[row] = (line > line[best]).sum() + (line[:best] == line[best]).sum()
    return ranks


def zero_shot(image_vectors: ArrayLike, labels: Sequence[int], class_vectors: ArrayLike) -> dict[str, float]:
    """Classification by the nearest class vector.

    Args:
        image_vectors: ``(n, d)``.
        labels: ``(n,)``, each image's row of ``class_vectors``.
        class_vectors: ``(classes, d)``, see :func:`class_vectors`.

    Returns:
        ``{"top1": …, "top5": …}``; ``top5`` only when there are more than five classes, since it means nothing else.

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
    ranks = first_right_ranks(images, classes, [(label,) for label in truth])
    return {f"top{k}": float((ranks < k).mean()) for k in (1, 5) if k < len(classes)}


def class_vectors(
    encode: Callable[[Sequence[str]], NDArray[np.float32]], names: Sequence[str], templates: Sequence[str] = ("a {}",)
) -> Vectors:
    """One vector for each class: the direction of the mean of its prompts' unit vectors (CLIP, arXiv 2103.00020).

    Args:
        encode: Texts in, ``(n, d)`` vectors out.
        names: The classes.
        templates: Prompts with ``{}`` in the name's place.

    Returns:
        ``(classes, d)``, rows of length 1.

    Raises:
        DataError: No name, no template, or a template without ``{}``.
    """
    if not names or not templates or any("{}" not in template for template in templates):
        raise DataError("Class vectors need names, and templates with {} in the name's place.")
    # str.replace, not str.format: a class may be called "{x}".
    texts = [template.replace("{}", name) for name in names for template in templates]
    prompts = unit_rows(encode(texts), "The prompts' vectors")
    return unit_rows(prompts.reshape(len(names), len(templates), -1).mean(axis=1), "The class vectors")


def rows_of(keys: Sequence[str], answers: Collection[str]) -> list[int]:
    """The rows of a gallery whose keys are among the answers, for :func:`precision_at_1`."""
    return [row for row, key in enumerate(keys) if key in answers]


def agreement(
    student_vectors: ArrayLike,
    teacher_vectors: ArrayLike,
    *,
    queries: ArrayLike | None = None,
    student_queries: ArrayLike | None = None,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Every agreement figure that the number of images allows.

    Returns:
        ``map_at_10`` … ``map_at_20``, ``map_at_10_to_20`` (their mean), ``overlap_at_1``, ``…_5``, ``…_10``; depths
        that there are too few images for are left out.
    """
    available = len(np.asarray(teacher_vectors)) - int(queries is None)
    depths = [n for n in MAP_DEPTHS if n <= available]
    figures: dict[str, float] = {}
    if depths:
        maps = map_over_depths(student_vectors, teacher_vectors, depths, queries, student_queries)
        figures.update({f"map_at_{n}": value for n, value in maps.items()})
        if len(depths) == len(MAP_DEPTHS):
            figures["map_at_10_to_20"] = float(np.mean(list(maps.values())))
    for k in ks:
        if k <= available:
            figures[f"overlap_at_{k}"] = overlap_at_k(student_vectors, teacher_vectors, k, queries, student_queries)
    return figures


def flatten_recall(recall: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """``{"text_to_image": {1: …}}`` as ``{"recall_at_1_text_to_image": …}``."""
    return {f"recall_at_{k}_{way}": value for way, figures in recall.items() for k, value in figures.items()}


def _both_top(
    student: ArrayLike, teacher: ArrayLike, n: int, queries: ArrayLike | None, student_queries: ArrayLike | None
) -> tuple[Rows, Rows]:
    """The teacher's and the student's first n, ``(q, n)`` each."""
    pupil, master = np.asarray(student), np.asarray(teacher)
    if len(pupil) != len(master):
        raise ShapeError(f"{len(pupil)} vectors and {len(master)} vectors are not of the same images.")
    if queries is None:
        if student_queries is not None:
            raise ShapeError("student_queries need queries beside them.")
        return top_k(master, master, n, exclude_self=True), top_k(pupil, pupil, n, exclude_self=True)
    own = queries if student_queries is None else student_queries
    if len(np.asarray(own)) != len(np.asarray(queries)):
        raise ShapeError("The student and the teacher are asked different numbers of queries.")
    return top_k(queries, master, n), top_k(own, pupil, n)


def _is_member(named: Rows, relevant: Rows) -> NDArray[np.bool_]:
    """Which of the named rows stand in the same query's relevant set, ``(q, n)``."""
    return np.asarray((named[:, :, None] == relevant[:, None, :]).any(axis=2))
