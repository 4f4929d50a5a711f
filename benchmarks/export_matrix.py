"""Which open_clip models convert, and how near their exports come: both towers, both formats, one row each.

    python benchmarks/export_matrix.py PICTURES -o export_matrix.json

PICTURES is a folder of pictures or a captions file. Weights are random where no download is possible, which tests the
conversion (every operator and every shape) but not the numbers of trained weights. Each export runs in a process of its
own; one that fails is a row with its reason. Rows that are in the output already are kept, so that a run can be
interrupted and run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mobileclip_kit.files import write_json

MODELS = tuple(
    "ViT-B-32 ViT-B-32-quickgelu ViT-B-16 ViT-S-32 ViT-S-16 ViT-M-32 RN50 RN50x4 convnext_tiny convnext_base "
    "MobileCLIP-S1 MobileCLIP-S2 MobileCLIP-B MobileCLIP2-S0 MobileCLIP2-S2 MobileCLIP2-B MobileCLIP2-S3 "
    "MobileCLIP2-S4 ViT-B-16-SigLIP ViT-B-16-SigLIP2 ViT-B-32-SigLIP2-256 EVA02-B-16 coca_ViT-B-32 "
    "PE-Core-T-16-384".split()
)
KINDS = {
    "onnx-fp32": ["--format", "onnx", "--fp32"],
    "onnx-int8": ["--format", "onnx", "--int8"],
    "coreml-fp16": ["--format", "coreml", "--fp16"],
}
_KEPT = frozenset(
    "tower runtime pictures inputs cosine_min cosine_mean overlap_at_10 size_bytes threshold passed "
    "kept_in_float".split()
)


def main() -> int:
    """Run what is asked for and is not there yet; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of pictures or a captions file")
    parser.add_argument("-o", "--out", type=Path, default=Path("export_matrix.json"))
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--pictures", type=int, default=24, help="verify with so many")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds for one export")
    chosen = parser.parse_args()
    document = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {"rows": []}
    for model in chosen.models:
        for kind in chosen.kinds:
            if any(row["model"] == model and row["kind"] == kind and not row["error"] for row in document["rows"]):
                continue
            document["rows"] = [row for row in document["rows"] if (row["model"], row["kind"]) != (model, kind)]
            rows = run_export(model, kind, chosen.data, chosen.pictures, chosen.timeout)
            document["rows"] += rows
            write_json(chosen.out, document)
            for row in rows:
                print(describe(row), flush=True)
    failed = [row for row in document["rows"] if row["error"] or not row["passed"]]
    print(f"{len(document['rows'])} rows, {len(failed)} failed")
    return 1 if failed else 0


def run_export(model: str, kind: str, data: Path, pictures: int, timeout: float) -> list[dict[str, Any]]:
    """One export in its own process: a row for each tower, or one row with the reason."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mobileclip_kit", "export", model, *KINDS[kind], "--json", "--keep-failed"]
        command += ["--images", str(data), "--pictures", str(pictures), "-o", f"{folder}/export"]
        if kind.endswith("int8"):
            command += ["--calibration", str(data)]
        started = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=os.environ)
        except subprocess.TimeoutExpired:
            return [{"model": model, "kind": kind, "error": f"not done after {timeout:.0f} s", "passed": False}]
        seconds = round(time.monotonic() - started, 1)
        manifest = Path(folder) / "export" / "export.json"
        if not manifest.is_file():
            return [{"model": model, "kind": kind, "error": reason(done), "passed": False, "seconds": seconds}]
        found = json.loads(manifest.read_text())
        return [
            {"model": model, "kind": kind, "error": None, "seconds": seconds,
             **{key: value for key, value in {**tower, **result}.items() if key in _KEPT}}
            for tower in found["towers"].values() for result in tower["verification"]
        ]  # fmt: skip


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """What the command said went wrong."""
    try:
        return str(json.loads(done.stdout)["error"]["message"])
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def describe(row: dict[str, Any]) -> str:
    """One line for the terminal."""
    name = f"{row['model']:24} {row['kind']:12}"
    if row["error"]:
        return f"{name} FAILED {row['error']}"
    mark = "ok" if row["passed"] else "BELOW"
    size = f"{row['size_bytes'] / 1e6:7.1f} MB"
    return f"{name} {row['tower']:6} {row['cosine_min']:.5f} {size} {row['seconds']:6.0f} s {mark}"


if __name__ == "__main__":
    sys.exit(main())
