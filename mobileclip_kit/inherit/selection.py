"""From learned scores to the units that stay: as many as the budget of parameters has room for.

The expected count of the gates is near the budget, not on it. The units that stay are those above one threshold on
``log α``, the same for all groups, as near the budget as it comes from above; then single neurons, the smallest units,
are left out in the order of their scores until the budget is met. Every group keeps one unit at least, so that no layer
becomes empty.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mobileclip_kit.errors import ModelError
from mobileclip_kit.inherit.layout import Layout

# The promise of the issue that this package keeps: within 2 % of the budget.
TOLERANCE = 0.02


def choose_units(scores: Mapping[str, Tensor], layout: Layout, parameters: int) -> dict[str, Tensor]:
    """The units that stay.

    Args:
        scores: Group → ``log α`` of its units.
        layout: The network's table.
        parameters: The budget.

    Returns:
        Group → rising numbers of its units that stay.

    Raises:
        ModelError: No choice comes within 2 % of the budget.
    """
    ranked = torch.sort(torch.cat([scores[name].double().cpu() for name in layout.groups])).values
    low, high = 0, len(ranked)  # leaving out the `low` units with the least scores is still too much
    while low + 1 < high:
        middle = (low + high) // 2
        if _count(layout, _above(scores, ranked[middle])) >= parameters:
            low = middle
        else:
            high = middle
    kept = _above(scores, ranked[low])
    kept = _leave_out(scores, layout, kept, parameters)
    found = layout.parameters({name: len(units) for name, units in kept.items()})
    if abs(found - parameters) > TOLERANCE * parameters:
        raise ModelError(
            f"The units nearest the budget of {parameters} parameters have {found}, more than 2 % beside it.",
            hint="A tower this small cannot be cut so finely; choose another share.",
        )
    return kept


def _above(scores: Mapping[str, Tensor], threshold: Tensor) -> dict[str, Tensor]:
    kept = {}
    for name, score in scores.items():
        keep = score.double().cpu() >= threshold
        keep[int(score.argmax())] = True
        kept[name] = keep.nonzero()[:, 0]
    return kept


def _leave_out(
    scores: Mapping[str, Tensor], layout: Layout, kept: dict[str, Tensor], parameters: int
) -> dict[str, Tensor]:
    """Leave out the lowest unit of the finest groups one after the other, as long as that comes nearer the budget."""
    kept = dict(kept)
    sizes = {name: len(units) for name, units in kept.items()}
    total = layout.parameters(sizes)
    order = sorted((float(scores[name][unit]), name, int(unit)) for name, units in kept.items() for unit in units)
    gone: dict[str, set[int]] = {name: set() for name in kept}
    for _, name, unit in order:
        if total <= parameters:
            break
        if sizes[name] == 1:
            continue
        fewer = layout.parameters({**sizes, name: sizes[name] - 1})
        if abs(fewer - parameters) < abs(total - parameters):
            sizes[name], total = sizes[name] - 1, fewer
            gone[name].add(unit)
    return {
        name: torch.tensor([unit for unit in units.tolist() if unit not in gone[name]]) for name, units in kept.items()
    }


def _count(layout: Layout, kept: Mapping[str, Tensor]) -> int:
    return layout.parameters({name: len(units) for name, units in kept.items()})
