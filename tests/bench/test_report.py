from __future__ import annotations

import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.report import (
    PLOT_FILE,
    plot_report,
    remarks,
    table_cells,
    to_csv,
    to_markdown,
    write_report,
)
from mobileclip_kit.bench.results import InputSummary, read_report
from mobileclip_kit.explain.plots import pareto
from mobileclip_kit.files import read_json
from tests.bench.rows import TIMING, measured, report


def test_the_table_states_units_and_leaves_out_empty_columns() -> None:
    header, cells = table_cells([measured("a"), measured("b", metrics={"overlap_at_10": 0.5})])
    assert header == [
        "model", "kind", "MB", "params M", "p50 ms", "p95 ms", "images/s", "load ms", "memory MB", "overlap@10",
    ]  # fmt: skip
    assert cells[0] == ["a", "onnx int8", "12.6", "12.00", "5.00", "6.25", "210.4", "30", "90", "–"]
    assert cells[1][-1] == "0.500"


def test_a_failed_model_has_a_line_of_its_own() -> None:
    rows = [measured("a"), measured("b", latency_ms=None, images_per_s=None, failure="It is damaged.")]
    assert remarks(report(*rows)) == ["b failed: It is damaged."]
    assert "b failed: It is damaged." in to_markdown(report(*rows))


def test_an_interpreters_latency_is_marked() -> None:
    (line,) = remarks(report(measured("a"), measured("phone", runtime="mil")))
    assert line.startswith("phone: ")
    assert "interpreter" in line


def test_markdown_is_one_table() -> None:
    lines = [line for line in to_markdown(report(measured("a"), measured("b"))).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1


def test_csv_reads_back() -> None:
    text = to_csv(report(measured("a, b", metrics={"overlap_at_10": 0.123456789}), measured("c")))
    first, second = csv.DictReader(io.StringIO(text))
    assert first["name"] == "a, b"
    assert float(first["metrics.overlap_at_10"]) == 0.123456789
    assert float(first["latency_ms.p95"]) == 6.25
    assert second["metrics.overlap_at_10"] == ""


def test_pareto_front_by_hand() -> None:
    assert pareto([(1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8), (4, 0.9)]) == [0, 2]
    assert pareto([]) == []


def test_the_report_holds_what_the_document_says(tmp_path: Path) -> None:
    found = report(measured("a", metrics={"map_at_10_to_20": 0.4}), measured("b", latency_ms=None, failure="x"))
    names = write_report(found, tmp_path)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert read_json(tmp_path / "report.json") == found.document()
    assert read_report(tmp_path) == found
    with Image.open(tmp_path / PLOT_FILE) as image:
        assert image.size == (960, 600)


@pytest.mark.parametrize("captions", [0, 9])
def test_the_title_of_the_plot_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captions: int) -> None:
    titles: list[str] = []
    monkeypatch.setattr("mobileclip_kit.bench.report.plot_accuracy", lambda *_, title, **__: titles.append(title))
    plot_report(
        replace(report(measured("a")), inputs=(InputSummary(images=1000, captions=captions),)), tmp_path / "p.png"
    )
    assert [line.split("accuracy")[0] for line in titles[0].splitlines()][1:] == ["" if captions else "no "]


def test_the_plot_does_without_accuracy_and_without_rows(tmp_path: Path) -> None:
    plot_report(report(measured("a"), measured("b", size_bytes=None)), tmp_path / "size.png")
    plot_report(report(measured("a", latency_ms=None)), tmp_path / "none.png")
    assert (tmp_path / "size.png").stat().st_size > 0 < (tmp_path / "none.png").stat().st_size


def test_odd_names_stay_one_cell_and_are_no_formula(tmp_path: Path) -> None:
    odd = report(measured("a|b\nc"), measured(r"$\frac$ and $x_$"), measured("a_b^c"))
    lines = [line for line in to_markdown(odd).splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert lines[2].startswith(r"| a\|b c |")
    plot_report(odd, tmp_path / "plot.png")


def test_an_interrupted_run_says_so_wherever_its_figures_stand() -> None:
    stopped = report(measured("a"), interrupted=True)
    assert "interrupted" in to_markdown(stopped) and "interrupted" not in to_markdown(report(measured("a")))


def test_an_index_says_what_it_was_queried_with() -> None:
    assert remarks(report(measured("photos.index", queried_with="stored vectors with noise"))) == [
        "photos.index: queried with stored vectors with noise."
    ]


def test_a_ratio_of_a_single_round_has_no_spread() -> None:
    ratio = {"model": "first", "ratio": 0.5, "low": None, "high": None}
    header, cells = table_cells([measured("first"), measured("a", latency_ms_to_first=ratio)])
    assert cells[1][header.index("× first")] == "0.50"


def test_a_median_that_waited_for_the_processor_is_not_to_be_trusted() -> None:
    """On a machine with other work every round waits alike, so the spread of the rounds tells nothing of it."""
    waited = {**TIMING, "p50": 40.0, "min": 2.5}
    (line,) = remarks(report(measured("a"), measured("b", latency_ms=waited)))
    assert line.startswith("b: the median of its images is 16.0 times the fastest")
    assert remarks(report(measured("b", latency_ms={**TIMING, "p50": 5.0, "min": 2.0}))) == []


def test_a_small_ratio_keeps_digits_that_say_something() -> None:
    ratio = {"model": "first", "ratio": 0.0126, "low": 0.0118, "high": 0.0132}
    header, cells = table_cells([measured("first"), measured("a", latency_ms_to_first=ratio)])
    assert cells[1][header.index("× first")] == "0.0126 ± 0.0007"


def test_load_is_that_of_now_not_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0), raising=False)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 37.5)
    monkeypatch.setattr(psutil, "cpu_count", lambda *_, **__: 4)
    assert describe_machine()["load"] == 1.5


def test_a_machine_that_was_busy_is_the_first_remark() -> None:
    machine = {"cpu": "A", "usable_cores": 2, "os": "Linux", "load": 3.1}
    busy = report(measured("a", failure="x"), machine=machine)
    assert remarks(busy)[0].startswith("The machine was busy (load 3.1 on 2 cores")
    assert remarks(report(measured("a"), machine={**machine, "load": 0.2})) == []


def test_times_of_core_ai_on_linux_are_said_to_be_no_phones() -> None:
    row = measured("a", runtime="coreai")
    (line,) = remarks(report(row, machine={"os": "Linux 6.1"}))
    assert line.startswith("a: executed by Core AI's runtime for Linux") and "phone" in line
    assert remarks(report(row, machine={"os": "macOS 27.0"})) == []


def test_an_export_that_computes_less_than_its_model_is_explained() -> None:
    rows = [
        measured(name, model_hash="a", multiply_accumulates={"image": count})
        for name, count in (("m", 600), ("e", 530))
    ]
    (line,) = remarks(report(*rows))
    assert "pooled token" in line
    assert remarks(report(rows[0], measured("other", model_hash="b", multiply_accumulates={"image": 530}))) == []
