"""One run of clip-retrieval's inference for index_speed.py, in the environment that has clip-retrieval.

    python benchmarks/clip_retrieval_run.py JPEGS OUT MODEL

MODEL is a folder with ``open_clip_model.safetensors``. Loading and warming up are done before the clock starts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

BATCH = 32


def main() -> None:
    """Print ``{"pictures_per_s": …}`` as the last line."""
    import all_clip.main
    from clip_retrieval.clip_inference.main import main as clip_inference

    pictures, out, model = (Path(argument).absolute() for argument in sys.argv[1:4])
    name = f"open_clip:ViT-B-32/{model / 'open_clip_model.safetensors'}"
    all_clip.main.load_clip_without_warmup(name, False, "cpu", None)
    all_clip.main.warmup = lambda *_: None
    started = time.perf_counter()
    clip_inference(
        input_dataset=str(pictures),
        output_folder=str(out),
        batch_size=BATCH,
        num_prepro_workers=os.cpu_count(),
        enable_text=False,
        clip_model=name,
        use_jit=False,
    )
    seconds = time.perf_counter() - started
    print(json.dumps({"pictures_per_s": len(list(pictures.glob("*.jpg"))) / seconds}))


if __name__ == "__main__":
    main()
