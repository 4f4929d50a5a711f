"""The machine's own speed, and what a comparison of two runs makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from mobileclip_kit.bench.compare import compare_reports
from mobileclip_kit.bench.measure import Settings, run_bench
from mobileclip_kit.bench.yardstick import Yardstick
from tests.bench.fakes import FakeEncoder, FakeProcess
from tests.bench.test_compare import document, p50, row
from tests.bench.test_measure import candidate


def test_it_answers_as_a_worker_does() -> None:
    times = Yardstick().ask(do="calls", tower="image", batch=1, seconds=0.0)["times_ms"]
    assert len(times) == 2 and min(times) > 0


def test_it_takes_turns_with_the_models_and_is_no_row() -> None:
    found = run_bench(
        [candidate("a")],
        Settings(threads=1, seconds=0.01, rounds=3),
        start=lambda _: FakeProcess(FakeEncoder()),  # type: ignore[arg-type, return-value]
    )
    assert found["yardstick_ms"]["rounds"] == 3
    assert [row["name"] for row in found["rows"]] == ["a"]
    assert "latency_ms_to_first" not in found["rows"][0]


def moved(factor: float, *, yardstick: float | None) -> dict[str, Any]:
    """What is said of a run whose times are ``factor`` times as long, on a machine that is ``yardstick`` as slow."""
    reports = []
    for scale, speed in ((1.0, 1.0), (factor, yardstick)):
        facts = row(
            "a",
            latency_ms=p50(10 * scale, 9.9 * scale, 10.1 * scale),
            images_per_s=100 / scale**4,
            size_bytes=7,
        )
        report = document(facts)
        report["yardstick_ms"] = None if speed is None else p50(speed, 0.99 * speed, 1.01 * speed)
        reports.append(report)
    return compare_reports(*reports)


@pytest.mark.parametrize(
    ("factor", "yardstick", "verdict"),
    [(1.3, None, "worse"), (1.3, 1.3, "same"), (1.3, 1.1, "worse"), (0.7, 0.7, "same"), (0.7, 1.3, "better")],
)
def test_a_latency_may_move_as_far_as_the_machine_did(factor: float, yardstick: float | None, verdict: str) -> None:
    changes = {change["figure"]: change["verdict"] for change in moved(factor, yardstick=yardstick)["changes"]}
    assert changes["latency_ms.p50"] == verdict
    assert changes["size_bytes"] == "same"


def test_rates_move_the_other_way() -> None:
    slower = {change["figure"]: change["verdict"] for change in moved(1.2, yardstick=1.5)["changes"]}
    assert slower["images_per_s"] == "same"  # 100 → 48, half as many on a machine of two thirds
    alone = {change["figure"]: change["verdict"] for change in moved(1.2, yardstick=1.0)["changes"]}
    assert alone["images_per_s"] == "worse"


def test_a_machine_that_moved_is_told_of() -> None:
    assert any("×1.27" in line for line in moved(1.3, yardstick=1.3)["conditions"])
    assert moved(1.3, yardstick=1.0)["conditions"] == []
