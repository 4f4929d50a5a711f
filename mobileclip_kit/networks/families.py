"""Where each family of dual encoders keeps its towers, its token rule and its masks.

A row of :data:`FAMILIES` describes one of open_clip's classes. No other module asks a network for its image or text
tower by attribute. How to add a family is shown in docs/architecture.md.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError

# exp(−1e4) is 0 in every precision, while −∞ turns into NaN in float16 (coremltools pull request 2669).
MASKED = -1e4
# As torch's CPU convolutions group them.
_LEAST_CHANNELS = 16


@dataclass(frozen=True, kw_only=True)
class EncoderFamily:
    """How one class of dual encoders is built.

    Attributes:
        network: The class.
        image: The name of its image tower, a module.
        text: The name of its text tower; empty where the tower's parts are the network's own.
        call_text: Executes the text tower alone: ``(tower, ids)`` to ``(n, d)`` vectors.
        pooling: Attribute pairs of a text tower: which token is read out, and the end token's identifier where that
            attribute can name it. ``argmax`` reads out the greatest identifier, which is the end token.
    """

    network: type[nn.Module]
    image: str = "visual"
    text: str = "text"
    call_text: Callable[[Any, Tensor], Any] = lambda tower, ids: tower(ids)
    pooling: tuple[tuple[str, str], ...] = (("text_pool_type", "text_eos_id"), ("pool_type", "eos_id"))


FAMILIES: list[EncoderFamily] = [
    EncoderFamily(network=CLIP, text="", call_text=lambda tower, ids: tower.encode_text(ids)),
    EncoderFamily(network=CustomTextCLIP),  # SigLIP, and every text tower of the transformers library
    EncoderFamily(network=CoCa),
]


def family_of(network: nn.Module) -> EncoderFamily:
    """The family that a network belongs to; the last row that fits counts.

    Raises:
        ModelError: None does.
    """
    found = [family for family in FAMILIES if isinstance(network, family.network)]
    if not found:
        known = ", ".join(family.network.__name__ for family in FAMILIES)
        raise ModelError(f"{type(network).__name__} is no dual encoder that mckit knows; it knows {known}.")
    return found[-1]


def image_tower(network: nn.Module) -> Any:
    """The image tower: normalised images ``(n, 3, height, width)`` to vectors."""
    return getattr(network, family_of(network).image)


def text_tower(network: nn.Module) -> Any:
    """What holds the text tower's parts: a module of its own, or the whole network."""
    name = family_of(network).text
    return getattr(network, name) if name else network


def memory_format_of(network: nn.Module) -> torch.memory_format:
    """How an image tower's weights and images are to lie in memory while it is trained.

    Convolutions take less time with channels last. But torch 2.15's backward pass on CPUs then writes beyond its arrays
    for 1 × 1 convolutions with strides and fewer than 16 channels, such as the first of RepVGG, MobileOne and FastViT.
    """
    unsafe = any(
        isinstance(part, nn.Conv2d)
        and part.kernel_size == (1, 1)
        and max(part.stride) > 1
        and part.in_channels < _LEAST_CHANNELS
        for part in network.modules()
    )
    return torch.contiguous_format if unsafe else torch.channels_last


def encode_raw(network: Any, images: Tensor) -> Tensor:
    """Image vectors that keep their norm, ``(n, d)`` float32.

    Args:
        network: A network of one of the families.
        images: Normalised, ``(n, 3, height, width)``.
    """
    vectors: Tensor = network.encode_image(images, normalize=False)
    return vectors.float()


def encode_text_raw(network: Any, ids: Tensor) -> Tensor:
    """Text vectors that keep their norm, ``(n, d)`` float32.

    Args:
        network: A network of one of the families.
        ids: ``(n, context)``.
    """
    length = used_length(network, ids)
    if length < ids.shape[1]:
        return _encode_short(network, ids[:, :length]).float()
    vectors: Tensor = network.encode_text(ids, normalize=False)
    return vectors.float()


def used_length(network: Any, ids: Tensor) -> int:
    """How many of the first tokens the vectors depend on.

    With a causal mask, the token that is read out sees only those before it. Captions fill a fraction of CLIP's 77
    tokens, so that a text tower has a fraction of the work. Elsewhere padding counts, or might.

    Args:
        network: A network of one of the families.
        ids: ``(n, context)``.

    Returns:
        1…context.
    """
    tower, (pool, end_id) = text_tower(network), _pooling(network)
    mask = getattr(tower, "attn_mask", None)
    if not isinstance(mask, Tensor) or pool not in ("argmax", "eos") or not len(ids):
        return ids.shape[1]
    behind = torch.ones_like(mask, dtype=torch.bool).triu(1)
    if getattr(tower, "cls_emb", None) is not None or not bool((mask[behind] <= MASKED).all()):
        return ids.shape[1]
    ends = ids if pool == "argmax" else torch.eq(ids, end_id or 0).int()
    return int(ends.argmax(dim=-1).max()) + 1


def _pooling(network: Any) -> tuple[str, int | None]:
    """Which token of a text tower is read out, and the end token's identifier."""
    tower = text_tower(network)
    for pool, eos in family_of(network).pooling:
        if hasattr(tower, pool):
            return getattr(tower, pool), getattr(tower, eos, None)
    return "", None


def _encode_short(network: Any, ids: Tensor) -> Tensor:
    """What open_clip's text towers compute, which take whole rows only."""
    tower, (pool, end_id) = text_tower(network), _pooling(network)
    kind, length = tower.transformer.get_cast_dtype(), ids.shape[1]
    tokens = tower.token_embedding(ids).to(kind) + tower.positional_embedding[:length].to(kind)
    tokens = tower.ln_final(tower.transformer(tokens, attn_mask=tower.attn_mask[:length, :length]))
    pooled: Tensor = text_global_pool(tokens, ids, pool, eos_token_id=end_id)
    projection = tower.text_projection
    if projection is None:
        return pooled
    projected: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
    return projected


def copy_text_tower(network: nn.Module) -> nn.Module:
    """A copy of the text tower alone, in eval mode; :attr:`EncoderFamily.call_text` executes it."""
    family = family_of(network)
    if family.text:
        return copy.deepcopy(text_tower(network)).eval()  # type: ignore[no-any-return]
    without_image = copy.copy(network)
    without_image._modules = {name: part for name, part in network._modules.items() if name != family.image}
    return copy.deepcopy(without_image).eval()


def first_output(output: Any) -> Tensor:
    """The vectors of a tower's output: CoCa's towers give ``(vectors, tokens)``."""
    vectors = output[0] if isinstance(output, tuple) else output
    assert isinstance(vectors, Tensor)
    return vectors


def use_finite_masks(tower: nn.Module) -> None:
    """Replace −∞ in a text tower's masks by :data:`MASKED`, in place."""
    for part in tower.modules():
        mask = getattr(part, "attn_mask", None)
        if isinstance(mask, Tensor):
            part.attn_mask = mask.clamp(min=MASKED)
        if hasattr(part, "_build_additive_mask"):
            part._build_additive_mask = types.MethodType(_additive_mask, part)  # type: ignore[assignment]


def pool_at_end_token(tower: nn.Module, family: EncoderFamily, end_id: int) -> None:
    """Let a text tower find its end token by ``ids == end_id`` instead of the greatest identifier, in place.

    Identifiers beyond 2048 are not exact once a runtime computes them in float16.
    """
    for part in tower.modules():
        for pool, eos in family.pooling:
            if getattr(part, pool, None) == "argmax" and hasattr(part, eos):
                setattr(part, pool, "eos")
                setattr(part, eos, end_id)


def _additive_mask(self: Any, text: Tensor, seq_len: int, dtype: torch.dtype) -> Tensor:
    """CoCa's padding mask, finite, and without ``repeat_interleave``, which coremltools does not know.

    Returns:
        ``(n · heads, seq_len, seq_len)``: 0 where a token may be attended to, −1e4 elsewhere.
    """
    valid = (text != self.pad_id).to(dtype)  # (n, context)
    if self.cls_emb is not None:
        always = torch.ones_like(valid[:, :1])
        # Published weights were trained with the class token's place at the wrong end; the network knows which.
        valid = torch.cat([valid, always] if self.correct_cls_mask else [always, valid], dim=1)
    additive = (1.0 - valid) * MASKED  # (n, seq_len)
    mask: Tensor = additive[:, None, None, :].expand(-1, self.heads, seq_len, -1)
    return mask.reshape(-1, seq_len, seq_len)
