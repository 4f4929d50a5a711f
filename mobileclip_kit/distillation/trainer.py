"""The one trainer: any objective, with a teacher or without, interruptible at any moment.

Order, augmentation, learning rate and random numbers are pure functions of the step, so a resumed run on a CPU ends
with the same bits as one that was never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.data.images import Images, Rows, identity_of
from mobileclip_kit.distillation.augment import Augmentation, Replay
from mobileclip_kit.distillation.checkpoint import (
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
from mobileclip_kit.distillation.freezing import freeze, hold
from mobileclip_kit.distillation.interruption import Interruption
from mobileclip_kit.distillation.muon import Muon
from mobileclip_kit.distillation.objective import Batch, Moment, Objective, VectorObjective
from mobileclip_kit.distillation.order import batch_rows
from mobileclip_kit.distillation.ranks import Ranks, check_batch
from mobileclip_kit.distillation.recipe import TrainingPlan
from mobileclip_kit.distillation.run_log import LOG_FILE as LOG_FILE
from mobileclip_kit.distillation.run_log import RunLog
from mobileclip_kit.distillation.schedule import learning_rate
from mobileclip_kit.distillation.whole_batch import backward_whole_batch, cut, sum_gradients
from mobileclip_kit.errors import DataError, TrainingError, UsageError
from mobileclip_kit.progress import Progress
from mobileclip_kit.spec import ImageSpec

# float16's loss scale falls by half whenever a gradient overflows; below this, something else is wrong.
_LEAST_LOSS_SCALE = 1.0
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run did.

    Attributes:
        steps: Updates, those before a resume included.
        seconds: Time in the loop, before a resume included.
        images_per_s: Of this process.
        loss: Mean over the last tenth of the steps.
        parts: The loss's parts in the last step.
    """

    steps: int
    seconds: float
    images_per_s: float
    loss: float
    parts: dict[str, float]


class Trainer:
    """Drives an objective over images.

    Args:
        objective: What is trained, and its loss.
        images: The training set.
        plan: Steps, learning rate, seed. Its batch size is at most the number of images.
        augmentation: How images are varied.
        image: The model's preprocessing: mean and std.
        folder: Where the checkpoint and ``log.jsonl`` are kept; made when missing.
        fingerprint: What must be equal for a checkpoint to be resumed: a small JSON object.
        device: Where the objective's modules lie.
        replay: Which stored views to show again; None draws new ones in every epoch.
        checkpoint_seconds: Time between checkpoints.
        ranks: The processes that share each batch; None for this one alone. Process 0 keeps checkpoint and log.
        rates: Module → peak learning rate, of modules that have their own; their gradients are not clipped.

    Raises:
        DataError: The images do not fill a batch.
        UsageError: The batch is to be cut or shared, and the objective or the batch size does not allow it.
    """

    def __init__(
        self,
        objective: Objective,
        images: Images,
        plan: TrainingPlan,
        *,
        augmentation: Augmentation,
        image: ImageSpec,
        folder: Path,
        fingerprint: Mapping[str, Any],
        device: str = "cpu",
        replay: Replay | None = None,
        checkpoint_seconds: float = 60.0,
        ranks: Ranks | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        if len(images) < plan.batch_size:
            raise DataError(f"{len(images)} images do not fill a batch of {plan.batch_size}.")
        self._objective, self._source, self._plan = objective, images, plan
        self._ranks = ranks or Ranks(device=device)
        self._in_parts = self._ranks.count > 1 or plan.micro_batch is not None
        check_batch(self._ranks, plan.batch_size)
        if self._in_parts and not isinstance(objective, VectorObjective):
            raise UsageError(
                "This objective learns from whole batches in one process.",
                hint="Leave micro_batch out, and start one process only.",
            )
        self._augmentation, self._replay = augmentation, replay
        self._folder, self._fingerprint = folder, dict(fingerprint)
        self._device, self._checkpoint_seconds = torch.device(device), checkpoint_seconds
        self._mean = torch.tensor(image.mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(image.std, device=self._device).view(1, 3, 1, 1)
        self.steps = plan.total_steps(len(images))
        self._per_epoch = len(images) // plan.batch_size
        self._modules = objective.modules()
        self._frozen = freeze(self._modules, plan.frozen)
        self._parameters = dict(trained_parameters(self._modules))
        self._optimizer = _optimizer(self._parameters, plan)
        self._clipped = _give_own_rates(self._optimizer, self._parameters, rates or {}, plan)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=plan.precision == "float16")
        averaged = self._parameters if plan.ema_decay is not None else {}
        self._average = {name: parameter.detach().clone() for name, parameter in averaged.items()}
        self._done, self._seconds = 0, 0.0
        self._interruption = Interruption()
        self._all_stop = False  # what the processes agreed upon in this step

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
        # A run was killed while it wrote: our own unfinished file, or safetensors'.
        for left in (*self._folder.glob(f".{CHECKPOINT_FILE}.*.part"), *self._folder.glob(".tmp*")):
            left.unlink(missing_ok=True)
        if resume and self.checkpoint.is_file():
            self._restore()
        self._ranks.wait()  # nobody trains on before everybody has read the checkpoint
        for module in self._modules.values():
            module.train()
        hold(self._frozen)
        with torch.random.fork_rng(devices=[]), self._interruption.watched():
            losses, parts, speed = self._loop()
        if self._average:
            copy_into(self._parameters, self._average, "", self.checkpoint)
        for module in self._modules.values():
            module.eval()
        tail = losses[-max(1, len(losses) // 10) :]
        finite = {name: value for name, value in parts.items() if math.isfinite(value)}
        return TrainingResult(self.steps, self._seconds, speed, sum(tail) / max(len(tail), 1), finite)

    def _loop(self) -> tuple[list[float], dict[str, float], float]:
        plan, saved, parts, losses = self._plan, time.monotonic(), dict[str, float](), list[float]()
        rows = batch_rows(len(self._source), batch_size=plan.batch_size, seed=plan.seed,
                          first_step=self._done, steps=self.steps)  # fmt: skip
        progress = Progress("train", total=self.steps * plan.batch_size, unit="images",
                            done=self._done * plan.batch_size)  # fmt: skip
        with ExitStack() as stack:
            log = None
            if self._ranks.is_first:
                stack.enter_context(progress)
                log = stack.enter_context(RunLog(self._folder, self._done))
                losses, parts = log.losses, log.last
            reading = stack.enter_context(closing(self._source.read(self._ranks.share(each) for each in rows)))
            for kept, pixels in reading:
                started = time.monotonic()
                parts = self._step(kept, pixels)
                self._done += 1
                self._seconds += time.monotonic() - started
                # Of several processes none stops alone: a wish that comes after they agreed waits for the next step.
                stop = self._all_stop if self._ranks.count > 1 else self._interruption.asked
                due = time.monotonic() - saved >= self._checkpoint_seconds
                if log is not None:
                    log.write(self._done - 1, parts, self._seconds)
                    progress.advance(plan.batch_size, f"step {self._done}/{self.steps}  loss {parts['loss']:.4f}")
                    if due or stop or self._done == self.steps:
                        log.flush()
                        self._save()
                        saved = time.monotonic()
                if stop and self._done < self.steps:
                    raise KeyboardInterrupt
        return losses, parts, progress.per_second

    def _step(self, rows: Rows, pixels: Pixels) -> dict[str, float]:
        plan, step = self._plan, self._done
        epochs = math.ceil(self.steps / self._per_epoch)
        moment = Moment(step, self.steps, step // self._per_epoch, epochs, plan.seed)
        rate = learning_rate(step, steps=self.steps, peak=plan.lr, warmup_steps=plan.rise(self.steps),
                             final_share=plan.final_lr_share)  # fmt: skip
        gradient = self._gradient_in_parts if self._in_parts else self._gradient
        self._optimizer.zero_grad(set_to_none=True)
        value, parts = gradient(rows, pixels, moment)
        if parts is None:  # too few of the batch could be decoded: nothing to learn from
            return {"loss": math.nan, "lr": rate}
        self._check_finite(value, "loss", step)
        self._scaler.unscale_(self._optimizer)
        bound = math.inf if plan.gradient_clip is None else plan.gradient_clip
        norm = float(nn.utils.clip_grad_norm_(self._clipped, bound))
        overflowed = self._scaler.is_enabled() and not math.isfinite(norm)
        if not overflowed or self._scaler.get_scale() < _LEAST_LOSS_SCALE:
            self._check_finite(norm, "gradient", step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if not overflowed:
            self._follow(step)
        return {"epoch": moment.epoch, "loss": value, **parts, "lr": rate, "gradient_norm": norm}

    def _gradient(self, rows: Rows, pixels: Pixels, moment: Moment) -> tuple[float, dict[str, float] | None]:
        """The gradient of a batch that passes the model at once."""
        if len(rows) < 2:
            return math.nan, None
        torch.manual_seed(identity_of(f"{moment.seed}/step/{moment.step}") >> 1)
        batch = Batch(rows, self._images(rows, pixels, moment), moment)
        with self._autocast():
            loss, parts = self._objective.loss(batch)
        if math.isfinite(value := float(loss.detach())):
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return value, parts

    def _gradient_in_parts(self, rows: Rows, pixels: Pixels, moment: Moment) -> tuple[float, dict[str, float] | None]:
        """The gradient of a batch that is cut, or shared by several processes."""
        assert isinstance(self._objective, VectorObjective)
        parts = [Batch(rows[part], self._images(rows[part], pixels[part], moment), moment)
                 for part in cut(rows, self._plan.micro_batch)]  # fmt: skip
        value, log, self._all_stop = backward_whole_batch(
            self._objective, parts, moment, ranks=self._ranks, share=self._plan.batch_size // self._ranks.count,
            stop=self._interruption.asked, autocast=self._autocast(), scaler=self._scaler,
        )  # fmt: skip
        if log is not None:
            sum_gradients(self._parameters, self._modules, self._ranks)
        return value, log

    def _autocast(self) -> torch.autocast:
        kind = _AUTOCAST.get(self._plan.precision)
        return torch.autocast(self._device.type, kind, enabled=kind is not None)

    def _images(self, rows: Rows, pixels: Pixels, moment: Moment) -> Tensor:
        # Bytes are laid out channel by channel before they become floats, a quarter of the traffic.
        images = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).contiguous().float().div_(255.0)
        identities, replay = self._source.identities[rows], self._replay
        if replay is None:
            images = self._augmentation.apply(images, identities, seed=moment.seed, epoch=moment.epoch)
        elif view := moment.epoch % replay.views:
            images = self._augmentation.apply(images, identities, seed=replay.seed, epoch=view)
        return images.sub_(self._mean).div_(self._std).contiguous()  # (n, 3, height, width)

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
        # An update may have made weights infinite; the loss will only tell when it is computed again.
        for name, parameter in self._parameters.items():
            if not bool(parameter.isfinite().all()):
                self._check_finite(math.nan, f"weight {name}", self._done - 1)
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        tensors = {f"weights/{name}": tensor for name, tensor in trained_tensors(self._modules).items()}
        tensors |= optimizer_tensors(self._optimizer, names)
        tensors |= {f"average/{name}": tensor for name, tensor in self._average.items()}
        state = {"step": self._done, "seconds": self._seconds, "fingerprint": self._fingerprint,
                 "scaler": self._scaler.state_dict()}  # fmt: skip
        save_checkpoint(self.checkpoint, Checkpoint(tensors, state))

    def _restore(self) -> None:
        checkpoint = load_checkpoint(self.checkpoint)
        checkpoint.check_fingerprint(self._fingerprint, self.checkpoint)
        copy_into(trained_tensors(self._modules), checkpoint.tensors, "weights/", self.checkpoint)
        restore_optimizer(self._optimizer, self._parameters, checkpoint.tensors)
        copy_into(self._average, checkpoint.tensors, "average/", self.checkpoint)
        self._scaler.load_state_dict(checkpoint.state["scaler"])
        self._done, self._seconds = int(checkpoint.state["step"]), float(checkpoint.state["seconds"])


def _optimizer(parameters: Mapping[str, nn.Parameter], plan: TrainingPlan) -> torch.optim.Optimizer:
    """Weight decay for matrices and filters; biases, norms and other vectors have none."""
    if plan.optimizer == "muon":
        return Muon(parameters, lr=plan.lr, weight_decay=plan.weight_decay, betas=plan.betas)
    wide = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    narrow = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [{"params": wide, "weight_decay": plan.weight_decay}, {"params": narrow, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=plan.lr, betas=plan.betas, fused=True)


def _give_own_rates(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], rates: Mapping[str, float],
    plan: TrainingPlan,
) -> list[nn.Parameter]:  # fmt: skip
    """Put the parameters of modules with a learning rate of their own into groups with it; the others, in order."""
    own = {id(parameter): rates[name.partition(".")[0]] for name, parameter in parameters.items()
           if name.partition(".")[0] in rates}  # fmt: skip
    for group in list(optimizer.param_groups):
        options = {name: value for name, value in group.items() if name != "params"}
        apart: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            apart.setdefault(own.get(id(parameter), plan.lr), []).append(parameter)
        group["params"] = apart.pop(plan.lr, [])
        for rate, moved in apart.items():
            optimizer.add_param_group({**options, "params": moved, "times": rate / plan.lr})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
    return [parameter for parameter in parameters.values() if id(parameter) not in own]
