"""Rows that were measured elsewhere: by the app on a phone, or by others who published them.

They stand in the same table and carry a ``source``: ``phone`` or ``published``. Nothing is derived from them: they are
no part of a Pareto front, of a comparison's ratios, or of a gate on every model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.figures import require_finite, with_current_names
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_json

PUBLISHED_FILE = Path(__file__).with_name("published.json")
_PHONE_KIND, _PHONE_VERSION = "phone-bench", 1


def empty_row(name: str, kind: str) -> dict[str, Any]:
    """A row of the bench before anything is known but its name."""
    return {
        "name": name,
        "kind": kind,
        "size_bytes": None,
        "parameters": None,
        "multiply_accumulates": None,
        "latency_ms": None,
        "text_latency_ms": None,
        "images_per_s": None,
        "load_ms": None,
        "peak_memory_bytes": None,
        "metrics": {},
        "examples": [],
        "failure": None,
    }


def read_phone(path: Path) -> list[dict[str, Any]]:
    """The rows of a document that the app's bench screen shared (docs/phone-bench.md).

    Raises:
        DataError: It is no such document, or of a newer version.
    """
    document = with_current_names(read_json(path))
    require_finite(document, str(path))
    if document.get("kind") != _PHONE_KIND:
        raise DataError(f"{path} is not what the app's bench screen shares.", hint=f'Its "kind" is {_PHONE_KIND!r}.')
    if document.get("format_version") != _PHONE_VERSION:
        raise DataError(
            f"{path} has format version {document.get('format_version')}; this mckit reads version {_PHONE_VERSION}."
        )
    try:
        rows = [_phone_row(document, row) for row in document["rows"]]
        rows += [_phone_failure(document, row) for row in document["failed"]]
    except KeyError as error:
        raise DataError(f"{path} is incomplete: it lacks {error}.", hint="Share it from the app once more.") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}.", hint="Share it from the app once more.") from error
    return rows


def published_rows(path: Path = PUBLISHED_FILE) -> list[dict[str, Any]]:
    """Figures of other systems, with where they stand.

    Raises:
        DataError: The file cannot be read.
    """
    rows = []
    for entry in read_json(path)["rows"]:
        row = empty_row(entry["name"], f"published, {entry['on']}")
        row.update(
            source="published",
            citation=entry["source"],
            size_bytes=entry.get("size_bytes"),
            parameters=entry.get("parameters"),
            published_accuracy=entry.get("accuracy", {}),
            **{key: {"p50": float(entry[key])} for key in ("latency_ms", "text_latency_ms") if key in entry},
        )
        rows.append(row)
    return rows


def with_unique_names(rows: Sequence[Mapping[str, Any]], taken: Sequence[str]) -> list[dict[str, Any]]:
    """The rows, renamed where a name is taken already."""
    names, renamed = set(taken), []
    for row in rows:
        name, number = row["name"], 2
        while name in names:
            name, number = f"{row['name']} ({number})", number + 1
        names.add(name)
        renamed.append({**row, "name": name})
    return renamed


def _phone_row(document: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    row = _phone_face(document, measured["compute_units"])
    towers = [name for name in ("image", "text") if measured.get(name)]
    if not towers:
        raise ValueError(f"the row {measured['compute_units']} has neither image nor text")
    latencies = {name: _latency(measured[name]["latency_ms"]) for name in towers}
    rate, batch = (_measured(measured, key) for key in ("images_per_s", "batch"))
    row.update(
        latency_ms=latencies.get("image"),
        text_latency_ms=latencies.get("text"),
        images_per_s=rate,
        best_batch=batch,
        load_ms=sum(_positive(measured[name]["load_ms"], "load_ms") for name in towers),
        memory_bytes=measured.get("memory_bytes"),
        towers=towers,
    )
    return row


def _latency(measured: Mapping[str, Any]) -> dict[str, float]:
    return {"p50": _positive(measured["p50"], "p50"), **{key: _positive(value, key) for key, value in measured.items()}}


def _measured(row: Mapping[str, Any], key: str) -> float | None:
    return None if row.get(key) is None else _positive(row[key], key)


def _positive(value: Any, name: str) -> float:
    """A phone's file may have been edited by hand on its way; a plot has no place for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ValueError(f"{name} is {value!r}, not a positive number")
    return value


def _phone_failure(document: Mapping[str, Any], failed: Mapping[str, Any]) -> dict[str, Any]:
    return {**_phone_face(document, failed["compute_units"]), "failure": str(failed["reason"])}


def _phone_face(document: Mapping[str, Any], units: str) -> dict[str, Any]:
    machine, model = document["machine"], document["model"]
    row = empty_row(f"{model['name']} {units}", f"coreml {model['precision']}, {machine['device']}")
    row.update(
        source="phone",
        size_bytes=sum(model["size_bytes"].values()),
        model_hash=model["model_hash"],
        phone={key: value for key, value in machine.items() if not isinstance(value, dict | list)},
    )
    return row
