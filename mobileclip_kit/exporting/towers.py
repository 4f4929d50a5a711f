"""The towers in the form that is exported: normalisation inside, unit vectors out, nothing a converter stumbles over.

Departures from the network itself, none of which changes what it computes:

* training-time branches are merged (:mod:`mobileclip_kit.networks.reparameterize`);
* attention, the last block and the normalisation take a plainer form (:mod:`mobileclip_kit.networks.plain`);
* masks hold −1e4, not −∞: in float16 a mask of −∞ or of float32's least number turns into NaN
  (coremltools pull request 2669), and exp(−1e4) is 0 in every precision;
* the end token is found by ``ids == end``, not by the greatest identifier, since identifiers beyond 2048 are not exact
  once a runtime computes them in float16;
* the L2 norm divides by the greatest magnitude first, so that no sum of squares passes float16's 65,504.
"""

from __future__ import annotations

import copy
import types
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.networks.channels_first import ChannelText, ChannelVision
from mobileclip_kit.networks.model import Model
from mobileclip_kit.networks.plain import fold_normalisation, simplify_tower
from mobileclip_kit.networks.reparameterize import reparameterize
from mobileclip_kit.tokenizer import load_tokenizer

MASKED = -1e4
# Below this magnitude a raw vector is taken as it is; float16's least normal number is 6.1e-5.
_LEAST_MAGNITUDE = 1e-4


class ImageTower(nn.Module):
    """Images to unit vectors.

    Args:
        model: Its image tower is copied.
        ane: Take the Neural Engine's layout, see :mod:`mobileclip_kit.networks.channels_first`.

    Raises:
        ModelError: That layout is not known for the tower.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model, *, ane: bool = False) -> None:
        super().__init__()
        spec = model.spec.require_image()
        network: Any = model.network
        self.visual = reparameterize(network.visual)
        self._folded = fold_normalisation(self.visual, torch.tensor(spec.mean), torch.tensor(spec.std))
        if ane:
            self.visual = ChannelVision(self.visual)
        else:
            simplify_tower(self.visual)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))
        self.example = torch.rand(1, 3, spec.height, spec.width, generator=torch.Generator().manual_seed(0))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in 0…1, ``(n, 3, height, width)``, to ``(n, d)`` rows of length 1."""
        given = image if self._folded else (image - self.mean) / self.std
        return to_unit(_first(self.visual(given)))


class TextTower(nn.Module):
    """Token identifiers to unit vectors.

    Args:
        model: Its text tower is copied.
        ane: Take the Neural Engine's layout, see :mod:`mobileclip_kit.networks.channels_first`.

    Raises:
        ModelError: That layout is not known for the tower.
    """

    def __init__(self, model: Model, *, ane: bool = False) -> None:
        super().__init__()
        spec = model.spec.require_text()
        self._in_clip = not hasattr(model.network, "text")
        self.text = _text_part(model.network)
        _use_finite_masks(self.text)
        if spec.tokenizer == "clip-bpe":
            end_id = load_tokenizer(spec, model.merges).end_id  # type: ignore[attr-defined]
            _pool_at_end_token(self.text, end_id)
        if ane:
            self.text, self._in_clip = ChannelText(self.text), False
        else:
            simplify_tower(self.text)
        self.example = torch.zeros(1, spec.context_length, dtype=torch.int32)

    def forward(self, ids: Tensor) -> Tensor:
        """Identifiers, ``(n, context)`` int, to ``(n, d)`` rows of length 1."""
        text: Any = self.text
        return to_unit(_first(text.encode_text(ids) if self._in_clip else text(ids)))


def to_unit(vectors: Tensor) -> Tensor:
    """Rows scaled to length 1, without leaving float16's range on the way."""
    vectors = vectors / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=_LEAST_MAGNITUDE)
    return vectors / (vectors * vectors).sum(dim=-1, keepdim=True).sqrt()


def _first(output: Any) -> Tensor:
    """CoCa's towers give ``(vector, tokens)``."""
    vectors = output[0] if isinstance(output, tuple) else output
    assert isinstance(vectors, Tensor)
    return vectors


def _text_part(network: nn.Module) -> nn.Module:
    """A copy of the text tower alone: open_clip's CLIP has its parts at the top, the others have ``text``."""
    if hasattr(network, "text"):
        return copy.deepcopy(network.text).eval()  # type: ignore[union-attr, return-value, unused-ignore]
    without_image = copy.copy(network)
    without_image._modules = {name: part for name, part in network._modules.items() if name != "visual"}
    return copy.deepcopy(without_image).eval()


def _use_finite_masks(tower: nn.Module) -> None:
    for part in tower.modules():
        mask = getattr(part, "attn_mask", None)
        if isinstance(mask, Tensor):
            part.attn_mask = mask.clamp(min=MASKED)
        if hasattr(part, "_build_additive_mask"):
            part._build_additive_mask = types.MethodType(_additive_mask, part)  # type: ignore[assignment]


def _additive_mask(self: Any, text: Tensor, seq_len: int, dtype: torch.dtype) -> Tensor:
    """CoCa's padding mask, finite, and without ``repeat_interleave``, which coremltools does not know.

    Returns:
        ``(n · heads, seq_len, seq_len)``: 0 where a token may be looked at, −1e4 elsewhere.
    """
    valid = (text != self.pad_id).to(dtype)  # (n, context)
    if self.cls_emb is not None:
        always = torch.ones_like(valid[:, :1])
        # Published weights were trained with the class token's place at the wrong end; the network knows which.
        valid = torch.cat([valid, always] if self.correct_cls_mask else [always, valid], dim=1)
    additive = (1.0 - valid) * MASKED  # (n, seq_len)
    spread: Tensor = additive[:, None, None, :].expand(-1, self.heads, seq_len, -1)
    return spread.reshape(-1, seq_len, seq_len)


def _pool_at_end_token(tower: nn.Module, end_id: int) -> None:
    for part in [tower, *tower.modules()]:
        for pool, eos in (("text_pool_type", "text_eos_id"), ("pool_type", "eos_id")):
            if getattr(part, pool, None) == "argmax" and hasattr(part, eos):
                setattr(part, pool, "eos")
                setattr(part, eos, end_id)
