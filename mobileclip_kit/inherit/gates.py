"""Hard-concrete gates: a number in 0…1 for each unit, exactly 0 or 1 much of the time, through which gradients flow.

"Learning Sparse Neural Networks through L0 Regularization" (arXiv 1712.01312), as TinyCLIP (arXiv 2309.12314) uses it:
a concrete variable of temperature 2/3 stretched to (−0.1, 1.1) and clipped, open at the start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError

TEMPERATURE = 2.0 / 3.0
LOW, HIGH = -0.1, 1.1
_OPEN = 10.0  # log α at the start
_EDGE = 1e-6  # a uniform number of exactly 0 or 1 has no logit


class Gates(nn.Module):
    """The gates of every group of a network.

    Args:
        groups: Group → how many units it has.

    Attributes:
        values: Group → the gates in force, ``(units,)``: what the wrapped layers multiply by.
    """

    def __init__(self, groups: Mapping[str, int]) -> None:
        super().__init__()
        # Dots separate modules in parameter names.
        self.log_alpha = nn.ParameterDict({_key(name): torch.full((units,), _OPEN) for name, units in groups.items()})
        self._names = tuple(groups)
        self.values: dict[str, Tensor] = {}
        self.open_all()

    def open_all(self) -> None:
        """Let everything through."""
        self.values = {name: torch.ones_like(self.scores(name)) for name in self._names}

    def scores(self, group: str) -> Tensor:
        """``log α`` of a group, ``(units,)``: what units are ranked by."""
        parameter = self.log_alpha[_key(group)]
        assert isinstance(parameter, Tensor)
        return parameter.detach()

    def draw(self, generator: torch.Generator | None = None) -> None:
        """Draw gates, as training does in each step.

        Args:
            generator: Of random numbers on the CPU; None takes torch's own.
        """
        for name in self._names:
            log_alpha = self.log_alpha[_key(name)]
            uniform = torch.rand(log_alpha.shape, generator=generator).clamp(_EDGE, 1.0 - _EDGE)
            self.values[name] = hard_concrete(log_alpha, uniform.to(log_alpha.device))

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Make the gates binary.

        Args:
            kept: Group → the numbers of its units that stay.
        """
        for name in self._names:
            values = torch.zeros_like(self.scores(name))
            values[kept[name].to(values.device)] = 1.0
            self.values[name] = values

    def expected_units(self) -> dict[str, Tensor]:
        """How many units of each group are expected not to be closed; gradients flow through it."""
        return {name: open_probability(self.log_alpha[_key(name)]).sum() for name in self._names}


def hard_concrete(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Gates from uniform random numbers.

    ``clip(sigmoid((log u − log(1 − u) + log α) / β) · (ζ − γ) + γ)`` (arXiv 1712.01312, eq. 10-11).

    Args:
        log_alpha: ``(units,)``.
        uniform: In 0…1, both ends left out, the same shape.

    Returns:
        In 0…1, both ends included.
    """
    concrete = torch.sigmoid((uniform.log() - (1.0 - uniform).log() + log_alpha) / TEMPERATURE)
    return (concrete * (HIGH - LOW) + LOW).clamp(0.0, 1.0)


def open_probability(log_alpha: Tensor) -> Tensor:
    """The probability that a gate is not 0: ``sigmoid(log α − β · log(−γ / ζ))`` (arXiv 1712.01312, eq. 12)."""
    return torch.sigmoid(log_alpha - TEMPERATURE * math.log(-LOW / HIGH))


def require_finite(gates: Gates) -> None:
    """Refuse gates that training has driven out of range.

    Raises:
        ModelError: A group's scores are not finite.
    """
    for name in gates.values:
        if not bool(gates.scores(name).isfinite().all()):
            raise ModelError(f"The gates of {name} are no longer finite.", hint="Lower gate_lr in the recipe.")


def _key(group: str) -> str:
    return group.replace(".", "_")
