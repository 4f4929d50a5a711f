"""The results of a bench run: one row a model, the figures in a row, the report document.

Gates and comparisons name a figure by its place in the row, such as ``latency_ms.p50`` or ``metrics.overlap_at_10``.
:data:`FIGURES` lists these names; any other name is refused, so that a misspelt one cannot pass unnoticed.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import read_json
from mobileclip_kit.formats import from_document, to_document
from mobileclip_kit.metrics import MAP_DEPTHS, RECALL_DEPTHS

REPORT_FILE = "report.json"
# Other programs that kept this share of the cores busy have spoiled the latencies.
_BUSY = 0.5
# A median of so many times the fastest call has waited for the processor.
_WAITED = 3.0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of single calls.

    Attributes:
        p50: The median.
        p95: 95th percentile.
        p99: 99th percentile; None below 100 calls.
        min: The fastest call.
        p50_low: 95 % of the medians are above it when the rounds are resampled; None for a single round.
        p50_high: And below this.
        calls: Number of calls.
        rounds: Number of rounds.
        outliers: Calls of more than three times the median. They count in every figure.
    """

    p50: float
    p95: float | None = None
    p99: float | None = None
    min: float | None = None
    p50_low: float | None = None
    p50_high: float | None = None
    calls: int | None = None
    rounds: int | None = None
    outliers: int | None = None


@dataclass(frozen=True, kw_only=True)
class LatencyRatio:
    """A latency as a multiple of the first model's, from the rounds that both took part in.

    Attributes:
        model: The first model.
        ratio: Of the medians.
        low: 95 % of the ratios are above it when the rounds are resampled, the same rounds for both models: a slow
            round cancels out. None for a single round.
        high: And below this.
    """

    model: str
    ratio: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ExampleHit:
    """An image found for a text: its name, the cosine, and whether it is a right answer (None if unknown)."""

    item: str
    score: float
    right: bool | None = None


@dataclass(frozen=True)
class Example:
    """A text and the first images that a model finds for it, best first."""

    text: str
    hits: tuple[ExampleHit, ...]


@dataclass(frozen=True, kw_only=True)
class PhoneParity:
    """A tower on a phone, compared with the vectors of its sample inputs in float32.

    Attributes:
        tower: ``image`` or ``text``.
        runtime: ``core_ai`` or ``core_ml``.
        compute_units: ``neural_engine``, ``cpu``, …
        threshold: What the cosine must reach.
        cosine_min: The least cosine; None if the tower did not run.
        reason: Why it did not run.
    """

    tower: str
    runtime: str
    compute_units: str
    threshold: float
    cosine_min: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        where = f"{self.tower} tower with {self.runtime} on {self.compute_units}"
        if self.cosine_min is None:
            return f"{where} did not run: {self.reason or 'no reason is given'}"
        verdict = "right" if self.cosine_min >= self.threshold else "WRONG"
        return f"{where} is {verdict}, cosine {self.cosine_min:.4f} (at least {self.threshold:g})"


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """Everything known about one model.

    Attributes:
        name: Unique in the table.
        kind: ``torch fp32``, ``onnx int8``, ``index hnsw``, …
        size_bytes: Weights on disk, both towers.
        parameters: Stored weights of both towers.
        multiply_accumulates: Of one input of each tower.
        latency_ms: One image.
        text_latency_ms: One text.
        search_latency_ms: One query of an index.
        latency_ms_to_first: Relative to the first model of the table.
        text_latency_ms_to_first: The same for texts.
        search_latency_ms_to_first: The same for indexes.
        images_per_s: At the best batch size.
        images_per_s_by_batch: At each batch size.
        queries_per_s: Of an index, at the best batch size.
        queries_per_s_by_batch: At each batch size.
        best_batch: The batch size of the highest throughput.
        import_ms: Importing the runtime.
        load_ms: Loading the model, until the first vector.
        peak_memory_bytes: With single images.
        memory_bytes: On a phone: memory in use, not a peak.
        runtime: ``torch``, ``onnxruntime``, ``mil``, ``faiss``, …
        device: Where it computed: ``cpu``, ``cuda``, ``openvino``, …
        towers: ``image``, ``text`` or ``search``.
        items: Vectors of an index.
        queried_with: Queries of an index.
        metrics: Accuracy, see :data:`METRICS`.
        examples: A few texts and what the model finds for them.
        failure: Reason why the model, or the rest of its measurement, failed.
        source: ``phone`` or ``published`` for a row that was measured elsewhere.
        citation: Of a published row.
        published_accuracy: Accuracy as published.
        phone: The phone that measured the row.
        parity: Its towers on that phone, compared with the model in float32.
        model_hash: Of the model that the row measures.
    """

    name: str
    kind: str
    size_bytes: int | None = None
    parameters: int | None = None
    multiply_accumulates: Mapping[str, int] | None = None
    latency_ms: Latency | None = None
    text_latency_ms: Latency | None = None
    search_latency_ms: Latency | None = None
    latency_ms_to_first: LatencyRatio | None = None
    text_latency_ms_to_first: LatencyRatio | None = None
    search_latency_ms_to_first: LatencyRatio | None = None
    images_per_s: float | None = None
    images_per_s_by_batch: Mapping[str, float] | None = None
    queries_per_s: float | None = None
    queries_per_s_by_batch: Mapping[str, float] | None = None
    best_batch: int | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    peak_memory_bytes: int | None = None
    memory_bytes: int | None = None
    runtime: str | None = None
    device: str | None = None
    towers: tuple[str, ...] = ()
    items: int | None = None
    queried_with: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    failure: str | None = None
    source: Literal["phone", "published"] | None = None
    citation: str | None = None
    published_accuracy: Mapping[str, float] = field(default_factory=dict)
    phone: Mapping[str, Any] | None = None
    parity: tuple[PhoneParity, ...] = ()
    model_hash: str | None = None

    def figure(self, name: str) -> float | None:
        """A figure by its name; None where it was not measured."""
        value: Any = self
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def waited(self, tower: str) -> float | None:
        """The median as a multiple of the fastest call, where it is so far above it that it is not the model's own.

        Args:
            tower: ``latency_ms``, ``text_latency_ms`` or ``search_latency_ms``.
        """
        median, least = self.figure(f"{tower}.p50"), self.figure(f"{tower}.min")
        is_waiting = not self.source and median and least and median > _WAITED * least
        return median / least if is_waiting and median and least else None

    def document(self) -> dict[str, Any]:
        """As JSON values, without the keys that have no value, except the promised ones."""
        return {key: value for key, value in to_document(self).items() if key in _PROMISED or value not in _NOTHING}


@dataclass(frozen=True, kw_only=True)
class InputSummary:
    """What accuracy was measured on, for the report.

    Attributes:
        images: Number of images.
        captions: Number of captions.
        classes: Number of classes.
        teacher: The teacher that agreement is measured against.
        queries: Text vectors of the teacher.
        scenes: Whether the images are synthetic scenes.
        fair_images: Scenes that the typographic error rate was measured on.
        skipped: Images that were left out, with reasons.
    """

    images: int
    captions: int = 0
    classes: int = 0
    teacher: str | None = None
    queries: int = 0
    scenes: bool = False
    fair_images: int = 0
    skipped: tuple[Skipped, ...] = ()

    @property
    def judges(self) -> bool:
        """Whether the images give any accuracy figure, and are not only timed."""
        return bool(self.captions or self.classes or self.teacher or self.scenes)


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """The document of ``mckit bench --json``, and ``report.json``.

    Attributes:
        machine: See :func:`mobileclip_kit.bench.machine.describe_machine`.
        rows: The models, then the rows that were measured elsewhere.
        device: What the models ran on.
        reference_ms: A fixed piece of work that was measured in the same rounds, see
            :class:`mobileclip_kit.bench.latency.ReferenceWorkload`.
        interrupted: Whether Ctrl-C ended the run early.
        settings: How the models were measured.
        inputs: What accuracy was measured on.
        gates: One entry for each gate and row, see :func:`mobileclip_kit.bench.gates.check_gates`.
        explain: See :mod:`mobileclip_kit.explain.explanation`.
        report: The folder of the report.
    """

    machine: Mapping[str, Any]
    rows: tuple[BenchRow, ...]
    device: str = "cpu"
    reference_ms: Latency | None = None
    interrupted: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[InputSummary, ...] = ()
    gates: tuple[Mapping[str, Any], ...] | None = None
    explain: Mapping[str, Any] | None = None
    report: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.machine.get("versions", {}), Mapping):
            raise DataError("machine.versions is not an object.")

    @property
    def load_warning(self) -> str:
        """That other programs kept the machine busy; empty if they did not."""
        load, cores = self.machine.get("load"), self.machine.get("usable_cores")
        if not load or not cores or load < _BUSY * cores or not any(row.latency_ms for row in self.rows):
            return ""
        return f"The machine was busy (load {load:g} on {cores} cores before the run): times are not reliable."

    def document(self) -> dict[str, Any]:
        """As JSON values, without the keys that have no value; floats have six decimals."""
        document = {key: value for key, value in to_document(self).items() if value is not None}
        rounded: dict[str, Any] = _rounded({**document, "rows": [row.document() for row in self.rows]})
        return rounded


_NOTHING: tuple[Any, ...] = (None, [], {})
_PROMISED = frozenset(
    "name kind size_bytes parameters multiply_accumulates latency_ms text_latency_ms images_per_s load_ms "
    "peak_memory_bytes metrics examples failure".split()
)


def read_report(path: Path) -> BenchReport:
    """Read the document of a bench run: a JSON file, or the folder of a report.

    Raises:
        DataError: It is missing or not such a document.
    """
    file = path / REPORT_FILE if path.is_dir() else path
    return report_from(read_json(file), str(file))


def report_from(document: Mapping[str, Any], where: str) -> BenchReport:
    """The report of a document that was read already; see :func:`read_report`."""
    hint = "Pass the JSON of `mckit bench --json` or the folder of its -o."
    return from_document(with_current_names(document), BenchReport, where=where, hint=hint)


# Parts of keys that the first version wrote → today's.
_RENAMED = {
    "pictures": "images",
    "right_first": "precision_at_1",
    "word_over_thing": "typographic_error_rate",
    "world": "scenes",
    "material": "inputs",
    "yardstick_ms": "reference_ms",
}


def current_name(name: str) -> str:
    """A key or a figure's name as it is called today."""
    for former, current in _RENAMED.items():
        name = name.replace(former, current)
    return name


def with_current_names(document: Any) -> Any:
    """A document of the bench with today's keys; the first version wrote others."""
    if isinstance(document, Mapping):
        return {current_name(key): with_current_names(value) for key, value in document.items()}
    return [with_current_names(value) for value in document] if isinstance(document, list) else document


@dataclass(frozen=True)
class Figure:
    """How two values of a figure compare.

    Attributes:
        better: Which direction is an improvement.
        tolerance: Share by which repeated measurements differ, where the row states no interval; 0 for what is
            counted; None for figures that are too noisy to compare between runs.
    """

    better: Literal["less", "more"]
    tolerance: float | None = 0.0


_TOWERS = ("latency_ms", "text_latency_ms", "search_latency_ms")
_MORE = Figure("more")
_AGREEMENTS = (*(f"map_at_{n}" for n in MAP_DEPTHS), "map_at_10_to_20", *(f"overlap_at_{k}" for k in RECALL_DEPTHS))
# Shares from 0 to 1.
METRICS: dict[str, Figure] = {
    **dict.fromkeys(_AGREEMENTS, _MORE),
    **dict.fromkeys((f"query_{name}" for name in _AGREEMENTS), _MORE),
    "cosine": _MORE,
    **dict.fromkeys(
        (f"recall_at_{k}_{way}" for k in RECALL_DEPTHS for way in ("text_to_image", "image_to_text")), _MORE
    ),
    "zero_shot_top1": _MORE,
    "zero_shot_top5": _MORE,
    "scenes_precision_at_1": _MORE,
    "scenes_precision_at_1_unseen": _MORE,
    "scenes_reading_precision_at_1": _MORE,
    "scenes_count_precision_at_1": _MORE,
    "scenes_relation_precision_at_1": _MORE,
    "scenes_typographic_error_rate": Figure("less"),
    "recall_of_exact_at_10": _MORE,
}
# Memory counts whole pages of shared libraries; loading and throughput are timed once. The tolerances are the spread
# of repeated runs on a machine with other work (benchmarks/repeat.py).
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


def require_figure(name: str) -> Figure:
    """A figure by its name.

    Raises:
        UsageError: There is no such figure.
    """
    if name not in FIGURES:
        near = [known for known in FIGURES if known.split(".")[-1] == name.split(".")[-1]]
        near = near or difflib.get_close_matches(name, FIGURES, n=5, cutoff=0.4) or list(FIGURES)
        raise UsageError(
            f"the figure {name!r} does not exist.", hint=f"Figures are, for example, {', '.join(near[:5])}."
        )
    return FIGURES[name]


def _rounded(value: Any) -> Any:
    """Floats to six decimals: nanoseconds, millionths; the rest is noise."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return round(value, 6) if isinstance(value, float) else value


def with_unique_names(rows: tuple[BenchRow, ...], taken: tuple[str, ...] = ()) -> tuple[BenchRow, ...]:
    """The rows, renamed to ``name (2)``, ``name (3)``, … where a name is taken."""
    names = set(taken)
    renamed = []
    for row in rows:
        name, number = row.name, 2
        while name in names:
            name, number = f"{row.name} ({number})", number + 1
        names.add(name)
        renamed.append(dataclasses.replace(row, name=name))
    return tuple(renamed)
