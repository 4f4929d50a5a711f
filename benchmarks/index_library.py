"""A library of 100,000 images: an update when nothing changed, and a search in a fresh process.

    python benchmarks/index_library.py --work DIR [--model EXPORT] [-o results/index_library.json]

The images are JPEGs of one pixel with a number behind it and their vectors are random, made elsewhere: neither an
update that looks at no pixel nor a search looks at them. EXPORT is an ONNX export with both towers; without it,
ViT-B/32 with random weights is exported first. Each command runs in a process of its own, a few times; seconds are
those of the whole process, start included, beside the processor time that it took. Searches also list what they
imported: torch must not be there.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from harness import Clock, Mckit, parse, write
from PIL import Image

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


def main() -> None:
    """Make what is missing, run the commands, write the result."""
    chosen = parse(work=Path, model=None, times=5, out=Path("index_library.json"))
    chosen.work.mkdir(parents=True, exist_ok=True)
    model = chosen.model or chosen.work / "export"
    if not model.is_dir():
        Mckit()("export", "ViT-B-32", "--format", "onnx", "-o", model)
    index = make_library(chosen.work, model)
    update = [
        sys.executable,
        "-m",
        "mobileclip_kit",
        "index",
        str(chosen.work / "library"),
        "--model",
        str(model),
        "-o",
        str(index),
        "--json",
    ]
    updates = [run(update) for _ in range(chosen.times)]
    report = json.loads(updates[-1]["stdout"])
    assert report["unchanged"] == IMAGES, report
    searches = [run([sys.executable, "-c", SEARCH, str(index)]) for _ in range(chosen.times)]
    document = {
        "images": IMAGES,
        "model": str(model.name),
        "text_tower_bytes": (model / "text.onnx").stat().st_size,
        "update": summarise(updates),
        "search": {**summarise(searches), "imported": searches[-1]["stderr"].split()},
    }
    write(chosen.out, document)
    print(json.dumps({key: document[key] for key in ("update", "search")}, indent=2))


def make_library(work: Path, model: Path) -> Path:
    """The files, and an index of them from vectors made elsewhere."""
    index, library = work / "library.index", work / "library"
    if index.is_dir():
        return index
    dim = json.loads((model / "export.json").read_text())["model"]["embedding_dim"]
    names = [f"{number // 1000:03d}/{number:06d}.jpg" for number in range(IMAGES)]
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "JPEG")
    for number, name in enumerate(names):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_bytes(stream.getvalue() + b"%d" % number)
    (work / "names.txt").write_text("".join(f"{name}\n" for name in names))
    np.save(work / "vectors.npy", np.random.default_rng(0).standard_normal((IMAGES, dim)).astype(np.float32))
    Mckit()("index", "--from-vectors", work / "vectors.npy", "--names", work / "names.txt", "--images", library,
            "--model", model, "-o", index)  # fmt: skip
    return index


def run(command: list[str]) -> dict[str, Any]:
    """One process: seconds, processor seconds, load before it, and what it said."""
    load, clock = os.getloadavg()[0], Clock()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    clock.stop()
    return {"seconds": clock.seconds, "cpu_s": clock.cpu_s, "load": load, "stdout": done.stdout, "stderr": done.stderr}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and all times."""
    return {
        "seconds": round(float(np.median([run["seconds"] for run in runs])), 3),
        "cpu_s": round(float(np.median([run["cpu_s"] for run in runs])), 3),
        "all_seconds": [round(run["seconds"], 3) for run in runs],
        "loads": [round(run["load"], 2) for run in runs],
    }


if __name__ == "__main__":
    main()
