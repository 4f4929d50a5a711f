"""Which units of a tower weigh most: the sum of their squared weights, as in magnitude pruning (arXiv 1608.08710).

That paper ranks the filters of one layer by their own norms. A unit here is read and written by several tensors, the
residual channels of a transformer by all; each tensor gets one vote: the unit's share of its squared weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mobileclip_kit.inherit.layout import Layout


def heaviest_units(layout: Layout, state: Mapping[str, Tensor], group: str, count: int) -> Tensor:
    """The numbers of a group's heaviest units, rising.

    Args:
        layout: Of the network that ``state`` is of.
        state: Its tensors. Biases and running statistics have no vote: they say nothing of how much a unit is used.
        group: One of the layout's.
        count: How many, at most the group's units.
    """
    units = layout.groups[group]
    weight = torch.zeros(units)
    for name, axes in layout.axes.items():
        if name not in state or name.endswith("bias") or ".running_" in name:
            continue
        for dimension, axis in enumerate(axes):
            if axis is not None and axis.group == group:
                squares = state[name].float().square().transpose(0, dimension).reshape(state[name].shape[dimension], -1)
                own = squares.sum(dim=1).reshape(axis.copies, units, axis.block).sum(dim=(0, 2))  # (units,)
                weight += own / own.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return weight.topk(count).indices.sort().values
