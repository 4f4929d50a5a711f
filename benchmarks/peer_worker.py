"""A contender in a process of its own, in its own environment: it answers as mckit's bench worker does.

Started by peers.py and int8_speed.py as ``python peer_worker.py KIND MODEL PIXELS THREADS``; only the contender mckit
imports mckit. PIXELS is an ``.npy`` of float32 ``(n, 3, height, width)`` in 0…1, what an export's image input takes;
``bytes.npy`` beside it has the same images as uint8 ``(n, height, width, 3)``, for those who begin there, and
``calibration.npy`` the images that int8 is calibrated on, where those are others.

Calls are timed in processor time of the process, all its threads together: other work on the machine does not count.
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
from harness import answer_requests, operator_times  # noqa: E402

Encode = Callable[[Any], Any]
# What an opener tells of itself.
FACTS: dict[str, str] = {}


def open_mckit() -> Encode:
    """An export under mckit's own encoder, from bytes to unit rows."""
    from mobileclip_kit.runtime.open import open_encoder

    return open_encoder(MODEL, threads=THREADS).encode_images


def open_open_clip() -> Encode:
    """The same weights under open_clip in torch: its mean and std, its forward pass, its normalisation."""
    import open_clip
    import torch

    torch.set_num_threads(THREADS)
    model = open_clip.create_model(f"local-dir:{MODEL}").eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.visual.image_mean, model.visual.image_std))

    def encode(batch: Any) -> Any:
        with torch.inference_mode():
            return model.encode_image((torch.from_numpy(batch) - mean) / std, normalize=True).numpy()

    return encode


def open_onnxruntime() -> Encode:
    """ONNX Runtime alone, floats in."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    path = str(Path(MODEL) / "image.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    FACTS["runtime"] = f"onnxruntime {onnxruntime.__version__}"
    return lambda batch: session.run(None, {"image": batch})[0]


def open_openvino(model: Any = None) -> Encode:
    """OpenVINO reads the ONNX export itself."""
    import openvino as ov

    core = ov.Core()
    graph = core.read_model(str(Path(MODEL) / "image.onnx")) if model is None else model
    limits = {"INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(graph, "CPU", limits).create_infer_request()
    FACTS["runtime"] = f"openvino {ov.__version__}"
    return lambda batch: request.infer([batch])[0].copy()


def open_nncf() -> Encode:
    """NNCF's post-training int8 for transformers, calibrated on the images, executed by OpenVINO."""
    import nncf
    import openvino as ov

    others = Path(PIXELS).with_name("calibration.npy")
    pixels = np.load(others if others.is_file() else PIXELS)
    graph = ov.Core().read_model(str(Path(MODEL) / "image.onnx"))
    data = nncf.Dataset([pixels[row : row + 1] for row in range(len(pixels))])
    quantized = nncf.quantize(graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(pixels))
    FACTS["quantiser"] = f"nncf {nncf.__version__}"
    return open_openvino(quantized)


def open_transformers() -> Encode:
    """The transformers library's own CLIP image tower of the same shape, read from a local folder; random weights."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.set_num_threads(THREADS)
    folder = Path(PIXELS).with_name("transformers-clip")
    config = CLIPVisionConfig(**json.loads(Path(MODEL, "shape.json").read_text()))
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    model = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True).eval()

    def encode(batch: Any) -> Any:
        with torch.inference_mode():
            return model(pixel_values=torch.from_numpy(batch)).image_embeds.numpy()

    return encode


def open_sentence_transformers() -> Encode:
    """sentence-transformers over such a local folder: images in, its processor and pooling included."""
    import torch
    from PIL import Image
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import CLIPModel as Wrapped
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

    torch.set_num_threads(THREADS)
    folder = Path(PIXELS).with_name("sentence-transformers-clip")
    shape = json.loads(Path(MODEL, "shape.json").read_text())
    letters = [chr(97 + number) for number in range(26)]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPConfig(
        vision_config=shape,
        text_config={**text, "vocab_size": len(pieces), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
        projection_dim=shape["projection_dim"],
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer = CLIPTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
    CLIPProcessor(image_processor=CLIPImageProcessorPil(), tokenizer=tokenizer).save_pretrained(folder)
    model = SentenceTransformer(modules=[Wrapped(str(folder))], device="cpu")

    def encode(batch: Any) -> Any:
        images = [Image.fromarray(image) for image in batch]
        return model.encode(images, batch_size=len(images), normalize_embeddings=True, show_progress_bar=False)

    return encode


# A kind → how it is opened, and whether it begins with bytes.
OPENERS: dict[str, tuple[Callable[[], Encode], bool]] = {
    "mckit": (open_mckit, True),
    "open_clip": (open_open_clip, False),
    "onnxruntime": (open_onnxruntime, False),
    "openvino": (open_openvino, False),
    "nncf": (open_nncf, False),
    "transformers": (open_transformers, False),
    "sentence-transformers": (open_sentence_transformers, True),
}


class Contender:
    """Answers requests about one model."""

    def __init__(self) -> None:
        self.opener, from_bytes = OPENERS[KIND]
        self.pixels = np.load(Path(PIXELS).with_name("bytes.npy") if from_bytes else PIXELS)
        self.encode: Encode = lambda batch: None

    def open(self) -> dict[str, Any]:
        """Load the model and ask it once."""
        started = time.perf_counter()
        self.encode = self.opener()
        self.encode(self.pixels[:1])
        return {"towers": ["image"], "load_ms": 1000 * (time.perf_counter() - started), **FACTS}

    def save(self, out: str) -> dict[str, Any]:
        """Write the vectors of all images, asked one by one."""
        np.save(out, np.concatenate([self.encode(self.pixels[row : row + 1]) for row in range(len(self.pixels))]))
        return {"images": len(self.pixels)}

    def calls(self, batch: int, seconds: float, **_: Any) -> dict[str, Any]:
        """Processor milliseconds of calls until the seconds are over, after one that does not count."""
        times: list[float] = []
        self.encode(self.pixels[:batch])
        until = time.perf_counter() + seconds
        while not times or time.perf_counter() < until:
            rows = (np.arange(batch) + len(times) * batch) % len(self.pixels)
            times.append(self._timed(self.pixels[rows])[1])
        return {"times_ms": times}

    def turn(self, calls: int) -> dict[str, Any]:
        """Wall and processor milliseconds of one call an image, after one that does not count."""
        self.encode(self.pixels[:1])
        wall, cpu = zip(*(self._timed(self.pixels[row : row + 1]) for row in range(calls)), strict=True)
        return {"wall_ms": wall, "cpu_ms": cpu}

    def profile(self, calls: int) -> dict[str, Any]:
        """ONNX Runtime's milliseconds of one image by kind of operator."""
        kinds: dict[str, float] = {}
        for (kind, _), spent in operator_times(Path(MODEL) / "image.onnx", self.pixels[:calls], 2 * calls).items():
            kinds[kind] = round(kinds.get(kind, 0.0) + spent, 3)
        return {"operators_ms": dict(sorted(kinds.items(), key=lambda entry: -entry[1]))}

    def _timed(self, batch: Any) -> tuple[float, float]:
        started, busy = time.perf_counter(), time.process_time()
        self.encode(batch)
        return 1000 * (time.perf_counter() - started), 1000 * (time.process_time() - busy)


if __name__ == "__main__":
    contender = Contender()
    answer_requests({"open": contender.open, "calls": contender.calls, "encode": contender.save,
                     "turn": contender.turn, "profile": contender.profile})  # fmt: skip
