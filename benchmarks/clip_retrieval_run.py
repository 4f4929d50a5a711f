"""One run of clip-retrieval's inference for index_speed.py, in the environment that has clip-retrieval.

    python benchmarks/clip_retrieval_run.py JPEGS OUT MODEL

MODEL is a folder with ``open_clip_model.safetensors``. The model is loaded before the clock starts. What a run costs
however few images there are (its logger is a process of its own that imports everything again) is left out too: a run
over one batch is taken off a run over all images.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from harness import Clock

BATCH = 32
# Of a run's time that must be left when its fixed costs are taken off, for a rate that means anything.
LEAST_SHARE = 0.25


def main() -> None:
    """Print ``{"images_per_s": …}`` as the last line."""
    import all_clip.main
    from clip_retrieval.clip_inference.main import main as clip_inference

    images, out, model = (Path(argument).absolute() for argument in sys.argv[1:4])
    name = f"open_clip:ViT-B-32/{model / 'open_clip_model.safetensors'}"
    all_clip.main.load_clip_without_warmup(name, False, "cpu", None)
    all_clip.main.warmup = lambda *_: None

    def spent_on(folder: Path) -> tuple[float, float]:
        clock = Clock()
        clip_inference(
            input_dataset=str(folder),
            output_folder=str(out / folder.name),
            batch_size=BATCH,
            num_prepro_workers=os.cpu_count(),
            enable_text=False,
            clip_model=name,
            use_jit=False,
        )
        clock.stop()
        return clock.seconds, clock.cpu_s

    files = sorted(images.glob("*.jpg"))
    with tempfile.TemporaryDirectory() as one_batch:
        for path in files[:BATCH]:
            (Path(one_batch) / path.name).symlink_to(path)
        spent_on(Path(one_batch))  # what is imported and allocated once
        fixed = spent_on(Path(one_batch))
    whole = spent_on(images)
    seconds, cpu_s = (every - once for every, once in zip(whole, fixed, strict=True))
    count = len(files) - BATCH
    rates: dict[str, float | str | None] = {"images_per_s": count / seconds, "images_per_cpu_s": count / cpu_s}
    if seconds < LEAST_SHARE * whole[0] or cpu_s < LEAST_SHARE * whole[1]:
        failure = f"too few images: one batch took {fixed[0]:.0f} s, all of them {whole[0]:.0f} s"
        rates = {"images_per_s": None, "images_per_cpu_s": None, "failure": failure}
    # clip-retrieval does not end its last line.
    print("\n" + json.dumps({**rates, "one_batch_s": fixed[0], "all_s": whole[0]}))


if __name__ == "__main__":
    main()
