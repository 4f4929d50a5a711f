"""Neighbours: the student's images find the same other images alike as the teacher's do.

Affinity mimicking (:mod:`mobileclip_kit.losses.affinity`) with the teacher's own image vectors in place of texts (our
reading of CLIP-KD's interactive distillation, arXiv 2307.12732): it needs no captions and no text tower, and
optimises what the agreement of rankings (MAP@N) measures.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.losses.affinity import affinity_logits


def neighbour_loss(
    student: Tensor, teacher: Tensor, others: Tensor, scale: float, same: Tensor | None = None
) -> Tensor:
    """Cross-entropy between the teacher's and the student's affinities to other images.

    Args:
        student: ``(n, d)``, of any length.
        teacher: The teacher's vectors of the same images, ``(n, d)``; treated as constant.
        others: The teacher's vectors of the images to choose among, ``(m, d)``; treated as constant.
        scale: Factor on the cosines, for both.
        same: ``(n, m)`` bool: true where the other image is the image itself, which is then no choice.

    Returns:
        Scalar in nats, mean over the images that have a choice; 0 if none has.

    Raises:
        ShapeError: The shapes do not fit together.
    """
    if student.shape != teacher.shape or (same is not None and same.shape != (len(student), len(others))):
        raise ShapeError(
            f"The student's vectors {tuple(student.shape)}, the teacher's {tuple(teacher.shape)} and "
            f"{None if same is None else tuple(same.shape)} marks of {len(others)} other images do not fit together."
        )
    others = others.detach()
    ours, theirs = affinity_logits(student, others, scale), affinity_logits(teacher.detach(), others, scale)  # (n, m)
    if same is not None:
        # A finite number: two images that are both hidden in one row would otherwise give 0 · inf.
        ours, theirs = (logits.masked_fill(same, -1e4) for logits in (ours, theirs))
        chosen = ~same.all(dim=1)
        if not bool(chosen.any()):
            return ours.sum() * 0
        ours, theirs = ours[chosen], theirs[chosen]
    return F.cross_entropy(ours, theirs.softmax(dim=1))
