"""Which models convert, and how near their exports come: both towers, all formats, one row each.

    python benchmarks/export_matrix.py IMAGES -o benchmarks/results/export_matrix.json --table docs/export-matrix.md

IMAGES is a captions file or a folder of images. Weights are random where no download is possible, which tests the
conversion (every operator and every shape) but not the numbers of trained weights. What fails is a row with its reason.

A model has a process of its own for each format, which ends after ``--timeout`` seconds: what is not done by then is
written down as not run for want of time. Rows that are in the output already are kept, so that a run can be
interrupted and run again, also with other versions of the libraries; ``--seconds`` ends a run by itself after the
process that is at work then. ``--again time`` repeats what had no time, ``--again failed`` also what failed.

``realistic:NAME`` is an open_clip model (``realistic:student:NAME`` a student) whose random weights are shaped like
trained ones (tests/realistic_weights.py): a few residual channels 50 to 200 times larger than the rest, attention
sinks, vectors in a cone.

    python benchmarks/export_matrix.py IMAGES -o benchmarks/results/realistic_exports.json --models realistic:RN50 …

The sizes of docs/exports.md are ``--models student:vit-s6-h12 --towers image --kinds …`` with
``-o benchmarks/results/export_sizes.json``; sizes do not depend on the weights.

Latencies are processor time of one image or text on one thread, all exports of a format in turns, median: ONNX
Runtime's and LiteRT's, and for Core ML those of mckit's own interpreter, which say nothing about a phone. Core AI has
none: its float16 products take minutes for a large tower on Linux.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import HERE, in_turns, last_line, page, parse, table, told, write

from mobileclip_kit.exporting.precisions import PRECISIONS, find_precision

# Small ones come first, so that a run that ends early has tried as many as possible.
MODELS = tuple(
    "student:mobilenetv2 student:resnet18 student:vit-s6-h12 student:swin-nano ViT-S-32 PE-Core-T-16-384 ViT-S-16 "
    "MobileCLIP2-S0 RN50 convnext_tiny MobileCLIP-S1 ViT-M-32 ViT-B-32 MobileCLIP-S2 MobileCLIP2-S2 "
    "ViT-B-32-quickgelu RN50x4 coca_ViT-B-32 ViT-B-16 MobileCLIP-B MobileCLIP2-B EVA02-B-16 convnext_base "
    "MobileCLIP2-S3 ViT-B-16-SigLIP ViT-B-32-SigLIP2-256 ViT-B-16-SigLIP2 MobileCLIP2-S4".split()
)
_STUDENT, _STUDENT_TEXT, _STUDENT_DIM = "student:", "text-8", 512
_REALISTIC = "realistic:"
_SMALL_TEXT = "text-2"
# SigLIP's scale and bias, as published.
_SIGLIP = {"logit_scale": 117.3, "logit_bias": -12.9}
_ROUNDS = 3
# Kind → format and precision. The others of a format are made from its first, as far as they can be.
KINDS = {f"{row.format}-{row.name}": (row.format, row.name) for row in PRECISIONS}
DEFAULT_KINDS = tuple("onnx-fp32 onnx-int8 coreml-fp16 coreai-fp16 coreai-int8 litert-fp32 litert-int8".split())
_NO_TIME = "not run: time"
_KEPT = frozenset(
    "tower runtime images inputs latency_ms cosine_min cosine_mean overlap_at_10 size_bytes threshold passed "
    "kept_in_float".split()
)


def main() -> int:
    """Run what is asked for and is not there yet; print a table."""
    chosen = parse(
        "data", out=Path("export_matrix.json"), table=None, models=MODELS, kinds=DEFAULT_KINDS, again="",
        towers=("image", "text"), images=16, calibration=100, timeout=3600.0, seconds=1e9, child=(),
        choices={"kinds": list(KINDS), "towers": ["image", "text"], "again": ["", "time", "failed"]},
    )  # fmt: skip
    if chosen.child:
        for row in run_model(chosen.child[0], chosen.child[1:], chosen):
            print(json.dumps(row), flush=True)
        return 0
    document = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {"runs": [], "rows": []}
    run, document["machine"] = number_of_run(document), describe_machine()
    end = time.monotonic() + chosen.seconds
    for model, kinds in left_to_do(document["rows"], chosen):
        if time.monotonic() > end:
            break
        rows = run_child(model, kinds, chosen)
        kept = [row for row in document["rows"] if not is_among(row, model, kinds, chosen.towers)]
        document["rows"] = [*kept, *({**row, "run": run} for row in rows)]
        write(chosen.out, document)
        for row in rows:
            print(describe(row), flush=True)
    wanted = [row for row in document["rows"] if row["model"] in chosen.models and row["kind"] in chosen.kinds]
    failed = [row for row in wanted if row["error"] or not row["passed"]]
    if chosen.table:
        chosen.table.write_text(page_of(document), encoding="utf-8")
    print(f"{len(wanted)} rows, {len(failed)} failed")
    return 1 if failed else 0


def number_of_run(document: dict[str, Any]) -> int:
    """Where the machine and the versions of this run stand in the document; they are added if they are new."""
    machine = {key: value for key, value in describe_machine().items() if key != "load"}
    if machine not in document["runs"]:
        document["runs"].append(machine)
    place: int = document["runs"].index(machine)
    return place


def left_to_do(rows: Sequence[dict[str, Any]], chosen: Namespace) -> Iterator[tuple[str, list[str]]]:
    """Each model with the kinds of one format that some wanted tower has no row for, or one that is made again."""
    done = {(row["model"], row["kind"], tower) for row in rows if not is_made_again(row, chosen.again)
            for tower in ([row["tower"]] if "tower" in row else chosen.towers)}  # fmt: skip
    for model in chosen.models:
        for format in dict.fromkeys(format for format, _ in KINDS.values()):
            wanted = [kind for kind in chosen.kinds if KINDS[kind][0] == format]
            kinds = [kind for kind in wanted if any((model, kind, tower) not in done for tower in chosen.towers)]
            if kinds:
                yield model, kinds


def is_made_again(row: Mapping[str, Any], again: str) -> bool:
    """Whether a row without figures is to be replaced."""
    if not row["error"]:
        return False
    return again == "failed" or (again == "time" and row["error"].startswith(_NO_TIME))


def is_among(row: Mapping[str, Any], model: str, kinds: Sequence[str], towers: Sequence[str]) -> bool:
    """Whether a row is one of those that are made anew; an error's row stands for both towers."""
    return row["model"] == model and row["kind"] in kinds and row.get("tower", towers[0]) in towers


def run_child(model: str, kinds: Sequence[str], chosen: Namespace) -> list[dict[str, Any]]:
    """Some kinds of a model in a process of their own: a row for each tower and kind, or one with the reason."""
    command = [sys.executable, __file__, str(chosen.data), "--towers", *chosen.towers]
    command += ["--images", str(chosen.images), "--calibration", str(chosen.calibration), "--child", model, *kinds]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=chosen.timeout)
        output, last = done.stdout, last_line(done.stderr or f"exit code {done.returncode}")
    except subprocess.TimeoutExpired as error:
        output, last = error.stdout, f"{_NO_TIME} ({chosen.timeout:.0f} s for the format)"
    rows, times = [], {}
    for entry in told(output):
        if "latencies" in entry:
            times.update({(kind, tower): value for kind, tower, value in entry["latencies"]})
        else:
            rows.append(entry)
    for row in rows:
        row["latency_ms"] = times.get((row["kind"], row.get("tower")))
    made = {row["kind"] for row in rows}
    return rows + [{"model": model, "kind": kind, "error": last, "passed": False} for kind in kinds if kind not in made]


def run_model(name: str, kinds: Sequence[str], chosen: Namespace) -> Iterator[dict[str, Any]]:
    """One model, format by format."""
    from mobileclip_kit.exporting.samples import read_source

    model = load(name)
    left_out = {tower: None for tower in ("image", "text") if tower not in chosen.towers}
    model.spec = replace(model.spec, **left_out)
    read = read_source(chosen.data, model, count=chosen.images + chosen.calibration)
    given, calibration = zip(*(parted(inputs, chosen.images) for inputs in read), strict=True)
    for format in dict.fromkeys(format for format, _ in KINDS.values()):
        wanted = [kind for kind in kinds if KINDS[kind][0] == format]
        if wanted:
            forget_peak_memory()
            made = set()
            try:
                for row in export_kinds(model, name, format, wanted, given, calibration):
                    made.add(row.get("kind"))
                    yield row
            except Exception as error:  # a defect in one format is its rows' reason, and the other format is tried
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                yield from ({"model": name, "kind": kind, "error": reason, "passed": False} for kind in wanted
                            if kind not in made)  # fmt: skip
            gc.collect()


def parted(inputs: Any, count: int) -> tuple[Any, Any]:
    """What to verify with, spread over the images or texts, and the others, to calibrate on."""
    from mobileclip_kit.exporting.samples import ImageInputs, spread

    if inputs is None:
        return None, None
    name = "pixels" if isinstance(inputs, ImageInputs) else "ids"
    rows = getattr(inputs, name)
    shown = spread(range(len(rows)), count)
    others = [row for row in range(len(rows)) if row not in shown]
    first, second = (
        replace(inputs, **{name: rows[part], "source": f"{len(part)} of {inputs.source}"}) for part in (shown, others)
    )
    return first, second


def forget_peak_memory() -> None:
    """Count the most memory held from here on, where Linux lets a process ask for it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def export_kinds(
    model: Any, name: str, format: Any, kinds: Sequence[str], given: Sequence[Any], calibration: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """Export, verify and time in one format; a row for each tower, kind and runtime as soon as it is there."""
    from mobileclip_kit.bench.machine import peak_memory_bytes
    from mobileclip_kit.errors import ExportError, ParityError
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.folder import open_export
    from mobileclip_kit.exporting.request import ExportOptions

    first = find_precision(format).name
    base = None
    exports = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in dict.fromkeys([first, *(KINDS[kind][1] for kind in kinds)]):
            kind = f"{format}-{precision}"
            place = Path(folder) / kind
            started, busy = time.monotonic(), time.process_time()
            try:
                export = export_model(
                    model,
                    place,
                    ExportOptions(
                        format=format,
                        precision=precision,
                        base=base if find_precision(format, precision).from_default else None,
                        keep_failed=True,
                        images=given[0],
                        texts=given[1],
                        calibration=calibration[0],
                        calibration_texts=calibration[1],
                    ),
                )
            except ParityError:
                export = open_export(place)
            except ExportError as error:
                # The others are made from the first.
                for missing in [kind] if base else dict.fromkeys([kind, *kinds]):
                    yield {"model": name, "kind": missing, "error": error.message, "passed": False}
                if base is None:
                    return
                continue
            base = base or export
            exports[kind] = export
            spent = {
                "seconds": round(time.monotonic() - started, 1),
                "cpu_seconds": round(time.process_time() - busy, 1),
                "peak_memory_bytes": peak_memory_bytes(),
            }
            if kind in kinds:
                for row in export.rows():
                    kept = {key: value for key, value in row.items() if key in _KEPT}
                    yield {"model": name, "kind": kind, "name": f"{kind} {row['tower']}", "error": None,
                           **spent, **kept,
                           "calibrated_on": calibrated_on(row, kind, calibration)}  # fmt: skip
        times = latencies_ms(exports, given[0], given[1])
    yield {"latencies": [[*key, value] for key, value in times.items()]}


def calibrated_on(row: Mapping[str, Any], kind: str, calibration: Sequence[Any]) -> str | None:
    """What int8 ranges were observed on."""
    calibrated = find_precision(*KINDS[kind]).calibrated
    return calibration[row["tower"] == "text"].source if calibrated else None


def latencies_ms(exports: Mapping[str, Any], images: Any, texts: Any) -> dict[tuple[str, str], float]:
    """Median processor time of one input by kind and tower, the kinds in turns."""
    from mobileclip_kit.runtime.open import available_runtimes

    found: dict[tuple[str, str], float] = {}
    encoders = {kind: available_runtimes(export.format)[-1](export, threads=1)
                for kind, export in exports.items() if export.format != "coreai"}  # fmt: skip
    if not encoders:
        return found
    for tower in next(iter(exports.values())).towers:
        calls = {}
        for kind, encoder in encoders.items():
            if tower == "image":
                calls[kind] = functools.partial(encoder.encode_images, images.pixels[:1])
            else:
                calls[kind] = functools.partial(encoder.encode_ids, texts.ids[:1])
        for kind, seconds in in_turns(calls, rounds=_ROUNDS if len(calls) > 1 else 1).items():
            found[kind, tower] = round(1000 * statistics.median(seconds), 2)
    return found


def load(name: str) -> Any:
    """A model by its open_clip name, or a student with a text tower of its own and random weights."""
    import torch

    from mobileclip_kit.networks.model import Model, build_network, describe, load_model
    from mobileclip_kit.networks.students import pair_config

    if name.startswith(_REALISTIC):
        return load_realistic(name.removeprefix(_REALISTIC))
    if not name.startswith(_STUDENT):
        return load_model(name)
    config = pair_config(name.removeprefix(_STUDENT), text=_STUDENT_TEXT, embedding_dim=_STUDENT_DIM)
    torch.manual_seed(0)
    network = build_network(config["model_cfg"])
    return Model(network, config, describe(name, network, config))


def load_realistic(name: str) -> Any:
    """A model of open_clip, or a student with a text tower, whose random weights are shaped like trained ones."""
    from mobileclip_kit.networks.model import load_model
    from mobileclip_kit.networks.students import pair_config

    sys.path.insert(0, str(HERE.parent))
    from tests.realistic_weights import realistic_model

    student = name.removeprefix(_STUDENT)
    small = student != name
    config = pair_config(student, text=_SMALL_TEXT, embedding_dim=_STUDENT_DIM) if small else load_model(name).config
    return realistic_model(config, inputs=8, **(_SIGLIP if "SigLIP" in name else {}))[0]


def describe_machine() -> dict[str, Any]:
    """The machine and the versions of what converts and executes."""
    from importlib.metadata import PackageNotFoundError, version

    from mobileclip_kit.bench import machine

    libraries = ("torch", "open_clip_torch", "timm", "coremltools", "onnx", "onnxruntime", "onnxsim", "coreai-core",
                 "coreai-torch", "litert-torch", "ai-edge-litert", "ai-edge-quantizer")  # fmt: skip
    found = {}
    for name in libraries:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return {**machine.describe_machine(), "versions": found}


def describe(row: dict[str, Any]) -> str:
    """One line for the terminal."""
    name = f"{row['model']:24} {row['kind']:12}"
    if row["error"]:
        return f"{name} FAILED {row['error']}"
    mark = "ok" if row["passed"] else "BELOW"
    size = f"{row['size_bytes'] / 1e6:7.1f} MB"
    return f"{name} {row['tower']:6} {row['cosine_min']:.5f} {size} {row['cpu_seconds']:6.0f} s {mark}"


def page_of(document: Mapping[str, Any]) -> str:
    """The rows as a Markdown page: a line for each model and tower, the kinds side by side."""
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in document["rows"])]
    # Rows of a tower and kind follow each other, one for each that executed it: the least cosine is shown.
    found = {(row["model"], row.get("tower"), row["kind"]): row
             for row in sorted(document["rows"], key=lambda row: -row.get("cosine_min", 1.0))}  # fmt: skip
    passed = sum(bool(row["passed"]) for row in found.values())
    late = sum((row["error"] or "").startswith(_NO_TIME) for row in found.values())
    untimed = f", {late} had no time" if late else ""
    # Why token rows were drawn, the tokenizer's absence, stands in the rows, and on how many inputs there was time for.
    sets = {name: ", ".join(sorted({re.sub(r"^\d+ of (?=\d+ of )", "", str(row[name])).partition(" (")[0]
                                    for row in found.values() if row.get(name)}))
            for name in ("inputs", "calibrated_on")}  # fmt: skip
    lines, waiting = [], []
    for model in MODELS:
        for tower in ("image", "text"):
            rows = [found.get((model, tower, kind)) or found.get((model, None, kind)) for kind in kinds]
            if not any(rows):
                waiting.append(f"{model} ({tower})")
                continue
            made = [row for row in rows if row is not None and "cpu_seconds" in row]
            seconds = f"{sum(row['cpu_seconds'] for row in made):.0f}" if made else ""
            memory = f"{max(row['peak_memory_bytes'] for row in made) / 1e9:.1f}" if made else ""
            lines.append([model, tower, *map(_cell, rows), seconds, memory])
    whole = table(["model", "tower", *kinds, "CPU s", "GB"], lines, texts=4 + len(kinds))
    whole += ["", f"Not run yet: {', '.join(waiting)}."] if waiting else []
    return page("export-matrix", whole, runs=_runs(document), passed=passed, untimed=untimed, rows=len(found), **sets)


def _runs(document: Mapping[str, Any]) -> str:
    """A line for each machine and set of versions, with the kinds whose rows it made."""
    lines = []
    for place, run in enumerate(document["runs"]):
        kinds = [kind for kind in KINDS if any((row["run"], row["kind"]) == (place, kind) for row in document["rows"])]
        versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        lines += [f"- {', '.join(kinds)}: {run['cpu']}, with {versions}."] if kinds else []
    return "\n".join(lines)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    if (row["error"] or "").startswith(_NO_TIME):
        return "not run: time"
    if row["error"]:
        return f"**failed**: {row['error']}"
    # int8 lists what it never reduces by type and number, then the products that were kept for the budget.
    kept = [entry for entry in row["kept_in_float"] if "×" not in entry]
    more = f" +{len(kept)}" if kept else ""
    mark = "" if row["passed"] else " **below**"
    cosine = f"{int(row['cosine_min'] * 1e5) / 1e5:.5f}{more}{mark}"
    parts = [cosine, f"{row['size_bytes'] / 1e6:.0f} MB"]
    if row.get("latency_ms") is not None:
        parts.append(f"{row['latency_ms']:.0f} ms")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
