"""Leading stages that keep their weights: computed once for each image, not in every step.

Without augmentation the frozen stages of a tower make the same grids of an image in each epoch. They do most of a small
tower's work, since images are largest there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mobileclip_kit.data.images import MEMORY_BYTES, MemoryImages
from mobileclip_kit.images import normalize
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.families import image_tower
from mobileclip_kit.networks.hybrid_tower import HybridTower
from mobileclip_kit.progress import Progress
from mobileclip_kit.spec import ImageSpec

_BATCH = 128


def leading_stages(network: nn.Module, frozen: Collection[str]) -> list[nn.Module]:
    """The frozen stages of a tower of ours from the first to the last one before a stage that is trained."""
    trunk = getattr(image_tower(network), "trunk", None)
    if not isinstance(trunk, ConvTower | HybridTower):
        return []
    names = [f"visual.trunk.stages.{number}" for number in range(len(trunk.stages))]
    # Parts of a stage that the recipe names as well must be found in the network.
    whole = [name in frozen and not any(each.startswith(f"{name}.") for each in frozen) for name in names]
    return list(trunk.stages)[: [*whole, False].index(False)]


@contextmanager
def passed_once(network: nn.Module, frozen: Collection[str], images: Any, seen: ImageSpec,
                device: str) -> Iterator[MemoryImages | None]:  # fmt: skip
    """Take the leading frozen stages out of a network while it is trained; afterwards they are back.

    Args:
        network: Already on the device.
        frozen: Names of parts, as in the recipe.
        images: The training set, not augmented.
        seen: Its preprocessing.
        device: Where to compute.

    Yields:
        The set with the stages' grids, ``(n, channels, height, width)``, in place of pixels, or None where there are no
        such stages, or images or grids do not fit into memory: then nothing is changed.
    """
    stages = leading_stages(network, frozen)
    grids = _grids(stages, images, seen, device) if stages and isinstance(images, MemoryImages) else None
    if grids is None:
        yield None
        return
    places = image_tower(network).trunk.stages
    for number in range(len(stages)):
        places[number] = nn.Identity()
    try:
        yield replace(images, pixels=grids)
    finally:
        for number, stage in enumerate(stages):
            places[number] = stage


@torch.no_grad()
def _grids(stages: list[nn.Module], images: MemoryImages, seen: ImageSpec,
           device: str) -> NDArray[np.float32] | None:  # fmt: skip
    network = nn.Sequential(*stages).eval().requires_grad_(False)
    grids: NDArray[np.float32] | None = None
    with Progress("frozen stages", total=len(images), unit="images") as progress:
        for start in range(0, len(images), _BATCH):
            pixels = normalize(images.pixels[start : start + _BATCH], seen)
            found = network(torch.from_numpy(pixels).to(device)).cpu().numpy()
            if grids is None:
                if len(images) * found[0].nbytes > MEMORY_BYTES:
                    return None
                grids = np.empty((len(images), *found.shape[1:]), np.float32)
            grids[start : start + len(found)] = found
            progress.advance(len(found))
    return grids
