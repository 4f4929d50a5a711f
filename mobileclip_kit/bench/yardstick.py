"""A fixed piece of work that takes turns with the models: how fast the machine was while they were measured.

Two runs of the bench are two moments of a machine on which other programs come and go. What a hash of the same bytes
costs in each tells how far the machine's own speed may have moved a latency, whatever the models are.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

_BYTES = bytes(1 << 24)  # about ten milliseconds, as long as an image: what interrupts one interrupts the other
_LEAST_CALLS = 2


class Yardstick:
    """Answers ``calls`` as a worker does, in this process; one thread."""

    def ask(self, **request: Any) -> dict[str, Any]:
        """Milliseconds of hashing the same bytes until ``seconds`` have passed; see :class:`.process.Asked`."""
        times_ms: list[float] = []
        until = time.perf_counter() + float(request["seconds"])
        while len(times_ms) < _LEAST_CALLS or time.perf_counter() < until:
            started = time.perf_counter()
            hashlib.sha256(_BYTES).digest()
            times_ms.append(1000 * (time.perf_counter() - started))
        return {"times_ms": times_ms}
