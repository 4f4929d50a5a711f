"""Every precision of a model side by side: size, cosine, agreement on the ten nearest, latency.

Each format's default precision is converted once and the others are made from it, so that the comparison costs little
more than one export. Latencies are measured in turns (:mod:`mobileclip_kit.bench.latency`), one process for each
export; Core ML and Core AI programs have one on macOS only, since what executes them elsewhere is made to be exact, not
fast. A format that the model cannot be converted to, or whose converter is not installed, has a row that says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from mobileclip_kit.bench.latency import measure_latency
from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.process import Asked, WorkerProcess
from mobileclip_kit.errors import ExportError, MissingExtraError, ModelError, ParityError
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export, open_export
from mobileclip_kit.exporting.precisions import FORMATS, precisions_of
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.files import atomic_folder, write_json
from mobileclip_kit.formats import to_document
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.open import available_runtimes
from mobileclip_kit.spec import Tower

COMPARISON_FILE = "comparison.json"
_THREADS = 1
_ROUNDS = 10
# Export and tower → percentiles; export → why it cannot be timed.
Latencies = tuple[dict[tuple[str, str], dict[str, Any]], dict[str, str]]


def compare_precisions(
    model: Model,
    destination: Path,
    options: ExportOptions,
    *,
    formats: Iterable[str] = tuple(FORMATS),
    seconds: float = 4.0,
) -> dict[str, Any]:
    """Export a model in every precision into folders of ``destination``, and compare them.

    Args:
        model: From :func:`~mobileclip_kit.networks.model.load_model`.
        destination: The folder to make: ``onnx-int8/`` and its like, and ``comparison.json``.
        options: What to verify and calibrate with; the format and the precision are the comparison's. Without
            calibration images there is no ONNX int8 of a model with an image tower.
        formats: Which formats.
        seconds: Of timing, for each export and tower; 0 measures no latency.

    Returns:
        The document of ``comparison.json``: ``model``, ``machine``, ``threads`` and ``rows``, one for each tower and
        precision, or one with a ``reason`` where there is no export.

    Raises:
        ExportError: The model can be converted to none of the formats.
        OutputError: ``destination`` exists or cannot be written.
    """
    with atomic_folder(destination, force=options.force, kinds=(COMPARISON_FILE,)) as staging:
        rows: list[dict[str, Any]] = []
        exports: dict[str, Export] = {}
        for name, export, reason in _all_exports(model, staging, options, formats):
            if export is None:
                rows.append({"name": name, "reason": reason})
                continue
            exports[name] = export
            rows += [{"name": name, **row, "reason": reason} for row in export.rows()]
        timings, failures = measure_latencies(exports, seconds) if seconds else ({}, {})
        own_runtime = {export.format: available_runtimes(export.format)[-1].runtime for export in exports.values()}
        for row in rows:
            row["latency_ms"] = None
            if "path" in row:
                row["path"] = str(destination / row["name"])
                row["reason"] = row["reason"] or failures.get(row["name"])
                if row["runtime"] == own_runtime[row["format"]]:
                    row["latency_ms"] = timings.get((row["name"], row["tower"]))
        document = {
            "model": model.spec.name,
            "model_hash": model.spec.model_hash,
            "machine": describe_machine(),
            "threads": _THREADS,
            "rows": rows,
        }
        write_json(staging / COMPARISON_FILE, document, sealed=True)
        for name, export in exports.items():
            if not options.keep_failed and not export.passed:
                shutil.rmtree(staging / name)
    return document


def _all_exports(
    model: Model, folder: Path, options: ExportOptions, formats: Iterable[str]
) -> Iterator[tuple[str, Export | None, str | None]]:
    """The exports of all formats, as :func:`_exports` gives them; one that cannot be converted to has its reason."""
    refused, made = list[ExportError](), False
    for format in formats:
        try:
            for name, export, reason in _exports(model, folder, replace(options, format=format)):
                made = made or export is not None
                yield name, export, reason
        except ExportError as error:
            refused.append(error)
            yield format, None, error.message
    if refused and not made:
        raise refused[0]


def _exports(model: Model, folder: Path, options: ExportOptions) -> Iterator[tuple[str, Export | None, str | None]]:
    """The exports of one format: name, export and why there is none or why it failed."""
    base: Export | None = None
    for row in precisions_of(options.format):
        if base is not None and not row.from_default:
            continue
        name = f"{row.format}-{row.name}"
        if row.calibrated and model.spec.image is not None and options.calibration is None:
            yield name, None, f"{row.name} needs images to calibrate on."
            continue
        reason = None
        try:
            # The folder is the comparison's own, and it decides which exports stay.
            chosen = replace(options, precision=row.name, base=base, keep_failed=True, force=False)
            export = export_model(model, folder / name, chosen)
        except ParityError as error:
            reason = error.message
            if not (folder / name).is_dir():  # its vectors are not finite: there is nothing to compare
                yield name, None, reason
                continue
            export = open_export(folder / name)
        except MissingExtraError as error:
            yield row.format, None, error.message
            return
        except ExportError as error:
            if base is None:
                raise
            yield name, None, error.message
            continue
        base = base or export
        yield name, export, reason


def measure_latencies(exports: Mapping[str, Export], seconds: float) -> Latencies:
    """Latencies of exports, measured in turns, as far as the export's own runtime is here.

    Args:
        exports: By name.
        seconds: For each export and tower.

    Returns:
        Percentiles by export and tower, and by export why it has none.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        workers: dict[str, Asked] = {}
        for name, export in exports.items():
            if not available_runtimes(export.format)[-1].is_timed:
                continue
            worker = stack.enter_context(WorkerProcess(threads=_THREADS))
            try:
                worker.ask(do="open", model=str(export.path), threads=_THREADS)
            except ModelError as error:
                failures[name] = error.message
            else:
                workers[name] = worker
        for tower in get_args(Tower):
            timings = measure_latency(
                {name: worker for name, worker in workers.items() if tower in exports[name].towers},
                tower,
                seconds=seconds,
                rounds=_ROUNDS,
                on_failure=lambda name, error: failures.update({name: error.message}),
            )
            found.update({(name, tower): to_document(timing.latency()) for name, timing in timings.items()})
            workers = {name: worker for name, worker in workers.items() if name not in failures}
    return found, failures
