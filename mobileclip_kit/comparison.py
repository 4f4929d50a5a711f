"""Every precision of a model side by side: size, cosine, agreement on the ten nearest, latency.

Each format's full precision is converted once and the others are made from it, so that the comparison costs little more
than one export. Latencies are measured in turns (:mod:`mobileclip_kit.bench.latency`), one process an export; a Core ML
program has one on macOS only, since the interpreter that executes it elsewhere is made to be exact, not fast.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.latency import measure_latency
from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.process import Asked, WorkerProcess
from mobileclip_kit.errors import ExportError, ModelError, ParityError
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export, Format, Precision, open_export
from mobileclip_kit.exporting.ranges import Method
from mobileclip_kit.exporting.samples import ImageInputs, TextInputs
from mobileclip_kit.files import atomic_folder, write_json
from mobileclip_kit.formats import to_document
from mobileclip_kit.networks.model import Model

COMPARISON_FILE = "comparison.json"
# The first of each format is converted, the others are made from it.
COMPARED: Mapping[Format, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8-weights", "int8"),
    "coreml": ("fp16", "int8", "palette8", "palette6", "palette4"),
}
_THREADS = 1
_ROUNDS = 10


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What exports are verified and calibrated with; see :func:`~mobileclip_kit.exporting.exporter.export_model`."""

    images: ImageInputs | None = None
    texts: TextInputs | None = None
    calibration: ImageInputs | None = None
    calibration_texts: TextInputs | None = None
    method: Method = "minmax"


def compare_precisions(
    model: Model,
    destination: Path,
    inputs: Inputs,
    *,
    formats: Iterable[Format] = ("onnx", "coreml"),
    threshold: float | None = None,
    seconds: float = 4.0,
    force: bool = False,
    keep_failed: bool = False,
) -> dict[str, Any]:
    """Export a model in every precision into folders of ``destination``, and compare them.

    Args:
        model: From :func:`~mobileclip_kit.networks.model.load_model`.
        destination: The folder to make: ``onnx-int8/`` and its like, and ``comparison.json``.
        inputs: What to verify and to calibrate with. Without calibration images there is no ONNX int8 of a model with
            an image tower.
        formats: Which formats.
        threshold: Least cosine of all of them; None takes each precision's own.
        seconds: Of timing, for each export and tower.
        force: Replace what stands at ``destination``.
        keep_failed: Leave exports that miss their least cosine.

    Returns:
        The document of ``comparison.json``: ``model``, ``machine``, ``threads`` and ``rows``, one for each tower and
        precision, or one with a ``reason`` where there is no export.

    Raises:
        ExportError: A format's full precision cannot be converted.
        OutputError: ``destination`` exists or cannot be written.
    """
    with atomic_folder(destination, force=force) as staging:
        rows: list[dict[str, Any]] = []
        exports: dict[str, Export] = {}
        for format in formats:
            for name, export, reason in _exports(model, staging, format, inputs, threshold):
                if export is None:
                    rows.append({"name": name, "reason": reason})
                    continue
                exports[name] = export
                rows += [{"name": name, **row, "reason": reason} for row in export.rows()]
        timings, failures = _latencies(exports, seconds)
        for row in rows:
            row["latency_ms"] = None
            if "path" in row:
                row["path"] = str(destination / row["name"])
                row["reason"] = row["reason"] or failures.get(row["name"])
                if row["runtime"] != "mil":
                    row["latency_ms"] = timings.get((row["name"], row["tower"]))
        document = {
            "model": model.spec.name,
            "model_hash": model.spec.model_hash,
            "machine": describe_machine(),
            "threads": _THREADS,
            "rows": rows,
        }
        write_json(staging / COMPARISON_FILE, document)
        for name, export in exports.items():
            if not keep_failed and not all(row["passed"] for row in export.rows()):
                shutil.rmtree(staging / name)
    return document


def _exports(
    model: Model, folder: Path, format: Format, inputs: Inputs, threshold: float | None
) -> Iterable[tuple[str, Export | None, str | None]]:
    """The exports of one format: name, export and why there is none or why it failed."""
    base: Export | None = None
    for precision in COMPARED[format]:
        name = f"{format}-{precision}"
        if (format, precision) == ("onnx", "int8") and model.spec.image is not None and inputs.calibration is None:
            yield name, None, "int8 needs images to calibrate on."
            continue
        reason = None
        try:
            export = export_model(
                model,
                folder / name,
                format=format,
                precision=precision,
                images=inputs.images,
                texts=inputs.texts,
                calibration=inputs.calibration,
                calibration_texts=inputs.calibration_texts,
                method=inputs.method,
                threshold=threshold,
                base=base,
                keep_failed=True,
            )
        except ParityError as error:
            reason = error.message
            if not (folder / name).is_dir():  # its vectors were no numbers: there is nothing to compare
                yield name, None, reason
                continue
            export = open_export(folder / name)
        except ExportError as error:
            if base is None:
                raise
            yield name, None, error.message
            continue
        base = base or export
        yield name, export, reason


def _latencies(
    exports: Mapping[str, Export], seconds: float
) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, str]]:
    """Percentiles by export and tower, as far as the export's own runtime is here; and why an export has none."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        workers: dict[str, Asked] = {}
        for name, export in exports.items():
            if all(row["runtime"] == "mil" for row in export.rows()):
                continue
            worker = stack.enter_context(WorkerProcess(threads=_THREADS))
            try:
                worker.ask(do="open", model=str(export.path), threads=_THREADS)
            except ModelError as error:
                failures[name] = error.message
            else:
                workers[name] = worker
        for tower in ("image", "text"):
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
