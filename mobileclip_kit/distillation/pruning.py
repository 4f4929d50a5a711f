"""Learning which units a student can do without: another objective, seen through gates that a budget closes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mobileclip_kit.data.images import Rows, identity_of
from mobileclip_kit.distillation.objective import Batch, Encoded, Moment, VectorObjective
from mobileclip_kit.inherit.budget import Budget
from mobileclip_kit.inherit.gates import Gates


class PruningObjective:
    """An objective's loss with gates drawn anew in each step, and what exceeding the budget costs.

    The gates of a step depend on the run's seed and the step alone, so that all parts of a batch and all processes
    see the same ones.

    Args:
        inner: What the masked student shall still do; its network has the gates in it.
        gates: Of every group.
        budget: What they shall come down to.
    """

    def __init__(self, inner: VectorObjective, gates: Gates, budget: Budget) -> None:
        self._inner, self._gates, self._budget = inner, gates, budget

    def modules(self) -> Mapping[str, nn.Module]:
        """The inner objective's, the gates and the budget's multipliers."""
        return {**self._inner.modules(), "gates": self._gates, "budget": self._budget}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The inner loss plus the penalty; the log gets the expected sparsity and its target."""
        self._draw(batch.moment)
        loss, parts = self._inner.loss(batch)
        return self._with_penalty(loss, parts, batch.moment)

    def encode(self, batch: Batch) -> Encoded:
        """The vectors of some images of a batch."""
        self._draw(batch.moment)
        return self._inner.encode(batch)

    def shared(self, moment: Moment) -> dict[str, Tensor]:
        """The vectors of a step that belong to no image."""
        self._draw(moment)
        return self._inner.shared(moment)

    def compare(
        self, encoded: Encoded, shared: Mapping[str, Tensor], rows: Rows, moment: Moment
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a whole batch, plus the penalty."""
        loss, parts = self._inner.compare(encoded, shared, rows, moment)
        return self._with_penalty(loss, parts, moment)

    def _draw(self, moment: Moment) -> None:
        seed = identity_of(f"{moment.seed}/gates/{moment.step}") >> 1
        self._gates.draw(torch.Generator().manual_seed(seed))

    def _with_penalty(self, loss: Tensor, parts: dict[str, float], moment: Moment) -> tuple[Tensor, dict[str, float]]:
        penalty, more = self._budget.penalty(self._gates, moment.step)
        return loss + penalty, {**parts, **more, "penalty": float(penalty.detach())}
