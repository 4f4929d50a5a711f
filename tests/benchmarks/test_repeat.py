"""How far repeated runs differ, from documents whose figures are written down here."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobileclip_kit.bench.results import BenchReport
from tests.bench.rows import report, row
from tests.benchmarks.scripts import load_script

repeat = load_script("repeat")


def run(p50: float, *, half: float, size_bytes: int = 10) -> BenchReport:
    """A run whose median latency may be off by ``half``."""
    latency = {"p50": p50, "p50_low": p50 - half, "p50_high": p50 + half, "p95": p50}
    return report(row("a", latency_ms=latency, size_bytes=size_bytes))


def test_runs_inside_of_their_spread_give_no_alarm() -> None:
    found = repeat.alarms([run(10, half=1), run(11, half=1), run(10.5, half=1)])
    assert found["latency_ms.p50"]["pairs"] == 3
    assert found["latency_ms.p50"]["alarms"] == 0
    assert found["latency_ms.p50"]["largest_ratio"] == pytest.approx(1.1)
    assert found["size_bytes"] == {"largest_ratio": 1.0, "stated_ratio": 1.0, "pairs": 3, "alarms": 0}


def test_a_run_outside_is_an_alarm_for_each_pair_that_it_is_in() -> None:
    found = repeat.alarms([run(10, half=0.1), run(10.1, half=0.1), run(20, half=0.1)])
    assert (found["latency_ms.p50"]["alarms"], found["latency_ms.p50"]["largest_ratio"]) == (2, 2.0)


@pytest.mark.parametrize("values", [(10.0, 12.0), (12.0, 10.0)])
def test_an_alarm_is_a_ratio_beyond_the_stated_one(values: tuple[float, float]) -> None:
    """Intervals 9 … 11 and 11 … 13 touch just so: 12 / 10 is what they allow, in either order."""
    found = repeat.alarms([run(value, half=1) for value in values])["latency_ms.p50"]
    assert found["stated_ratio"] == pytest.approx(found["largest_ratio"])
    assert found["alarms"] == 0
    assert repeat.alarms([run(value, half=0.99) for value in values])["latency_ms.p50"]["alarms"] == 1


def test_the_plot_shows_measured_figures(tmp_path: Path) -> None:
    documents = [run(10, half=1), run(11, half=1)]
    document = {
        "machine": {"cpu": "A"},
        "loads": [1.0, 2.5],
        "settings": {"runs": 2},
        "figures": [{"figure": name, **found} for name, found in repeat.alarms(documents).items()],
    }
    repeat.plot(document, tmp_path / "repeat.png")
    assert (tmp_path / "repeat.png").stat().st_size > 1000
