"""The figures of a bench row: what each is called, which way is better, and what differs without meaning anything.

A figure is named by its place in the row: ``latency_ms.p50``, ``metrics.overlap_at_10``. Gates and comparisons know
these names and no others, so that a misspelt one is refused and never passes unseen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.metrics import MAP_DEPTHS

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        better: Whether less or more of it is wished for.
        tolerance: Two measurements of the same thing may differ by this share, where the row states no interval; 0 for
            what is counted, not measured; None for what is too unsteady to compare two runs by (the slowest calls).
    """

    better: Literal["less", "more"]
    tolerance: float | None = 0.0


_TOWERS = ("latency_ms", "text_latency_ms", "search_latency_ms")
_RECALLS = tuple(f"recall_at_{k}_{way}" for k in (1, 5, 10) for way in ("text_to_image", "image_to_text"))
_AGREEMENTS = (
    *(f"map_at_{n}" for n in MAP_DEPTHS),
    "map_at_10_to_20",
    *(f"overlap_at_{k}" for k in (1, 5, 10)),
)
_WORLD_BETTER = (
    "precision_at_1",
    "precision_at_1_unseen",
    "reading_precision_at_1",
    "count_precision_at_1",
    "relation_precision_at_1",
)
# Shares from 0 to 1.
METRICS: dict[str, Figure] = {
    **dict.fromkeys(_AGREEMENTS, Figure("more")),
    **dict.fromkeys((f"query_{name}" for name in _AGREEMENTS), Figure("more")),
    "cosine": Figure("more"),
    **dict.fromkeys(_RECALLS, Figure("more")),
    "zero_shot_top1": Figure("more"),
    "zero_shot_top5": Figure("more"),
    **dict.fromkeys((f"scenes_{name}" for name in _WORLD_BETTER), Figure("more")),
    "scenes_typographic_error_rate": Figure("less"),
    "recall_of_exact_at_10": Figure("more"),
}
# Memory counts whole pages of shared libraries, loading and throughput are timed once: the shares are what repeated
# runs on a machine with other work differed by (benchmarks/repeat.py).
FIGURES: dict[str, Figure] = {
    "size_bytes": Figure("less"),
    "parameters": Figure("less"),
    "multiply_accumulates.image": Figure("less"),
    "multiply_accumulates.text": Figure("less"),
    **{f"{tower}.{key}": Figure("less", None) for tower in _TOWERS for key in ("p95", "p99", "min")},
    **{f"{tower}.p50": Figure("less") for tower in _TOWERS},
    **{f"{tower}_to_first.ratio": Figure("less") for tower in _TOWERS},
    "images_per_s": Figure("more", 0.5),
    "queries_per_s": Figure("more", 0.5),
    "import_ms": Figure("less", None),
    "load_ms": Figure("less", 1.0),
    "peak_memory_bytes": Figure("less", 0.05),
    **{f"metrics.{name}": figure for name, figure in METRICS.items()},
}


# Parts of keys that the first version wrote → today's.
_RENAMED = {
    "pictures": "images",
    "right_first": "precision_at_1",
    "word_over_thing": "typographic_error_rate",
    "world": "scenes",
}


def current_name(name: str) -> str:
    """A key or a figure's name as it is called today."""
    for former, current in _RENAMED.items():
        name = name.replace(former, current)
    return name


def with_current_names(document: Any) -> Any:
    """A document of the bench with today's keys; one that the first version wrote has others."""
    if isinstance(document, Mapping):
        return {current_name(key): with_current_names(value) for key, value in document.items()}
    return [with_current_names(value) for value in document] if isinstance(document, list) else document


def require_figure(name: str, where: str) -> Figure:
    """A figure by its name.

    Raises:
        UsageError: Nobody measures that.
    """
    if name not in FIGURES:
        near = [known for known in FIGURES if known.split(".")[-1] == name.split(".")[-1]]
        near = near or [known for known in FIGURES if known.split(".")[0] == name.split(".")[0]] or list(FIGURES)[:5]
        raise UsageError(f"{where} names the figure {name!r}, which no bench has.", hint=f"Such are {', '.join(near)}.")
    return FIGURES[name]


def require_finite(value: Any, where: str) -> None:
    """Refuse a document with a number that is none: nothing compares with it, so it would pass for "no change".

    Raises:
        DataError: NaN or an infinity stands somewhere in it.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where} is {value}, which is no figure.", hint="Measure it again.")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            require_finite(inner, f"{where}, {key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            require_finite(inner, f"{where}, {number}")


def figure_of(row: Row, name: str) -> float | None:
    """A row's figure by its name; None where it was not measured."""
    value: Any = row
    for key in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return None if value is None or isinstance(value, bool | str | Mapping | list) else float(value)
