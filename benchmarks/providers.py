"""Speed and vectors of an ONNX export with another execution provider of ONNX Runtime than the CPU's.

    python benchmarks/providers.py IMAGES EXPORT [EXPORT ...] [--device openvino] [--rounds 7] [-o providers.json]

Run it in an environment with that provider's package (``onnxruntime-openvino``). The CPU and the device take turns with
the same decoded images, each with all threads and with one; the ratio is the median over the rounds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from harness import parse, write

from mobileclip_kit.images import list_images, load_pixels
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder

IMAGES, BATCH, TURN_S = 64, 32, 0.6
TEXTS = [f"a photo of a {word}" for word in ("cat", "dog", "house", "star", "car", "tree", "boat", "horse")]


def main() -> None:
    """Open, compare, time in turns."""
    chosen = parse("images", "exports*", device="openvino", rounds=7, out=Path("providers.json"))
    rows = [measure(export, chosen) for export in chosen.exports]
    write(chosen.out, {"device": chosen.device, "onnxruntime": onnxruntime.__version__, "rounds": chosen.rounds,
                       "batch": BATCH, "exports": rows})  # fmt: skip


def measure(export: str, chosen: Any) -> dict[str, Any]:
    """One export on both devices."""
    encoders = {
        (device, threads): open_encoder(export, threads=threads, device=device)
        for threads in (None, 1)
        for device in ("cpu", chosen.device)
    }
    first = encoders["cpu", None]
    spec = first.spec.require_image()
    files = [path for path, _ in zip(list_images(chosen.images), range(IMAGES), strict=False)]
    pixels = np.stack([load_pixels(file, spec, draft=True) for file in files])
    other = encoders[chosen.device, None]
    cosines = (first.encode_images(pixels) * other.encode_images(pixels)).sum(1)
    texts = (first.encode_texts(TEXTS) * other.encode_texts(TEXTS)).sum(1)
    rates: dict[Any, list[float]] = {key: [] for key in encoders}
    for _ in range(chosen.rounds):
        for key, encoder in encoders.items():
            rates[key].append(images_per_s(encoder, pixels))
    row: dict[str, Any] = {
        "export": Path(export).name, "computed_on": other.device, "images": len(pixels),
        "image_cosine_min": round(float(cosines.min()), 6), "image_cosine_mean": round(float(cosines.mean()), 6),
        "text_cosine_min": round(float(texts.min()), 6),
    }  # fmt: skip
    for threads, name in ((None, "all_threads"), (1, "one_thread")):
        cpu, device = (np.array(rates[key, threads]) for key in ("cpu", chosen.device))
        row[name] = {
            "cpu_images_per_s": round(float(np.median(cpu)), 1),
            "device_images_per_s": round(float(np.median(device)), 1),
            "ratio": round(float(np.median(device / cpu)), 2),
        }
    print(f"{row['export']}: {chosen.device} {row['all_threads']['ratio']} times the CPU's rate, one thread "
          f"{row['one_thread']['ratio']}", flush=True)  # fmt: skip
    return row


def images_per_s(encoder: Encoder, pixels: Any) -> float:
    """Rate of one turn."""
    started, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < TURN_S:
        encoder.encode_images(pixels[done % len(pixels) :][:BATCH])
        done += BATCH
    return done / passed


if __name__ == "__main__":
    main()
