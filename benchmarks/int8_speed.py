"""How fast is int8 on one thread, beside float32 and beside OpenVINO's int8, and what do the vectors lose?

    python -m venv ov && ov/bin/pip install openvino nncf
    python benchmarks/int8_speed.py STUDENT --calibration PHOTOS --evaluate OTHER_PHOTOS --openvino ov/bin/python

STUDENT is a model folder, of the student vit-s6-h12 for the committed figures. Exports its image tower to ONNX float32
and int8, lets NNCF quantise the float32 file on the same calibration images, and times one image a call: every
contestant in a process of its own, short turns in rounds, the order drawn anew in each. Two times are taken of each
call: wall time, and processor time, which other programs of a busy machine lengthen less. Cosines are those to ONNX
Runtime's float32 vectors on images that were not calibrated on. ONNX Runtime's profiler says how long each kind of
operator takes, and so what bounds int8: if all but its products took no time. Writes ``results/int8_speed.json``.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from harness import HERE, RESULTS, in_turns, parse, spread, write

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.process import WorkerProcess
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import open_export
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import ImageInputs, read_source
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.networks.model import load_model

# What the project wants of int8 on this student.
WANTED = {"times_faster_than_float32": 2.4, "share_of_openvino_int8": 1.0, "cosine_min": 0.995}
_FEATURES = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
_CALLS = 10
_INT8_PRODUCTS = ("QGemm", "QLinearConv", "QLinearMatMul", "MatMulIntegerToFloat")


def main() -> None:
    """Export, calibrate, time in turns, compare vectors, write."""
    chosen = parse("model", calibration=Path, evaluate=Path, openvino=None, calibrate_on=100, images=500, rounds=30,
                   work=None, out=RESULTS / "int8_speed.json")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        work = chosen.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        made = prepare(chosen, work)
        document = {**made, **measure(chosen, work)}
    document["verdict"] = judge(document)
    write(chosen.out, document)
    for name, row in document["rows"].items():
        wall, cpu = row["wall_ms"]["median"], row["cpu_ms"]["median"]
        print(f"{name:16} {wall:7.2f} ms wall {cpu:7.2f} ms processor  least cosine {row['cosine_min']:.5f}")
    print(json.dumps(document["verdict"], indent=1))


def prepare(chosen: Namespace, work: Path) -> dict[str, Any]:
    """Exports and images on disk, as every contestant can read them."""
    model = load_model(str(chosen.model))
    calibration, _ = read_source(chosen.calibration, model, count=chosen.calibrate_on)
    evaluated, _ = read_source(chosen.evaluate, model, count=chosen.images)
    assert calibration is not None and evaluated is not None, "the model has an image tower"
    for name, images in (("calibration", calibration), ("evaluated", evaluated)):
        np.save(work / f"{name}.npy", images.pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    some = ImageInputs(evaluated.pixels[:16], evaluated.source)
    if not (work / "fp32").exists():
        export_model(model, work / "fp32", ExportOptions(format="onnx", precision="fp32", images=some))
    if not (work / "int8").exists():
        export_model(
            model,
            work / "int8",
            ExportOptions(
                format="onnx",
                precision="int8",
                images=some,
                calibration=calibration,
                threshold=WANTED["cosine_min"],
                base=open_export(work / "fp32"),
            ),
        )
    tower = open_export(work / "int8").towers["image"]
    return {
        "model": model.spec.name,
        "model_hash": model.spec.model_hash,
        "made": dict(model.spec.provenance),
        "calibration": calibration.source,
        "evaluated": evaluated.source,
        "size_bytes": {name: (work / name / "image.onnx").stat().st_size for name in ("fp32", "int8")},
        "kept_in_float": list(tower.kept_in_float),
    }


def measure(chosen: Namespace, work: Path) -> dict[str, Any]:
    """Times in turns, and the vectors of the evaluated images."""
    # Name → the python of its environment, its kind for peer_worker.py, and what it opens.
    contestants = {
        "ort-float32": (sys.executable, "onnxruntime", "fp32"),
        "ort-int8": (sys.executable, "onnxruntime", "int8"),
    }
    if chosen.openvino:
        python = str(chosen.openvino)
        contestants |= {"openvino-float32": (python, "openvino", "fp32"), "openvino-int8": (python, "nncf", "fp32")}
    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers: dict[str, WorkerProcess] = {}
        for name, (python, kind, folder) in contestants.items():
            command = [python, str(HERE / "peer_worker.py"), kind, str(work / folder), str(work / "evaluated.npy"), "1"]
            workers[name] = stack.enter_context(WorkerProcess(threads=1, command=command))
            opened = workers[name].ask(do="open")
            rows[name] = {key: opened[key] for key in ("runtime", "quantiser") if key in opened}
            workers[name].ask(do="encode", out=str(work / f"{name}.npy"))
        turns = in_turns(
            {name: functools.partial(worker.ask, do="turn", calls=_CALLS) for name, worker in workers.items()},
            rounds=chosen.rounds, measure=lambda ask: ask(), warm=False,
        )  # fmt: skip
        for name in ("ort-float32", "ort-int8"):
            rows[name]["operators_ms"] = workers[name].ask(do="profile", calls=_CALLS)["operators_ms"]
    wanted = np.load(work / "ort-float32.npy")
    for name, row in rows.items():
        cosines = row_cosines(np.load(work / f"{name}.npy"), wanted)
        for kind in ("wall_ms", "cpu_ms"):
            row[kind] = spread([time for turn in turns[name] for time in turn[kind]])
        row |= {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean()), "images": len(cosines)}
    machine = {**describe_machine(), "int8_features": cpu_features()}
    return {"machine": machine, "threads": 1, "batch": 1, "rounds": chosen.rounds, "calls_a_turn": _CALLS, "rows": rows}


def judge(document: Mapping[str, Any]) -> dict[str, Any]:
    """What was reached of :data:`WANTED`, in processor time and in wall time."""
    rows = document["rows"]
    verdict: dict[str, Any] = {"wanted": WANTED, "cosine_min": rows["ort-int8"]["cosine_min"]}
    for kind in ("cpu_ms", "wall_ms"):
        median = {name: row[kind]["median"] for name, row in rows.items()}
        verdict[kind] = {"times_faster_than_float32": median["ort-float32"] / median["ort-int8"]}
        if "openvino-int8" in median:
            verdict[kind]["share_of_openvino_int8"] = median["ort-int8"] / median["openvino-int8"]
    every, int8 = rows["ort-float32"]["operators_ms"], rows["ort-int8"]["operators_ms"]
    products = sum(spent for name, spent in int8.items() if name in _INT8_PRODUCTS)
    verdict["bound_if_only_int8_products_took_time"] = sum(every.values()) / products
    return verdict


def cpu_features() -> dict[str, bool]:
    """Which instructions the processor has that int8 products gain from."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return {name: name in flags for name in _FEATURES}


if __name__ == "__main__":
    main()
