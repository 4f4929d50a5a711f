"""Which dimension of which tensor shrinks with what: the one table behind inheriting, counting, masking and pruning.

A *group* is a row of units that can be kept or left out one by one: the residual channels of a tower, the heads of one
layer, the neurons of one feed-forward product, the channels of one convolutional stage. Every tensor of a tower has an
:class:`~mobileclip_kit.inherit.tower_axes.Axis` for each dimension that follows a group, None for the others.
From this table alone follow the number of parameters of any choice of units, and the rows to copy for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.inherit.tower_axes import Axes, image_axes, text_axes
from mobileclip_kit.spec import Tower

Count = TypeVar("Count", int, Tensor)


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
        if any(isinstance(count, Tensor) for count in units.values()):
            return self._expected_parameters(units)  # type: ignore[return-value]
        total: Any = 0
        for names, factor in self._terms.items():
            total = total + factor * math.prod((units[name] for name in names), start=1)
        counted: Count = total
        return counted

    def of_layers(self) -> Layout:
        """The same table, of which attention and feed-forward products alone are counted, as in TinyCLIP's code."""
        counted = {name: shape for name, shape in self.shapes.items() if ".attn." in name or ".mlp." in name}
        return replace(self, shapes=counted)

    def _expected_parameters(self, units: Mapping[str, Any]) -> Tensor:
        """The polynomial in a few operations: one for each term would take longer than a step of a small tower."""
        left, right, factors = self._factors
        counts = [units[name] for name in self.groups]
        device = next(count.device for count in counts if isinstance(count, Tensor))
        powers = torch.stack([torch.as_tensor(count, dtype=torch.float32, device=device) for count in (*counts, 1.0)])
        return (powers[left.to(device)] * powers[right.to(device)] * factors.to(device)).sum()

    @cached_property
    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The terms as two places each in the row of all groups and a final 1, and the factors, ``(terms,)``."""
        place = {name: number for number, name in enumerate((*self.groups, ""))}
        names = [(*names, "", "")[:2] for names in self._terms]  # no tensor follows three groups
        left, right = (torch.tensor([place[pair[side]] for pair in names]) for side in (0, 1))
        return left, right, torch.tensor(list(self._terms.values()), dtype=torch.float32)

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
    for tower, describe in (("image", image_axes), ("text", text_axes)):
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
