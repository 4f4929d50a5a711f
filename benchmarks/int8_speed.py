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

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mobileclip_kit.bench.process import WorkerProcess

RESULTS = Path(__file__).parent / "results" / "int8_speed.json"
# What the project wants of int8 on this student.
WANTED = {"times_faster_than_float32": 2.4, "share_of_openvino_int8": 1.0, "cosine_min": 0.995}
_FEATURES = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
_CALLS = 10
_INT8_PRODUCTS = ("QGemm", "QLinearConv", "QLinearMatMul", "MatMulIntegerToFloat")


def main() -> None:
    """Export, calibrate, time in turns, compare vectors, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--evaluate", type=Path, required=True)
    parser.add_argument("--openvino", type=Path, help="the python of an environment with openvino and nncf")
    parser.add_argument("--calibrate-on", type=int, default=100)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--work", type=Path, help="keep exports here and start from them again")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = chosen.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        made = prepare(chosen, work)
        document = {**made, **measure(chosen, work)}
    document["verdict"] = judge(document)
    from mobileclip_kit.files import write_json

    write_json(chosen.results, document)
    for name, row in document["rows"].items():
        wall, cpu = row["wall_ms"]["median"], row["cpu_ms"]["median"]
        print(f"{name:16} {wall:7.2f} ms wall {cpu:7.2f} ms processor  least cosine {row['cosine_min']:.5f}")
    print(json.dumps(document["verdict"], indent=1))


def prepare(chosen: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Exports and images on disk, as every contestant can read them."""
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.folder import open_export
    from mobileclip_kit.exporting.samples import ImageInputs, read_source
    from mobileclip_kit.networks.model import load_model

    model = load_model(str(chosen.model))
    calibration, _ = read_source(chosen.calibration, model, count=chosen.calibrate_on)
    evaluated, _ = read_source(chosen.evaluate, model, count=chosen.images)
    assert calibration is not None and evaluated is not None, "the model has an image tower"
    for name, images in (("calibration", calibration), ("evaluated", evaluated)):
        np.save(work / f"{name}.npy", images.pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    some = ImageInputs(evaluated.pixels[:16], evaluated.source)
    if not (work / "fp32").exists():
        export_model(model, work / "fp32", format="onnx", precision="fp32", images=some)
    if not (work / "int8").exists():
        export_model(model, work / "int8", format="onnx", precision="int8", images=some, calibration=calibration,
                     threshold=WANTED["cosine_min"], base=open_export(work / "fp32"))  # fmt: skip
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


def measure(chosen: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Times in turns, and the vectors of the evaluated images."""
    from timing import spread

    from mobileclip_kit.bench.machine import describe_machine
    from mobileclip_kit.bench.process import WorkerProcess

    contestants = {"ort-float32": (sys.executable, "ort", "fp32"), "ort-int8": (sys.executable, "ort", "int8")}
    if chosen.openvino:
        python = str(chosen.openvino)
        contestants |= {"openvino-float32": (python, "openvino", "fp32"), "openvino-int8": (python, "nncf", "fp32")}
    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers: dict[str, WorkerProcess] = {}
        for name, (python, kind, folder) in contestants.items():
            command = [python, __file__, "--contestant", kind, str(work / folder / "image.onnx"), str(work)]
            workers[name] = stack.enter_context(WorkerProcess(threads=1, command=command))
            rows[name] = workers[name].ask(do="open")
        for name, worker in workers.items():
            worker.ask(do="encode", out=str(work / f"{name}.npy"))
        times = in_rounds(workers, chosen.rounds)
        for name in ("ort-float32", "ort-int8"):
            rows[name]["operators_ms"] = workers[name].ask(do="profile")["operators_ms"]
    wanted = np.load(work / "ort-float32.npy").astype(np.float64)
    for name, row in rows.items():
        vectors = np.load(work / f"{name}.npy").astype(np.float64)
        cosines = (vectors * wanted).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(wanted, axis=1)
        row |= {kind: spread(found) for kind, found in times[name].items()}
        row |= {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean()), "images": len(cosines)}
    machine = {**describe_machine(), "int8_features": cpu_features()}
    return {"machine": machine, "threads": 1, "batch": 1, "rounds": chosen.rounds, "calls_a_turn": _CALLS, "rows": rows}


def in_rounds(workers: Mapping[str, WorkerProcess], rounds: int) -> dict[str, dict[str, list[float]]]:
    """All calls of every contestant, ``wall_ms`` and ``cpu_ms``; a turn each a round."""
    order, names = random.Random(0), list(workers)
    found: dict[str, dict[str, list[float]]] = {name: {"wall_ms": [], "cpu_ms": []} for name in names}
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            answer = workers[name].ask(do="turn", calls=_CALLS)
            for kind, times in found[name].items():
                times += answer[kind]
    return found


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


def contestant(kind: str, model: str, work: Path) -> None:
    """Answer requests until stdin ends. Runs in any environment: it imports nothing of mckit."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    pixels = np.load(work / "evaluated.npy", mmap_mode="r")
    encode: Callable[[Any], Any] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "open":
            encode, answer = _OPENERS[kind](model, work)
        elif request["do"] == "encode":
            assert encode is not None
            np.save(request["out"], np.concatenate([encode(pixels[row : row + 1]) for row in range(len(pixels))]))
            answer = {}
        elif request["do"] == "profile":
            answer = {"operators_ms": profile(model, np.ascontiguousarray(pixels[:_CALLS]), work)}
        else:
            assert encode is not None
            answer = turn(encode, np.ascontiguousarray(pixels[: request["calls"]]))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def turn(encode: Callable[[Any], Any], pixels: Any) -> dict[str, list[float]]:
    """Times of one call an image, after one that does not count."""
    encode(pixels[:1])
    wall, cpu = [], []
    for row in range(len(pixels)):
        started, busy = time.perf_counter(), time.process_time()
        encode(pixels[row : row + 1])
        cpu.append(1000 * (time.process_time() - busy))
        wall.append(1000 * (time.perf_counter() - started))
    return {"wall_ms": wall, "cpu_ms": cpu}


def profile(model: str, pixels: Any, work: Path) -> dict[str, float]:
    """Milliseconds of one image by kind of operator: of each operator the shortest of some calls."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling, options.profile_file_prefix = True, str(work / "profile")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for row in (*range(len(pixels)), *range(len(pixels))):
        session.run(None, {"image": pixels[row : row + 1]})
    file = Path(session.end_profiling())
    least: dict[tuple[str, str], float] = {}
    for event in json.loads(file.read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = event["args"]["op_name"], event["name"]
            least[key] = min(least.get(key, float("inf")), event["dur"] / 1000)
    file.unlink()
    kinds: dict[str, float] = {}
    for (kind, _), spent in least.items():
        kinds[kind] = round(kinds.get(kind, 0.0) + spent, 3)
    return dict(sorted(kinds.items(), key=lambda entry: -entry[1]))


def _open_ort(model: str, _: Path) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"image": batch})[0], {"runtime": f"onnxruntime {onnxruntime.__version__}"}


def _open_openvino(model: str, _: Path) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    import openvino

    limits = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", limits).create_infer_request()
    return lambda batch: request.infer([batch])[0].copy(), {"runtime": f"openvino {openvino.__version__}"}


def _open_nncf(model: str, work: Path) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """NNCF's int8 for transformers of the float32 file, calibrated on the same images."""
    import nncf
    import openvino

    quantized = work / "nncf" / "image.xml"
    if not quantized.exists():
        pixels = np.load(work / "calibration.npy")
        data = nncf.Dataset([pixels[row : row + 1] for row in range(len(pixels))])
        graph = nncf.quantize(
            openvino.Core().read_model(model), data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(pixels)
        )
        quantized.parent.mkdir(exist_ok=True)
        openvino.save_model(graph, quantized)
    encode, answer = _open_openvino(str(quantized), work)
    return encode, {**answer, "quantiser": f"nncf {nncf.__version__}"}


_OPENERS: dict[str, Callable[[str, Path], tuple[Callable[[Any], Any], dict[str, Any]]]] = {
    "ort": _open_ort,
    "openvino": _open_openvino,
    "nncf": _open_nncf,
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contestant"]:
        contestant(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
