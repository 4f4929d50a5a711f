"""How fast a step of distillation is: from a cache, with the teacher in the loop, and beside open_clip's own loop.

    python benchmarks/distill_speed.py PHOTOS -o distill_speed.json

PHOTOS is any folder of JPEG files. All contenders train the same student (vit-s6-h12 at 224 px) with the same batches
on the same cores, in turns: every round gives each of them a few steps, in an order drawn anew, and the ratios are
medians over the rounds.

- `cached`: mckit's trainer, KLD + L1 on stored vectors; images are decoded once, as they are where memory holds them
  or with `--decode-once`;
- `decoding`: the same, but images are decoded again for every step, ahead of the model;
- `live`: `cached` with the teacher (ViT-B/32, random weights) in the loop;
- `ready`: forward and backward of the student alone on a tensor that lies ready: no images, no optimizer, no loss of
  a teacher. What `cached` reaches of it is what the loader, the loss and the optimizer leave;
- `cached_half`, `live_half`, `ready_half`: the same with `patch_dropout` 0.5; `cached_quarter` and `ready_quarter` with
  0.75;
- `open_clip`: open_clip's `train_one_epoch` with a distillation teacher (`--distill-model ViT-B-32`), its training
  transform and its loader's workers. It trains both towers, and its teacher reads the captions, too: it has no form
  that trains the image tower alone.

By operations alone (8.8 GFLOP for the teacher's forward pass of an image, 3.5 for the student's forward and backward)
`live` costs about 3.5 times `ready`. With half of the patches the student costs about half, the teacher as much as
before.

A step is timed from one batch's arrival to the next one's, so that waiting for the loader counts. The first steps of a
turn and those that only empty the loader's queue do not.
"""

from __future__ import annotations

import functools
import logging
import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from harness import in_turns, parse, write
from open_clip.loss import DistillClipLoss
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.data.images import FileImages, Images, Rows, identities_of
from mobileclip_kit.distillation.mixture import MixtureObjective
from mobileclip_kit.distillation.tables import Augmentation, MixtureOptions, TrainingPlan
from mobileclip_kit.distillation.teachers import TeacherTargets, live_targets, lookup_in, stored_targets
from mobileclip_kit.distillation.trainer import Trainer, TrainerSetup
from mobileclip_kit.images import list_images
from mobileclip_kit.networks.families import image_tower
from mobileclip_kit.networks.model import Model, load_model
from mobileclip_kit.networks.patches import Patches
from mobileclip_kit.networks.students import build_student, student_config

# Steps of a turn that are not timed: the first ones fill the queue, the last ones empty it.
WARM, QUEUE = 2, 4
# Turn → seconds of its timed steps.
Turn = Callable[[int], list[float]]


def main() -> None:
    """Measure, print and write."""
    arguments = parse(
        "photos", out=Path("distill_speed.json"), student="vit-s6-h12", teacher="ViT-B-32", images=512, batch_size=64,
        rounds=9, steps=1, threads=os.cpu_count() or 1, draft=False, without=(),
    )  # fmt: skip
    torch.set_num_threads(arguments.threads)
    files = list(list_images(arguments.photos))[: arguments.images]
    sizes = [Image.open(file).size for file in files]
    with tempfile.TemporaryDirectory(prefix="distill-speed-") as folder:
        turns = contenders(files, Path(folder), arguments)
        calls = {name: functools.partial(speed, name, turn, arguments) for name, turn in turns.items()}
        rounds = in_turns(calls, rounds=arguments.rounds, measure=lambda call: call(), warm=False)
    document = {
        "settings": {
            **{name: getattr(arguments, name) for name in ("batch_size", "rounds", "steps", "threads", "draft")},
            "images": len(files),
            "median_size": [statistics.median(side) for side in zip(*sizes, strict=True)],
            "median_file_bytes": statistics.median(file.stat().st_size for file in files),
            "student": arguments.student,
            "teacher": f"{arguments.teacher}, random weights",
        },
        "images_per_s": {name: {"median": statistics.median(found), "rounds": found} for name, found in rounds.items()},
        "ratios": ratios(rounds),
    }
    write(arguments.out, document)
    for name, value in document["ratios"].items():
        print(f"{name}: {value['median']:.2f} ({value['low']:.2f} … {value['high']:.2f})")


def speed(name: str, turn: Turn, arguments: Namespace) -> float:
    """Images a second of one turn."""
    found: float = arguments.batch_size / statistics.median(turn(arguments.steps))
    print(f"{name:10} {found:8.1f} images/s", flush=True)
    return found


def ratios(rounds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """How many times as fast the cached step is as each other, round by round."""
    found = {}
    for ours in (name for name in rounds if name.startswith("cached")):
        for name, speeds in rounds.items():
            if name != ours:
                each = [one / other for one, other in zip(rounds[ours], speeds, strict=True)]
                found[f"{ours} / {name}"] = {"median": statistics.median(each), "low": min(each), "high": max(each)}
    return found


def contenders(files: list[Path], folder: Path, arguments: Namespace) -> dict[str, Turn]:
    """What takes turns."""
    teacher = load_model(arguments.teacher)
    ours = functools.partial(trainer_turn, files, folder, arguments, teacher)
    made: dict[str, Callable[[], Turn]] = {
        "cached": ours,
        "decoding": functools.partial(ours, decoding=True),
        "live": functools.partial(ours, live=True),
        "ready": functools.partial(ready_turn, arguments, teacher),
        "cached_half": functools.partial(ours, dropout=0.5),
        "live_half": functools.partial(ours, live=True, dropout=0.5),
        "ready_half": functools.partial(ready_turn, arguments, teacher, dropout=0.5),
        "cached_quarter": functools.partial(ours, dropout=0.75),
        "ready_quarter": functools.partial(ready_turn, arguments, teacher, dropout=0.75),
        "open_clip": functools.partial(open_clip_turn, files, arguments, teacher),
    }
    return {name: make() for name, make in made.items() if name not in arguments.without}


def make_student(name: str, teacher: Model) -> tuple[Any, dict[str, Any]]:
    """The student with random weights."""
    config = student_config(
        name, embedding_dim=teacher.spec.embedding_dim, image=teacher.spec.require_image(), teacher=None
    )
    return build_student(config, seed=0), config


class StampedImages:
    """Notes when each batch is handed out."""

    def __init__(self, images: Images) -> None:
        self.images, self.identities, self.skipped = images, images.identities, images.skipped
        self.stamps: list[float] = []

    def __len__(self) -> int:
        return len(self.images)

    def read(self, batches: Iterator[Rows]) -> Generator[tuple[Rows, Pixels]]:
        """See Images."""
        for batch in self.images.read(batches):
            self.stamps.append(time.perf_counter())
            yield batch


def trainer_turn(files: list[Path], folder: Path, arguments: Any, teacher: Model, *, live: bool = False,
                 decoding: bool = False, dropout: float = 0.0) -> Turn:  # fmt: skip
    """Some steps of mckit's own trainer."""
    image, width = teacher.spec.require_image(), teacher.spec.embedding_dim
    names = [file.name for file in files]
    stored = 10 * torch.randn(len(files), 1, width, generator=torch.Generator().manual_seed(0)) / width**0.5
    lookup = lookup_in(stored)
    targets = live_targets(teacher.network, image, image) if live else stored_targets(lookup)
    network, _ = make_student(arguments.student, teacher)
    side = TeacherTargets(targets, None if live else lookup, None, 100.0)
    objective = MixtureObjective(network, MixtureOptions(kld_l1=1.0), [side], images=len(files))

    read = FileImages(files, names, identities_of(names), image, draft=arguments.draft)
    ready = read if decoding else read.in_memory()[1]

    def turn(steps: int) -> list[float]:
        images = StampedImages(ready)
        # The last tenth of the steps, in which all patches are seen, comes after those that are timed.
        plan = TrainingPlan(steps=WARM + steps + (QUEUE if decoding else 0) + 1 + bool(dropout),
                            batch_size=arguments.batch_size, patch_dropout=dropout)  # fmt: skip
        with tempfile.TemporaryDirectory(dir=folder) as run:
            setup = TrainerSetup(plan=plan, augmentation=Augmentation(), image=image, folder=Path(run), fingerprint={},
                                 checkpoint_seconds=1e9)  # fmt: skip
            Trainer(objective, images, setup).run()
        return timed(images.stamps, steps)

    return turn


def ready_turn(arguments: Any, teacher: Model, dropout: float = 0.0) -> Turn:
    """Forward and backward alone."""
    network, _ = make_student(arguments.student, teacher)
    if dropout:
        Patches(image_tower(network), dropout, steps=10).choose(0)
    network.train()
    size = teacher.spec.require_image().height
    images = torch.randn(arguments.batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))

    def turn(steps: int) -> list[float]:
        stamps = []
        for _ in range(WARM + steps + 1):
            stamps.append(time.perf_counter())
            network.zero_grad(set_to_none=True)
            network.encode_image(images).square().mean().backward()
        return timed(stamps, steps)

    return turn


class Captioned(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Photos with a caption each, as open_clip's own CSV data set gives them."""

    def __init__(self, files: list[Path], transform: Any, tokenizer: Any) -> None:
        self.files, self.transform, self.tokenizer = files, transform, tokenizer

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(Image.open(self.files[row])), self.tokenizer([f"a photo, {self.files[row].stem}"])[0]


class StampedLoader:
    """A loader as ``train_one_epoch`` wants one, which notes when each batch is handed out."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader, self.dataloader = loader, self
        self.num_batches, self.num_samples = len(loader), len(loader.dataset)  # type: ignore[arg-type]
        self.stamps: list[float] = []

    def set_epoch(self, epoch: int) -> None:
        """Nothing depends on it here."""

    def __iter__(self) -> Iterator[Any]:
        self.stamps = []
        for batch in self.loader:
            self.stamps.append(time.perf_counter())
            yield batch


def open_clip_turn(files: list[Path], arguments: Any, teacher: Model) -> Turn:
    """open_clip's training loop with a distillation teacher."""
    from open_clip_train.train import train_one_epoch

    logging.disable(logging.INFO)
    image = teacher.spec.require_image()
    config = student_config(arguments.student, embedding_dim=teacher.spec.embedding_dim, image=image, teacher=teacher)
    student = build_student(config, seed=0)
    for network in (student, teacher_copy := load_model(arguments.teacher).network):
        network.output_dict = True
    transform = open_clip.image_transform(image.height, is_train=True)
    data = Captioned(files, transform, open_clip.get_tokenizer(arguments.teacher))
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, fused=True)
    args = Namespace(
        device="cpu", precision="fp32", distill=True, accum_freq=1, skip_scheduler=True, grad_clip_norm=1.0,
        horovod=False, rank=0, local_rank=0, log_local=False, log_every_n_steps=10**9, batch_size=arguments.batch_size,
        world_size=1, distributed=False, wandb=False, save_logs=False,
    )  # fmt: skip
    loss = DistillClipLoss(local_loss=False, gather_with_grad=False, cache_labels=True, rank=0, world_size=1,
                           use_horovod=False)  # fmt: skip

    def turn(steps: int) -> list[float]:
        count = (WARM + steps + QUEUE + 1) * arguments.batch_size
        chosen = torch.utils.data.Subset(data, [row % len(data) for row in range(count)])
        loader = DataLoader(chosen, arguments.batch_size, shuffle=True, num_workers=arguments.threads, drop_last=True)
        stamped = StampedLoader(loader)
        train_one_epoch(student, {"train": stamped}, loss, 0, optimizer, None, None, teacher_copy, args)
        return timed(stamped.stamps, steps)

    return turn


def timed(stamps: list[float], steps: int) -> list[float]:
    """The durations of the timed steps."""
    return np.diff(stamps[WARM : WARM + steps + 1]).tolist()


if __name__ == "__main__":
    main()
