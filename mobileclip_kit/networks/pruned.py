"""Towers whose layers keep different numbers of heads and neurons, as learned pruning leaves them.

open_clip's own configuration ties every layer of a tower to one width: so many heads in each, head width × heads =
width. Pruning (:mod:`mobileclip_kit.inherit`) leaves another number in each layer. What it left stands in a table
``kept`` of ``vision_cfg`` and ``text_cfg``::

    "kept": {"head_width": 64, "heads": [9, 12, …], "ffn": [1733, 2011, …]}     a transformer, one number a layer
    "kept": {"widths": [11, 20, 47, 90], "residuals": [0, 0, 1, 2]}             a convolutional tower, one a stage

A hybrid tower has both. The network is still open_clip's class with open_clip's parameter names; only the layers differ
in size. open_clip itself does not know the table, so ``open_clip.create_model`` refuses such a folder (an unknown key);
a tower whose layers are even again is written without the table and loads there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timm.layers import Attention
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.hybrid_tower import HybridTower

KEPT = "kept"


class KeptAttention(nn.Module):
    """Self-attention whose heads together need not be as wide as the tokens.

    Parameter names and the call are ``nn.MultiheadAttention``'s, so that it takes its place in open_clip's blocks.

    Args:
        width: Of the tokens.
        heads: How many.
        head_width: Of each.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = width, heads, head_width
        inner = heads * head_width
        projection = nn.Linear(width, 3 * inner)
        self.in_proj_weight = nn.Parameter(projection.weight.detach())
        self.in_proj_bias = nn.Parameter(projection.bias.detach())
        self.out_proj = NonDynamicallyQuantizableLinear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False,
                attn_mask: Tensor | None = None) -> tuple[Tensor, None]:  # fmt: skip
        """``(n, length, width)`` to the same; ``key`` and ``value`` are the query's tokens.

        Args:
            query: The tokens.
            key: Not read.
            value: Not read.
            need_weights: The attention's weights are never given.
            attn_mask: Added to the logits, ``(length, length)`` or ``(n · heads, length, length)``.
        """
        n, length, _ = query.shape
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.reshape(n, self.num_heads, length, length)
        joint = F.linear(query, self.in_proj_weight, self.in_proj_bias)  # (n, length, 3 · heads · head_dim)
        parts = joint.reshape(n, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=attn_mask)
        return self.out_proj(seen.transpose(1, 2).reshape(n, length, self.num_heads * self.head_dim)), None


def even_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """A ``vision_cfg`` or ``text_cfg`` that open_clip can build, whose layers :func:`shape_tower` then replaces.

    Raises:
        ModelError: The table does not fit the tower.
    """
    kept, even = section.get(KEPT), {key: value for key, value in section.items() if key != KEPT}
    if kept is None:
        return even
    if "widths" in kept:
        _check_sizes(kept, "widths", 4)
        _check_sizes(kept, "residuals", 4, least=0)
        return even
    for name in ("heads", "ffn"):
        _check_sizes(kept, name, section["layers"])
    # One head and little else: every block gets its own attention and feed-forward layers afterwards.
    even |= {"mlp_ratio": 1.0}
    return even | ({"heads": 1} if "context_length" in even else {"head_width": even["width"]})


def shape_tower(tower: Any, section: Mapping[str, Any]) -> None:
    """Give a tower's layers the sizes of its ``kept`` table; without one it stays as it is.

    Args:
        tower: An open_clip image or text tower.
        section: Its ``vision_cfg`` or ``text_cfg``.
    """
    kept = section.get(KEPT)
    if kept is None:
        return
    if "widths" in kept:
        _shape_trunk(tower, kept)
    else:
        _shape_blocks(tower.transformer.resblocks, int(section["width"]), kept)


def _shape_blocks(blocks: Sequence[Any], width: int, kept: Mapping[str, Any]) -> None:
    """Replace the attention and the feed-forward products of open_clip's transformer blocks by ones of other sizes."""
    for block, heads, ffn in zip(blocks, kept["heads"], kept["ffn"], strict=True):
        block.attn = KeptAttention(width, heads, kept["head_width"])
        block.mlp.c_fc, block.mlp.c_proj = nn.Linear(width, ffn), nn.Linear(ffn, width)


def _shape_trunk(visual: Any, kept: Mapping[str, Any]) -> None:
    """Replace a tower of ours by one of other sizes, and the projection that reads it."""
    widths, residuals, size = kept["widths"], kept["residuals"], int(visual.image_size[0])
    if isinstance(visual.trunk, HybridTower):
        heads, ffn = kept.get("heads", []), kept.get("ffn", [])
        for name in ("heads", "ffn"):
            _check_sizes(kept, name, len(visual.trunk.blocks))
        visual.trunk = HybridTower(
            widths, residuals, layers=len(heads), heads=1, image_size=size, products=visual.trunk.products
        )
        for block, own_heads, neurons in zip(visual.trunk.blocks, heads, ffn, strict=True):
            # timm's attention has heads of any width, so no class of ours is needed.
            block.attn = Attention(widths[-1], own_heads, attn_head_dim=kept["head_width"], qkv_bias=True)
            block.mlp.fc1, block.mlp.fc2 = nn.Linear(widths[-1], neurons), nn.Linear(neurons, widths[-1])
    else:
        visual.trunk = ConvTower(
            tuple(widths), tuple(residuals), size, pooled=visual.trunk.pooled, products=visual.trunk.products,
            rank=visual.trunk.rank, cell=visual.trunk.cell,
        )  # fmt: skip
    old = visual.head.proj
    visual.head.proj = nn.Linear(visual.trunk.num_features, old.out_features, bias=old.bias is not None)


def _check_sizes(kept: Mapping[str, Any], name: str, count: int, *, least: int = 1) -> None:
    sizes, head_width = kept.get(name, []), kept.get("head_width", 0 if name in ("heads", "ffn") else 1)
    if len(sizes) != count or not all(isinstance(size, int) and size >= least for size in sizes) or head_width < 1:
        raise ModelError(
            f"The table of what was kept is {dict(kept)}; {name} must be {count} numbers of at least {least}, beside a "
            "head_width where there are heads."
        )


def even_kept(section: Mapping[str, Any]) -> dict[str, Any]:
    """A transformer's section in open_clip's own words where its layers are even: it then needs no ``kept`` table."""
    kept = section.get(KEPT)
    if kept is None or "heads" not in kept:
        return dict(section)
    width, heads, ffn = section["width"], set(kept["heads"]), set(kept["ffn"])
    if len(heads) != 1 or len(ffn) != 1 or min(heads) * kept["head_width"] != width:
        return dict(section)
    plain = {key: value for key, value in section.items() if key != KEPT}
    neurons = min(ffn)
    ratio = neurons / width
    # open_clip computes int(width · ratio), which may round to one less.
    plain["mlp_ratio"] = ratio if int(width * ratio) == neurons else (neurons + 0.5) / width
    return plain | ({"heads": min(heads)} if "context_length" in plain else {"head_width": kept["head_width"]})
