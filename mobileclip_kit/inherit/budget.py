"""A budget of parameters that both towers share, held by a Lagrangian whose multipliers rise while it is exceeded.

TinyCLIP (arXiv 2309.12314), section 3.2: ``λ · max(q − p, 0) + β · max(q − p, 0)²`` with the expected sparsity p, the
target q and λ, β ≥ 0 learned by gradient ascent; q rises linearly over a warm-up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import UsageError
from mobileclip_kit.inherit.gates import Gates
from mobileclip_kit.inherit.layout import Layout


class Budget(nn.Module):
    """How far the gates are from the budget, and what that costs.

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
        self.linear, self.quadratic = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def target(self, step: int) -> float:
        """The sparsity wanted in a step, from 0."""
        whole = 1.0 - self.parameters_kept / self.all_parameters
        return whole * min(1.0, (step + 1) / max(self.warmup_steps, 1))

    def expected_sparsity(self, gates: Gates) -> Tensor:
        """The share of parameters that is expected to be gone; gradients flow through it."""
        return 1.0 - self.layout.parameters(gates.expected_units()) / self.all_parameters

    def penalty(self, gates: Gates, step: int) -> tuple[Tensor, dict[str, float]]:
        """What the excess costs: descent on it moves the gates down and the multipliers up.

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
    """The identity whose gradient is turned round: descent of the whole loss ascends in what went through here."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def _ascending(value: Tensor) -> Tensor:
    turned: Tensor = _Ascent.apply(value)  # type: ignore[no-untyped-call]
    return turned
