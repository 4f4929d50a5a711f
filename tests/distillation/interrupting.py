"""Runs that are interrupted in a step, as by Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def interrupted_at(step: int, objective: Any) -> Iterator[None]:
    """Let an objective's class raise KeyboardInterrupt in a step; it has to reach the end of the block."""
    original = objective.loss

    def loss(self: Any, batch: Any) -> Any:
        if batch.context.step == step:
            raise KeyboardInterrupt
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(objective, "loss", loss)
        yield
