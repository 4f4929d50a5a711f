"""What accuracy is measured on: the user's images, or the synthetic scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.examples import find_examples
from mobileclip_kit.bench.process import Asked, encode_images, encode_texts
from mobileclip_kit.bench.quality import Gallery, Teacher, quality
from mobileclip_kit.bench.scenes import evaluate_scenes
from mobileclip_kit.metrics import class_vectors
from mobileclip_kit.scenes.truth import read_truth
from mobileclip_kit.textness.gallery import EncodedGallery


@dataclass(frozen=True)
class Judgement:
    """What was found out about one model.

    Attributes:
        figures: By the names of :data:`mobileclip_kit.bench.figures.METRICS`.
        examples: See :func:`mobileclip_kit.bench.examples.find_examples`.
    """

    figures: dict[str, float] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)


class Judged(Protocol):
    """Something that gives accuracy figures of a model in a worker."""

    @property
    def paths(self) -> Sequence[Path]:
        """Its images."""
        ...

    @property
    def files(self) -> Mapping[str, Path]:
        """Its images by the names that examples call them by."""
        ...

    def judge(self, worker: Asked, towers: Sequence[str]) -> Judgement:
        """Figures of one model, and a few of its answers.

        Raises:
            MckitError: The model failed, or its vectors are of no use.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What the report says of it; ``images`` and ``skipped`` at least."""
        ...


@dataclass(frozen=True)
class Material:
    """The user's images.

    Attributes:
        gallery: Images, with captions and classes or not.
        teacher: Its vectors of them.
    """

    gallery: Gallery
    teacher: Teacher | None = None

    @property
    def paths(self) -> Sequence[Path]:
        """The gallery's files."""
        return self.gallery.paths

    @property
    def files(self) -> Mapping[str, Path]:
        """See :class:`Judged`."""
        return dict(zip(self.gallery.keys, self.gallery.paths, strict=True))

    def judge(self, worker: Asked, towers: Sequence[str]) -> Judgement:
        """See :class:`Judged`. A model without a text tower is asked with the teacher's texts: they share a space."""
        gallery, teacher = self.gallery, self.teacher
        if teacher is None and not gallery.captions and not gallery.labels:
            return Judgement()
        images = encode_images(worker, gallery.paths)
        texts = classes = None
        if "text" in towers:
            texts = encode_texts(worker, gallery.captions) if gallery.captions else None
            classes = encode_classes(worker, gallery) if gallery.labels else None
        elif teacher is not None:
            texts, classes = (_same_space(vectors, images) for vectors in (teacher.texts, teacher.classes))
        figures = quality(images, gallery, texts=texts, teacher=teacher, classes=classes)
        return Judgement(figures, find_examples(images, gallery, texts=texts, classes=classes))

    def describe(self) -> dict[str, Any]:
        """See :class:`Judged`."""
        gallery, teacher = self.gallery, self.teacher
        return {
            "images": len(gallery.keys),
            "captions": len(gallery.captions),
            "classes": len(gallery.classes),
            "teacher": None if teacher is None else teacher.name,
            "queries": 0 if teacher is None or teacher.queries is None else len(teacher.queries),
            "skipped": [asdict(left) for left in gallery.skipped],
        }


@dataclass(frozen=True)
class ScenesMaterial:
    """The synthetic scenes, drawn: right answers are exact, and words can be taken for things.

    Attributes:
        mixed: Folder of the split ``test``.
        fair: Folder of the split ``gallery``.
    """

    mixed: Path
    fair: Path

    @property
    def paths(self) -> Sequence[Path]:
        """The mixed gallery's files."""
        return [self.mixed / row.image for row in read_truth(self.mixed)]

    @property
    def files(self) -> Mapping[str, Path]:
        """None: the quickstart's report shows what is found in the world."""
        return {}

    def judge(self, worker: Asked, towers: Sequence[str]) -> Judgement:
        """See :class:`Judged`; nothing for a model that lacks a tower, which cannot be asked in words."""
        if set(towers) != {"image", "text"}:
            return Judgement()
        galleries = [_encode_scenes(worker, folder) for folder in (self.mixed, self.fair)]
        figures = evaluate_scenes(_Reader(worker), *galleries)
        return Judgement({f"scenes_{name}": value for name, value in figures.items()})

    def describe(self) -> dict[str, Any]:
        """See :class:`Judged`."""
        counts = [len(read_truth(folder)) for folder in (self.mixed, self.fair)]
        return {"scenes": True, "images": counts[0], "fair_images": counts[1], "teacher": None, "skipped": []}


def encode_classes(worker: Asked, gallery: Gallery) -> Vectors:
    """A vector for each class of a gallery, ``(classes, d)``."""
    return class_vectors(lambda texts: encode_texts(worker, texts), gallery.classes, gallery.templates)


def _encode_scenes(worker: Asked, folder: Path) -> EncodedGallery:
    truth = list(read_truth(folder))
    return EncodedGallery(truth, encode_images(worker, [folder / row.image for row in truth]))


def _same_space(vectors: Vectors | None, images: Vectors) -> Vectors | None:
    return vectors if vectors is not None and vectors.shape[1] == images.shape[1] else None


class _Reader:
    """A worker with the face of an encoder of texts."""

    def __init__(self, worker: Asked) -> None:
        self._worker = worker

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return encode_texts(self._worker, texts)
