from __future__ import annotations

import json
from pathlib import Path

import pytest

from mobileclip_kit.bench.external_results import published_rows, read_phone
from mobileclip_kit.bench.report import plot_report, remarks, table_cells, to_csv, to_markdown
from mobileclip_kit.bench.results import report_from, with_unique_names
from mobileclip_kit.errors import DataError
from tests.bench.rows import measured, report

PHONE = Path(__file__).parent.parent / "golden" / "phone-bench.json"


def test_a_phones_rows_join_the_table(tmp_path: Path) -> None:
    rows = read_phone(PHONE)
    assert [one.name for one in rows] == ["tiny all", "tiny neural_engine", "tiny cpu", "tiny gpu"]
    assert rows[0].latency_ms.p50 == 2.5 and rows[0].load_ms == 200.75
    assert rows[0].size_bytes == 3000
    assert "no such device" in rows[3].failure
    both = report(measured("ours"), *rows)
    header, cells = table_cells(both.rows)
    assert [line[0] for line in cells] == ["ours", *(one.name for one in rows)]
    assert cells[1][header.index("p50 ms")] == "2.50"
    text = "\n".join(remarks(both))
    assert "measured by the app, iPhone15,2" in text and "nominal → fair" in text
    assert "tiny gpu failed" in text
    plot_report(both, tmp_path / "plot.png")
    assert "tiny all" in to_csv(both) and "tiny all" in to_markdown(both)


def test_what_a_phone_computed_wrongly_is_told(tmp_path: Path) -> None:
    document = json.loads(PHONE.read_text())
    place = {"runtime": "core_ai", "compute_units": "cpu"}
    document["parity"] += [
        {"tower": "text", "place": place, "cosine_min": 0.2, "threshold": 0.999},
        {"tower": "text", "place": {**place, "compute_units": "new"}, "threshold": 0.999, "reason": "no such unit"},
    ]
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(document))
    rows = read_phone(path)
    assert [len(row.parity) for row in rows] == [1, 1, 1, 0]
    text = "\n".join(remarks(report(*rows)))
    assert (
        "tiny neural_engine: image tower with core_ml on neural_engine is right, cosine 0.5000 (at least 0.25)." in text
    )
    assert "tiny cpu: text tower with core_ai on cpu is WRONG, cosine 0.2000 (at least 0.999)." in text
    assert "tiny all: text tower with core_ai on new did not run: no such unit." in text
    assert "WRONG" in to_markdown(report(*rows))
    again = report_from(json.loads(json.dumps(report(*rows).document())), "report.json")
    assert again.rows[2].parity == rows[2].parity
    del document["parity"]
    path.write_text(json.dumps(document))
    assert [row.parity for row in read_phone(path)] == [()] * 4


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([{}], "lacks 'place'"),
        (["right"], "is damaged"),
        ("all", "is damaged"),
        (3, "is damaged"),
        ([{"tower": "a", "place": {"runtime": "b", "compute_units": "c"}, "threshold": "high"}], "threshold is 'high'"),
    ],
)
def test_a_damaged_comparison_is_refused(tmp_path: Path, value: object, words: str) -> None:
    path = tmp_path / "phone.json"
    path.write_text(json.dumps({**json.loads(PHONE.read_text()), "parity": value}))
    with pytest.raises(DataError, match=words):
        read_phone(path)


def test_published_figures_are_marked_and_cited(tmp_path: Path) -> None:
    rows = published_rows()
    assert {one.source for one in rows} == {"published"}
    assert all(one.kind.startswith("published, ") and one.citation for one in rows)
    names = " ".join(one.name for one in rows)
    assert all(system in names for system in ("MobileCLIP", "MoTIS", "TinyCLIP", "PicCollage"))
    text = "\n".join(remarks(report(*rows)))
    assert "MobileCLIP-S0: published, github.com/apple/ml-mobileclip" in text
    header, cells = table_cells(rows)
    assert cells[0][header.index("published accuracy")] == "ImageNet top-1 67.8\u00a0%"
    plot_report(report(measured("ours"), *rows), tmp_path / "plot.png")


def test_names_stay_unique() -> None:
    renamed = with_unique_names((measured("a"), measured("a"), measured("b")), ("a",))
    assert [one.name for one in renamed] == ["a (2)", "a (3)", "b"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("latency_ms", {"p95": 3.0}, "lacks 'p50'"),
        ("latency_ms", {"p50": "fast"}, "p50 is 'fast'"),
        ("latency_ms", {"p50": 0}, "p50 is 0"),
        ("latency_ms", {"p50": float("nan")}, "NaN is not a JSON number"),
        ("load_ms", "soon", "load_ms is 'soon'"),
    ],
)
def test_a_phones_figures_are_numbers(tmp_path: Path, key: str, value: object, words: str) -> None:
    document = json.loads(PHONE.read_text())
    document["rows"][0]["image"][key] = value
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=words):
        read_phone(path)


def test_a_phones_row_has_a_tower(tmp_path: Path) -> None:
    document = json.loads(PHONE.read_text())
    del document["rows"][0]["image"], document["rows"][0]["text"]
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="neither image nor text"):
        read_phone(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kind": "x"}, "bench screen"), ({"format_version": 9}, "version 9"), ({"rows": [{}]}, "incomplete")],
)
def test_another_document_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "phone.json"
    path.write_text(json.dumps({**json.loads(PHONE.read_text()), **change}))
    with pytest.raises(DataError, match=words):
        read_phone(path)
