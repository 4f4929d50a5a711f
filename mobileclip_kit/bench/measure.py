"""The bench itself: every model in its own process, in turns; one that fails is a row with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.candidate import Candidate
from mobileclip_kit.bench.elsewhere import empty_row
from mobileclip_kit.bench.judging import Judged
from mobileclip_kit.bench.latency import BATCHES, Timing, measure_latency, measure_throughput, paired_ratio
from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.process import Asked, WorkerProcess
from mobileclip_kit.bench.yardstick import Yardstick
from mobileclip_kit.errors import MckitError, ModelError
from mobileclip_kit.progress import Progress

_TIMED_IMAGES = 8
_YARDSTICK = ""  # among the models, whose names are never empty
_OPENED = ("load_ms", "import_ms", "runtime", "towers", "kind", "items", "queried_with")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and with what to measure.

    Attributes:
        threads: Of every model's process.
        seconds: Each model's share of the latency turns, and again of the throughput turns.
        rounds: Turns of each model.
        timeout_seconds: Longest wait for one answer of a model.
        queries: File of text vectors that indexes are asked with.
    """

    threads: int
    seconds: float = 4.0
    rounds: int = 10
    timeout_seconds: float = 900.0
    queries: Path | None = None


def run_bench(
    candidates: Sequence[Candidate],
    settings: Settings,
    materials: Sequence[Judged] = (),
    *,
    start: Callable[[Candidate], WorkerProcess] | None = None,
) -> dict[str, Any]:
    """Measure every candidate.

    Args:
        candidates: With unique names.
        settings: See :class:`Settings`.
        materials: Where several give the same figure, the last one counts.
        start: Starts a candidate's process; for tests.

    Returns:
        The document of ``mckit bench --json``: ``machine``, ``yardstick_ms`` (see :mod:`.yardstick`), ``settings``,
        ``material`` and ``rows``.

    Raises:
        ModelError: Not a single candidate could be measured.
    """
    bench = _Bench(candidates, settings, list(materials))
    with ExitStack() as stack:
        for candidate in candidates:
            bench.open(candidate, stack, start or (lambda _: _start(settings)))
        interrupted = bench.measure_until_interrupted()
    if candidates and all(row["failure"] for row in bench.rows.values()):
        first = next(iter(bench.rows.values()))
        raise ModelError(f"None of {len(bench.rows)} models could be measured; {first['name']}: {first['failure']}")
    bench.share_operations()
    return {
        "machine": describe_machine(),
        "yardstick_ms": bench.yardstick and _rounded(bench.yardstick.to_json()),
        "interrupted": interrupted,
        "settings": {
            **asdict(settings),
            "queries": settings.queries and settings.queries.name,
            "batches": list(BATCHES),
            "order": "rounds of turns, shuffled",
        },
        "material": [material.describe() for material in materials],
        "rows": [_rounded(row) for row in bench.rows.values()],
    }


class _Bench:
    """The rows while they fill."""

    def __init__(self, candidates: Sequence[Candidate], settings: Settings, materials: list[Judged]) -> None:
        self.settings, self.materials = settings, materials
        self.candidates = {candidate.name: candidate for candidate in candidates}
        self.rows = {candidate.name: _empty_row(candidate) for candidate in candidates}
        self.workers: dict[str, Asked] = {}
        self.towers: dict[str, list[str]] = {}
        self.yardstick: Timing | None = None

    def open(self, candidate: Candidate, stack: ExitStack, start: Callable[[Candidate], WorkerProcess]) -> None:
        """Start and open one candidate; nothing else runs meanwhile, since its loading is timed."""
        if candidate.failure is not None:
            return
        images = [str(path) for material in self.materials for path in material.paths][:_TIMED_IMAGES]
        worker = stack.enter_context(start(candidate))
        queries = None if self.settings.queries is None else str(self.settings.queries)
        try:
            if candidate.is_index:
                answer = worker.ask(do="open_index", model=candidate.model, imports=candidate.imports, queries=queries)
            else:
                answer = worker.ask(
                    do="open",
                    model=candidate.model,
                    threads=self.settings.threads,
                    imports=candidate.imports,
                    images=images,
                )
        except ModelError as error:
            self.fail(candidate.name, error)
            return
        self.workers[candidate.name] = worker
        self.towers[candidate.name] = answer["towers"]
        self.rows[candidate.name].update({key: answer[key] for key in _OPENED if key in answer})

    def measure_until_interrupted(self) -> bool:
        """Measure; after Ctrl-C keep what was measured, and note the rows that were not reached."""
        try:
            self.measure()
        except KeyboardInterrupt:
            for row in self.rows.values():
                if not (row["failure"] or row["latency_ms"] or row.get("search_latency_ms")):
                    row["failure"] = "Interrupted before it was measured."
            return True
        return False

    def measure(self) -> None:
        """Latency first, so that peak memory is that of single images; accuracy last."""
        with_image = self.with_tower("image")
        turns = self.settings.rounds + len(with_image) * (self.settings.rounds + len(BATCHES) + len(self.materials))
        turns += len(self.with_tower("text")) * self.settings.rounds
        turns += len(self.with_tower("search")) * (self.settings.rounds + len(BATCHES))
        with Progress("bench", total=turns, unit="turns") as progress:
            self.latency("image", "latency_ms", progress.advance)
            self.latency("search", "search_latency_ms", progress.advance)
            for name in sorted(self.workers):
                self.guarded(name, lambda worker: worker.ask(do="memory"))
            self.latency("text", "text_latency_ms", progress.advance)
            self.throughput("image", "images_per_s", progress.advance)
            self.throughput("search", "queries_per_s", progress.advance)
            for name in sorted(self.with_tower("image").keys() | self.with_tower("text").keys()):
                self.guarded(name, partial(_count, self.rows[name]))
            for name in sorted(self.with_tower("search")):
                self.guarded(name, _recall_of_exact)
            for material in self.materials:
                for name in sorted(with_image.keys() & self.workers.keys()):
                    self.guarded(name, partial(_judge, self.towers[name], material))
                    progress.advance()

    def latency(self, tower: str, key: str, on_turn: Callable[[], None]) -> None:
        """Fill ``key`` of every row whose model has the tower."""
        workers = self.with_tower(tower)
        if workers and self.yardstick is None:
            workers[_YARDSTICK] = Yardstick()
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
            self._note_latencies(timings, key)

    def _note_latencies(self, timings: dict[str, Timing], key: str) -> None:
        self.yardstick = timings.pop(_YARDSTICK, self.yardstick)
        first = next((name for name in self.rows if name in timings), None)
        for name, timing in timings.items():
            self.rows[name][key] = timing.to_json()
            if first is not None and name != first:
                self.rows[name][f"{key}_to_first"] = {"model": first, **paired_ratio(timing, timings[first])}

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
            self._note_rates(rates, key)

    def _note_rates(self, rates: Mapping[str, Mapping[int, float]], key: str) -> None:
        for name, by_batch in rates.items():
            best = max(by_batch, key=lambda batch: by_batch[batch])
            rows = {str(batch): rate for batch, rate in by_batch.items()}
            self.rows[name].update({key: by_batch[best], "best_batch": best, f"{key}_by_batch": rows})

    def guarded(self, name: str, work: Callable[[Asked], dict[str, Any]]) -> None:
        """Add what ``work`` gives to a row, or its reason."""
        try:
            found = work(self.workers[name])
        except MckitError as error:
            self.fail(name, error)
            return
        row = self.rows[name]
        row["metrics"].update(found.pop("metrics", {}))
        examples = found.pop("examples", [])
        row["examples"] = row["examples"] or examples
        row.update(found)

    def fail(self, name: str, error: MckitError) -> None:
        """Note why a model is left out from here on; what was measured stays."""
        self.rows[name]["failure"] = str(error)
        self.workers.pop(name, None)

    def with_tower(self, tower: str) -> dict[str, Asked]:
        """The workers that are alive and have the tower."""
        return {name: worker for name, worker in self.workers.items() if tower in self.towers[name]}

    def share_operations(self) -> None:
        """An export computes what its model computes: copy the count where the hashes are equal."""
        counted = {
            self.candidates[name].model_hash: row["multiply_accumulates"]
            for name, row in self.rows.items()
            if row["multiply_accumulates"] and self.candidates[name].model_hash
        }
        for name, row in self.rows.items():
            row["multiply_accumulates"] = row["multiply_accumulates"] or counted.get(self.candidates[name].model_hash)


def _empty_row(candidate: Candidate) -> dict[str, Any]:
    row = empty_row(candidate.name, candidate.kind)
    row.update(
        size_bytes=candidate.size_bytes,
        parameters=candidate.parameters,
        multiply_accumulates=candidate.multiply_accumulates and dict(candidate.multiply_accumulates),
        failure=candidate.failure,
    )
    return row


def _rounded(value: Any) -> Any:
    """Floats to six decimals: nanoseconds, millionths; the rest is noise."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _start(settings: Settings) -> WorkerProcess:
    return WorkerProcess(threads=settings.threads, timeout_seconds=settings.timeout_seconds)


def _count(row: Mapping[str, Any], worker: Asked) -> dict[str, Any]:
    """Multiply-accumulates, unless the file told them already."""
    return {} if row["multiply_accumulates"] else worker.ask(do="operations")


def _recall_of_exact(worker: Asked) -> dict[str, Any]:
    return {"metrics": {"recall_of_exact_at_10": worker.ask(do="recall_of_exact")["recall_of_exact"]}}


def _judge(towers: Sequence[str], material: Judged, worker: Asked) -> dict[str, Any]:
    found = material.judge(worker, towers)
    return {"metrics": found.figures, "examples": found.examples}
