"""Transformers in the Neural Engine's layout: ``(n, channels, 1, tokens)``, 1×1 convolutions, a head at a time.

Apple, "Deploying Transformers on the Apple Neural Engine" (machinelearning.apple.com, June 2022), gives the principles:
the last axis is the one that is stored without gaps, so it holds the tokens; linear layers are 1×1 convolutions; every
head's attention is computed by itself, on pieces that stay in the engine's cache; queries and keys meet without a
transpose (``bchq,bkhc->bkhq``).

Weights are the source's, reshaped (a linear layer's ``(out, in)`` becomes ``(out, in, 1, 1)``); the factor 1/√d moves
into the queries' weights. open_clip's ViT and text transformers are known; others are refused.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, TextTransformer, Transformer, VisionTransformer
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.plain import is_plain
from mobileclip_kit.networks.pruned import KeptAttention


class ChannelNorm(nn.Module):
    """Layer norm over the channels of ``(n, channels, 1, tokens)``.

    Args:
        source: The layer norm over the last axis whose weights it takes.
    """

    def __init__(self, source: nn.LayerNorm) -> None:
        super().__init__()
        self.epsilon = source.eps
        self.weight = nn.Parameter(source.weight.detach().view(1, -1, 1, 1))
        self.bias = nn.Parameter(source.bias.detach().view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        centred = x - x.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        normal: Tensor = centred * (variance + self.epsilon).rsqrt() * self.weight + self.bias
        return normal


class ChannelAttention(nn.Module):
    """Multi-head attention of a sequence to itself, one head at a time.

    Args:
        source: As :func:`~mobileclip_kit.networks.plain.is_plain` wants it.
    """

    def __init__(self, source: nn.MultiheadAttention | KeptAttention) -> None:
        super().__init__()
        self.head_width = source.head_dim
        inner = source.num_heads * self.head_width
        weights = source.in_proj_weight.detach().view(3, inner, source.embed_dim)
        given = source.in_proj_bias
        biases = torch.zeros(3, inner) if given is None else given.detach().view(3, inner)
        scale = self.head_width**-0.5
        self.query = _convolution(weights[0] * scale, biases[0] * scale)
        self.key = _convolution(weights[1], biases[1])
        self.value = _convolution(weights[2], biases[2])
        self.out = linear_as_convolution(source.out_proj)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``(n, channels, 1, tokens)``; ``mask`` is added to the scores, ``(1, tokens, 1, tokens)``, keys first."""
        queries = self.query(x).split(self.head_width, dim=1)
        keys = self.key(x).transpose(1, 3).split(self.head_width, dim=3)
        values = self.value(x).split(self.head_width, dim=1)
        mixed = []
        for query, key, value in zip(queries, keys, values, strict=True):
            scores = torch.einsum("bchq,bkhc->bkhq", query, key)
            if mask is not None:
                scores = scores + mask
            mixed.append(torch.einsum("bkhq,bchk->bchq", scores.softmax(dim=1), value))
        result: Tensor = self.out(torch.cat(mixed, dim=1))
        return result


class ChannelBlock(nn.Module):
    """A residual attention block.

    Args:
        source: Of open_clip's plain kind.
    """

    def __init__(self, source: ResidualAttentionBlock) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = ChannelNorm(source.ln_1), ChannelNorm(source.ln_2)
        self.attention = ChannelAttention(source.attn)
        self.widen = linear_as_convolution(source.mlp.c_fc)
        self.activation = source.mlp.gelu
        self.narrow = linear_as_convolution(source.mlp.c_proj)
        self.scale_1, self.scale_2 = _layer_scale(source.ls_1), _layer_scale(source.ls_2)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Same shape."""
        attended = self.attention(self.norm_1(x), mask)
        x = x + (attended if self.scale_1 is None else attended * self.scale_1)
        widened = self.narrow(self.activation(self.widen(self.norm_2(x))))
        result: Tensor = x + (widened if self.scale_2 is None else widened * self.scale_2)
        return result


class ChannelVision(nn.Module):
    """open_clip's ``VisionTransformer``: normalised images to raw vectors.

    Args:
        source: Its weights are copied.

    Raises:
        ModelError: It has parts that this layout does not know.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        if not isinstance(source, VisionTransformer) or source.attn_pool is not None or source.output_tokens:
            raise _unknown(source)
        if source.pool_type not in ("tok", "avg"):
            raise _unknown(source)
        self.patches = source.conv1
        self.class_token = nn.Parameter(source.class_embedding.detach().view(1, -1, 1, 1))
        self.positions = nn.Parameter(_positions(source.positional_embedding))
        self.norm_pre = ChannelNorm(source.ln_pre) if isinstance(source.ln_pre, nn.LayerNorm) else nn.Identity()
        self.blocks = _blocks(source.transformer)
        self.norm_post = ChannelNorm(source.ln_post)
        self.mean = source.pool_type == "avg"
        self.projection = None if source.proj is None else _convolution(source.proj.detach().T, None)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, height, width)`` to ``(n, d)``."""
        patches = self.patches(images).flatten(2).unsqueeze(2)  # (n, channels, 1, patches)
        first = self.class_token.expand(patches.shape[0], -1, -1, -1)
        x = self.norm_pre(torch.cat([first, patches], dim=3) + self.positions)
        for block in self.blocks:
            x = block(x, None)
        if self.mean:
            # Norms are computed before the mean, as open_clip does it.
            pooled = self.norm_post(x)[..., 1:].mean(dim=3, keepdim=True)
        else:
            pooled = self.norm_post(x[..., :1])
        return _vector(pooled, self.projection)


class ChannelText(nn.Module):
    """open_clip's text transformer, of a ``CLIP`` or as a ``TextTransformer``: token identifiers to raw vectors.

    Args:
        source: With a finite mask and a pooling that looks for one end token; see
            :class:`~mobileclip_kit.exporting.towers.TextTower`.

    Raises:
        ModelError: It has parts that this layout does not know.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        inside = isinstance(source, TextTransformer)
        if not hasattr(source, "token_embedding") or not isinstance(source.transformer, Transformer):
            raise _unknown(source)
        if inside and (source.cls_emb is not None or source.use_pad_mask or source.output_tokens):
            raise _unknown(source)
        self.pool = source.pool_type if inside else source.text_pool_type
        if self.pool not in ("first", "last", "eos"):
            raise _unknown(source)
        self.end = int(source.eos_id if inside else source.text_eos_id) if self.pool == "eos" else -1
        self.tokens = source.token_embedding
        self.positions = nn.Parameter(_positions(source.positional_embedding))
        self.blocks = _blocks(source.transformer)
        self.norm = ChannelNorm(source.ln_final)
        mask = source.attn_mask
        # Scores hold keys before queries.
        self.register_buffer("mask", None if mask is None else mask.detach().T[None, :, None, :].clone())
        projection: Any = source.text_projection
        if projection is None:
            self.projection = None
        elif isinstance(projection, nn.Linear):
            self.projection = linear_as_convolution(projection)
        else:
            self.projection = _convolution(projection.detach().T, None)

    def forward(self, ids: Tensor) -> Tensor:
        """``(n, context)`` to ``(n, d)``."""
        mask: Any = self.mask
        x = self.tokens(ids).transpose(1, 2).unsqueeze(2) + self.positions  # (n, channels, 1, tokens)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        if self.pool == "eos":
            place = (ids == self.end).int().argmax(dim=-1, keepdim=True)
            # One product and a sum in place of a look-up: only the end token's column is not multiplied by 0.
            here = (torch.arange(ids.shape[1], device=ids.device)[None] == place).to(x.dtype)
            pooled = (x * here[:, None, None, :]).sum(dim=3, keepdim=True)
        else:
            pooled = x[..., :1] if self.pool == "first" else x[..., -1:]
        return _vector(pooled, self.projection)


def linear_as_convolution(source: nn.Linear) -> nn.Conv2d:
    """A linear layer as a 1×1 convolution with the same weights."""
    return _convolution(source.weight.detach(), None if source.bias is None else source.bias.detach())


def _convolution(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    out, into = weight.shape
    made = nn.Conv2d(into, out, 1, bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(weight[:, :, None, None])
        if made.bias is not None and bias is not None:
            made.bias.copy_(bias)
    return made.eval()


def _blocks(transformer: Any) -> nn.ModuleList:
    for block in transformer.resblocks:
        plain = type(block) is ResidualAttentionBlock and not hasattr(block, "ln_1_kv")
        if not plain or not is_plain(block.attn) or not isinstance(block.ln_1, nn.LayerNorm):
            raise _unknown(block)
    return nn.ModuleList(ChannelBlock(block) for block in transformer.resblocks)


def _layer_scale(source: Any) -> nn.Parameter | None:
    return None if isinstance(source, nn.Identity) else nn.Parameter(source.gamma.detach().view(1, -1, 1, 1))


def _positions(embedding: Tensor) -> Tensor:
    """``(tokens, channels)`` to ``(1, channels, 1, tokens)``."""
    return embedding.detach().T[None, :, None, :].clone()


def _vector(pooled: Tensor, projection: nn.Conv2d | None) -> Tensor:
    """``(n, channels, 1, 1)`` to ``(n, d)``."""
    vector: Tensor = pooled if projection is None else projection(pooled)
    return vector.flatten(1)


def _unknown(part: object) -> ModelError:
    return ModelError(
        f"The layout of --ane and --gpu-layout is known for open_clip's transformers in their usual form; this "
        f"{type(part).__name__} is another tower, or has options such as attentional pooling.",
        hint="Leave --ane or --gpu-layout out.",
    )
