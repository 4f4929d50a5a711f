"""Parts of a tower rewritten for conversion: the same numbers from fewer and plainer operators.

* ``nn.MultiheadAttention``, and what pruning left of it, becomes one product for query, key and value, one transpose in
  and one out. torch's own has seven transposes and a dozen reshapes a layer, which cost a quarter of a small tower's
  time and most of a converter's.
* The last block of a tower that reads out its class token computes that token alone: the others are only looked at. For
  a tower of six layers that is an eighth of all multiplications.
* Training-time branches are merged into single layers, as MobileOne and RepViT do it (arXiv 2206.04040): MobileCLIP's
  image towers are trained with parallel branches that one convolution can compute, several times faster on a phone.
* Mean and standard deviation move into a first convolution that has no padding. Images then reach it in 0…1, where
  int8 with a step of 1/255 is exact.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.utils import reparameterize_model
from torch import Tensor, nn

from mobileclip_kit.networks.pruned import KeptAttention


class PlainAttention(nn.Module):
    """Multi-head attention (arXiv 1706.03762, section 3.2) with the weights of another one.

    Args:
        source: See :func:`is_plain`. Its heads together need not be as wide as the tokens.
    """

    def __init__(self, source: nn.MultiheadAttention | KeptAttention) -> None:
        super().__init__()
        self.heads, self.head_width = source.num_heads, source.head_dim
        self.inner = self.heads * self.head_width
        with torch.no_grad():
            # 1/√d moves into the query's weights.
            scale = torch.ones(3 * self.inner)
            scale[: self.inner] = self.head_width**-0.5
            self.weight = nn.Parameter(source.in_proj_weight * scale[:, None])
            bias = torch.zeros(3 * self.inner) if source.in_proj_bias is None else source.in_proj_bias
            self.bias = nn.Parameter(bias * scale)
        self.out_proj = source.out_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, *, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Attend.

        Args:
            query: ``(n, queries, width)``.
            key: ``(n, tokens, width)``; the very tensor ``query`` where a tower attends to itself.
            value: ``key`` itself: towers have no other.
            need_weights: Ignored; weights are never returned.
            attn_mask: Added to the scores, ``(queries, tokens)`` or ``(n · heads, queries, tokens)``.

        Returns:
            ``(n, queries, width)`` and None, as ``nn.MultiheadAttention`` gives them.
        """
        if query is key:
            q, k, v = self._split(nn.functional.linear(query, self.weight, self.bias), 3)
        else:
            (q,) = self._split(nn.functional.linear(query, self.weight[: self.inner], self.bias[: self.inner]), 1)
            k, v = self._split(nn.functional.linear(key, self.weight[self.inner :], self.bias[self.inner :]), 2)
        scores = q @ k.transpose(-2, -1)  # (n, heads, queries, tokens)
        if attn_mask is not None:
            scores = scores + (attn_mask.reshape(scores.shape) if attn_mask.ndim == 3 else attn_mask)
        mixed = scores.softmax(dim=-1) @ v  # (n, heads, queries, head width)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None

    def _split(self, joined: Tensor, parts: int) -> tuple[Tensor, ...]:
        """``(n, tokens, parts · inner)`` to ``parts`` tensors ``(n, heads, tokens, head width)``."""
        apart = joined.unflatten(-1, (parts, self.heads, self.head_width))  # type: ignore[no-untyped-call]
        split: tuple[Tensor, ...] = apart.permute(2, 0, 3, 1, 4).unbind(0)
        return split


class ClassTokenBlock(nn.Module):
    """A residual attention block that gives its first token alone.

    Args:
        source: Its parts are used, not copied.
    """

    def __init__(self, source: ResidualAttentionBlock) -> None:
        super().__init__()
        self.source = source

    def forward(self, tokens: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """``(n, tokens, width)`` to ``(n, 1, width)``."""
        block: Any = self.source
        normal = block.ln_1(tokens)
        first = tokens[:, :1] + block.ls_1(block.attn(normal[:, :1], normal, normal, need_weights=False)[0])
        result: Tensor = first + block.ls_2(block.mlp(block.ln_2(first)))
        return result


def reparameterize(tower: nn.Module) -> nn.Module:
    """A copy of a tower whose branches are merged; towers without branches are only copied."""
    merged = copy.deepcopy(tower).eval()
    # The copy is ours already: a second one would cost the tower's memory again.
    merged = reparameterize_model(merged, inplace=True)
    assert isinstance(merged, nn.Module)
    return merged.eval()


def simplify_tower(tower: nn.Module) -> None:
    """Rewrite a tower in place, as far as its parts are of the kinds that this module knows."""
    for parent in list(tower.modules()):
        for name, part in list(parent.named_children()):
            if is_plain(part):
                setattr(parent, name, PlainAttention(part))  # type: ignore[arg-type]
    if isinstance(tower, VisionTransformer) and _reads_class_token(tower):
        blocks: Any = tower.transformer.resblocks
        blocks[-1] = ClassTokenBlock(blocks[-1])


def is_plain(attention: nn.Module) -> bool:
    """Whether :class:`PlainAttention` can stand in for it: a class of its own may compute anything."""
    if type(attention) is KeptAttention:
        return True
    return (
        type(attention) is nn.MultiheadAttention
        and attention.batch_first
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and attention.bias_v is None
        and not attention.add_zero_attn
    )


def fold_normalisation(tower: nn.Module, mean: Tensor, std: Tensor) -> bool:
    """Move ``(image − mean) / std`` into the first convolution, in place.

    Args:
        tower: An image tower.
        mean: ``(3,)``.
        std: ``(3,)``.

    Returns:
        Whether it could be done: padding would have to be normalised too.
    """
    holder = _first_convolution(tower)
    if holder is None:
        return False
    parent, name = holder
    source: nn.Conv2d = getattr(parent, name)
    shape: Any = source.kernel_size
    step: Any = source.stride
    folded = nn.Conv2d(source.in_channels, source.out_channels, shape, step)
    with torch.no_grad():
        weight = source.weight.double() / std.double().view(1, 3, 1, 1)
        shift = (weight * mean.double().view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
        folded.weight.copy_(weight)
        assert folded.bias is not None
        folded.bias.copy_((0 if source.bias is None else source.bias.double()) - shift)
    setattr(parent, name, folded.eval())
    return True


def _first_convolution(tower: Any) -> tuple[nn.Module, str] | None:
    """The holder and the name of a patch embedding: the one kind of tower whose first operator is known."""
    places = [(tower, "conv1")] if isinstance(tower, VisionTransformer) else []
    embedding = getattr(getattr(tower, "trunk", None), "patch_embed", None)
    if isinstance(getattr(embedding, "proj", None), nn.Conv2d):
        places.append((embedding, "proj"))
    return next((place for place in places if _is_bare(getattr(*place))), None)


def _is_bare(part: nn.Conv2d) -> bool:
    """Whether a convolution sees the image's three channels and nothing beyond its edges."""
    return part.in_channels == 3 and part.groups == 1 and part.padding in ((0, 0), "valid") and part.dilation == (1, 1)


def _reads_class_token(tower: VisionTransformer) -> bool:
    last = tower.transformer.resblocks[-1]
    return (
        tower.attn_pool is None
        and tower.pool_type == "tok"
        and not tower.output_tokens
        and type(last) is ResidualAttentionBlock
        and type(last.attn) is PlainAttention
        and not hasattr(last, "ln_1_kv")
    )
