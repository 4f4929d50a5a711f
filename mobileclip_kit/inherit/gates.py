"""Hard-concrete gates: a number in 0…1 for each unit, exactly 0 or 1 much of the time, through which gradients flow.

"Learning Sparse Neural Networks through L0 Regularization" (arXiv 1712.01312), as TinyCLIP (arXiv 2309.12314) uses it:
a concrete variable of temperature 2/3 stretched to (−0.1, 1.1) and clipped, open at the start. The paper begins with
``log α`` = 10; its released code holds ``log α`` within ±ln 100, and so does this one. At 10 the slope of the open
probability is 1e-5: the penalty's gradient of one neuron in a tower of real size would be below Adam's epsilon, so that
only heads and channels would ever close.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError

TEMPERATURE = 2.0 / 3.0
LOW, HIGH = -0.1, 1.1
MOST = math.log(100.0)  # of |log α|; all gates start there
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
        self.log_alpha = nn.ParameterDict({_key(name): torch.full((units,), MOST) for name, units in groups.items()})
        self._units = dict(groups)
        self.values: dict[str, Tensor] = {}
        self.open_all()

    def open_all(self) -> None:
        """Let everything through."""
        self.values = {name: torch.ones_like(self.scores(name)) for name in self._units}

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
        self.clamp()
        log_alpha = self._joined()
        uniform = torch.rand(log_alpha.shape, generator=generator).clamp(_EDGE, 1.0 - _EDGE)
        values = torch.split(hard_concrete(log_alpha, uniform.to(log_alpha.device)), [*self._units.values()])
        self.values = dict(zip(self._units, values, strict=True))

    @torch.no_grad()
    def clamp(self) -> None:
        """Hold ``log α`` within its bounds after an update; drawing does it, too."""
        for parameter in self.log_alpha.values():
            parameter.clamp_(-MOST, MOST)

    def _joined(self) -> Tensor:
        """``log α`` of all groups in one row: a tower of real size has 50 groups, and an operation for each is slow."""
        return torch.cat([self.log_alpha[_key(name)] for name in self._units])

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Make the gates binary.

        Args:
            kept: Group → the numbers of its units that stay.
        """
        for name in self._units:
            values = torch.zeros_like(self.scores(name))
            values[kept[name].to(values.device)] = 1.0
            self.values[name] = values

    def expected_units(self) -> dict[str, Tensor]:
        """How many units of each group are expected not to be closed; gradients flow through it."""
        probability = open_probability(self._joined())
        owner = torch.arange(len(self._units)).repeat_interleave(torch.tensor([*self._units.values()]))
        sums = probability.new_zeros(len(self._units)).index_add(0, owner.to(probability.device), probability)
        return dict(zip(self._units, sums.unbind(), strict=True))


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
