"""Exports of one image tower side by side, and beside peers: open_clip, OpenVINO, NNCF's int8, transformers and others.

    python benchmarks/peers.py PHOTOS --model MODEL --fp32 EXPORT --int8 EXPORT --environments DIR [--only NAME …]

PHOTOS is a folder of images, MODEL a model folder with PicCollage's ViT (`vit-s6-h12`), the exports are its (`mckit
export --format onnx`, float32 and int8). ``--litert-fp32``, ``--litert-int8``, ``--litert-dynamic`` and
``--coreai-fp32`` name its exports in these formats; they need the extras litert and coreai. The environments are made
in DIR from the peers' public packages, once; one that cannot be installed, and a peer that fails, is a row with its
reason. open_clip runs in mckit's own environment, which has it. ``--make-only`` stops when the environments are there:
so index_speed.py gets that of clip-retrieval, whose inference (and open_clip's loop over files) it measures;
open_clip's training is measured by distill_speed.py.

Processor time of one image on ``--threads`` threads, in turns of rounds, every contender in its own process;
``to_first`` is the ratio to mckit's float32 export with its spread. mckit and sentence-transformers begin with bytes,
the others with floats. ``cosine_min`` compares with the float32 export's vectors of the same images; transformers and
sentence-transformers compute the same shape with random weights, so they have none. Writes ``results/peers.json`` and
``results/peers.png``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from harness import HERE, RESULTS, Bar, Chart, draw, last_line, parse, write

from mobileclip_kit.bench.latency import measure_latency, paired_ratio
from mobileclip_kit.bench.process import Asked, WorkerProcess
from mobileclip_kit.errors import ModelError
from mobileclip_kit.formats import to_document
from mobileclip_kit.images import list_images, load_pixels
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.runtime.open import open_encoder

# An environment → what pip installs into it, and what must be importable then.
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "openvino": (("openvino", "nncf", "numpy", "pillow"), "openvino, nncf"),
    "transformers": (("torch", "transformers", "sentence-transformers", "pillow"), "torch, sentence_transformers"),
    "clip-retrieval": (("clip-retrieval", "setuptools<81"), "clip_retrieval.clip_inference"),
}
# A contender → its kind for peer_worker.py, its environment (None: this one), and what it opens.
CONTENDERS: dict[str, tuple[str, str | None, str]] = {
    "mckit onnx fp32": ("mckit", None, "fp32"),
    "mckit onnx int8": ("mckit", None, "int8"),
    "mckit litert fp32": ("mckit", None, "litert_fp32"),
    "mckit litert int8": ("mckit", None, "litert_int8"),
    "mckit litert int8-dynamic": ("mckit", None, "litert_dynamic"),
    "mckit coreai fp32": ("mckit", None, "coreai_fp32"),
    "open_clip": ("open_clip", None, "model"),
    "openvino": ("openvino", "openvino", "fp32"),
    "nncf": ("nncf", "openvino", "fp32"),
    "transformers": ("transformers", "transformers", "shape"),
    "sentence-transformers": ("sentence-transformers", "transformers", "shape"),
}
FIRST = next(iter(CONTENDERS))


def main() -> None:
    """Make what is missing, measure, write, print."""
    chosen = parse(
        "photos", model=Path, fp32=Path, int8=Path, environments=Path, only=tuple(ENVIRONMENTS), make_only=False,
        litert_fp32=None, litert_int8=None, litert_dynamic=None, coreai_fp32=None, threads=1, images=48, seconds=10.0,
        rounds=20, out=RESULTS / "peers.json", choices={"only": list(ENVIRONMENTS)},
    )  # fmt: skip
    made = {name: make(chosen.environments / name, *ENVIRONMENTS[name]) for name in chosen.only}
    for name, reason in made.items():
        print(f"{name}: {reason or 'ready'}", flush=True)
    if chosen.make_only:
        return
    with tempfile.TemporaryDirectory(prefix="mckit-peers-") as folder:
        rows = compare(chosen, made, Path(folder))
    settings = {name: getattr(chosen, name) for name in ("seconds", "rounds", "images")}
    document = write(
        chosen.out,
        {
            "claim": "One image tower, one image at a time: mckit's exports beside its peers.",
            "settings": {"threads": chosen.threads, "clock": "processor time", **settings},
            "environments": {
                name: {"packages": list(ENVIRONMENTS[name][0]), "failure": reason, "versions": versions(chosen, name)}
                for name, reason in made.items()
            },
            "rows": rows,
        },
    )
    plot(document, chosen.out.with_suffix(".png"))
    for row in rows:
        print(describe(row))


def make(place: Path, packages: tuple[str, ...], imports: str) -> str | None:
    """An environment, unless it is there already; why there is none."""
    python = place / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        done = subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], capture_output=True, text=True)
        if done.returncode:
            return f"pip install {' '.join(packages)}: {last_line(done.stderr)}"
    done = subprocess.run([str(python), "-c", f"import {imports}"], capture_output=True, text=True)
    return f"import {imports}: {last_line(done.stderr)}" if done.returncode else None


def compare(chosen: Namespace, made: Mapping[str, str | None], folder: Path) -> list[dict[str, Any]]:
    """A row for each contender, ours first."""
    truth = prepare(chosen, folder)
    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers: dict[str, Asked] = {}
        for name, (_, environment, opened) in CONTENDERS.items():
            if (environment is not None and environment not in made) or getattr(chosen, opened, folder) is None:
                continue
            rows[name] = row_of(name, None if environment is None else made[environment])
            if rows[name]["failure"] is None:
                start(name, chosen, folder, stack, workers, rows[name], truth)
        timings = measure_latency(
            workers,
            "image",
            seconds=chosen.seconds,
            rounds=chosen.rounds,
            on_failure=lambda name, error: rows[name].update(failure=str(error)),
        )
    for name, timing in timings.items():
        rows[name]["processor_ms"] = to_document(timing.latency())
        rows[name]["to_first"] = to_document(paired_ratio(timing, timings[FIRST], FIRST))
    return list(rows.values())


def start(
    name: str,
    chosen: Namespace,
    folder: Path,
    stack: ExitStack,
    workers: dict[str, Asked],
    row: dict[str, Any],
    truth: Any,
) -> None:
    """Open a contender in its environment and compare its vectors; a failure is the row's reason."""
    kind, environment, opened = CONTENDERS[name]
    python = sys.executable if environment is None else str(chosen.environments / environment / "bin" / "python")
    model = folder if opened == "shape" else getattr(chosen, opened)
    command = [python, str(HERE / "peer_worker.py"), kind, str(model), str(folder / "pixels.npy"), str(chosen.threads)]
    worker = stack.enter_context(WorkerProcess(threads=chosen.threads, command=command))
    try:
        row["load_ms"] = worker.ask(do="open")["load_ms"]
        if opened != "shape":
            worker.ask(do="encode", out=str(folder / "vectors.npy"))
            row["cosine_min"] = float(row_cosines(np.load(folder / "vectors.npy"), truth).min())
        workers[name] = worker
    except ModelError as error:
        row["failure"] = str(error)


def prepare(chosen: Namespace, folder: Path) -> Any:
    """Write the images and the tower's shape; the float32 export's vectors."""
    encoder = open_encoder(chosen.fp32, threads=1)
    spec = encoder.spec.require_image()
    paths = sorted(list_images(chosen.photos))[: chosen.images]
    pixels = np.stack([load_pixels(path, spec) for path in paths])
    np.save(folder / "bytes.npy", pixels)
    np.save(folder / "pixels.npy", np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / 255)
    # PicCollage's student, in the words of transformers.
    shape = {
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "patch_size": 32,
        "image_size": spec.height,
        "projection_dim": encoder.spec.embedding_dim,
    }
    (folder / "shape.json").write_text(json.dumps(shape))
    return encoder.encode_images(pixels)


def row_of(name: str, failure: str | None) -> dict[str, Any]:
    """A row before anything is measured."""
    row = dict.fromkeys(("processor_ms", "to_first", "load_ms", "cosine_min"))
    return {"name": name, **row, "failure": failure}


def versions(chosen: Namespace, name: str) -> dict[str, str]:
    """What pip put into an environment, of the packages asked for."""
    python = chosen.environments / name / "bin" / "python"
    if not python.is_file():
        return {}
    listed = subprocess.run([str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, text=True)
    asked = {package.split("<")[0].lower() for package in ENVIRONMENTS[name][0]}
    return {one["name"]: one["version"] for one in json.loads(listed.stdout or "[]") if one["name"].lower() in asked}


def describe(row: Mapping[str, Any]) -> str:
    """A line for the terminal."""
    if row["failure"]:
        return f"{row['name']:22} failed: {row['failure']}"
    ratio, cosine = row["to_first"], row["cosine_min"]
    told = "" if cosine is None else f"  cosine ≥ {cosine:.5f}"
    return (
        f"{row['name']:22} {row['processor_ms']['p50']:7.2f} ms  ×{ratio['ratio']:.2f} "
        f"({ratio['low']:.2f} … {ratio['high']:.2f}){told}"
    )


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Latencies as shares of the first one's."""
    bars = []
    for row in reversed(document["rows"]):
        if ratio := row["to_first"]:
            ours = row["name"].startswith("mckit")
            bars.append(Bar(row["name"], ratio["ratio"], "", ours, (ratio["low"], ratio["high"])))
    threads = document["settings"]["threads"]
    axis = f"processor time of one image, threads: {threads}, shares of {FIRST}'s\nthe line is the spread"
    draw([Chart("one image tower under several runtimes", axis, bars)], document["machine"], path)


if __name__ == "__main__":
    main()
