"""The bench: every model in a process of its own, measured in turns; a model that fails is a row with its reason."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.evaluators import Evaluator
from mobileclip_kit.bench.external_results import published_rows, read_phone
from mobileclip_kit.bench.gates import check_gates, check_models, read_gates
from mobileclip_kit.bench.inputs import read_evaluators
from mobileclip_kit.bench.latency import (
    BATCHES,
    ReferenceWorkload,
    Timing,
    measure_latency,
    measure_throughput,
    paired_ratio,
)
from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.models import BenchModel, describe_models, phone_students, random_students
from mobileclip_kit.bench.process import Asked, WorkerProcess
from mobileclip_kit.bench.report import draw_examples
from mobileclip_kit.bench.request import BenchRequest, BenchSettings
from mobileclip_kit.bench.results import BenchReport, BenchRow, with_unique_names
from mobileclip_kit.errors import MckitError, ModelError, UsageError
from mobileclip_kit.progress import Progress
from mobileclip_kit.reports.html import ImageRow
from mobileclip_kit.runtime.open import check_device

_TIMED_IMAGES = 8
_REFERENCE = ""  # among the models, whose names are never empty
_OPENED = ("load_ms", "import_ms", "runtime", "device", "kind", "items", "queried_with")


def run_request(request: BenchRequest) -> tuple[BenchReport, list[ImageRow]]:
    """Measure what was asked for.

    Returns:
        The report, with rows from elsewhere behind the measured ones and ``gates`` if there are any; and what a few
        texts find, for the report's page.

    Raises:
        MckitError: The request is impossible, or not a single model could be measured.
    """
    request.check()
    gates = () if request.gate is None else read_gates(request.gate)
    external = [row for path in request.phone for row in read_phone(path)]
    external += published_rows() if request.published else []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mckit-bench-")))
        models = _models(request, folder)
        names = tuple(model.name for model in models)
        rows = with_unique_names(tuple(external), names)
        if request.gate is not None:
            check_models(gates, [*names, *(row.name for row in rows)], request.gate)
        if request.queries and not (request.teacher or request.cache or any(model.is_index for model in models)):
            raise UsageError("--queries are for a teacher or an index.", hint="Add --teacher or --cache.")
        for model in models:
            if not model.is_index and not model.row.failure:
                check_device(model.model, request.device)
        evaluators = read_evaluators(request, folder)
        report = run_bench(models, request.settings(), evaluators)
        files = {name: path for evaluator in reversed(evaluators) for name, path in evaluator.files.items()}
        # Here, since a data set's images go with the folder.
        examples = draw_examples(report.rows, files) if request.out is not None else []
    devices = sorted({row.device for row in report.rows if row.device is not None})
    report = replace(report, device=", ".join(devices) or "cpu", rows=report.rows + rows)
    if request.gate is not None:
        report = replace(report, gates=check_gates(gates, report.rows))
    return report, examples


def _models(request: BenchRequest, folder: Path) -> list[BenchModel]:
    if request.models:
        return describe_models(request.models)
    if not request.measures:
        return []
    (folder / "students").mkdir()
    return random_students(phone_students(), folder / "students")


def run_bench(
    models: Sequence[BenchModel],
    settings: BenchSettings,
    evaluators: Sequence[Evaluator] = (),
    *,
    start: Callable[[BenchModel], WorkerProcess] | None = None,
) -> BenchReport:
    """Measure every model.

    Args:
        models: With unique names.
        settings: How to measure.
        evaluators: Where several give the same figure, the last one counts.
        start: Starts a model's process; for tests.

    Raises:
        ModelError: Not a single model could be measured.
    """
    machine = describe_machine()  # before the run, whose own load is not of interest
    measurement = _Measurement(models, settings, list(evaluators))
    with ExitStack() as stack:
        for model in models:
            measurement.open(model, stack, start or (lambda _: _start(settings)))
        interrupted = measurement.measure_until_interrupted()
    if models and all(row.failure for row in measurement.rows.values()):
        first = next(iter(measurement.rows.values()))
        raise ModelError(f"None of {len(models)} models could be measured; {first.name}: {first.failure}")
    measurement.share_macs()
    return BenchReport(
        machine=machine,
        rows=tuple(measurement.rows.values()),
        reference_ms=None if measurement.reference is None else measurement.reference.latency(),
        interrupted=interrupted,
        settings={
            **asdict(settings),
            "queries": settings.queries and settings.queries.name,
            "batches": list(BATCHES),
            "order": "rounds of turns, shuffled",
        },
        inputs=tuple(evaluator.describe() for evaluator in evaluators),
    )


class _Measurement:
    """The rows while they fill."""

    def __init__(self, models: Sequence[BenchModel], settings: BenchSettings, evaluators: list[Evaluator]) -> None:
        self.settings, self.evaluators = settings, evaluators
        self.rows = {model.name: model.row for model in models}
        self.workers: dict[str, Asked] = {}
        self.reference: Timing | None = None

    def open(self, model: BenchModel, stack: ExitStack, start: Callable[[BenchModel], WorkerProcess]) -> None:
        """Start and open one model; nothing else runs meanwhile, since its loading is timed."""
        if model.row.failure is not None:
            return
        worker = stack.enter_context(start(model))
        asked: dict[str, Any] = {"model": model.model, "imports": model.imports}
        if model.is_index:
            asked |= {"do": "open_index", "queries": self.settings.queries and str(self.settings.queries)}
        else:
            images = [str(path) for evaluator in self.evaluators for path in evaluator.paths][:_TIMED_IMAGES]
            asked |= {"do": "open", "threads": self.settings.threads, "images": images,
                      "device": self.settings.device}  # fmt: skip
        try:
            answer = worker.ask(**asked)
        except ModelError as error:
            self.fail(model.name, error)
            return
        self.workers[model.name] = worker
        found = {key: answer[key] for key in _OPENED if key in answer}
        self.update(model.name, towers=tuple(answer["towers"]), **found)

    def measure_until_interrupted(self) -> bool:
        """Measure; after Ctrl-C keep what was measured, and note the rows that were not reached."""
        try:
            self.measure()
        except KeyboardInterrupt:
            for row in self.rows.values():
                if not (row.failure or row.latency_ms or row.search_latency_ms):
                    self.update(row.name, failure="Interrupted before it was measured.")
            return True
        return False

    def measure(self) -> None:
        """Latency first, so that peak memory is that of single images; accuracy last."""
        with_image = self.with_tower("image")
        rounds, batches = self.settings.rounds, len(BATCHES)
        turns = rounds + len(with_image) * (rounds + batches + len(self.evaluators))
        turns += len(self.with_tower("text")) * rounds + len(self.with_tower("search")) * (rounds + batches)
        with Progress("bench", total=turns, unit="turns") as progress:
            self.latency("image", "latency_ms", progress.advance)
            self.latency("search", "search_latency_ms", progress.advance)
            for name in sorted(self.workers):
                self.guarded(name, lambda worker: worker.ask(do="memory"))
            self.latency("text", "text_latency_ms", progress.advance)
            self.throughput("image", "images_per_s", progress.advance)
            self.throughput("search", "queries_per_s", progress.advance)
            for name in sorted(self.with_tower("image").keys() | self.with_tower("text").keys()):
                if not self.rows[name].multiply_accumulates:  # the file may tell them
                    self.guarded(name, lambda worker: worker.ask(do="macs"))
            for name in sorted(self.with_tower("search")):
                self.guarded(name, _recall_of_exact)
            for evaluator in self.evaluators:
                for name in sorted(with_image.keys() & self.workers.keys()):
                    self.guarded(name, partial(_evaluate, self.rows[name], evaluator))
                    progress.advance()

    def latency(self, tower: str, key: str, on_turn: Callable[[], None]) -> None:
        """Fill ``key`` of every row whose model has the tower."""
        workers = self.with_tower(tower)
        if workers and self.reference is None:
            workers[_REFERENCE] = ReferenceWorkload()
        timings: dict[str, Timing] = {}
        try:
            measure_latency(
                workers,
                tower,
                seconds=self.settings.seconds,
                rounds=self.settings.rounds,
                into=timings,
                on_failure=self.fail,
                on_turn=on_turn,
            )
        finally:  # Ctrl-C in the last round leaves the others
            self.reference = timings.pop(_REFERENCE, self.reference)
            first = next((name for name in self.rows if name in timings), None)
            for name, timing in timings.items():
                self.update(name, **{key: timing.latency()})
                if first is not None and name != first:
                    self.update(name, **{f"{key}_to_first": paired_ratio(timing, timings[first], first)})

    def throughput(self, tower: str, key: str, on_turn: Callable[[], None]) -> None:
        """Fill ``key`` of every row whose model has the tower."""
        rates: dict[str, dict[int, float]] = {}
        try:
            measure_throughput(
                self.with_tower(tower),
                tower,
                seconds=self.settings.seconds,
                into=rates,
                on_failure=self.fail,
                on_turn=on_turn,
            )
        finally:
            for name, by_batch in rates.items():
                best = max(by_batch, key=lambda batch: by_batch[batch])
                named = {str(batch): rate for batch, rate in by_batch.items()}
                self.update(name, **{key: by_batch[best], "best_batch": best, f"{key}_by_batch": named})

    def guarded(self, name: str, work: Callable[[Asked], Mapping[str, Any]]) -> None:
        """Add what ``work`` returns to a row, or the reason of its failure."""
        try:
            self.update(name, **work(self.workers[name]))
        except MckitError as error:
            self.fail(name, error)

    def update(self, name: str, **found: Any) -> None:
        """Set fields of a row."""
        self.rows[name] = replace(self.rows[name], **found)

    def fail(self, name: str, error: MckitError) -> None:
        """Note why a model is left out from here on; what was measured stays."""
        self.update(name, failure=str(error))
        self.workers.pop(name, None)

    def with_tower(self, tower: str) -> dict[str, Asked]:
        """The workers that are alive and have the tower."""
        return {name: worker for name, worker in self.workers.items() if tower in self.rows[name].towers}

    def share_macs(self) -> None:
        """Where a runtime cannot count, take the count of a row with the same model hash."""
        counted = {
            row.model_hash: row.multiply_accumulates
            for row in self.rows.values()
            if row.multiply_accumulates and row.model_hash
        }
        for row in self.rows.values():
            if not row.multiply_accumulates and row.model_hash in counted:
                self.update(row.name, multiply_accumulates=counted[row.model_hash])


def _start(settings: BenchSettings) -> WorkerProcess:
    return WorkerProcess(threads=settings.threads, timeout_seconds=settings.timeout_seconds)


def _recall_of_exact(worker: Asked) -> dict[str, Any]:
    return {"metrics": {"recall_of_exact_at_10": worker.ask(do="recall_of_exact")["recall_of_exact"]}}


def _evaluate(row: BenchRow, evaluator: Evaluator, worker: Asked) -> dict[str, Any]:
    found = evaluator.evaluate(worker, row.towers)
    return {"metrics": {**row.metrics, **found.metrics}, "examples": row.examples or found.examples}
