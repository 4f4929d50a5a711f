"""The towers in the form that is exported: normalisation inside, unit vectors out, operators that converters know.

Departures from the network itself, none of which changes what it computes:

* training-time branches are merged (:func:`~mobileclip_kit.networks.plain.reparameterize`);
* attention, the last block and the normalisation take a plainer form (:mod:`mobileclip_kit.networks.plain`);
* masks are finite, and the end token is found by its identifier (:mod:`mobileclip_kit.networks.families`);
* the L2 norm divides by the greatest magnitude first, so that no sum of squares passes float16's 65,504.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.networks.channels_first import ChannelText, ChannelVision
from mobileclip_kit.networks.families import (
    copy_text_tower,
    family_of,
    first_output,
    image_tower,
    pool_at_end_token,
    use_finite_masks,
)
from mobileclip_kit.networks.model import Model
from mobileclip_kit.networks.plain import fold_normalisation, reparameterize, simplify_tower
from mobileclip_kit.spec import Tower
from mobileclip_kit.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mobileclip_kit.exporting.budget import RecallJudge

# Below this magnitude a raw vector is taken as it is; float16's least normal number is 6.1e-5.
_LEAST_MAGNITUDE = 1e-4


@dataclass(frozen=True)
class TowerJob:
    """One tower to write: what a precision's writer is given.

    Attributes:
        model: Whose tower it is.
        tower: ``image`` or ``text``.
        path: The file to write.
        options: How.
        judge: Keeps a budget of recall; None for cosines alone.
    """

    model: Model
    tower: Tower
    path: Path
    options: ExportOptions
    judge: RecallJudge | None = None

    @cached_property
    def module(self) -> ImageTower | TextTower:
        """The tower in its exported form.

        Raises:
            ModelError: The Neural Engine's layout was asked for and is not known for the tower.
        """
        kind = ImageTower if self.tower == "image" else TextTower
        return kind(self.model, ane=self.options.ane)


class ImageTower(nn.Module):
    """Images to unit vectors.

    Args:
        model: Its image tower is copied.
        ane: Use the Neural Engine's layout, see :mod:`mobileclip_kit.networks.channels_first`.

    Raises:
        ModelError: That layout is not known for the tower.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model, *, ane: bool = False) -> None:
        super().__init__()
        spec = model.spec.require_image()
        self.visual = reparameterize(image_tower(model.network))
        self._folded = fold_normalisation(self.visual, torch.tensor(spec.mean), torch.tensor(spec.std))
        if ane:
            self.visual = ChannelVision(self.visual)
        else:
            simplify_tower(self.visual)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))
        self.example = torch.rand(1, 3, spec.height, spec.width, generator=torch.Generator().manual_seed(0))
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """RGB in 0…1, ``(n, 3, height, width)``, to ``(n, d)`` rows of length 1."""
        given = image if self._folded else (image - self.mean) / self.std
        return to_unit(first_output(self.visual(given)))


class TextTower(nn.Module):
    """Token identifiers to unit vectors.

    Args:
        model: Its text tower is copied.
        ane: Use the Neural Engine's layout, see :mod:`mobileclip_kit.networks.channels_first`.

    Raises:
        ModelError: That layout is not known for the tower.
    """

    def __init__(self, model: Model, *, ane: bool = False) -> None:
        super().__init__()
        spec, family = model.spec.require_text(), family_of(model.network)
        self.text = copy_text_tower(model.network)
        use_finite_masks(self.text)
        if spec.tokenizer == "clip-bpe":
            pool_at_end_token(self.text, family, Tokenizer.for_spec(spec, model.tokenizer_file).end_id)
        self._call: Any = family.call_text
        if ane:
            self.text, self._call = ChannelText(self.text), nn.Module.__call__
        else:
            simplify_tower(self.text)
        self.example = torch.zeros(1, spec.context_length, dtype=torch.int32)
        self.requires_grad_(False)

    def forward(self, ids: Tensor) -> Tensor:
        """Identifiers, ``(n, context)`` int, to ``(n, d)`` rows of length 1."""
        return to_unit(first_output(self._call(self.text, ids)))


def count_tower(module: ImageTower | TextTower) -> dict[str, int]:
    """Parameters, and multiply-accumulates of one input, for the manifest."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(module.example)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return {"parameters": parameters, "multiply_accumulates": counter.get_total_flops() // 2}


def to_unit(vectors: Tensor) -> Tensor:
    """Rows scaled to length 1, without leaving float16's range on the way."""
    vectors = vectors / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=_LEAST_MAGNITUDE)
    return vectors / (vectors * vectors).sum(dim=-1, keepdim=True).sqrt()
