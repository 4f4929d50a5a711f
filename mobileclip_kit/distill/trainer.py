"""The one trainer: any objective, with a teacher or without, interruptible at any moment.

Order, augmentation, learning rate and random numbers are pure functions of the step, so a resumed run on a CPU ends
with the same bits as one that was never interrupted.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from mobileclip_kit.data.pictures import Pictures, Rows, identity_of
from mobileclip_kit.distill.augment import Augmentation, Replay
from mobileclip_kit.distill.checkpoint import (
    CHECKPOINT_FILE,
    Checkpoint,
    copy_into,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    trained_parameters,
    trained_tensors,
)
from mobileclip_kit.distill.objective import Batch, Moment, Objective
from mobileclip_kit.distill.order import batch_rows
from mobileclip_kit.distill.recipe import TrainingPlan
from mobileclip_kit.distill.schedule import learning_rate
from mobileclip_kit.errors import DataError, TrainingError
from mobileclip_kit.images import Pixels
from mobileclip_kit.progress import Progress
from mobileclip_kit.spec import ImageSpec

LOG_FILE = "log.jsonl"


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run did.

    Attributes:
        steps: Updates, those before a resume included.
        seconds: Time in the loop, before a resume included.
        pictures_per_s: Of this process.
        loss: Mean over the last tenth of the steps.
        parts: The loss's parts in the last step.
    """

    steps: int
    seconds: float
    pictures_per_s: float
    loss: float
    parts: dict[str, float]


class Trainer:
    """Drives an objective over pictures.

    Args:
        objective: What is trained, and its loss.
        pictures: The training set.
        plan: Steps, learning rate, seed. Its batch size is at most the number of pictures.
        augmentation: How pictures are varied.
        image: The model's preprocessing: mean and std.
        folder: Where the checkpoint and ``log.jsonl`` are kept; made when missing.
        fingerprint: What must be equal for a checkpoint to be resumed: a small JSON object.
        device: Where the objective's modules lie.
        replay: Which stored views to show again; None draws new ones in every epoch.
        checkpoint_seconds: Time between checkpoints.
    """

    def __init__(
        self,
        objective: Objective,
        pictures: Pictures,
        plan: TrainingPlan,
        *,
        augmentation: Augmentation,
        image: ImageSpec,
        folder: Path,
        fingerprint: Mapping[str, Any],
        device: str = "cpu",
        replay: Replay | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        if len(pictures) < plan.batch_size:
            raise DataError(f"{len(pictures)} pictures do not fill a batch of {plan.batch_size}.")
        self._objective, self._pictures, self._plan = objective, pictures, plan
        self._augmentation, self._replay = augmentation, replay
        self._folder, self._fingerprint = folder, dict(fingerprint)
        self._device, self._checkpoint_seconds = torch.device(device), checkpoint_seconds
        self._mean = torch.tensor(image.mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(image.std, device=self._device).view(1, 3, 1, 1)
        self.steps = plan.total_steps(len(pictures))
        self._per_epoch = len(pictures) // plan.batch_size
        self._modules = objective.modules()
        self._parameters = dict(trained_parameters(self._modules))
        self._optimizer = _adamw(self._parameters, plan)
        averaged = self._parameters if plan.ema_decay is not None else {}
        self._average = {name: parameter.detach().clone() for name, parameter in averaged.items()}
        self._done, self._seconds, self._stop = 0, 0.0, False

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self._folder / CHECKPOINT_FILE

    def run(self, *, resume: bool = False) -> TrainingResult:
        """Train to the end; the modules then hold the result, in eval mode.

        Args:
            resume: Go on from the folder's checkpoint when there is one.

        Raises:
            TrainingError: The loss or a gradient is no longer finite, or the checkpoint does not fit.
            KeyboardInterrupt: After Ctrl-C, once the checkpoint is written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f".{CHECKPOINT_FILE}.*.part"):  # a run was killed while it wrote
            left.unlink(missing_ok=True)
        if resume and self.checkpoint.is_file():
            self._restore()
        before = _trim_log(self._folder / LOG_FILE, self._done)
        for module in self._modules.values():
            module.train()
        with torch.random.fork_rng(devices=[]), self._interruptible():
            losses, parts, speed = self._loop(before)
        if self._average:
            copy_into(self._parameters, self._average, "", self.checkpoint)
        for module in self._modules.values():
            module.eval()
        tail = losses[-max(1, len(losses) // 10) :]
        return TrainingResult(self.steps, self._seconds, speed, sum(tail) / max(len(tail), 1), parts)

    def _loop(self, losses: list[float]) -> tuple[list[float], dict[str, float], float]:
        plan, saved, parts = self._plan, time.monotonic(), dict[str, float]()
        rows = batch_rows(len(self._pictures), batch_size=plan.batch_size, seed=plan.seed,
                          first_step=self._done, steps=self.steps)  # fmt: skip
        progress = Progress("train", total=self.steps * plan.batch_size, unit="pictures",
                            done=self._done * plan.batch_size)  # fmt: skip
        batches = closing(self._pictures.read(rows))
        with progress, (self._folder / LOG_FILE).open("a", encoding="utf-8") as log, batches as reading:
            for kept, pixels in reading:
                started = time.monotonic()
                parts = self._step(kept, pixels)
                self._done += 1
                self._seconds += time.monotonic() - started
                if math.isfinite(parts["loss"]):
                    losses.append(parts["loss"])
                _write_log(log, self._done - 1, parts, self._seconds)
                progress.advance(plan.batch_size, f"step {self._done}/{self.steps}  loss {parts['loss']:.4f}")
                due = time.monotonic() - saved >= self._checkpoint_seconds
                if due or self._stop or self._done == self.steps:
                    log.flush()
                    self._save()
                    saved = time.monotonic()
                if self._stop and self._done < self.steps:
                    raise KeyboardInterrupt
        return losses, parts, progress.per_second

    def _step(self, rows: Rows, pixels: Pixels) -> dict[str, float]:
        plan, step = self._plan, self._done
        epochs = math.ceil(self.steps / self._per_epoch)
        moment = Moment(step, self.steps, step // self._per_epoch, epochs, plan.seed)
        rate = learning_rate(step, steps=self.steps, peak=plan.lr, warmup_steps=plan.rise(self.steps),
                             final_share=plan.final_lr_share)  # fmt: skip
        if len(rows) < 2:  # all but one of the batch could not be decoded: nothing to learn from
            return {"loss": math.nan, "lr": rate}
        torch.manual_seed(identity_of(f"{plan.seed}/step/{step}") >> 1)
        batch = Batch(rows, self._images(rows, pixels, moment), moment)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
            loss, parts = self._objective.loss(batch)
        value = float(loss.detach())
        self._check_finite(value, "loss", step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        bound = math.inf if plan.gradient_clip is None else plan.gradient_clip
        norm = float(nn.utils.clip_grad_norm_(self._parameters.values(), bound))
        self._check_finite(norm, "gradient", step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._follow(step)
        return {"epoch": moment.epoch, "loss": value, **parts, "lr": rate, "gradient_norm": norm}

    def _images(self, rows: Rows, pixels: Pixels, moment: Moment) -> Tensor:
        images = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).float().div_(255.0)
        identities, replay = self._pictures.identities[rows], self._replay
        if replay is None:
            images = self._augmentation.apply(images, identities, seed=moment.seed, epoch=moment.epoch)
        elif view := moment.epoch % replay.views:
            images = self._augmentation.apply(images, identities, seed=replay.seed, epoch=view)
        return ((images - self._mean) / self._std).contiguous()  # (n, 3, height, width)

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        if self._plan.ema_decay is None:
            return
        # Early on the average follows quickly, so that the random start is forgotten.
        decay = min(self._plan.ema_decay, (1.0 + step) / (10.0 + step))
        for name, parameter in self._parameters.items():
            self._average[name].lerp_(parameter, 1.0 - decay)

    def _check_finite(self, value: float, what: str, step: int) -> None:
        if not math.isfinite(value):
            kept = f"{self.checkpoint} keeps the last good state" if self.checkpoint.is_file() else "Nothing was saved"
            raise TrainingError(
                f"The {what} is {value} at step {step}; training stops. {kept}.",
                hint='Lower --lr, or use precision = "float32" and a gradient_clip in the recipe.',
            )

    def _save(self) -> None:
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        tensors = {f"weights/{name}": tensor for name, tensor in trained_tensors(self._modules).items()}
        tensors |= optimizer_tensors(self._optimizer, names)
        tensors |= {f"average/{name}": tensor for name, tensor in self._average.items()}
        state = {"step": self._done, "seconds": self._seconds, "fingerprint": self._fingerprint}
        save_checkpoint(self.checkpoint, Checkpoint(tensors, state))

    def _restore(self) -> None:
        checkpoint = load_checkpoint(self.checkpoint)
        checkpoint.check_fingerprint(self._fingerprint, self.checkpoint)
        copy_into(trained_tensors(self._modules), checkpoint.tensors, "weights/", self.checkpoint)
        restore_optimizer(self._optimizer, self._parameters, checkpoint.tensors)
        copy_into(self._average, checkpoint.tensors, "average/", self.checkpoint)
        self._done, self._seconds = int(checkpoint.state["step"]), float(checkpoint.state["seconds"])

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn the first Ctrl-C into a checkpoint after the current step; the second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread alone
            return

        def ask_to_stop(number: int, _: object) -> None:
            self._stop = True
            signal.signal(number, signal.default_int_handler)

        before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _adamw(parameters: Mapping[str, nn.Parameter], plan: TrainingPlan) -> torch.optim.AdamW:
    """Weight decay for matrices and filters; biases, norms and other vectors have none."""
    wide = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    narrow = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [{"params": wide, "weight_decay": plan.weight_decay}, {"params": narrow, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=plan.lr, betas=plan.betas, fused=True)


def _write_log(log: IO[str], step: int, parts: Mapping[str, float], seconds: float) -> None:
    entry = {"step": step, **{name: value if math.isfinite(value) else None for name, value in parts.items()}}
    log.write(json.dumps({**entry, "seconds": round(seconds, 3)}) + "\n")


def _trim_log(path: Path, steps: int) -> list[float]:
    """Keep the log's first ``steps`` lines, drop what was logged after the checkpoint; the losses kept."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:steps] if path.is_file() else []
    path.write_text("".join(lines), encoding="utf-8")
    losses = [json.loads(line)["loss"] for line in lines]
    return [loss for loss in losses if loss is not None]
