"""Timing for the scripts of this folder: processor time of one thread, in turns.

Wall time on a machine with other work measures the other work. Processor time counts what this process computed; what
is left of the others is that they share caches and the memory's bandwidth, which is why bounds and paths take turns.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Call = Callable[[], Any]


def cpu_seconds(call: Call) -> float:
    """Processor seconds of one call, all threads of this process together."""
    started = time.process_time()
    call()
    return time.process_time() - started


def in_turns(calls: Mapping[str, Call], *, rounds: int, seed: int = 0) -> dict[str, list[float]]:
    """Processor seconds of each call in each round, in an order drawn anew; one call of each does not count."""
    order, names = random.Random(seed), list(calls)
    for name in names:
        calls[name]()
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            found[name].append(cpu_seconds(calls[name]))
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median, and the middle 80 % of the rounds."""
    low, high = np.percentile(values, [10, 90])
    return {"median": float(np.median(values)), "low": float(low), "high": float(high)}
