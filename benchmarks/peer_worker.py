"""A contender in a process of its own, in its own environment: it answers as mckit's bench worker does.

Started by peers.py as ``python peer_worker.py KIND MODEL PIXELS THREADS``; only the contender mckit imports mckit.
PIXELS is an ``.npy`` of float32 ``(n, 3, height, width)`` in 0…1, what an export's image input takes; ``bytes.npy``
beside it has the same images as uint8 ``(n, height, width, 3)``, for those who begin there.

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

Encode = Callable[[Any], Any]


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


def open_openvino(model: Any = None) -> Encode:
    """OpenVINO reads the ONNX export itself."""
    import openvino as ov

    core = ov.Core()
    graph = core.read_model(str(Path(MODEL) / "image.onnx")) if model is None else model
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"})
    return lambda batch: compiled([batch])[0]


def open_nncf() -> Encode:
    """NNCF's post-training int8 for transformers, calibrated on the images, executed by OpenVINO."""
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
    "openvino": (open_openvino, False),
    "nncf": (open_nncf, False),
    "transformers": (open_transformers, False),
    "sentence-transformers": (open_sentence_transformers, True),
}


def main() -> None:
    """Answer a JSON object a line, until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    encode: Encode | None = None
    opener, from_bytes = OPENERS[KIND]
    pixels = np.load(Path(PIXELS).with_name("bytes.npy") if from_bytes else PIXELS)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                started = time.perf_counter()
                encode = opener()
                encode(pixels[:1])
                answer: dict[str, Any] = {"towers": ["image"], "load_ms": 1000 * (time.perf_counter() - started)}
            elif request["do"] == "calls":
                assert encode is not None
                answer = {"times_ms": calls(encode, pixels, request["batch"], request["seconds"])}
            else:
                assert encode is not None
                np.save(request["out"], np.concatenate([encode(pixels[row : row + 1]) for row in range(len(pixels))]))
                answer = {"images": len(pixels)}
        except Exception as error:  # whatever a peer raises becomes its row's reason
            text = (str(error).strip().splitlines() or ["no reason given"])[0]
            answer = {"error": {"message": f"{type(error).__name__}: {text}", "hint": None}}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def calls(encode: Encode, pixels: Any, batch: int, seconds: float) -> list[float]:
    """Processor milliseconds of calls until the seconds are over, after one that does not count."""
    times: list[float] = []
    encode(pixels[:batch])
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        rows = (np.arange(batch) + len(times) * batch) % len(pixels)
        started = time.process_time()
        encode(pixels[rows])
        times.append(1000 * (time.process_time() - started))
    return times


if __name__ == "__main__":
    main()
