"""A peer's model in a process of its own, in the peer's own environment: it answers as mckit's bench worker does.

Started by peers.py as ``python peer_worker.py KIND MODEL PIXELS THREADS``; imports nothing of mckit. PIXELS is an
``.npy`` of float32 ``(n, 3, height, width)`` in 0…1, what an export's image input takes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KIND, MODEL, PIXELS, THREADS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = str(THREADS)

import numpy as np  # noqa: E402

Encode = Callable[[Any], Any]


def open_openvino(model: Any = None) -> Encode:
    """OpenVINO reads the ONNX export itself."""
    import openvino as ov

    core = ov.Core()
    graph = core.read_model(str(Path(MODEL) / "image.onnx")) if model is None else model
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"})
    return lambda batch: compiled([batch])[0]


def open_nncf() -> Encode:
    """NNCF's post-training int8 for transformers, calibrated on the pictures, executed by OpenVINO."""
    import nncf
    import openvino as ov

    pixels = np.load(PIXELS)
    graph = ov.Core().read_model(str(Path(MODEL) / "image.onnx"))
    data = nncf.Dataset([pixels[row : row + 1] for row in range(len(pixels))])
    quantized = nncf.quantize(graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(pixels))
    return open_openvino(quantized)


def open_transformers() -> Encode:
    """The transformers library's own CLIP image tower of the same shape, read from a local folder; random weights."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.set_num_threads(THREADS)
    folder = Path(PIXELS).with_name("transformers-clip")
    if not folder.exists():
        config = CLIPVisionConfig(**json.loads(Path(MODEL, "shape.json").read_text()))
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    model = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True).eval()

    def encode(batch: Any) -> Any:
        with torch.inference_mode():
            return model(pixel_values=torch.from_numpy(batch)).image_embeds.numpy()

    return encode


OPENERS: dict[str, Callable[[], Encode]] = {
    "openvino": open_openvino,
    "nncf": open_nncf,
    "transformers": open_transformers,
}


def main() -> None:
    """Answer a JSON object a line, until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    encode: Encode | None = None
    pixels = np.load(PIXELS)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                started = time.perf_counter()
                encode = OPENERS[KIND]()
                encode(pixels[:1])
                answer: dict[str, Any] = {"towers": ["image"], "load_ms": 1000 * (time.perf_counter() - started)}
            elif request["do"] == "calls":
                assert encode is not None
                answer = {"times_ms": calls(encode, pixels, request["batch"], request["seconds"])}
            else:
                assert encode is not None
                np.save(request["out"], np.concatenate([encode(pixels[row : row + 1]) for row in range(len(pixels))]))
                answer = {"pictures": len(pixels)}
        except Exception as error:  # whatever a peer raises becomes its row's reason
            text = (str(error).strip().splitlines() or ["no reason given"])[0]
            answer = {"error": {"message": f"{type(error).__name__}: {text}", "hint": None}}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def calls(encode: Encode, pixels: Any, batch: int, seconds: float) -> list[float]:
    """Milliseconds of calls until the seconds are over, after one that does not count."""
    times: list[float] = []
    encode(pixels[:batch])
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        rows = (np.arange(batch) + len(times) * batch) % len(pixels)
        started = time.perf_counter()
        encode(pixels[rows])
        times.append(1000 * (time.perf_counter() - started))
    return times


if __name__ == "__main__":
    main()
