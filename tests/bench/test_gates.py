from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mobileclip_kit.bench.gates import check_gates, check_models, missed_gates, read_gates
from mobileclip_kit.errors import DataError, UsageError
from tests.bench.rows import row


def gates(folder: Path, text: str) -> list[Any]:
    path = folder / "gates.toml"
    path.write_text(text, encoding="utf-8")
    return read_gates(path)


ROWS = [
    row("small", latency_ms={"p50": 4.0}, metrics={"overlap_at_10": 0.8}),
    row("big", latency_ms={"p50": 10.0}, metrics={"overlap_at_10": 0.9}),
    row("broken", failure="It is damaged."),
]


def test_bounds_on_both_sides(tmp_path: Path) -> None:
    found = gates(
        tmp_path,
        '[[gate]]\nmodel = "small"\nfigure = "metrics.overlap_at_10"\nat_least = 0.8\n'
        '[[gate]]\nmodel = "big"\nfigure = "latency_ms.p50"\nat_most = 9.5\n',
    )
    first, second = check_gates(found, ROWS)
    assert first["passed"] and first["value"] == 0.8
    assert not second["passed"]
    assert missed_gates([first, second]) == ["gate missed: big: latency_ms.p50 is 10, more than 9.5."]


def test_a_ratio_to_another_row(tmp_path: Path) -> None:
    text = '[[gate]]\nmodel = "small"\nfigure = "latency_ms.p50"\nof = "big"\nat_most = {}\n'
    (kept,) = check_gates(gates(tmp_path, text.format(0.4)), ROWS)
    (broken,) = check_gates(gates(tmp_path, text.format(0.39)), ROWS)
    assert kept["passed"] and kept["value"] == pytest.approx(0.4)
    assert broken["reason"] == "small: latency_ms.p50 relative to big is 0.4, more than 0.39."


def test_every_row_is_meant_by_a_star_but_those_from_elsewhere(tmp_path: Path) -> None:
    found = gates(tmp_path, '[[gate]]\nmodel = "*"\nfigure = "metrics.overlap_at_10"\nat_least = 0.85\n')
    judged = check_gates(found, [*ROWS, row("MobileCLIP-S0", source="published")])
    assert [(one["model"], one["passed"]) for one in judged] == [("small", False), ("big", True), ("broken", False)]


def test_what_failed_or_was_not_measured_misses_its_gate(tmp_path: Path) -> None:
    found = gates(tmp_path, '[[gate]]\nmodel = "*"\nfigure = "load_ms"\nat_most = 100\n')
    reasons = [one["reason"] for one in check_gates(found, ROWS)]
    assert reasons[0] == "small: load_ms was not measured for small."
    assert "It is damaged." in reasons[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no gate"),
        ("gate = []", "there is no [[gate]]"),
        ("[gate]\nx = 1\n", "must be a list"),
        ("[[gates]]\nx = 1\n", "'gates'"),
        ('[[gate]]\nfigure = "load_ms"\nat_most = 1\n', "has no model"),
        ('[[gate]]\nmodel = "m"\nfigure = "latency"\nat_most = 1\n', "'latency' does not exist"),
        ('[[gate]]\nmodel = "m"\nfigure = "metrics.overlap_at_11"\nat_most = 1\n', "does not exist"),
        ('[[gate]]\nmodel = "m"\nfigure = "load_ms"\n', "there is no bound"),
        ('[[gate]]\nmodel = "m"\nfigure = "load_ms"\nat_most = "1"\n', "it must be a number"),
        ('[[gate]]\nmodel = "m"\nfigure = "load_ms"\nat_most = 1\nat_least = 2\n', "at least 2 and at most 1"),
        ('[[gate]]\nmodel = "m"\nfigure = "load_ms"\nmaximum = 1\n', "unknown key 'maximum'"),
    ],
)
def test_a_gate_that_means_nothing_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        gates(tmp_path, text)
    assert words in caught.value.message


def test_a_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not valid TOML"):
        gates(tmp_path, "[[gate]\n")
    with pytest.raises(DataError, match="does not exist"):
        read_gates(tmp_path / "nowhere.toml")


def test_a_model_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    found = gates(tmp_path, '[[gate]]\nmodel = "smal"\nfigure = "load_ms"\nat_most = 1\n')
    with pytest.raises(UsageError, match="'smal', which is not measured. The rows are small, big."):
        check_models(found, ["small", "big"], tmp_path / "gates.toml")


@pytest.mark.parametrize("bound", ["at_least = nan", "at_most = inf", 'at_most = 1\nof = "*"'])
def test_a_gate_that_nothing_can_miss_is_refused(tmp_path: Path, bound: str) -> None:
    with pytest.raises(UsageError):
        gates(tmp_path, f'[[gate]]\nmodel = "*"\nfigure = "load_ms"\n{bound}\n')


def test_an_unknown_figure_gets_a_few_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        gates(tmp_path, '[[gate]]\nmodel = "m"\nfigure = "metrics.recall"\nat_least = 0.1\n')
    assert "metrics.recall_at_1_text_to_image" in (refused.value.hint or "")
    assert len((refused.value.hint or "").split(", ")) <= 7


def test_the_error_shows_how_a_gate_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        gates(tmp_path, '[[gate]]\nmodel = "m"\nfigure = "load_ms"\nat_most = "1"\n')
    assert '[[gate]] model = "student-onnx-int8"' in (caught.value.hint or "")
