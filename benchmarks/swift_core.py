"""Everything in ``results/swift_core.json``: the Swift core alone, beside Pillow, and with 300,000 photos.

    cd ios_demo/MobileCLIPKit && swift build -c release --product mckit-bench
    python benchmarks/swift_core.py

Processor time of one thread; Swift and Pillow take turns, so that the load of the machine meets both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from harness import parse
from PIL import Image

from mobileclip_kit.tokenizer import standard_merges, write_merges

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "ios_demo" / "MobileCLIPKit" / ".build" / "release" / "mckit-bench"
RESULTS = ROOT / "benchmarks" / "results" / "swift_core.json"
TURNS = 7


def main() -> None:
    """Measure and write."""
    parse()
    with tempfile.TemporaryDirectory() as place:
        merges = Path(place) / "merges.txt"
        write_merges(merges, standard_merges())
        document = ask("--merges", str(merges))
    document["pixels"] = measure_pixels()
    document["library"] = ask("library")
    document["library"]["load_average"] = list(os.getloadavg())
    RESULTS.write_text(json.dumps(document, indent=2, sort_keys=True, separators=(",", " : ")) + "\n")
    print(json.dumps({key: document[key] for key in ("pixels", "library")}, indent=2))


def measure_pixels() -> dict[str, Any]:
    """Medians of each turn, and the quartiles of their ratios."""
    rows: dict[str, list[tuple[float, float]]] = {"bicubic": [], "bilinear": []}
    for _ in range(TURNS):
        swift = ask("pixels")
        for name, turns in rows.items():
            turns.append((swift[f"{name}_ms"], pillow_ms(name, swift["from"], swift["to"], swift["runs"])))
    result: dict[str, Any] = {"from": swift["from"], "to": swift["to"], "pillow": PIL.__version__, "turns": TURNS}
    for name, turns in rows.items():
        ratios = [ours / theirs for ours, theirs in turns]
        result[name] = {
            "swift_ms": statistics.median(ours for ours, _ in turns),
            "pillow_ms": statistics.median(theirs for _, theirs in turns),
            "ratio": statistics.median(ratios),
            "ratio_extremes": [min(ratios), max(ratios)],
        }
    return {**result, "load_average": list(os.getloadavg())}


def pillow_ms(name: str, source: int, target: int, runs: int) -> float:
    """The median of some resizes of noise."""
    noise = np.random.default_rng(1).integers(0, 256, (source, source, 3), dtype=np.uint8)
    image, times = Image.fromarray(noise), []
    for _ in range(runs):
        started = time.thread_time()
        image.resize((target, target), Image.Resampling[name.upper()])
        times.append(1e3 * (time.thread_time() - started))
    return statistics.median(times)


def ask(*arguments: str) -> dict[str, Any]:
    """One of the program's reports."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


if __name__ == "__main__":
    main()
