"""Losses between a student's vectors and its teacher's, one by one.

KLD + L1 is the loss of PicCollage's student (2021): the teacher's vectors as a distribution, and as they are.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ShapeError, UsageError


def kld_l1_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² · KL(softmax(t/T) ‖ softmax(s/T)) + mean |t − s|`` between raw image vectors.

    The KL divergence is summed over a vector's components and averaged over the batch; T² keeps its gradient's size
    independent of T (Hinton, Vinyals and Dean, arXiv 1503.02531). The absolute difference is averaged over both.

    On unit vectors softmax(·/T) is all but uniform, and the first term vanishes: unit vectors are to be multiplied by a
    stated scale first (our reading: 10, about the norm of CLIP ViT-B/32's vectors).

    Args:
        student: Raw vectors, ``(n, d)``.
        teacher: Raw vectors, ``(n, d)``; treated as constant.
        temperature: T, above 0.

    Returns:
        Scalar, in nats plus mean absolute difference.

    Raises:
        ShapeError: The shapes differ or are not ``(n, d)``.
        UsageError: The temperature is not above 0.
    """
    _check_same(student, teacher)
    if temperature <= 0.0:
        raise UsageError(f"The temperature is {temperature}; it must be above 0.")
    teacher = teacher.detach()
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(1).mean()
    return temperature**2 * divergence + (teacher - student).abs().mean()


def mse_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of raw vectors, over the batch and the components.

    Args:
        student: Raw vectors, ``(n, d)``.
        teacher: Raw vectors, ``(n, d)``; treated as constant.

    Raises:
        ShapeError: The shapes differ or are not ``(n, d)``.
    """
    _check_same(student, teacher)
    return F.mse_loss(student, teacher.detach())


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ``1 − cos`` between vectors of any length, from 0 to 2: what search ranks by, and nothing else.

    Args:
        student: ``(n, d)``.
        teacher: ``(n, d)``; treated as constant.

    Raises:
        ShapeError: The shapes differ or are not ``(n, d)``.
    """
    _check_same(student, teacher)
    return 1.0 - F.cosine_similarity(student, teacher.detach(), dim=1).mean()


def _check_same(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 2:
        raise ShapeError(
            f"The student's vectors are {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}; "
            "both must be (n, d)."
        )
