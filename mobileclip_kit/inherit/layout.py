"""Which dimension of which tensor shrinks with what: the one table behind inheriting, counting, masking and pruning.

A *group* is a row of units that can be kept or left out one by one: the residual channels of a tower, the heads of one
layer, the neurons of one feed-forward product, the channels of one convolutional stage. Every tensor of a tower has an
:class:`Axis` for each dimension that follows a group, and None for one that does not. From this table alone follow the
number of parameters of any choice of units, and the rows to copy for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.hybrid_tower import HybridTower
from mobileclip_kit.networks.model import is_placeholder
from mobileclip_kit.spec import Tower

Count = TypeVar("Count", int, Tensor)


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


@dataclass(frozen=True)
class Layout:
    """The table of a network.

    Attributes:
        axes: Tensor name → an axis for each of its dimensions. Tensors that follow no group are not in it.
        groups: Group name → how many units it has.
        shapes: Tensor name → shape, of every parameter of the two towers.
        towers: Which towers have groups.
    """

    axes: dict[str, Axes]
    groups: dict[str, int]
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    towers: tuple[Tower, ...]

    def parameters(self, units: Mapping[str, Count]) -> Count:
        """Parameters of both towers, with the logit scale in neither.

        Args:
            units: Group → how many units are kept: integers give a count, tensors an expected count that gradients flow
                through. The expectation is exact where the gates of different groups are independent and a tensor
                has a group once; a square convolution has its stage's twice, and is counted as the square of the mean.
        """
        total: Any = 0
        for names, factor in self._terms.items():
            total = total + factor * math.prod((units[name] for name in names), start=1)
        counted: Count = total
        return counted

    @cached_property
    def _terms(self) -> dict[tuple[str, ...], int]:
        """The number of parameters as a polynomial: the groups that are multiplied → the factor before them."""
        terms: dict[tuple[str, ...], int] = {}
        for name, shape in self.shapes.items():
            names, factor = [], 1
            for axis, length in zip(self.axes.get(name, (None,) * len(shape)), shape, strict=True):
                factor *= length if axis is None else axis.block * axis.copies
                names += [] if axis is None else [axis.group]
            key = tuple(sorted(names))
            terms[key] = terms.get(key, 0) + factor
        return terms

    def head_width(self, tower: Tower) -> int:
        """Places of each head of a tower's transformer."""
        axes = (axis for row in self.axes.values() for axis in row if axis is not None and axis.copies == 1)
        return next(axis.block for axis in axes if axis.group == f"{tower}.0.heads")

    def slice(self, name: str, tensor: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        """The part of a tensor that belongs to the units kept of each group."""
        for dimension, axis in enumerate(self.axes.get(name, ())):
            if axis is not None:
                tensor = tensor.index_select(dimension, axis.places(kept[axis.group], self.groups[axis.group]))
        return tensor.clone()


def layout_of(network: nn.Module) -> Layout:
    """The table of an open_clip model.

    A tower of a kind that is not known here (a Swin transformer, a ResNet with attention pooling) has no groups: it can
    be counted, and stays as it is.
    """
    axes: dict[str, Axes] = {}
    groups: dict[str, int] = {}
    towers: list[Tower] = []
    for tower, describe in (("image", _image_axes), ("text", _text_axes)):
        found = describe(network)
        if found is not None:
            towers.append(tower)  # type: ignore[arg-type]
            axes |= found[0]
            groups |= found[1]
    shapes = {name: tuple(tensor.shape) for name, tensor in network.named_parameters() if not name.startswith("logit_")}
    return Layout(axes, groups, shapes, tuple(towers))


def require_groups(layout: Layout, name: str) -> None:
    """Refuse a network none of whose towers can be cut.

    Raises:
        ModelError: Names the model and the kinds that can.
    """
    if not layout.groups:
        raise ModelError(
            f"Neither tower of {name} is of a kind whose weights can be cut.",
            hint="Take a model with open_clip's own ViT, text transformer or our convolutional tower.",
        )


_Found = tuple[dict[str, Axes], dict[str, int]] | None


def _image_axes(network: Any) -> _Found:
    visual = network.visual
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


def _text_axes(network: Any) -> _Found:
    tower, prefix = (network.text, "text.") if hasattr(network, "text") else (network, "")
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


def _with_blocks(prefix: str, blocks: Any, tower: str, axes: dict[str, Axes], network: nn.Module) -> _Found:
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


def _convolutional(visual: Any) -> _Found:
    """Each stage's channels are a group: its residual convolutions read and write the same ones."""
    names = [f"image.{number}.stage" for number in range(len(visual.trunk.stages))]
    axes, groups = _stages("visual.trunk.stages", visual.trunk.stages, names)
    places = visual.head.proj.in_features // groups[names[-1]]
    axes["visual.head.proj.weight"] = (None, Axis(names[-1], places))
    return axes, groups


def _hybrid(network: Any) -> _Found:
    """A convolutional stem whose last stage's channels are the tokens'."""
    trunk, channel = network.visual.trunk, Axis("image.channels")
    names = [f"image.{number}.stage" for number in range(len(trunk.stages) - 1)]
    axes, groups = _stages("visual.trunk.stages", trunk.stages, [*names, channel.group])
    axes |= {
        "visual.trunk.pos_embed": (None, None, channel),
        "visual.trunk.norm.weight": (channel,),
        "visual.trunk.norm.bias": (channel,),
        "visual.head.proj.weight": (None, channel),
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
            layer = f"{prefix}.{number}.{place}"
            axes[f"{layer}.conv.weight"] = (own, before if place == 0 else own, None, None)
            for part in ("weight", "bias", "running_mean", "running_var"):
                axes[f"{layer}.norm.{part}"] = (own,)
        before = own
    return axes, groups
