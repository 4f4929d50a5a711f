"""What a student is drawn to: stored vectors, or a live teacher that sees the same augmented images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.data.images import Rows
from mobileclip_kit.distillation.objective import Batch
from mobileclip_kit.errors import ShapeError
from mobileclip_kit.networks.raw import encode_raw

# Rows of the training set and an epoch → raw vectors (n, d) float32.
Lookup = Callable[[Rows, int], Tensor]
Targets = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class TeacherSide:
    """One teacher as an objective sees it.

    Attributes:
        images: Raw vectors of a batch's images, or None when no term asks for them.
        lookup: The same by row, for images outside the batch; None for a live teacher.
        texts: Raw vectors of the run's texts, ``(texts, d)`` float32, or None when no term asks for them.
        logit_scale: Its own.
    """

    images: Targets | None
    lookup: Lookup | None
    texts: Tensor | None
    logit_scale: float


def lookup_in(vectors: Tensor) -> Lookup:
    """Look vectors up in memory.

    Args:
        vectors: Raw, ``(images, views, d)``; epoch e uses view e mod views.

    Raises:
        ShapeError: They have another shape.
    """
    if vectors.ndim != 3:
        raise ShapeError(f"Stored vectors are {tuple(vectors.shape)}; they must be (images, views, d).")
    return lambda rows, epoch: vectors[torch.from_numpy(rows), epoch % vectors.shape[1]].float()


def stored_targets(lookup: Lookup) -> Targets:
    """Targets that need no teacher."""
    return lambda batch: lookup(batch.rows, batch.moment.epoch).to(batch.images.device)


def live_targets(teacher: nn.Module, size: tuple[int, int]) -> Targets:
    """Targets from a teacher in the loop.

    Args:
        teacher: Shares the student's mean and std.
        size: Height and width that it wants; images of another size are resized from the student's.
    """

    @torch.no_grad()
    def targets(batch: Batch) -> Tensor:
        images = batch.images
        if tuple(images.shape[2:]) != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        return encode_raw(teacher, images)

    return targets
