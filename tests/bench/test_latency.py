from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobileclip_kit.bench.latency import Timing, measure_latency, measure_throughput, paired_ratio
from mobileclip_kit.bench.results import LatencyRatio
from mobileclip_kit.errors import MckitError, ModelError


class Clock:
    """A worker whose calls take a known time; it fails at a given turn."""

    def __init__(self, diary: list[str], name: str, call_ms: float, fails_at: int | None = None) -> None:
        self.diary, self.name, self.call_ms, self.fails_at, self.turns = diary, name, call_ms, fails_at, 0

    def ask(self, **request: Any) -> dict[str, Any]:
        """Take a turn."""
        self.turns += 1
        if self.turns == self.fails_at:
            raise ModelError("out of breath")
        self.diary.append(self.name)
        return {"times_ms": [self.call_ms * (1 + request["batch"]) / 2] * 4}


def no_failure(name: str, error: MckitError) -> None:
    raise AssertionError(f"{name}: {error}")


def test_percentiles_by_hand() -> None:
    figures = Timing([[1.0, 2.0, 3.0], [4.0, 100.0]]).latency()
    assert (figures.p50, figures.min, figures.calls, figures.rounds) == (3.0, 1.0, 5, 2)
    assert figures.p95 == pytest.approx(4 + 0.8 * 96)
    assert figures.p99 is None
    assert figures.outliers == 1


def test_a_hundred_calls_have_a_slowest_one() -> None:
    assert Timing([list(map(float, range(1, 102)))]).latency().p99 == 100


def test_the_spread_covers_rounds_that_differ() -> None:
    steady = Timing([[5.0, 5.0, 5.0]] * 6).latency()
    assert steady.p50_low == steady.p50 == steady.p50_high
    drifting = Timing([[value] * 3 for value in (4.0, 4.5, 5.0, 5.5, 6.0)]).latency()
    assert drifting.p50_low < drifting.p50 < drifting.p50_high


def test_models_take_turns_in_every_round() -> None:
    diary: list[str] = []
    workers = {name: Clock(diary, name, 1) for name in "abc"}
    timings = measure_latency(workers, "image", seconds=0, rounds=8, on_failure=no_failure)
    rounds = np.array(diary).reshape(8, 3)
    assert all(set(turn) == set("abc") for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 1, "the order is drawn anew"
    assert all(len(timing.rounds) == 8 for timing in timings.values())


def test_a_model_that_fails_half_way_keeps_what_it_gave() -> None:
    diary: list[str] = []
    workers = {"good": Clock(diary, "good", 1), "bad": Clock(diary, "bad", 1, fails_at=3)}
    failed: dict[str, str] = {}
    timings = measure_latency(
        workers, "image", seconds=0, rounds=5, on_failure=lambda name, error: failed.update({name: error.message})
    )
    assert failed == {"bad": "out of breath"}
    assert (len(timings["good"].rounds), len(timings["bad"].rounds)) == (5, 2)


def test_throughput_by_hand() -> None:
    """A batch of b takes (1 + b) / 2 · 10 ms."""
    workers = {"a": Clock([], "a", 10.0)}
    rates = measure_throughput(workers, seconds=9, batches=(1, 4), on_failure=no_failure)
    assert rates == {"a": {1: pytest.approx(100.0), 4: pytest.approx(160.0)}}


def test_a_slow_model_is_not_asked_for_bigger_batches() -> None:
    workers = {"slow": Clock([], "slow", 5000.0), "fast": Clock([], "fast", 1.0)}
    rates = measure_throughput(workers, seconds=1, batches=(1, 2, 4), on_failure=no_failure)
    assert list(rates["slow"]) == [1]
    assert list(rates["fast"]) == [1, 2, 4]


def test_what_slows_a_whole_round_leaves_the_ratio_alone() -> None:
    """Half as long in each round: exactly 0.5, however long the rounds were."""
    slow = Timing([[10.0], [40.0], [12.0], [90.0]])
    fast = Timing([[5.0], [20.0], [6.0], [45.0]])
    found = paired_ratio(fast, slow)
    assert found == LatencyRatio(model="", ratio=0.5, low=0.5, high=0.5)


def test_a_single_round_states_no_spread() -> None:
    """Drawn again it is always itself, and a spread of nothing would be a promise."""
    one, other = Timing([[5.0, 6.0, 7.0]]), Timing([[2.0, 3.0, 4.0]])
    assert (one.latency().p50, one.latency().p50_low, one.latency().p50_high) == (6.0, None, None)
    assert paired_ratio(one, other) == LatencyRatio(model="", ratio=2.0)


def test_a_ratio_is_that_of_the_rounds_that_both_took_part_in() -> None:
    """The first model goes on alone on a machine that became ten times as slow."""
    failed, first = Timing([[5.0], [5.0]]), Timing([[10.0], [10.0], [100.0], [100.0], [100.0]])
    assert paired_ratio(failed, first) == LatencyRatio(model="", ratio=0.5, low=0.5, high=0.5)
