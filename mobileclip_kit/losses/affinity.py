"""Affinity mimicking: the student learns how alike the teacher finds images and texts, in both directions.

TinyCLIP (arXiv 2309.12314), section 3.1. For unit image vectors I and text vectors T, each model has two affinities,
`A_I2T = softmax(s · I·Tᵀ)` over the texts and `A_T2I = softmax(s · T·Iᵀ)` over the images; s is its own logit scale.
The loss is the mean of the two cross-entropies between the teacher's and the student's.

The texts are the batch's captions, or a bank of texts for images without any (our reading): they need not be as
many as the images, and memory grows with images × texts. Several teachers are averaged *after* the softmax, as
MobileCLIP does (arXiv 2311.17049): teachers of other widths and other logit scales then weigh the same.

A teacher of SigLIP's kind (arXiv 2303.15343) was trained to decide for each pair on its own, with a bias on the scaled
cosines. :func:`sigmoid_affinity_loss` mimics these decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ShapeError


@dataclass(frozen=True)
class Affinities:
    """What a teacher, or the mean of several, thinks of images and texts.

    Attributes:
        image_to_text: Each row a distribution over the texts, ``(images, texts)``.
        text_to_image: Each row a distribution over the images, ``(texts, images)``.
    """

    image_to_text: Tensor
    text_to_image: Tensor


def affinity_loss(
    student_image: Tensor,
    student_text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    student_scale: Tensor | float,
    teacher_scale: Tensor | float,
) -> Tensor:
    """Mean of the two cross-entropies between one teacher's and the student's affinities.

    Args:
        student_image: ``(images, d)``, of any length: vectors are normalised here.
        student_text: ``(texts, d)``.
        teacher_image: ``(images, d')``; treated as constant. The teacher may be wider than the student.
        teacher_text: ``(texts, d')``; treated as constant.
        student_scale: The student's logit scale: 100 for a temperature of 0.01.
        teacher_scale: The teacher's own.

    Returns:
        Scalar in nats, mean over the rows of each direction, then over both. Its least value is the mean entropy of the
        teacher's affinities.

    Raises:
        ShapeError: The shapes do not fit together.
    """
    target = teacher_affinities([(teacher_image, teacher_text, teacher_scale)])
    return affinity_cross_entropy(affinity_logits(student_image, student_text, student_scale), target)


def affinity_logits(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Scaled cosines ``(images, texts)`` of vectors ``(images, d)`` and ``(texts, d)``, of any length.

    Raises:
        ShapeError: The vectors are not matrices of one width, or there are none.
    """
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1] or not len(image) or not len(text):
        raise ShapeError(
            f"Image vectors {tuple(image.shape)} and text vectors {tuple(text.shape)} must be (images, d) and "
            "(texts, d), at least one of each."
        )
    return scale * (F.normalize(image, dim=1) @ F.normalize(text, dim=1).T)


@torch.no_grad()
def teacher_affinities(teachers: Sequence[tuple[Tensor, Tensor, Tensor | float]]) -> Affinities:
    """The mean of several teachers' affinities, taken after the softmax.

    Args:
        teachers: Image vectors ``(images, d)``, text vectors ``(texts, d)`` and logit scale of each; d may differ
            from teacher to teacher.

    Raises:
        ShapeError: There is no teacher, or their images and texts are not equally many.
    """
    logits = [affinity_logits(*teacher) for teacher in teachers]
    shapes = sorted({tuple(each.shape) for each in logits})
    if len(shapes) != 1:
        raise ShapeError(f"Teachers must compare the same images and texts; theirs are {shapes}.")
    return Affinities(
        image_to_text=torch.stack([each.softmax(dim=1) for each in logits]).mean(dim=0),
        text_to_image=torch.stack([each.T.softmax(dim=1) for each in logits]).mean(dim=0),
    )


def affinity_cross_entropy(student_logits: Tensor, target: Affinities) -> Tensor:
    """Mean of the two cross-entropies between given affinities and the student's logits.

    Args:
        student_logits: See :func:`affinity_logits`, ``(images, texts)``.
        target: The teachers'.

    Returns:
        Scalar in nats.

    Raises:
        ShapeError: The shapes do not fit together.
    """
    if student_logits.shape != target.image_to_text.shape or student_logits.T.shape != target.text_to_image.shape:
        raise ShapeError(
            f"The student compares {tuple(student_logits.shape)} images and texts, the teacher "
            f"{tuple(target.image_to_text.shape)}."
        )
    images = F.cross_entropy(student_logits, target.image_to_text)
    texts = F.cross_entropy(student_logits.T, target.text_to_image)
    return (images + texts) / 2


def sigmoid_affinity_loss(student_logits: Tensor, teacher_probabilities: Tensor) -> Tensor:
    """Cross-entropy between the probabilities that teacher and student give each pair of image and text.

    Args:
        student_logits: Scaled cosines plus bias, ``(images, texts)``.
        teacher_probabilities: The mean over teachers of the sigmoid of the same, ``(images, texts)``; constant.

    Returns:
        Scalar in nats: the sum over the texts, as in SigLIP's loss, mean over the images.

    Raises:
        ShapeError: The shapes differ.
    """
    if student_logits.shape != teacher_probabilities.shape:
        raise ShapeError(
            f"The student compares {tuple(student_logits.shape)} images and texts, the teacher "
            f"{tuple(teacher_probabilities.shape)}."
        )
    each = F.binary_cross_entropy_with_logits(student_logits, teacher_probabilities.detach(), reduction="none")
    return each.sum(dim=1).mean()
