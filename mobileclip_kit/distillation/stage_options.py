"""The recipe's ``[stages]`` table, see :mod:`mobileclip_kit.distillation.stages`."""

from __future__ import annotations

from dataclasses import dataclass

from mobileclip_kit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """The recipe's ``[stages]`` table. The defaults are the paper's.

    Attributes:
        shares: Of the first model's parameters that each stage keeps, both towers together, all their tensors counted.
        mask_steps: Updates in which a stage learns its gates; recovery has the recipe's own steps or epochs.
        mask_warmup_steps: Updates in which the budget comes down to the stage's share.
        gate_lr: Peak learning rate of the gates.
        multiplier_lr: Peak learning rate of the budget's multipliers.
        even: Keep equally many heads and neurons in each layer, so that open_clip's own configuration describes the
            result. Otherwise each layer keeps what it needs most.
    """

    shares: tuple[float, ...] = (0.75, 0.5, 0.25)
    mask_steps: int = 3000
    mask_warmup_steps: int = 1000
    gate_lr: float = 0.02
    multiplier_lr: float = 0.02
    even: bool = False

    def __post_init__(self) -> None:
        falling = all(before > after for before, after in zip((1.0, *self.shares), self.shares, strict=False))
        if not self.shares or not falling or min(self.shares) <= 0.0:
            raise UsageError(f"shares are {list(self.shares)}; they must fall from below 1 and stay above 0.")
        if self.mask_steps < 1 or not 0 <= self.mask_warmup_steps <= self.mask_steps:
            raise UsageError("mask_steps must be at least 1, and mask_warmup_steps at most as many.")
        if self.gate_lr <= 0.0 or self.multiplier_lr <= 0.0:
            raise UsageError("gate_lr and multiplier_lr must be above 0.")
