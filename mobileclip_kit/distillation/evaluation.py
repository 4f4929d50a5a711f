"""How near a student's images come to its teacher's on images that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.data.images import Images, Rows
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.distillation.objective import Batch, Moment
from mobileclip_kit.distillation.targets import Targets
from mobileclip_kit.distillation.teachers import Teacher, teacher_side
from mobileclip_kit.distillation.training_set import Usable, load_images
from mobileclip_kit.images import normalize
from mobileclip_kit.networks.raw import encode_raw
from mobileclip_kit.spec import ImageSpec

_BATCH = 32


@torch.inference_mode()
def evaluate_holdout(network: Any, teacher: Teacher, holdout: Usable, image: ImageSpec, skipped: list[Skipped], *,
                     unit_scale: float, draft: bool, device: str) -> dict[str, float]:  # fmt: skip
    """Cosine and mean absolute difference between student and teacher on the held-out images.

    CLIP's image vectors lie in a narrow cone: their own mean, one vector for all images, already has a high cosine to
    each. ``holdout_cosine_of_mean`` says how high, so that nobody takes it for something learned.
    """
    if not len(holdout):
        return {}
    holdout, images = load_images(holdout, image, draft=draft)
    skipped += images.skipped
    targets = teacher_side(teacher, holdout.hashes, unit_scale=unit_scale, device=device).images
    assert targets is not None
    students, teachers = [torch.zeros(0, teacher.embedding_dim)], [torch.zeros(0, teacher.embedding_dim)]
    for student, wanted in _vectors(network, targets, images, image, device):
        students.append(student.cpu())
        teachers.append(wanted.cpu())
    ours, theirs = torch.cat(students), torch.cat(teachers)
    if not len(theirs):
        return {}
    constant = F.normalize(theirs, dim=1).mean(0, keepdim=True)
    return {
        "holdout_images": len(theirs),
        "holdout_cosine": float(F.cosine_similarity(ours, theirs).mean()),
        "holdout_cosine_of_mean": float(F.cosine_similarity(constant, theirs).mean()),
        "holdout_l1": float((ours - theirs).abs().mean()),
    }


def _vectors(network: Any, targets: Targets, images: Images, image: ImageSpec,
             device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # fmt: skip
    every = np.arange(len(images), dtype=np.int64)
    chunks: list[Rows] = np.array_split(every, len(every) // _BATCH + 1)
    for rows, pixels in images.read(iter(chunks)):
        batch_pixels = torch.from_numpy(normalize(pixels, image)).to(device)
        batch = Batch(rows, batch_pixels, Moment(step=0, steps=1, epoch=0, epochs=1, seed=0))
        yield encode_raw(network, batch_pixels), targets(batch)
