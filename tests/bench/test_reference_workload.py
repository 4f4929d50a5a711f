"""The speed of the machine itself, and what a comparison of two runs makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from mobileclip_kit.bench.compare import compare_reports
from mobileclip_kit.bench.latency import ReferenceWorkload
from mobileclip_kit.bench.request import BenchSettings
from mobileclip_kit.bench.run import run_bench
from tests.bench.fakes import FakeEncoder, FakeProcess
from tests.bench.rows import row
from tests.bench.test_compare import document, p50
from tests.bench.test_run import model


def test_it_answers_as_a_worker_does() -> None:
    times = ReferenceWorkload().ask(do="calls", tower="image", batch=1, seconds=0.0)["times_ms"]
    assert len(times) == 2 and min(times) > 0


def test_it_takes_turns_with_the_models_and_is_no_row() -> None:
    found = run_bench(
        [model("a")],
        BenchSettings(threads=1, seconds=0.01, rounds=3),
        start=lambda _: FakeProcess(FakeEncoder()),  # type: ignore[arg-type, return-value]
    )
    assert found.reference_ms.rounds == 3
    assert [row.name for row in found.rows] == ["a"]
    assert found.rows[0].latency_ms_to_first is None


def moved(factor: float, *, reference: float | None) -> dict[str, Any]:
    """What is said of a run whose times are ``factor`` times as long, on a machine that is ``reference`` as slow."""
    reports = []
    for scale, speed in ((1.0, 1.0), (factor, reference)):
        facts = row(
            "a",
            latency_ms=p50(10 * scale, 9.9 * scale, 10.1 * scale),
            images_per_s=100 / scale**4,
            size_bytes=7,
        )
        reference = None if speed is None else p50(speed, 0.99 * speed, 1.01 * speed)
        reports.append(document(facts, reference_ms=reference))
    return compare_reports(*reports)


@pytest.mark.parametrize(
    ("factor", "reference", "verdict"),
    [(1.3, None, "worse"), (1.3, 1.3, "same"), (1.3, 1.1, "worse"), (0.7, 0.7, "same"), (0.7, 1.3, "better")],
)
def test_a_latency_may_move_as_far_as_the_machine_did(factor: float, reference: float | None, verdict: str) -> None:
    changes = {change["figure"]: change["verdict"] for change in moved(factor, reference=reference)["changes"]}
    assert changes["latency_ms.p50"] == verdict
    assert changes["size_bytes"] == "same"


def test_rates_move_the_other_way() -> None:
    slower = {change["figure"]: change["verdict"] for change in moved(1.2, reference=1.5)["changes"]}
    assert slower["images_per_s"] == "same"  # 100 → 48, half as many on a machine of two thirds
    alone = {change["figure"]: change["verdict"] for change in moved(1.2, reference=1.0)["changes"]}
    assert alone["images_per_s"] == "worse"


def test_a_machine_that_became_slower_is_noted() -> None:
    assert any("×1.27" in line for line in moved(1.3, reference=1.3)["conditions"])
    assert moved(1.3, reference=1.0)["conditions"] == []


def test_a_noisy_machine_is_not_called_slower() -> None:
    """Two intervals of the reference workload that overlap say nothing about which run was slower."""
    noisy = {"p50": 10.0, "p50_low": 7.0, "p50_high": 12.0}
    before = document(row("a", size_bytes=7), reference_ms=noisy)
    after = document(row("b", size_bytes=7), reference_ms={**noisy, "p50": 9.9})
    (line,) = compare_reports(before, after)["conditions"]
    assert line.startswith("The machine was busy") and "slower" not in line
