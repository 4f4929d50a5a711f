"""Rows that were measured elsewhere: by the app on a phone, or by others who published them.

They have a ``source``: ``phone`` or ``published``. They are no part of a Pareto front, of a comparison, or of a gate on
every model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.results import BenchRow, Latency, PhoneParity, with_current_names
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_json

PUBLISHED_FILE = Path(__file__).with_name("published.json")
_PHONE_KIND, _PHONE_VERSION = "phone-bench", 1


def read_phone(path: Path) -> list[BenchRow]:
    """The rows of a document that the app's bench screen shared (docs/phone-bench.md); unknown keys are ignored.

    Raises:
        DataError: It is no such document, or of a newer version.
    """
    document = with_current_names(read_json(path))
    if document.get("kind") != _PHONE_KIND:
        raise DataError(f"{path} is not from the app's bench screen.", hint=f'Its "kind" is {_PHONE_KIND!r}.')
    if document.get("format_version") != _PHONE_VERSION:
        raise DataError(
            f"{path} has format version {document.get('format_version')}; this mckit reads version {_PHONE_VERSION}."
        )
    try:
        measured, failed = document["rows"], document["failed"]
        rows = [_phone_row(document, row) for row in measured]
        rows += [BenchRow(**_phone(document, row), failure=str(row["reason"])) for row in failed]
        return _with_parity(rows, [row["compute_units"] for row in [*measured, *failed]], document)
    except KeyError as error:
        raise DataError(f"{path} is incomplete: it lacks {error}.", hint="Share it from the app once more.") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}.", hint="Share it from the app once more.") from error


def _with_parity(rows: list[BenchRow], units: list[str], document: Mapping[str, Any]) -> list[BenchRow]:
    """The rows with the comparisons on their compute units; the first one also has those on other units."""
    found: dict[int, list[PhoneParity]] = {}
    for entry in document.get("parity") or () if rows else ():
        place, cosine = entry["place"], entry.get("cosine_min")
        parity = PhoneParity(
            tower=str(entry["tower"]),
            runtime=str(place["runtime"]),
            compute_units=str(place["compute_units"]),
            threshold=_number(entry, "threshold"),
            cosine_min=None if cosine is None else _number(entry, "cosine_min"),
            reason=None if entry.get("reason") is None else str(entry["reason"]),
        )
        number = units.index(parity.compute_units) if parity.compute_units in units else 0
        found.setdefault(number, []).append(parity)
    return [replace(row, parity=tuple(found.get(number, ()))) for number, row in enumerate(rows)]


def published_rows(path: Path = PUBLISHED_FILE) -> list[BenchRow]:
    """Figures of other systems, with their citations.

    Raises:
        DataError: The file cannot be read.
    """
    return [
        BenchRow(
            name=entry["name"],
            kind=f"published, {entry['on']}",
            source="published",
            citation=entry["source"],
            size_bytes=entry.get("size_bytes"),
            parameters=entry.get("parameters"),
            published_accuracy=entry.get("accuracy", {}),
            latency_ms=_published_latency(entry, "latency_ms"),
            text_latency_ms=_published_latency(entry, "text_latency_ms"),
        )
        for entry in read_json(path)["rows"]
    ]


def _published_latency(entry: Mapping[str, Any], key: str) -> Latency | None:
    return Latency(p50=float(entry[key])) if key in entry else None


def _phone_row(document: Mapping[str, Any], measured: Mapping[str, Any]) -> BenchRow:
    shared = _phone(document, measured)
    towers = tuple(name for name in ("image", "text") if measured.get(name))
    if not towers:
        raise ValueError(f"the row {measured['compute_units']} has neither image nor text")
    latencies = {name: _latency(measured[name]["latency_ms"]) for name in towers}
    rate, batch = (None if measured.get(key) is None else _positive(measured, key) for key in ("images_per_s", "batch"))
    return BenchRow(
        **shared,
        latency_ms=latencies.get("image"),
        text_latency_ms=latencies.get("text"),
        images_per_s=rate,
        best_batch=None if batch is None else int(batch),
        load_ms=sum(_positive(measured[name], "load_ms") for name in towers),
        memory_bytes=measured.get("memory_bytes"),
        towers=towers,
    )


def _latency(measured: Mapping[str, Any]) -> Latency:
    return Latency(p50=_positive(measured, "p50"), p95=_positive(measured, "p95") if "p95" in measured else None)


def _number(entry: Mapping[str, Any], key: str) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is {value!r}, not a number")
    return float(value)


def _positive(measured: Mapping[str, Any], key: str) -> float:
    """A number that a plot has a place for: the file may have been edited by hand."""
    value = measured[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{key} is {value!r}, not a positive number")
    return value


def _phone(document: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    machine, model = document["machine"], document["model"]
    return {
        "name": f"{model['name']} {row['compute_units']}",
        "kind": f"coreml {model['precision']}, {machine['device']}",
        "source": "phone",
        "size_bytes": sum(model["size_bytes"].values()),
        "model_hash": model["model_hash"],
        "phone": {key: value for key, value in machine.items() if not isinstance(value, dict | list)},
    }
