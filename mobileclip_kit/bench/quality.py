"""Accuracy figures of one model, from whatever truth the user has: a teacher's vectors, queries, captions, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import ShapeError
from mobileclip_kit.metrics import agreement, flatten_recall, mean_cosine, recall_at_k, zero_shot


@dataclass(frozen=True)
class Gallery:
    """Images that every model encodes, and what is true of them.

    Attributes:
        keys: Names within their source.
        paths: Their files.
        captions: Texts, in no image's order.
        owners: For each text the row of its image.
        skipped: What was listed and cannot be used, with reasons.
        labels: For each image the row of its class; empty where nobody knows.
        classes: Names to tell the images apart by.
        templates: Sentences with ``{}`` in a class's place.
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
        """The images for which ``kept`` is true; the others are skipped for the reason ``why``."""
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
class Teacher:
    """What the teacher says of a gallery.

    Attributes:
        name: For the report.
        images: ``(n, e)``.
        texts: Vectors of the gallery's captions, when the teacher has a text tower.
        queries: ``(q, e)`` text vectors from elsewhere, in the teacher's space.
        classes: ``(classes, e)``, vectors of the gallery's classes, when the teacher has a text tower.

    Raises:
        ShapeError: The queries are not of the teacher's space: no model could be asked them.
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


def quality(
    images: Vectors,
    gallery: Gallery,
    *,
    texts: Vectors | None,
    teacher: Teacher | None,
    classes: Vectors | None = None,
) -> dict[str, float]:
    """Every figure that the material allows.

    Args:
        images: ``(n, d)``, the model's vectors of the gallery.
        gallery: The images.
        texts: ``(m, d)``, vectors of the gallery's captions.
        teacher: Its vectors of the same gallery.
        classes: ``(classes, d)``, vectors of the gallery's classes.

    Returns:
        ``map_at_10`` …, ``overlap_at_10`` … and ``cosine`` with the teacher; the same with ``query_`` in front for text
        queries; ``recall_at_1_text_to_image`` … for captions; ``zero_shot_top1`` … for classes. Shares from 0 to 1.
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
