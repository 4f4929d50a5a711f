"""Which tensors of the towers we know follow which groups of units, dimension by dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.families import image_tower, text_tower
from mobileclip_kit.networks.hybrid_tower import HybridTower
from mobileclip_kit.networks.model import is_placeholder


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor that follows a group.

    Attributes:
        group: Its name: ``text.channels``, ``image.3.heads``.
        block: Neighbouring places that belong to one unit: a head's width, a channel's places in a flattened grid.
        copies: How often the row of all units is repeated: three times where query, key and value share a matrix.
    """

    group: str
    block: int = 1
    copies: int = 1

    def places(self, kept: Tensor, units: int, *, block: int | None = None) -> Tensor:
        """The places of some units.

        Args:
            kept: Their numbers, ``(k,)``.
            units: How many the group has.
            block: Take only the leading places of each unit; None takes all.

        Returns:
            ``(copies · k · block,)``, in the order of the tensor.
        """
        within = torch.arange(self.block if block is None else block)
        each = kept[:, None] * self.block + within  # (k, block)
        repeats = torch.arange(self.copies) * (units * self.block)
        return (repeats[:, None, None] + each).reshape(-1)


Axes = tuple[Axis | None, ...]

# The matrices of a convolutional tower's head.
LOW_RANK, PROJECTION = "visual.trunk.reduce.weight", "visual.head.proj.weight"

# Tensor name → its axes, and group → how many units it has; None for a kind of tower that is not known here.
Found = tuple[dict[str, Axes], dict[str, int]] | None


def image_axes(network: Any) -> Found:
    """The axes of an image tower: open_clip's ViT, or one of ours."""
    visual = image_tower(network)
    trunk = getattr(visual, "trunk", None)
    if isinstance(trunk, ConvTower):
        return _convolutional(visual)
    if isinstance(trunk, HybridTower):
        return _hybrid(network)
    if trunk is not None or getattr(visual, "attn_pool", 0) is not None or not hasattr(visual, "conv1"):
        return None
    channel = Axis("image.channels")
    axes: dict[str, Axes] = {
        "visual.class_embedding": (channel,),
        "visual.positional_embedding": (None, channel),
        "visual.conv1.weight": (channel, None, None, None),
        "visual.proj": (channel, None),
    }
    for norm in ("ln_pre", "ln_post"):
        axes |= {f"visual.{norm}.{part}": (channel,) for part in ("weight", "bias")}
    return _with_blocks("visual.transformer.resblocks", visual.transformer.resblocks, "image", axes, network)


def text_axes(network: Any) -> Found:
    """The axes of a text tower: open_clip's transformer, unless it is the placeholder of an image-only model."""
    tower = text_tower(network)
    prefix = "" if tower is network else "text."
    if not hasattr(tower, "token_embedding") or not hasattr(getattr(tower, "transformer", None), "resblocks"):
        return None
    if is_placeholder({"width": tower.token_embedding.embedding_dim, "vocab_size": tower.token_embedding.num_embeddings,
                       "layers": len(tower.transformer.resblocks), "heads": 1, "context_length": 77}):  # fmt: skip
        return None
    channel = Axis("text.channels")
    axes: dict[str, Axes] = {
        f"{prefix}token_embedding.weight": (None, channel),
        f"{prefix}positional_embedding": (None, channel),
        f"{prefix}ln_final.weight": (channel,),
        f"{prefix}ln_final.bias": (channel,),
        f"{prefix}cls_emb": (channel,),
        f"{prefix}text_projection": (channel, None),
        f"{prefix}text_projection.weight": (None, channel),
    }
    return _with_blocks(f"{prefix}transformer.resblocks", tower.transformer.resblocks, "text", axes, network)


def _with_blocks(prefix: str, blocks: Any, tower: str, axes: dict[str, Axes], network: nn.Module) -> Found:
    """The axes of a tower with those of its transformer blocks; None where one is neither open_clip's nor timm's."""
    groups: dict[str, int] = {}
    present = {name: tuple(tensor.shape) for name, tensor in network.named_parameters()}
    for number, block in enumerate(blocks):
        own = f"{prefix}.{number}"
        table = next((table for table in _BLOCKS if all(f"{own}.{name}" in present for name in table.matrices)), None)
        if table is None or hasattr(block, "ln_attn"):
            return None
        _, reads, first, _ = table.matrices
        (neurons, channels), inner = present[f"{own}.{first}"], present[f"{own}.{reads}"][1]
        heads = int(block.attn.num_heads)
        groups |= {f"{tower}.channels": channels, f"{tower}.{number}.heads": heads, f"{tower}.{number}.ffn": neurons}
        head = Axis(f"{tower}.{number}.heads", inner // heads)
        along = {"c": Axis(f"{tower}.channels"), "h": head, "n": Axis(f"{tower}.{number}.ffn"),
                 "q": replace(head, copies=3)}  # fmt: skip
        axes |= {f"{own}.{name}": tuple(along[letter] for letter in row) for name, row in table.axes.items()}
    return {name: row for name, row in axes.items() if name in present}, groups


@dataclass(frozen=True)
class _Block:
    """The parameters of a kind of transformer block.

    Attributes:
        matrices: What makes query, key and value; what reads the heads; what makes the neurons; what reads them.
        axes: Name → a letter for each dimension: c channels, q query, key and value of the heads, h heads, n neurons.
    """

    matrices: tuple[str, str, str, str]
    axes: dict[str, str]


_BLOCKS = (
    _Block(
        ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"),
        {
            **dict.fromkeys(("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "ls_1.gamma", "ls_2.gamma"), "c"),
            "attn.in_proj_weight": "qc", "attn.in_proj_bias": "q", "attn.out_proj.weight": "ch",
            "attn.out_proj.bias": "c", "mlp.c_fc.weight": "nc", "mlp.c_fc.bias": "n", "mlp.c_proj.weight": "cn",
            "mlp.c_proj.bias": "c",
        },
    ),
    _Block(
        ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"),
        {
            **dict.fromkeys(("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"), "c"),
            "attn.qkv.weight": "qc", "attn.qkv.bias": "q", "attn.proj.weight": "ch", "attn.proj.bias": "c",
            "mlp.fc1.weight": "nc", "mlp.fc1.bias": "n", "mlp.fc2.weight": "cn", "mlp.fc2.bias": "c",
        },
    ),
)  # fmt: skip


def stage_group(number: int) -> str:
    """The group of the channels of a convolutional stage."""
    return f"image.{number}.stage"


def _convolutional(visual: Any) -> Found:
    """Each stage's channels are a group: its residual convolutions read and write the same ones."""
    names = [stage_group(number) for number in range(len(visual.trunk.stages))]
    axes, groups = _stages("visual.trunk.stages", visual.trunk.stages, names)
    # The first of a low-rank head's two matrices reads the channels, the other one the first one's numbers.
    name, reads = (LOW_RANK, visual.trunk.reduce) if visual.trunk.rank else (PROJECTION, visual.head.proj)
    axes[name] = (None, Axis(names[-1], reads.in_features // groups[names[-1]]))
    return axes | _products(visual.trunk, names[-1]), groups


def _products(trunk: ConvTower | HybridTower, group: str) -> dict[str, Axes]:
    """Each channel's products follow it; each is a mixture of all channels."""
    if not trunk.products:
        return {}
    return _conv_norm("visual.trunk.mix", Axis(group, trunk.products), Axis(group))


def _conv_norm(layer: str, made: Axis, read: Axis | None) -> dict[str, Axes]:
    """A convolution without bias and its batch norm; what the first one reads, the image, is in no group."""
    axes: dict[str, Axes] = {f"{layer}.conv.weight": (made, read, None, None)}
    for part in ("weight", "bias", "running_mean", "running_var"):
        axes[f"{layer}.norm.{part}"] = (made,)
    return axes


def _hybrid(network: Any) -> Found:
    """A convolutional stem whose last stage's channels are the tokens'."""
    trunk, channel = image_tower(network).trunk, Axis("image.channels")
    names = [stage_group(number) for number in range(len(trunk.stages) - 1)]
    axes, groups = _stages("visual.trunk.stages", trunk.stages, [*names, channel.group])
    axes |= {
        "visual.trunk.pos_embed": (None, None, channel),
        "visual.trunk.norm.weight": (channel,),
        "visual.trunk.norm.bias": (channel,),
        "visual.head.proj.weight": (None, Axis(channel.group, 1 + trunk.products)),
        **_products(trunk, channel.group),
    }
    found = _with_blocks("visual.trunk.blocks", trunk.blocks, "image", {}, network)
    return None if found is None else (axes | found[0], groups | found[1])


def _stages(prefix: str, stages: Any, names: Sequence[str]) -> tuple[dict[str, Axes], dict[str, int]]:
    axes: dict[str, Axes] = {}
    groups: dict[str, int] = {}
    before: Axis | None = None
    for number, (name, stage) in enumerate(zip(names, stages, strict=True)):
        own = Axis(name)
        groups[name] = int(stage[0].conv.out_channels)
        for place in range(len(stage)):
            axes |= _conv_norm(f"{prefix}.{number}.{place}", own, before if place == 0 else own)
        before = own
    return axes, groups
