"""Rows and reports of a bench from JSON values."""

from __future__ import annotations

from typing import Any

from mobileclip_kit.bench.results import BenchReport, BenchRow
from mobileclip_kit.formats import from_document, to_document

TIMING = {"p50": 5.0, "p95": 6.25, "p99": None, "min": 4.0, "p50_low": 4.9, "p50_high": 5.1, "calls": 9}


def row(name: str, **facts: Any) -> BenchRow:
    """A row of which only these facts are known."""
    return from_document({"name": name, "kind": "onnx int8", **facts}, BenchRow, where=name)


def measured(name: str, **facts: Any) -> BenchRow:
    """A row whose speed and size were measured."""
    usual = {
        "size_bytes": 12_600_000,
        "parameters": 12_000_000,
        "latency_ms": TIMING,
        "images_per_s": 210.4,
        "load_ms": 30.0,
        "peak_memory_bytes": 90_000_000,
    }
    return row(name, **{**usual, **facts})


def report(*rows: BenchRow, **more: Any) -> BenchReport:
    """A report with these rows."""
    document = {
        "machine": {"cpu": "A | CPU", "usable_cores": 2, "os": "Linux"},
        "settings": {"threads": 2, "rounds": 10},
        "rows": [to_document(one) for one in rows],
        **more,
    }
    return from_document(document, BenchReport, where="report")
