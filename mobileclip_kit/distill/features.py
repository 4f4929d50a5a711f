"""Feature distillation: the student's image vectors are drawn to the teacher's, as in PicCollage's small CLIP of 2021.

No captions are needed. The targets are stored vectors, or a live teacher that sees the same augmented pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.distill.objective import Batch
from mobileclip_kit.distill.schedule import value_from_epoch
from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.losses.feature import kld_l1_loss
from mobileclip_kit.networks.raw import encode_raw, freeze_all_but_image

Targets = Callable[[Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """The recipe's ``[features]`` table.

    Attributes:
        temperatures: ``(from_epoch, temperature)`` rows, the first from epoch 0.
        unit_scale: What unit vectors of a teacher whose norms were not kept are multiplied by.
    """

    temperatures: tuple[tuple[int, float], ...] = ((0, 4.0), (10, 2.0))
    unit_scale: float = 10.0

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.temperatures]
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise UsageError(f"temperatures start at the epochs {starts}; they must rise from 0.")
        if min(value for _, value in self.temperatures) <= 0.0 or self.unit_scale <= 0.0:
            raise UsageError("temperatures and unit_scale must be above 0.")


class FeatureObjective:
    """KLD + L1 between student and teacher.

    Args:
        network: The student; its image tower alone is trained.
        targets: Gives the teacher's raw vectors of a batch, see :func:`stored_targets` and :func:`live_targets`.
        options: Temperatures.
    """

    def __init__(self, network: nn.Module, targets: Targets, options: FeatureOptions) -> None:
        self.network, self._targets, self._options = network, targets, options
        freeze_all_but_image(network)

    def modules(self) -> Mapping[str, nn.Module]:
        """The image tower."""
        visual = self.network.visual
        assert isinstance(visual, nn.Module)
        return {"visual": visual}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """KLD + L1, with the cosine to the teacher for the log."""
        teacher = self._targets(batch)
        student = encode_raw(self.network, batch.images)
        temperature = value_from_epoch(self._options.temperatures, batch.moment.epoch)
        with torch.no_grad():
            cosine = F.cosine_similarity(student, teacher).mean()
        return kld_l1_loss(student, teacher, temperature), {"cosine": float(cosine), "temperature": temperature}


def stored_targets(vectors: Tensor) -> Targets:
    """Targets from memory.

    Args:
        vectors: Raw, ``(pictures, views, d)`` float32; epoch e uses view e mod views.
    """
    if vectors.ndim != 3:
        raise ShapeError(f"Stored vectors are {tuple(vectors.shape)}; they must be (pictures, views, d).")

    def targets(batch: Batch) -> Tensor:
        view = batch.moment.epoch % vectors.shape[1]
        return vectors[torch.from_numpy(batch.rows), view].to(batch.images.device)

    return targets


def live_targets(teacher: nn.Module, size: tuple[int, int]) -> Targets:
    """Targets from a teacher in the loop.

    Args:
        teacher: Shares the student's mean and std.
        size: Height and width that it wants; pictures of another size are resized from the student's.
    """

    @torch.no_grad()
    def targets(batch: Batch) -> Tensor:
        images = batch.images
        if tuple(images.shape[2:]) != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        return encode_raw(teacher, images)

    return targets
