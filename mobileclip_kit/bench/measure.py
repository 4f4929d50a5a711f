"""The bench itself: every model in its own process, in turns; one that fails is a row with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mobileclip_kit.bench.candidate import Candidate
from mobileclip_kit.bench.latency import BATCHES, Timing, measure_latency, measure_throughput
from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.process import Asked, WorkerProcess, encode_pictures, encode_texts
from mobileclip_kit.bench.quality import Gallery, Teacher, quality
from mobileclip_kit.errors import MckitError, ModelError
from mobileclip_kit.progress import Progress

_TIMED_PICTURES = 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and with what to measure.

    Attributes:
        threads: Of every model's process.
        seconds: Each model's share of the latency turns, and again of the throughput turns.
        rounds: Turns of each model.
        timeout_seconds: Longest wait for one answer of a model.
    """

    threads: int
    seconds: float = 4.0
    rounds: int = 10
    timeout_seconds: float = 900.0


@dataclass(frozen=True)
class Material:
    """What accuracy is measured on.

    Attributes:
        gallery: Pictures, with captions or not.
        teacher: Its vectors of them.
    """

    gallery: Gallery
    teacher: Teacher | None = None


def run_bench(
    candidates: Sequence[Candidate],
    settings: Settings,
    materials: Sequence[Material] = (),
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
        The document of ``mckit bench --json``: ``machine``, ``settings``, ``material`` and ``rows``.

    Raises:
        ModelError: Not a single candidate could be measured.
    """
    bench = _Bench(candidates, settings, list(materials))
    with ExitStack() as stack:
        for candidate in candidates:
            bench.open(candidate, stack, start or (lambda _: _start(settings)))
        bench.measure()
    if all(row["failure"] for row in bench.rows.values()):
        first = next(iter(bench.rows.values()))
        raise ModelError(f"None of {len(bench.rows)} models could be measured; {first['name']}: {first['failure']}")
    bench.share_operations()
    return {
        "machine": describe_machine(),
        "settings": {**asdict(settings), "batches": list(BATCHES), "order": "rounds of turns, shuffled"},
        "material": [_describe_material(material) for material in materials],
        "rows": [_rounded(row) for row in bench.rows.values()],
    }


class _Bench:
    """The rows while they fill."""

    def __init__(self, candidates: Sequence[Candidate], settings: Settings, materials: list[Material]) -> None:
        self.settings, self.materials = settings, materials
        self.candidates = {candidate.name: candidate for candidate in candidates}
        self.rows = {candidate.name: _empty_row(candidate) for candidate in candidates}
        self.workers: dict[str, Asked] = {}
        self.towers: dict[str, list[str]] = {}

    def open(self, candidate: Candidate, stack: ExitStack, start: Callable[[Candidate], WorkerProcess]) -> None:
        """Start and open one candidate; nothing else runs meanwhile, since its loading is timed."""
        if candidate.failure is not None:
            return
        pictures = [str(path) for material in self.materials for path in material.gallery.paths][:_TIMED_PICTURES]
        worker = stack.enter_context(start(candidate))
        try:
            answer = worker.ask(
                do="open",
                model=candidate.model,
                threads=self.settings.threads,
                imports=candidate.imports,
                pictures=pictures,
            )
        except ModelError as error:
            self.fail(candidate.name, error)
            return
        self.workers[candidate.name] = worker
        self.towers[candidate.name] = answer["towers"]
        self.rows[candidate.name].update(
            load_ms=answer["load_ms"], import_ms=answer["import_ms"], runtime=answer["runtime"], towers=answer["towers"]
        )

    def measure(self) -> None:
        """Latency first, so that peak memory is that of single pictures; accuracy last."""
        with_image = self.with_tower("image")
        turns = len(with_image) * (self.settings.rounds + len(BATCHES) + len(self.materials))
        turns += len(self.with_tower("text")) * self.settings.rounds
        with Progress("bench", total=turns, unit="turns") as progress:
            self.latency("image", "latency_ms", progress.advance)
            for name in sorted(self.workers):
                self.guarded(name, lambda worker: worker.ask(do="memory"))
            self.latency("text", "text_latency_ms", progress.advance)
            rates = measure_throughput(
                self.with_tower("image"),
                seconds=self.settings.seconds,
                on_failure=self.fail,
                on_turn=progress.advance,
            )
            for name, by_batch in rates.items():
                best = max(by_batch, key=lambda batch: by_batch[batch])
                rows = {str(batch): rate for batch, rate in by_batch.items()}
                self.rows[name].update(pictures_per_s=by_batch[best], best_batch=best, pictures_per_s_by_batch=rows)
            for name in sorted(self.workers):
                self.guarded(name, lambda worker: worker.ask(do="operations"))
            for material in self.materials:
                for name in sorted(with_image.keys() & self.workers.keys()):
                    self.guarded(name, partial(_judge, self.towers[name], material))
                    progress.advance()

    def latency(self, tower: str, key: str, on_turn: Callable[[], None]) -> None:
        """Fill ``key`` of every row whose model has the tower."""
        timings: dict[str, Timing] = measure_latency(
            self.with_tower(tower),
            tower,
            seconds=self.settings.seconds,
            rounds=self.settings.rounds,
            on_failure=self.fail,
            on_turn=on_turn,
        )
        for name, timing in timings.items():
            self.rows[name][key] = timing.to_json()

    def guarded(self, name: str, work: Callable[[Asked], dict[str, Any]]) -> None:
        """Add what ``work`` gives to a row, or its reason."""
        try:
            found = work(self.workers[name])
        except MckitError as error:
            self.fail(name, error)
            return
        metrics = found.pop("metrics", {})
        self.rows[name].update(found)
        self.rows[name]["metrics"].update(metrics)

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
    return {
        "name": candidate.name,
        "kind": candidate.kind,
        "size_bytes": candidate.size_bytes,
        "parameters": candidate.parameters,
        "multiply_accumulates": None,
        "latency_ms": None,
        "text_latency_ms": None,
        "pictures_per_s": None,
        "load_ms": None,
        "peak_memory_bytes": None,
        "metrics": {},
        "failure": candidate.failure,
    }


def _rounded(value: Any) -> Any:
    """Floats to six decimals: nanoseconds, millionths; the rest is noise."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _start(settings: Settings) -> WorkerProcess:
    return WorkerProcess(threads=settings.threads, timeout_seconds=settings.timeout_seconds)


def _judge(towers: Sequence[str], material: Material, worker: Asked) -> dict[str, Any]:
    """Accuracy of one model. A model without a text tower is asked with the teacher's texts: they share a space."""
    gallery, teacher = material.gallery, material.teacher
    images = encode_pictures(worker, gallery.paths)
    texts = None
    if gallery.captions and "text" in towers:
        texts = encode_texts(worker, gallery.captions)
    elif teacher is not None and teacher.texts is not None and teacher.texts.shape[1] == images.shape[1]:
        texts = teacher.texts
    return {"metrics": quality(images, gallery, texts=texts, teacher=teacher)}


def _describe_material(material: Material) -> dict[str, Any]:
    gallery, teacher = material.gallery, material.teacher
    return {
        "pictures": len(gallery.keys),
        "captions": len(gallery.captions),
        "teacher": None if teacher is None else teacher.name,
        "queries": 0 if teacher is None or teacher.queries is None else len(teacher.queries),
        "skipped": [asdict(left) for left in gallery.skipped],
    }
