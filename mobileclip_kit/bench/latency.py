"""Latency and throughput of several models, measured in turns.

A machine drifts: it warms up, and other programs come and go. Measured one after the other, the last model would pay
for it. So every model gets a short turn in every round, in a new random order, and the spread of the rounds shows how
much a repeated run may differ. Each turn starts with a call that does not count.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.bench.process import Asked
from mobileclip_kit.bench.results import Latency, LatencyRatio
from mobileclip_kit.errors import ModelError

BATCHES = (1, 2, 4, 8, 16, 32)
# Fewer calls than this say nothing about the slowest hundredth.
_CALLS_FOR_P99 = 100
_RESAMPLES = 1000
# Resampling a single round always gives the same round: a spread of zero, which no second run would keep.
_LEAST_ROUNDS = 2
_OUTLIER_FACTOR = 3.0
_REFERENCE_BYTES = bytes(1 << 24)  # about ten milliseconds, as long as an image: both are interrupted alike
_REFERENCE_CALLS = 2


@dataclass
class Timing:
    """Milliseconds of a tower's calls, by round."""

    rounds: list[list[float]] = field(default_factory=list)

    @property
    def times_ms(self) -> list[float]:
        """All calls, in order."""
        return [time for turn in self.rounds for time in turn]

    def latency(self) -> Latency:
        """Percentiles, the spread of the median and the outliers."""
        times = np.asarray(self.times_ms)
        low, high = _median_interval(self.rounds)
        median = float(np.median(times))
        return Latency(
            p50=median,
            p95=float(np.percentile(times, 95)),
            p99=float(np.percentile(times, 99)) if len(times) >= _CALLS_FOR_P99 else None,
            min=float(times.min()),
            p50_low=low,
            p50_high=high,
            calls=len(times),
            rounds=len(self.rounds),
            outliers=int((times > _OUTLIER_FACTOR * median).sum()),
        )


class ReferenceWorkload:
    """A fixed piece of work that takes turns with the models: how fast the machine was while they were measured.

    Other programs come and go between two runs of the bench. The time of hashing the same bytes in both tells how far
    the machine itself may have changed a latency.
    """

    def ask(self, **request: Any) -> dict[str, Any]:
        """Answer ``calls`` as a worker does: milliseconds of hashing, on one thread, until ``seconds`` have passed."""
        times_ms: list[float] = []
        until = time.perf_counter() + float(request["seconds"])
        while len(times_ms) < _REFERENCE_CALLS or time.perf_counter() < until:
            started = time.perf_counter()
            hashlib.sha256(_REFERENCE_BYTES).digest()
            times_ms.append(1000 * (time.perf_counter() - started))
        return {"times_ms": times_ms}


def measure_latency(
    workers: Mapping[str, Asked],
    tower: str,
    *,
    seconds: float,
    rounds: int,
    seed: int = 0,
    into: dict[str, Timing] | None = None,
    on_failure: Callable[[str, ModelError], None],
    on_turn: Callable[[], None] = lambda: None,
) -> dict[str, Timing]:
    """Time single inputs, in rounds of one turn a model.

    Args:
        workers: By name; opened already.
        tower: ``image``, ``text`` or ``search``.
        seconds: For each model, all its turns together.
        rounds: Number of turns of each model.
        seed: Of the order within the rounds.
        into: Filled turn by turn, for a caller that keeps what there is when it is interrupted.
        on_failure: Called with a model that failed; it takes no further turn.
        on_turn: Called after every turn.

    Returns:
        The timings of the models that finished at least one turn.
    """
    timings = {} if into is None else into
    alive = dict(workers)
    order = random.Random(seed)
    for _ in range(rounds):
        names = sorted(alive)
        order.shuffle(names)
        for name in names:
            try:
                answer = alive[name].ask(do="calls", tower=tower, batch=1, seconds=seconds / rounds)
                timings.setdefault(name, Timing()).rounds.append(answer["times_ms"])
            except ModelError as error:
                del alive[name]
                on_failure(name, error)
            on_turn()
    return timings


def measure_throughput(
    workers: Mapping[str, Asked],
    tower: str = "image",
    *,
    seconds: float,
    batches: Sequence[int] = BATCHES,
    into: dict[str, dict[int, float]] | None = None,
    on_failure: Callable[[str, ModelError], None],
    on_turn: Callable[[], None] = lambda: None,
) -> dict[str, dict[int, float]]:
    """Inputs a second at each batch size, the models in turns within each size.

    Returns:
        ``{name: {batch: inputs a second}}``, from the median call. A model gets no larger batch when the last one took
        longer than ``seconds``.
    """
    rates = {} if into is None else into
    alive = dict(workers)
    for batch in batches:
        for name in sorted(alive):
            try:
                answer = alive[name].ask(do="calls", tower=tower, batch=batch, seconds=seconds / len(batches))
            except ModelError as error:
                del alive[name]
                on_failure(name, error)
            else:
                call_ms = float(np.median(answer["times_ms"]))
                rates.setdefault(name, {})[batch] = 1000 * batch / call_ms
                if call_ms > 1000 * seconds:
                    del alive[name]
            on_turn()
    return rates


def paired_ratio(timing: Timing, first: Timing, model: str = "") -> LatencyRatio:
    """A latency as a multiple of another model's, from the rounds that both took part in."""
    rounds = min(len(timing.rounds), len(first.rounds))
    shared = [Timing(one.rounds[:rounds]) for one in (timing, first)]
    ratio = float(np.median(shared[0].times_ms) / np.median(shared[1].times_ms))
    if rounds < _LEAST_ROUNDS:
        return LatencyRatio(model=model, ratio=ratio)
    draws = np.random.default_rng(0).integers(0, rounds, (_RESAMPLES, rounds))
    medians = [_resampled_medians(one.rounds, draws) for one in shared]
    low, high = np.percentile(medians[0] / medians[1], [2.5, 97.5])
    return LatencyRatio(model=model, ratio=ratio, low=float(low), high=float(high))


def _median_interval(rounds: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """The middle 95 % of the medians of resampled rounds."""
    if len(rounds) < _LEAST_ROUNDS:
        return None, None
    draws = np.random.default_rng(0).integers(0, len(rounds), (_RESAMPLES, len(rounds)))
    low, high = np.percentile(_resampled_medians(rounds, draws), [2.5, 97.5])
    return float(low), float(high)


def _resampled_medians(rounds: Sequence[Sequence[float]], draws: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray([np.median(np.concatenate([rounds[index] for index in draw])) for draw in draws])
