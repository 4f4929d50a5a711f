"""One dimension of a tensor, and the units that its places belong to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
