"""A library of 100,000 images: an update when nothing changed, and a search in a fresh process.

    python benchmarks/index_library.py --work DIR [--model EXPORT] [-o results/index_library.json]

The images are files of a few bytes and their vectors are random, made elsewhere: neither an update that looks at no
pixel nor a search looks at them. EXPORT is an ONNX export with both towers; without it, ViT-B/32 with random weights is
exported first. Each command runs in a process of its own, a few times; seconds are those of the whole process, start
included, beside the processor time that it took. Searches also list what they imported: torch must not be there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.files import write_json

IMAGES = 100_000
SEARCH = """
import sys
sys.argv = ["mckit", "search", sys.argv[1], "a red bicycle", "--json"]
from mobileclip_kit.cli import main
try:
    main()
finally:
    sys.stderr.write(" ".join(sorted({"torch", "faiss", "open_clip", "onnxruntime"} & set(sys.modules))))
"""


def main() -> int:
    """Make what is missing, run the commands, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the library; kept")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, default=Path("index_library.json"))
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    mckit = [sys.executable, "-m", "mobileclip_kit"]
    model = chosen.model or chosen.work / "export"
    if not model.is_dir():
        subprocess.run([*mckit, "export", "ViT-B-32", "--format", "onnx", "-o", str(model)], check=True)
    index = make_library(chosen.work, model, mckit)
    update = [*mckit, "index", str(chosen.work / "library"), "--model", str(model), "-o", str(index), "--json"]
    updates = [run(update) for _ in range(chosen.times)]
    report = json.loads(updates[-1]["stdout"])
    assert report["unchanged"] == IMAGES, report
    searches = [run([sys.executable, "-c", SEARCH, str(index)]) for _ in range(chosen.times)]
    document = {
        "machine": describe_machine(),
        "images": IMAGES,
        "model": str(model.name),
        "text_tower_bytes": (model / "text.onnx").stat().st_size,
        "update": summarise(updates),
        "search": {**summarise(searches), "imported": searches[-1]["stderr"].split()},
    }
    write_json(chosen.out, document)
    print(json.dumps({key: document[key] for key in ("update", "search")}, indent=2))
    return 0


def make_library(work: Path, model: Path, mckit: list[str]) -> Path:
    """The files, and an index of them from vectors made elsewhere."""
    index, library = work / "library.index", work / "library"
    if index.is_dir():
        return index
    dim = json.loads((model / "export.json").read_text())["model"]["embedding_dim"]
    names = [f"{number // 1000:03d}/{number:06d}.jpg" for number in range(IMAGES)]
    for number, name in enumerate(names):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_bytes(b"image %d" % number)
    (work / "names.txt").write_text("".join(f"{name}\n" for name in names))
    np.save(work / "vectors.npy", np.random.default_rng(0).standard_normal((IMAGES, dim)).astype(np.float32))
    given = ["--from-vectors", str(work / "vectors.npy"), "--names", str(work / "names.txt")]
    given += ["--images", str(library), "--model", str(model), "-o", str(index)]
    subprocess.run([*mckit, "index", *given], check=True)
    return index


def run(command: list[str]) -> dict[str, Any]:
    """One process: seconds, processor seconds, load before it, and what it said."""
    load = os.getloadavg()[0]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_s": cpu, "load": load, "stdout": done.stdout, "stderr": done.stderr}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and all times."""
    return {
        "seconds": round(float(np.median([run["seconds"] for run in runs])), 3),
        "cpu_s": round(float(np.median([run["cpu_s"] for run in runs])), 3),
        "all_seconds": [round(run["seconds"], 3) for run in runs],
        "loads": [round(run["load"], 2) for run in runs],
    }


if __name__ == "__main__":
    sys.exit(main())
