"""A budget of parameters that both towers share, held by a Lagrangian whose multipliers rise while it is exceeded.

TinyCLIP (arXiv 2309.12314), section 3.2: ``λ · max(q − p, 0) + β · max(q − p, 0)²`` with the expected sparsity p, the
target q and λ, β ≥ 0 learned by gradient ascent; q rises linearly over a warm-up. λ starts at 10, as in TinyCLIP's
released code.

From learned scores to the units that stay: as many as the budget of parameters has room for.

The expected count of the gates is near the budget, not on it. The units that stay are those above one threshold on
``log α``, the same for all groups, as near the budget as it comes from above; then single units are left out in the
order of their scores, skipping those larger than the remaining excess. Every group keeps one unit at least, so
that no layer becomes empty.

An *even* choice keeps equally many heads and neurons in each layer of a tower, and as many channels as its heads
together have places: a model that open_clip's own configuration describes. Which heads and neurons stay still differs
from layer to layer; how many parameters a tower may keep is what the uneven choice left of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError, UsageError
from mobileclip_kit.inherit.gates import Gates
from mobileclip_kit.inherit.layout import Layout
from mobileclip_kit.spec import Tower

# A choice of units must come within 2 % of the budget.
TOLERANCE = 0.02
_LINEAR = 10.0  # λ at the start


class ParameterBudget(nn.Module):
    """The distance of the gates from the budget, and its penalty.

    Args:
        layout: The network's table.
        parameters: The budget: parameters of both towers.
        warmup_steps: Steps in which the target rises from nothing to its value.

    Raises:
        UsageError: The budget is not below what the network has, or below what cannot be cut away.
    """

    def __init__(self, layout: Layout, parameters: int, *, warmup_steps: int) -> None:
        super().__init__()
        self.layout, self.warmup_steps = layout, warmup_steps
        self.all_parameters = layout.parameters(layout.groups)
        least = layout.parameters(dict.fromkeys(layout.groups, 1))
        if not least <= parameters < self.all_parameters:
            raise UsageError(
                f"A budget of {parameters} parameters cannot be met: the model has {self.all_parameters}, of which "
                f"{least} cannot be cut away.",
                hint="Choose a share that leaves more.",
            )
        self.parameters_kept = parameters
        self.linear, self.quadratic = nn.Parameter(torch.tensor(_LINEAR)), nn.Parameter(torch.zeros(()))

    def target(self, step: int) -> float:
        """The sparsity wanted in a step, from 0."""
        whole = 1.0 - self.parameters_kept / self.all_parameters
        return whole * min(1.0, (step + 1) / max(self.warmup_steps, 1))

    def expected_sparsity(self, gates: Gates) -> Tensor:
        """The share of parameters that is expected to be gone; gradients flow through it."""
        return 1.0 - self.layout.parameters(gates.expected_units()) / self.all_parameters

    def penalty(self, gates: Gates, step: int) -> tuple[Tensor, dict[str, float]]:
        """The penalty of the excess: descent on it moves the gates down and the multipliers up.

        Returns:
            The scalar, and what the log should say.
        """
        with torch.no_grad():
            for multiplier in (self.linear, self.quadratic):
                multiplier.clamp_(min=0.0)
        sparsity, target = self.expected_sparsity(gates), self.target(step)
        penalty = lagrangian(sparsity, target, _ascending(self.linear), _ascending(self.quadratic))
        return penalty, {"sparsity": float(sparsity.detach()), "sparsity_target": target,
                         "lambda": float(self.linear.detach()), "beta": float(self.quadratic.detach())}  # fmt: skip


def lagrangian(sparsity: Tensor, target: float, linear: Tensor, quadratic: Tensor) -> Tensor:
    """``λ · max(q − p, 0) + β · max(q − p, 0)²``.

    Args:
        sparsity: Expected, p.
        target: Wanted, q.
        linear: λ.
        quadratic: β.
    """
    missing = (target - sparsity).clamp(min=0.0)
    return linear * missing + quadratic * missing.square()


class _Ascent(torch.autograd.Function):
    """The identity with a negated gradient: descent on the whole loss becomes ascent in its input."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def _ascending(value: Tensor) -> Tensor:
    turned: Tensor = _Ascent.apply(value)  # type: ignore[no-untyped-call]
    return turned


def choose_units(
    scores: Mapping[str, Tensor], layout: Layout, parameters: int, *, even: bool = False
) -> dict[str, Tensor]:
    """The units that stay.

    Args:
        scores: Group → ``log α`` of its units.
        layout: The network's table.
        parameters: The budget.
        even: Keep equally many units in each layer of a transformer.

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
    if even:
        kept = _evened(scores, layout, kept, parameters)
    found = layout.parameters({name: len(units) for name, units in kept.items()})
    if abs(found - parameters) > TOLERANCE * parameters:
        raise ModelError(
            f"The units nearest the budget of {parameters} parameters have {found}, more than 2 % beside it.",
            hint="Towers this small cannot be cut so finely; choose another share"
            + (" or even = false." if even else "."),
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
    """Leave out the lowest units that what is left over has room for, then perhaps one more."""
    kept = dict(kept)
    sizes = {name: len(units) for name, units in kept.items()}
    total = layout.parameters(sizes)
    order = sorted((float(scores[name][unit]), name, int(unit)) for name, units in kept.items() for unit in units)
    gone: dict[str, set[int]] = {name: set() for name in kept}
    too_large: set[str] = set()  # a group one of whose units is more than what is left over
    for _, name, unit in order:
        if name in too_large or sizes[name] == 1:
            continue
        fewer = layout.parameters({**sizes, name: sizes[name] - 1})
        if fewer < parameters:
            too_large.add(name)
        else:
            sizes[name], total = sizes[name] - 1, fewer
            gone[name].add(unit)
    # One more may come nearer from below than what is left over from above.
    lowest = {name: unit for _, name, unit in reversed(order) if unit not in gone[name] and sizes[name] > 1}
    beside = {name: abs(layout.parameters({**sizes, name: sizes[name] - 1}) - parameters) for name in lowest}
    nearest = min(beside, key=lambda name: beside[name], default=None)
    if nearest is not None and beside[nearest] < abs(total - parameters):
        gone[nearest].add(lowest[nearest])
    return {
        name: torch.tensor([unit for unit in units.tolist() if unit not in gone[name]]) for name, units in kept.items()
    }


def _count(layout: Layout, kept: Mapping[str, Tensor]) -> int:
    return layout.parameters({name: len(units) for name, units in kept.items()})


def _evened(
    scores: Mapping[str, Tensor], layout: Layout, kept: dict[str, Tensor], parameters: int
) -> dict[str, Tensor]:
    sizes = {name: len(units) for name, units in kept.items()}
    towers = [tower for tower in layout.towers if f"{tower}.0.heads" in layout.groups]
    for place, tower in enumerate(towers):
        # The last tower compensates for the rounding of the others.
        wanted = parameters if place == len(towers) - 1 else layout.parameters(sizes)
        sizes = _even_tower(layout, tower, sizes, wanted)
    return {name: score.topk(sizes[name]).indices.sort().values.cpu() for name, score in scores.items()}


def _even_tower(layout: Layout, tower: Tower, sizes: dict[str, int], wanted: int) -> dict[str, int]:
    heads = [name for name in layout.groups if name.startswith(f"{tower}.") and name.endswith(".heads")]
    neurons = [name for name in layout.groups if name.startswith(f"{tower}.") and name.endswith(".ffn")]
    head_width = layout.head_width(tower)
    most = min(layout.groups[name] for name in heads)
    middle = (sum(sizes[name] for name in heads) / len(heads) + sizes[f"{tower}.channels"] / head_width) / 2
    found: list[tuple[float, float, dict[str, int]]] = []
    for count in range(1, most + 1):
        if count * head_width > layout.groups[f"{tower}.channels"]:
            continue
        even = {**sizes, **dict.fromkeys(heads, count), f"{tower}.channels": count * head_width}
        without = layout.parameters({**even, **dict.fromkeys(neurons, 0)})
        each = layout.parameters({**even, **dict.fromkeys(neurons, 1)}) - without
        room = min(max(round((wanted - without) / each), 1), min(layout.groups[name] for name in neurons))
        beside = abs(without + room * each - wanted) / wanted
        even |= dict.fromkeys(neurons, room)
        # Of those that are near enough, the one most like the uneven choice.
        found.append((max(beside, TOLERANCE / 2), abs(count - middle), even))
    return min(found, key=lambda entry: entry[:2])[2]
