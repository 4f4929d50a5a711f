"""Do inputs that a coverage-guided fuzzer finds crash a reader? atheris for Python's readers, libFuzzer for Swift's.

    pip install atheris
    python benchmarks/guided_fuzzing.py [--seconds 60] [--only READER …] [--runs N]

Each reader of ``damaged_inputs.py`` that needs no native library runs in a process of its own, instrumented by atheris,
from its valid input on; "Swift" stands for the readers of the Swift package (``swift_fuzzing/``; needs ``swiftc``). A
finding is an error that is not one of mckit's, a crash, a read of more than 5 s, or more than 2 GB. Writes
``results/guided-fuzzing.json`` with the runs and the branches that were covered; the exit code is 1 after a finding.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from damaged_inputs import GOLDEN, READERS, ROOT
from harness import HERE, RESULTS, parse, write

# The readers in Python, and the module that is instrumented for each.
GUIDED = {
    "captions CSV": "data",
    "captions JSONL": "data",
    "captions COCO": "data",
    "tar shard": "data",
    "model.json": "spec",
    "safetensors header": "inspection",
    "cache.json": "cache",
    "Core ML program": "mil",
    "export.json": "exporting.folder",
    "flat index": "index.phone",
    "index.json": "index.folder",
    "item store": "index.store",
    "manifest.json": "bundle",
    "textness vector": "textness.vector",
    "recipe": "formats",
    "vectors .npy": "index.npy",
}
SWIFT = "Swift"
LIMITS = ("-timeout=5", "-rss_limit_mb=3000", "-print_final_stats=1", "-max_len=65536")


def guide(name: str, options: list[str]) -> None:
    """Fuzz one reader in this process until ``options`` end it."""
    import atheris

    with atheris.instrument_imports(include=["mobileclip_kit." + GUIDED[name]], enable_loader_override=False):
        from mobileclip_kit.errors import MckitError

        folder = Path(tempfile.mkdtemp(prefix="mckit-guided-"))
        path = READERS[name].make(folder)
        valid = path.read_bytes()
        expected = READERS[name].read(path)
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(valid)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            found = READERS[name].read(path)
        except MckitError:
            return
        if READERS[name].strict and found != expected:
            raise AssertionError("a wrong result")

    atheris.Setup([name, *options, str(corpus)], read)
    atheris.Fuzz()


def build_swift(folder: Path) -> tuple[list[str], Path]:
    """The fuzzer of the Swift readers, and a folder of valid inputs."""
    sources = sorted((ROOT / "ios_demo/MobileCLIPKit/Sources/MobileCLIPCore").rglob("*.swift"))
    program = folder / "readers"
    options = ("-O", "-wmo", "-swift-version", "6", "-sanitize=fuzzer", "-parse-as-library", "-o", program)
    subprocess.run(["swiftc", *options, *sources, HERE / "swift_fuzzing" / "Readers.swift"], check=True)
    corpus = folder / "corpus"
    corpus.mkdir()
    valid = {0: [*(GOLDEN / "index").glob("*.mckitidx")], 2: [GOLDEN / "bundle" / "manifest.json"],
             3: [GOLDEN / "confidence" / "background.safetensors"], 4: [GOLDEN / "bundle" / "merges.txt"],
             5: [GOLDEN / "queries.json"]}  # fmt: skip
    valid[1] = valid[0]
    for reader, files in valid.items():
        for number, file in enumerate(files):
            (corpus / f"{reader}-{number}").write_bytes(bytes([reader]) + file.read_bytes())
    return [str(program)], corpus


def fuzz(name: str, options: list[str]) -> dict[str, Any]:
    """Fuzz one reader in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="mckit-guided-") as folder:
        limits = [*LIMITS, *options, f"-artifact_prefix={folder}/"]
        if name == SWIFT:
            program, corpus = build_swift(Path(folder))
            command = [*program, *limits, str(corpus)]
        else:
            command = [sys.executable, __file__, "--guide", name, "--options", " ".join(limits)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": folder}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    said = done.stderr + done.stdout
    runs = re.search(r"number_of_executed_units: (\d+)", said)
    covered = re.findall(r"cov: (\d+)", said)
    found = [] if done.returncode == 0 else [said.strip()[-1500:]]
    return {"reader": name, "inputs": int(runs[1]) if runs else 0, "covered": int(covered[-1]) if covered else 0,
            "findings": found}  # fmt: skip


def main() -> None:
    """Fuzz the readers one after the other, write, print."""
    chosen = parse(seed=1, seconds=60, runs=0, only=("",), guide="", options="", out=RESULTS / "guided-fuzzing.json")
    if chosen.guide:
        guide(chosen.guide, chosen.options.split())
    limit = f"-runs={chosen.runs}" if chosen.runs else f"-max_total_time={chosen.seconds}"
    results = []
    for name in (*GUIDED, *([SWIFT] if shutil.which("swiftc") else [])):
        if not any(chosen.only) or name in chosen.only:
            results.append(fuzz(name, [limit, f"-seed={chosen.seed}"]))
            print(*(f"{key}: {value}" for key, value in results[-1].items()), sep="  ", flush=True)
            write(chosen.out, {
                "claim": "No input that a coverage-guided fuzzer finds crashes a reader.",
                "seed": chosen.seed,
                "inputs": sum(each["inputs"] for each in results),
                "findings": sum(len(each["findings"]) for each in results),
                "readers": results,
            })  # fmt: skip
    sys.exit(1 if any(each["findings"] for each in results) else 0)


if __name__ == "__main__":
    main()
