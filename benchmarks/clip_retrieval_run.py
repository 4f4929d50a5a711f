"""One run of clip-retrieval's inference for index_speed.py, in the environment that has clip-retrieval.

    python benchmarks/clip_retrieval_run.py JPEGS OUT MODEL

MODEL is a folder with ``open_clip_model.safetensors``. The model is loaded before the clock starts. What a run costs
however few pictures there are (its logger is a process of its own that imports everything again) is left out too: a run
over one batch is taken off a run over all pictures.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
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

    def seconds_of(folder: Path) -> float:
        started = time.perf_counter()
        clip_inference(
            input_dataset=str(folder),
            output_folder=str(out / folder.name),
            batch_size=BATCH,
            num_prepro_workers=os.cpu_count(),
            enable_text=False,
            clip_model=name,
            use_jit=False,
        )
        return time.perf_counter() - started

    files = sorted(pictures.glob("*.jpg"))
    with tempfile.TemporaryDirectory() as one_batch:
        for path in files[:BATCH]:
            (Path(one_batch) / path.name).symlink_to(path)
        seconds_of(Path(one_batch))  # what is imported and allocated once
        fixed = seconds_of(Path(one_batch))
    seconds = seconds_of(pictures)
    print(
        json.dumps({"pictures_per_s": (len(files) - BATCH) / (seconds - fixed), "one_batch_s": fixed, "all_s": seconds})
    )


if __name__ == "__main__":
    main()
