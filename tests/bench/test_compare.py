from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobileclip_kit.bench.compare import changes_table, compare_reports, notes
from mobileclip_kit.bench.results import BenchReport, BenchRow, read_report
from mobileclip_kit.errors import DataError
from tests.bench.rows import report, row


def document(*rows: BenchRow, images: int = 100, **more: Any) -> BenchReport:
    usual = {
        "machine": {"cpu": "A", "versions": {"numpy": "2.3"}},
        "settings": {"threads": 1},
        "inputs": [{"images": images, "teacher": "t"}],
    }
    return report(*rows, **{**usual, **more})


def p50(value: float, low: float, high: float) -> dict[str, float]:
    return {"p50": value, "p50_low": low, "p50_high": high, "p95": value}


def verdicts(before: BenchRow, after: BenchRow) -> dict[str, str]:
    changes = compare_reports(document(before), document(after))["changes"]
    return {change["figure"]: change["verdict"] for change in changes}


def test_a_run_against_itself_changed_nothing() -> None:
    one = document(row("a", size_bytes=10, latency_ms=p50(5, 4.9, 5.1), metrics={"cosine": 0.9}, load_ms=3.0))
    comparison = compare_reports(one, one)
    assert {change["verdict"] for change in comparison["changes"]} == {"same"}
    assert {change["ratio"] for change in comparison["changes"]} == {1.0}
    assert changes_table(comparison)[1] == []
    assert notes(comparison) == ["Both reports are the same run."]


def test_two_runs_of_the_same_figures_differ_by_no_more_than_their_spread() -> None:
    before, after = (document(row("a", size_bytes=10), settings={"threads": 1, "seconds": time}) for time in (1, 2))
    assert notes(compare_reports(before, after)) == ["1 of 1 figures differ by no more than their spread."]


def test_a_latency_changed_when_the_intervals_do_not_touch() -> None:
    before = row("a", latency_ms=p50(5, 4.5, 5.5))
    assert verdicts(before, row("a", latency_ms=p50(5.8, 5.4, 6.2))) == {"latency_ms.p50": "same"}
    assert verdicts(before, row("a", latency_ms=p50(6.2, 5.6, 6.8))) == {"latency_ms.p50": "worse"}
    assert verdicts(before, row("a", latency_ms=p50(4.0, 3.8, 4.4))) == {"latency_ms.p50": "better"}


def test_a_slower_day_does_not_change_ratios() -> None:
    """Everything took twice as long: the latency changed, the ratio to the first model did not."""
    ratio = {"model": "first", "ratio": 0.5, "low": 0.48, "high": 0.52}
    before = row("a", latency_ms=p50(5, 4.9, 5.1), latency_ms_to_first=ratio)
    after = row("a", latency_ms=p50(10, 9.8, 10.2), latency_ms_to_first={**ratio, "ratio": 0.51})
    assert verdicts(before, after) == {"latency_ms.p50": "worse", "latency_ms_to_first.ratio": "same"}


def test_what_is_counted_is_exact_and_what_is_timed_once_is_not() -> None:
    before = row("a", size_bytes=100, load_ms=100.0, peak_memory_bytes=1000)
    after = row("a", size_bytes=99, load_ms=190.0, peak_memory_bytes=1049)
    assert verdicts(before, after) == {"size_bytes": "better", "load_ms": "same", "peak_memory_bytes": "same"}
    assert verdicts(before, row("a", load_ms=210.0)) == {"load_ms": "worse"}


def test_shares_have_the_spread_of_their_images() -> None:
    """Half of 100 images right: 1.96 · √(0.25 / 100) = 0.098 either way, in both runs."""
    before = row("a", metrics={"zero_shot_top1": 0.5})
    assert verdicts(before, row("a", metrics={"zero_shot_top1": 0.6})) == {"metrics.zero_shot_top1": "same"}
    assert verdicts(before, row("a", metrics={"zero_shot_top1": 0.7})) == {"metrics.zero_shot_top1": "better"}
    lower = verdicts(
        row("a", metrics={"scenes_typographic_error_rate": 0.9}),
        row("a", metrics={"scenes_typographic_error_rate": 0.2}),
    )
    assert lower == {"metrics.scenes_typographic_error_rate": "better"}


def test_other_conditions_are_said() -> None:
    before = document(row("a", metrics={"cosine": 0.9}), row("gone"))
    machine = {"cpu": "B", "versions": {"numpy": "2.4"}}
    rows = [row("a", metrics={"cosine": 0.5}, failure="Tired."), row("new")]
    after = document(*rows, images=7, machine=machine, settings={"threads": 2})
    comparison = compare_reports(before, after)
    assert comparison["changes"] == []
    text = "\n".join(notes(comparison))
    for words in ("cpu was A, is B", "numpy: 2.3 before", "Threads", "other inputs", "Tired.", "gone: in the first"):
        assert words in text


def test_reports_are_read_from_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(document(row("a")).document()))
    assert read_report(tmp_path) == read_report(tmp_path / "report.json")


@pytest.mark.parametrize(
    "text", ["{}", '{"rows": [1]}', '{"rows": []}', "[]", '{"rows": [{"name": [1]}], "machine": {}}']
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError):
        read_report(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"rows": [{"name": "a", "kind": "k", "latency_ms": {"p50": float("nan")}}]},
            r"x\.json is not valid JSON: NaN is not a JSON number",
        ),
        ({"rows": [{"name": "a", "kind": "k", "load_ms": float("inf")}]}, "Infinity is not a JSON number"),
        ({"rows": [{"name": "a", "kind": "k", "speed": 1}]}, "unknown key 'speed'"),
        ({"reference_ms": [3]}, "reference_ms"),
        ({"inputs": ["a"]}, "inputs"),
        ({"inputs": [{"images": "many"}]}, "inputs"),
        ({"settings": ["a"]}, "settings"),
        ({"machine": {"versions": ["a"]}}, "machine.versions"),
    ],
)
def test_a_report_that_cannot_be_compared_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps({**document(row("a")).document(), **change}))
    with pytest.raises(DataError, match=words):
        read_report(tmp_path / "x.json")


@pytest.mark.parametrize("ends", [{}, {"p50_low": 0, "p50_high": 0}, {"p50_low": None, "p50_high": 1}])
def test_a_reference_without_an_interval_allows_nothing(ends: dict[str, Any]) -> None:
    before = document(row("a", size_bytes=1), reference_ms={"p50": 3.0, **ends})
    after = document(row("a", size_bytes=1))
    assert [change["verdict"] for change in compare_reports(before, after)["changes"]] == ["same"]


def test_latencies_of_a_single_round_are_not_compared() -> None:
    """One round states no spread: whatever the second run gives would count as changed."""
    single = {"p50": 5.0, "p50_low": None, "p50_high": None}
    before = document(row("a", latency_ms=single), settings={"threads": 1, "rounds": 1})
    after = document(row("a", latency_ms=p50(6, 5.9, 6.1)))
    comparison = compare_reports(before, after)
    assert comparison["changes"] == []
    assert any("one round" in line for line in comparison["conditions"])


def test_rows_from_elsewhere_are_no_part_of_it() -> None:
    phone = row("phone", source="phone", latency_ms={"p50": 2.0})
    later = row("phone", source="phone", latency_ms={"p50": 3.0})
    comparison = compare_reports(document(row("a"), phone), document(row("a"), later))
    assert comparison["changes"] == [] and comparison["only_before"] == []


def test_shares_have_the_spread_of_the_fewest_images_that_judged() -> None:
    """10,000 images that were only timed, and 1,000 with captions, say nothing about a rate on 100."""
    sources = [{"images": 10_000}, {"images": 1000, "captions": 9}, {"images": 100, "classes": 2}]
    before, after = (document(row("a", metrics={"zero_shot_top1": share}), inputs=sources) for share in (0.5, 0.6))
    assert [change["verdict"] for change in compare_reports(before, after)["changes"]] == ["same"]


BUSY = {"cpu": "A", "versions": {"numpy": "2.3"}, "load": 8.0, "usable_cores": 2}
SLOW, FAST = p50(5, 4.9, 5.1), p50(3, 2.9, 3.1)


@pytest.mark.parametrize(
    ("change", "latency", "words"),
    [
        ({"machine": BUSY}, FAST, "Second run: The machine was busy (load 8 on 2 cores"),
        ({"settings": {"threads": 1, "seconds": 0.5}}, FAST, "measured each model for 0.5 s, too short"),
        ({}, {**FAST, "min": 0.5}, "a waited for the processor in the second run: its median is 6.0 times"),
    ],
)
def test_a_disturbed_time_is_unclear(change: dict[str, Any], latency: dict[str, float], words: str) -> None:
    """×0.6 of two runs of half a second on a machine with other work was called better."""
    before = document(row("a", latency_ms=SLOW, size_bytes=10))
    after = document(row("a", latency_ms=latency, size_bytes=9), **change)
    comparison = compare_reports(before, after)
    found = {change["figure"]: change["verdict"] for change in comparison["changes"]}
    assert found == {"latency_ms.p50": "unclear", "size_bytes": "better"}
    told = notes(comparison)
    assert any(words in line for line in told) and any("says nothing about the models" in line for line in told)


def test_a_disturbance_that_changed_nothing_is_not_told() -> None:
    before, after = (document(row("a", latency_ms=SLOW), machine={**BUSY, "load": load}) for load in (0.1, 8.0))
    assert notes(compare_reports(before, after)) == ["1 of 1 figures differ by no more than their spread."]
