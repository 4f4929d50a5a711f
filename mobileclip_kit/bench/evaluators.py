"""Accuracy of one model, measured in a worker process: on the images of the user, or on the synthetic scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.process import Asked, encode_images, encode_texts
from mobileclip_kit.bench.results import Example, ExampleHit, InputSummary
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import ShapeError
from mobileclip_kit.metrics import (
    agreement,
    class_vectors,
    flatten_recall,
    mean_cosine,
    precision_at_1,
    recall_at_k,
    top_k,
    unit_rows,
    zero_shot,
)
from mobileclip_kit.scenes.queries import (
    count_queries,
    reading_queries,
    relation_queries,
    thing_queries,
    weakness_queries,
)
from mobileclip_kit.scenes.truth import read_truth
from mobileclip_kit.textness.evaluate import score_queries
from mobileclip_kit.textness.gallery import (
    EncodedGallery,
    TextEncoder,
    encode_gallery_queries,
    encode_weakness_queries,
)

_EXAMPLE_TEXTS, _EXAMPLE_HITS = 4, 6


@dataclass(frozen=True)
class Gallery:
    """Images that every model encodes, with their ground truth.

    Attributes:
        keys: Names of the images within their source.
        paths: Files of the images.
        captions: Texts, in any order.
        owners: For each text, the row of its image.
        skipped: Images that were listed but cannot be used, with the reasons.
        labels: For each image, the row of its class; empty if unknown.
        classes: Names of the classes.
        templates: Prompts with ``{}`` in the place of a class.
    """

    keys: tuple[str, ...]
    paths: tuple[Path, ...]
    captions: tuple[str, ...] = ()
    owners: tuple[int, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    labels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}",)

    def only(self, kept: Sequence[bool], why: str) -> Gallery:
        """The images for which ``kept`` is True; the others are skipped with the reason ``why``."""
        rows = [row for row, keep in enumerate(kept) if keep]
        place = {row: index for index, row in enumerate(rows)}
        texts = [(text, place[owner]) for text, owner in zip(self.captions, self.owners, strict=True) if owner in place]
        left = tuple(Skipped(key, why) for key, keep in zip(self.keys, kept, strict=True) if not keep)
        return Gallery(
            tuple(self.keys[row] for row in rows),
            tuple(self.paths[row] for row in rows),
            tuple(text for text, _ in texts),
            tuple(owner for _, owner in texts),
            self.skipped + left,
            tuple(self.labels[row] for row in rows) if self.labels else (),
            self.classes,
            self.templates,
        )


@dataclass
class TeacherVectors:
    """The vectors of a teacher for a gallery.

    Attributes:
        name: Name of the teacher, for the report.
        images: Vectors of the images, ``(n, e)``.
        texts: Vectors of the captions of the gallery, if the teacher has a text tower.
        queries: Vectors of other texts in the space of the teacher, ``(q, e)``.
        classes: Vectors of the classes of the gallery, ``(classes, e)``, if the teacher has a text tower.

    Raises:
        ShapeError: The queries are not in the teacher's space.
    """

    name: str
    images: Vectors
    texts: Vectors | None = None
    queries: Vectors | None = None
    classes: Vectors | None = None

    def __post_init__(self) -> None:
        if self.queries is not None and self.queries.shape[1] != self.images.shape[1]:
            raise ShapeError(
                f"The queries have {self.queries.shape[1]} numbers a vector, {self.name} has {self.images.shape[1]}.",
                hint="Pass text vectors of the teacher itself as --queries.",
            )


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of one model.

    Attributes:
        metrics: Values by the names of :data:`mobileclip_kit.bench.results.METRICS`.
        examples: A few texts and the hits of the model for them.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()


class Evaluator(Protocol):
    """Measures the accuracy of a model in a worker."""

    @property
    def paths(self) -> Sequence[Path]:
        """The images to encode."""
        ...

    @property
    def files(self) -> Mapping[str, Path]:
        """The images by their names in the examples."""
        ...

    def evaluate(self, worker: Asked, towers: Sequence[str]) -> Evaluation:
        """Evaluate one model.

        Raises:
            MckitError: The model fails, or its vectors cannot be used.
        """
        ...

    def describe(self) -> InputSummary:
        """What the report says about the images."""
        ...


@dataclass(frozen=True)
class ImageEvaluator:
    """Accuracy on the user's images.

    Attributes:
        gallery: Images, with or without captions and classes.
        teacher: The vectors of the teacher for them.
    """

    gallery: Gallery
    teacher: TeacherVectors | None = None

    @property
    def paths(self) -> Sequence[Path]:
        """The files of the gallery."""
        return self.gallery.paths

    @property
    def files(self) -> Mapping[str, Path]:
        """See :class:`Evaluator`."""
        return dict(zip(self.gallery.keys, self.gallery.paths, strict=True))

    def evaluate(self, worker: Asked, towers: Sequence[str]) -> Evaluation:
        """See :class:`Evaluator`. A model without a text tower uses the texts of the teacher: the space is the same."""
        gallery, teacher = self.gallery, self.teacher
        if not self.describe().judges:
            return Evaluation()
        images = encode_images(worker, gallery.paths)
        texts = classes = None
        if "text" in towers:
            texts = encode_texts(worker, gallery.captions) if gallery.captions else None
            classes = encode_classes(worker, gallery) if gallery.labels else None
        elif teacher is not None:
            texts, classes = (_same_space(vectors, images) for vectors in (teacher.texts, teacher.classes))
        metrics = evaluate_gallery(images, gallery, texts=texts, teacher=teacher, classes=classes)
        return Evaluation(metrics, find_examples(images, gallery, texts=texts, classes=classes))

    def describe(self) -> InputSummary:
        """See :class:`Evaluator`."""
        gallery, teacher = self.gallery, self.teacher
        return InputSummary(
            images=len(gallery.keys),
            captions=len(gallery.captions),
            classes=len(gallery.classes),
            teacher=None if teacher is None else teacher.name,
            queries=0 if teacher is None or teacher.queries is None else len(teacher.queries),
            skipped=gallery.skipped,
        )


@dataclass(frozen=True)
class ScenesEvaluator:
    """Accuracy on the synthetic scenes: relevant images are known exactly, and typographic errors can be counted.

    Attributes:
        mixed: Folder of the split ``test``.
        fair: Folder of the split ``gallery``.
    """

    mixed: Path
    fair: Path

    @property
    def paths(self) -> Sequence[Path]:
        """The files of the mixed gallery."""
        return [self.mixed / row.image for row in read_truth(self.mixed)]

    @property
    def files(self) -> Mapping[str, Path]:
        """None: there are no examples of scenes."""
        return {}

    def evaluate(self, worker: Asked, towers: Sequence[str]) -> Evaluation:
        """See :class:`Evaluator`; no metrics for a model that lacks a tower."""
        if set(towers) != {"image", "text"}:
            return Evaluation()
        mixed, fair = (_encode_scenes(worker, folder) for folder in (self.mixed, self.fair))
        figures = evaluate_scenes(_WorkerTexts(worker), mixed, fair)
        return Evaluation({f"scenes_{name}": value for name, value in figures.items()})

    def describe(self) -> InputSummary:
        """See :class:`Evaluator`."""
        images, fair = (len(read_truth(folder)) for folder in (self.mixed, self.fair))
        return InputSummary(images=images, fair_images=fair, scenes=True)


def evaluate_gallery(
    images: Vectors,
    gallery: Gallery,
    *,
    texts: Vectors | None,
    teacher: TeacherVectors | None,
    classes: Vectors | None = None,
) -> dict[str, float]:
    """All metrics that the ground truth permits.

    Args:
        images: Vectors of the gallery from the model, ``(n, d)``.
        gallery: The images.
        texts: Vectors of the captions of the gallery, ``(m, d)``.
        teacher: The vectors of the teacher for the same gallery.
        classes: Vectors of the classes of the gallery, ``(classes, d)``.

    Returns:
        ``map_at_10`` …, ``overlap_at_10`` … and ``cosine`` with the teacher; the same as ``query_…`` for text queries;
        ``recall_at_1_text_to_image`` … for captions; ``zero_shot_top1`` … for classes. Shares from 0 to 1.
    """
    figures: dict[str, float] = {}
    if teacher is not None:
        figures.update(agreement(images, teacher.images))
        if images.shape[1] == teacher.images.shape[1]:
            figures["cosine"] = mean_cosine(images, teacher.images)
            if teacher.queries is not None:
                by_query = agreement(images, teacher.images, queries=teacher.queries)
                figures.update({f"query_{name}": value for name, value in by_query.items()})
    if texts is not None and len(texts):
        figures.update(flatten_recall(recall_at_k(images, texts, gallery.owners)))
    if classes is not None and gallery.labels:
        found = zero_shot(images, gallery.labels, classes)
        figures.update({f"zero_shot_{name}": value for name, value in found.items()})
    return figures


def find_examples(
    images: Vectors, gallery: Gallery, *, texts: Vectors | None, classes: Vectors | None
) -> tuple[Example, ...]:
    """The hits of a model for some captions of a gallery, or for some of its classes if there are no captions.

    Args:
        images: Vectors of the gallery from the model, ``(n, d)``.
        gallery: The images.
        texts: Vectors of the captions of the gallery, ``(m, d)``.
        classes: Vectors of its classes, ``(classes, d)``.

    Returns:
        A hit is ``right`` if the text is a caption of the image or names its class. ``right`` is None for an image that
        the caption may also describe.
    """
    known: list[dict[int, bool]]
    if texts is not None and len(texts):
        chosen = spread(len(texts), _EXAMPLE_TEXTS)
        names, vectors = [gallery.captions[row] for row in chosen], texts[list(chosen)]
        known = [{gallery.owners[row]: True} for row in chosen]
    elif classes is not None and gallery.labels:
        present = sorted(set(gallery.labels))
        chosen = tuple(present[place] for place in spread(len(present), _EXAMPLE_TEXTS))
        names, vectors = [gallery.classes[row] for row in chosen], classes[list(chosen)]
        known = [{row: label == one for row, label in enumerate(gallery.labels)} for one in chosen]
    else:
        return ()
    queries, shown = unit_rows(vectors, "The texts"), unit_rows(images, "The images")
    best = top_k(queries, shown, min(_EXAMPLE_HITS, len(shown)))
    return tuple(
        Example(
            text,
            tuple(
                ExampleHit(gallery.keys[row], round(float(shown[row] @ vector), 4), right.get(int(row))) for row in rows
            ),
        )
        for text, vector, rows, right in zip(names, queries, best, known, strict=True)
    )


def evaluate_scenes(encoder: TextEncoder, mixed: EncodedGallery, fair: EncodedGallery) -> dict[str, float]:
    """Accuracy on the synthetic scenes, whose ground truth is exact; shares from 0 to 1.

    Args:
        encoder: Encodes texts into the space of the vectors of the images.
        mixed: A gallery of the split ``test``: all kinds of scenes, with unseen combinations of kind and colour.
        fair: A gallery of the split ``gallery``: as many images of each word alone as of its thing.

    Returns:
        ``precision_at_1`` ("a red star"), ``precision_at_1_unseen`` (combinations that never occur in training),
        ``reading_precision_at_1`` ("the word car"), ``count_precision_at_1``, ``relation_precision_at_1``, and
        ``typographic_error_rate`` (for "a photo of a car", an image of the word ranks above all images of the thing).
        Metrics whose queries do not occur in the galleries are left out.
    """
    things = thing_queries(mixed.truth)
    kinds = {
        "precision_at_1": things,
        "precision_at_1_unseen": [query for query in things if query.unseen],
        "reading_precision_at_1": reading_queries(mixed.truth),
        "count_precision_at_1": count_queries(mixed.truth),
        "relation_precision_at_1": relation_queries(mixed.truth),
    }
    figures = {}
    for name, queries in kinds.items():
        if queries:
            encoded = encode_gallery_queries(encoder, mixed, queries)
            figures[name] = precision_at_1(encoded.queries, encoded.gallery, encoded.right)
    weakness = weakness_queries(fair.truth)
    if weakness:
        errors = score_queries(encode_weakness_queries(encoder, fair, weakness)).typographic_error_rate
        assert errors is not None  # every typographic query has both things and words
        figures["typographic_error_rate"] = errors
    return figures


def encode_classes(worker: Asked, gallery: Gallery) -> Vectors:
    """A vector for each class of a gallery, ``(classes, d)``."""
    return class_vectors(lambda texts: encode_texts(worker, texts), gallery.classes, gallery.templates)


def spread(count: int, most: int) -> tuple[int, ...]:
    """At most ``most`` numbers of ``range(count)``, evenly spaced, starting with 0."""
    return tuple(range(count)) if count <= most else tuple(place * count // most for place in range(most))


def _encode_scenes(worker: Asked, folder: Path) -> EncodedGallery:
    truth = list(read_truth(folder))
    return EncodedGallery(truth, encode_images(worker, [folder / row.image for row in truth]))


def _same_space(vectors: Vectors | None, images: Vectors) -> Vectors | None:
    return vectors if vectors is not None and vectors.shape[1] == images.shape[1] else None


class _WorkerTexts:
    """The text encoder of a worker."""

    def __init__(self, worker: Asked) -> None:
        self._worker = worker

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return encode_texts(self._worker, texts)
