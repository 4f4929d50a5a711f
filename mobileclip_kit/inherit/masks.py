"""Gates put into a network while it learns which of its units it can do without.

Heads, neurons and convolutional channels are gated in the product that reads or writes them: the columns of the output
projection that belong to a head are multiplied by its gate, which is the same as multiplying what the head gives.

Residual channels are gated where they are read. A transformer's residual stream is read through layer norms alone, and
a closed channel must not count in their mean and variance either: once it is gone physically, it does not. So each norm
takes *gate-weighted* statistics, ``mean = Σ z·x / Σ z`` and ``variance = Σ z·(x − mean)² / Σ z``, and multiplies its
output by z. At z = 1 that is the layer norm, at z in {0, 1} the layer norm of the smaller model, and in between it is
differentiable (our reading; the paper does not say how its norms meet the masks).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mobileclip_kit.inherit.gates import Gates
from mobileclip_kit.inherit.layout import Layout
from mobileclip_kit.inherit.tower_axes import Axis

# Dimension of the weight whose places are gated: what reads heads and neurons are columns, a norm's are its only one.
_GATED_COLUMNS = ("attn.out_proj.weight", "mlp.c_proj.weight", "attn.proj.weight", "mlp.fc2.weight")


@contextmanager
def masked(network: nn.Module, layout: Layout, gates: Gates) -> Iterator[nn.Module]:
    """Put gates into a network, and take them out again afterwards with its weights as they then are.

    Args:
        network: An open_clip model; changed in place while the block lasts.
        layout: Its table.
        gates: Of the table's groups.
    """
    norms = _gate_norms(network, layout, gates)
    weights = _gate_weights(network, layout, gates)
    try:
        yield network
    finally:
        for module, name in weights:
            parametrize.remove_parametrizations(module, name, leave_parametrized=False)
        for parent, name, norm in norms:
            setattr(parent, name, norm)


class GatedNorm(nn.Module):
    """A layer norm for which closed channels do not exist.

    Args:
        norm: The layer norm, whose weights stay its own.
        gates: Where the gates in force are looked up.
        group: The channels' group.
    """

    def __init__(self, norm: nn.LayerNorm, gates: Gates, group: str) -> None:
        super().__init__()
        self.norm = norm
        self._group, self._gates = group, [gates]  # in a list: the gates are no part of this module

    def forward(self, hidden: Tensor) -> Tensor:
        """``(…, channels)`` to the same, 0 in closed channels."""
        gate = self._gates[0].values[self._group]
        shares = gate / gate.sum().clamp(min=torch.finfo(gate.dtype).tiny)
        norm, wide = self.norm, hidden.float()
        centred = wide - (wide * shares).sum(-1, keepdim=True)
        variance = (centred.square() * shares).sum(-1, keepdim=True)
        normed = centred * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias
        return (normed * gate).to(hidden.dtype)


class GatedPlaces(nn.Module):
    """A weight whose places along one dimension are multiplied by the gates of their units.

    Args:
        gates: Where the gates in force are looked up.
        axis: The dimension's axis.
        dimension: Which.
    """

    def __init__(self, gates: Gates, axis: Axis, dimension: int) -> None:
        super().__init__()
        self._gates, self._axis, self._dimension = [gates], axis, dimension

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, gated."""
        gate = self._gates[0].values[self._axis.group].repeat_interleave(self._axis.block).repeat(self._axis.copies)
        shape = [1] * weight.ndim
        shape[self._dimension] = -1
        return weight * gate.view(shape)


def _gate_norms(network: nn.Module, layout: Layout, gates: Gates) -> list[tuple[nn.Module, str, nn.Module]]:
    found = []
    for path, module in list(network.named_modules()):
        axes = layout.axes.get(f"{path}.weight")
        if isinstance(module, nn.LayerNorm) and axes is not None and axes[0] is not None:
            parent, _, name = path.rpartition(".")
            holder = network.get_submodule(parent)
            found.append((holder, name, module))
            setattr(holder, name, GatedNorm(module, gates, axes[0].group))
    return [(holder, name, module) for holder, name, module in found]


def _gate_weights(network: nn.Module, layout: Layout, gates: Gates) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    modules = dict(network.named_modules())
    for path, axes in layout.axes.items():
        parent, _, name = path.rpartition(".")
        module = modules.get(parent)
        if path.endswith(_GATED_COLUMNS):
            dimension = 1
        elif isinstance(module, nn.BatchNorm2d) and name in ("weight", "bias"):
            # relu(z · norm(x)) = z · relu(norm(x)), since no gate is negative.
            dimension = 0
        else:
            continue
        axis = axes[dimension]
        assert module is not None and axis is not None
        # The shapes are equal, and torch's own check would run the gates once more.
        parametrize.register_parametrization(module, name, GatedPlaces(gates, axis, dimension), unsafe=True)
        found.append((module, name))
    return found
