"""The learning rate as a pure function of the step: linear warm-up, then half a cosine."""

from __future__ import annotations

import math


def learning_rate(step: int, *, steps: int, peak: float, warmup_steps: int, final_share: float = 0.0) -> float:
    """The learning rate of a step.

    Args:
        step: From 0.
        steps: Of the whole run.
        peak: What the warm-up reaches in its last step.
        warmup_steps: Steps of the linear rise; the first one has ``peak / warmup_steps``, not 0.
        final_share: What remains of the peak after the last step.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(steps - warmup_steps, 1)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return peak * (final_share + (1.0 - final_share) * cosine)


def value_from_epoch(changes: tuple[tuple[int, float], ...], epoch: int) -> float:
    """The value that holds in an epoch, from ``(from_epoch, value)`` rows in rising order, the first from epoch 0."""
    return next(value for start, value in reversed(changes) if epoch >= start)
