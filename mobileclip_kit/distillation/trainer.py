"""The one trainer: any objective, with a teacher or without, interruptible at any context.

Order, augmentation, learning rate and random numbers are pure functions of the step, so a resumed run on a CPU ends
with the same bits as one that was never interrupted.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.data.images import Images, Rows, identity_of
from mobileclip_kit.distillation.augment import Replay, augment
from mobileclip_kit.distillation.checkpoint import (
    Checkpoint,
    copy_into,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    trained_parameters,
    trained_tensors,
)
from mobileclip_kit.distillation.distributed import (
    DistributedContext,
    backward_whole_batch,
    check_batch,
    cut,
    sum_gradients,
)
from mobileclip_kit.distillation.objective import Batch, Objective, StepContext, VectorObjective
from mobileclip_kit.distillation.optimizer import give_own_rates, make_optimizer
from mobileclip_kit.distillation.run_folder import CHECKPOINT_FILE, RunLog
from mobileclip_kit.distillation.tables import Augmentation, TrainingPlan
from mobileclip_kit.distillation.training_set import batch_rows
from mobileclip_kit.errors import DataError, ModelError, TrainingError, UsageError, first_line
from mobileclip_kit.networks.backbones import projection_of
from mobileclip_kit.networks.families import image_tower, memory_format_of
from mobileclip_kit.networks.patches import Patches
from mobileclip_kit.progress import Progress
from mobileclip_kit.resources import did_you_mean
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
        loss: Mean over the last tenth of the steps; None where no step had one.
        parts: The loss's parts in the last step.
    """

    steps: int
    seconds: float
    images_per_s: float
    loss: float | None
    parts: dict[str, float]

    @property
    def losses(self) -> dict[str, float]:
        """The loss by its name among a report's metrics; empty where no step had one."""
        return {} if self.loss is None else {"loss": self.loss}


@dataclass(frozen=True, kw_only=True)
class TrainerSetup:
    """How an objective is trained.

    Attributes:
        plan: Steps, learning rate, seed. Its batch size is at most the number of images.
        augmentation: How images are varied.
        image: The model's preprocessing: mean and std.
        folder: Where the checkpoint and ``log.jsonl`` are kept; made when missing.
        fingerprint: What must be equal for a checkpoint to be resumed: a small JSON object.
        replay: Which stored views to show again; None draws new ones in every epoch.
        checkpoint_seconds: Time between checkpoints.
        rates: Module → constant learning rate, of modules that have their own; their gradients are not clipped.
    """

    plan: TrainingPlan
    augmentation: Augmentation
    image: ImageSpec
    folder: Path
    fingerprint: Mapping[str, Any]
    replay: Replay | None = None
    checkpoint_seconds: float = 60.0
    rates: Mapping[str, float] | None = None


class Trainer:
    """Drives an objective over images.

    Args:
        objective: The modules to train, and their loss.
        images: The training set.
        setup: How.
        processes: Those that share each batch, with this one's device; None for this one alone on the CPU. Process 0
            keeps checkpoint and log.

    Raises:
        DataError: The images do not fill a batch.
        UsageError: The batch is to be cut or shared, and the objective or the batch size does not allow it; or a frozen
            part does not exist.
    """

    def __init__(
        self, objective: Objective, images: Images, setup: TrainerSetup, processes: DistributedContext | None = None
    ) -> None:
        plan = setup.plan
        if len(images) < plan.batch_size:
            raise DataError(f"{len(images)} images do not fill a batch of {plan.batch_size}.")
        self._objective, self._source, self._plan, self._setup = objective, images, plan, setup
        self._processes = processes or DistributedContext()
        self._in_parts = self._processes.count > 1 or plan.micro_batch is not None
        check_batch(self._processes, plan.batch_size)
        if self._in_parts and not isinstance(objective, VectorObjective):
            raise UsageError(
                "This objective learns from whole batches in one process.",
                hint="Leave micro_batch out, and start one process only.",
            )
        self._device = torch.device(self._processes.device)
        self._mean = torch.tensor(setup.image.mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(setup.image.std, device=self._device).view(1, 3, 1, 1)
        self.steps = plan.total_steps(len(images))
        self._per_epoch = len(images) // plan.batch_size
        self._modules = objective.modules()
        self._layout = memory_format_of(self._modules["network"])
        self._frozen = freeze(self._modules, plan.frozen)
        self._parameters = dict(trained_parameters(self._modules))
        self._backbone = find_backbone(self._modules) if plan.backbone_frozen else None
        self._patches: Patches | None = None
        if plan.patch_dropout:
            self._patches = Patches(image_tower(self._modules["network"]), plan.patch_dropout, self.steps)
        self._optimizer = make_optimizer(self._parameters, plan)
        self._clipped = give_own_rates(self._optimizer, self._parameters, setup.rates or {}, plan)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=plan.precision == "float16")
        averaged = self._parameters if plan.ema_decay is not None else {}
        self._average = {name: parameter.detach().clone() for name, parameter in averaged.items()}
        self._done, self._seconds = 0, 0.0
        self._interruption = Interruption()
        self._all_stop = False  # what the processes agreed upon in this step

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self._setup.folder / CHECKPOINT_FILE

    def run(self, *, resume: bool = False) -> TrainingResult:
        """Train to the end; the modules then hold the result, in eval mode.

        Args:
            resume: Go on from the folder's checkpoint when there is one.

        Raises:
            TrainingError: The loss or a gradient is no longer finite, or the checkpoint does not fit.
            KeyboardInterrupt: After Ctrl-C, once the checkpoint is written.
        """
        self._setup.folder.mkdir(parents=True, exist_ok=True)
        # A run was killed while it wrote: our own unfinished file, or safetensors'.
        for left in (*self._setup.folder.glob(f".{CHECKPOINT_FILE}.*.part"), *self._setup.folder.glob(".tmp*")):
            left.unlink(missing_ok=True)
        if resume and self.checkpoint.is_file():
            self._restore()
        self._processes.wait()  # nobody trains on before everybody has read the checkpoint
        for module in self._modules.values():
            module.train()
        for part in self._frozen:
            part.eval()  # keeps its running means
        try:
            with torch.random.fork_rng(devices=[]), self._interruption.watched():
                losses, parts, speed = self._loop()
        finally:
            if self._patches is not None:
                self._patches.restore()
        if self._average:
            copy_into(self._parameters, self._average, "", self.checkpoint)
        for module in self._modules.values():
            module.eval()
        tail = losses[-max(1, len(losses) // 10) :]
        finite = {name: value for name, value in parts.items() if math.isfinite(value)}
        loss = sum(tail) / len(tail) if tail else None
        return TrainingResult(self.steps, self._seconds, speed, loss, finite)

    def _loop(self) -> tuple[list[float], dict[str, float], float]:
        plan, saved, parts, losses = self._plan, time.monotonic(), dict[str, float](), list[float]()
        rows = batch_rows(len(self._source), batch_size=plan.batch_size, seed=plan.seed,
                          first_step=self._done, steps=self.steps)  # fmt: skip
        progress = Progress("train", total=self.steps * plan.batch_size, unit="images",
                            done=self._done * plan.batch_size)  # fmt: skip
        with ExitStack() as stack:
            log = None
            if self._processes.is_first:
                if self.steps:
                    stack.enter_context(progress)
                log = stack.enter_context(RunLog(self._setup.folder, self._done))
                losses, parts = log.losses, log.last
            reading = stack.enter_context(closing(self._source.read(self._processes.share(each) for each in rows)))
            for kept, pixels in reading:
                started = time.monotonic()
                parts = self._step(kept, pixels)
                self._done += 1
                self._seconds += time.monotonic() - started
                # Of several processes none stops alone: a request after they agreed waits for the next step.
                stop = self._all_stop if self._processes.count > 1 else self._interruption.asked
                due = time.monotonic() - saved >= self._setup.checkpoint_seconds
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
        if self._backbone is not None:
            self._backbone.hold(step < round(plan.backbone_frozen * self.steps))
            for part in self._frozen:  # of the backbone, perhaps
                part.eval()
        if self._patches is not None:
            self._patches.choose(step)
        context = StepContext(step, self.steps, step // self._per_epoch, plan.seed)
        rate = plan.learning_rate(step, self.steps)
        gradient = self._gradient_in_parts if self._in_parts else self._gradient
        self._optimizer.zero_grad(set_to_none=True)
        value, parts = gradient(rows, pixels, context)
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
            group["lr"] = group.get("own_lr", rate)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if not overflowed:
            self._follow(step)
        return {"epoch": context.epoch, "loss": value, **parts, "lr": rate, "gradient_norm": norm}

    def _gradient(self, rows: Rows, pixels: Pixels, context: StepContext) -> tuple[float, dict[str, float] | None]:
        """The gradient of a batch that passes the model at once."""
        if len(rows) < 2:
            return math.nan, None
        torch.manual_seed(identity_of(f"{context.seed}/step/{context.step}") >> 1)
        batch = Batch(rows, self._images(rows, pixels, context), context)
        with self._autocast():
            loss, parts = self._objective.loss(batch)
        if math.isfinite(value := float(loss.detach())):
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return value, parts

    def _gradient_in_parts(
        self, rows: Rows, pixels: Pixels, context: StepContext
    ) -> tuple[float, dict[str, float] | None]:
        """The gradient of a batch that is cut, or shared by several processes."""
        assert isinstance(self._objective, VectorObjective)
        parts = [Batch(rows[part], self._images(rows[part], pixels[part], context), context)
                 for part in cut(rows, self._plan.micro_batch)]  # fmt: skip
        share = self._plan.batch_size // self._processes.count
        value, log, self._all_stop = backward_whole_batch(
            self._objective, parts, context, processes=self._processes, share=share,
            stop=self._interruption.asked, autocast=self._autocast(), scaler=self._scaler,
        )  # fmt: skip
        if log is not None:
            sum_gradients(self._parameters, self._modules, self._processes)
        return value, log

    def _autocast(self) -> torch.autocast:
        kind = _AUTOCAST.get(self._plan.precision)
        return torch.autocast(self._device.type, kind, enabled=kind is not None)

    def _images(self, rows: Rows, pixels: Pixels, context: StepContext) -> Tensor:
        if pixels.dtype != np.uint8:  # grids of stages that the images have passed already
            return torch.from_numpy(pixels).to(self._device).contiguous(memory_format=self._layout)
        # Bytes are laid out channel by channel before they become floats, a quarter of the traffic.
        images = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).contiguous().float().div_(255.0)
        identities, how, replay = self._source.identities[rows], self._setup.augmentation, self._setup.replay
        if replay is None:
            images = augment(images, identities, how, seed=context.seed, epoch=context.epoch)
        elif view := context.epoch % replay.views:
            images = augment(images, identities, how, seed=replay.seed, epoch=view)
        images = images.sub_(self._mean).div_(self._std)  # (n, 3, height, width)
        return images.contiguous(memory_format=self._layout)

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
        state = {"step": self._done, "seconds": self._seconds, "fingerprint": dict(self._setup.fingerprint),
                 "scaler": self._scaler.state_dict()}  # fmt: skip
        save_checkpoint(self.checkpoint, Checkpoint(tensors, state))

    def _restore(self) -> None:
        checkpoint = load_checkpoint(self.checkpoint)
        checkpoint.check_fingerprint(self._setup.fingerprint, self.checkpoint)
        copy_into(trained_tensors(self._modules), checkpoint.tensors, "weights/", self.checkpoint)
        restore_optimizer(self._optimizer, self._parameters, checkpoint.tensors)
        copy_into(self._average, checkpoint.tensors, "average/", self.checkpoint)
        self._scaler.load_state_dict(checkpoint.state["scaler"])
        self._done, self._seconds = int(checkpoint.state["step"]), float(checkpoint.state["seconds"])


def freeze(modules: Mapping[str, nn.Module], names: Sequence[str]) -> tuple[nn.Module, ...]:
    """Take parts out of the training: inherited stages need not be learned again, nor any gradient pass through them.

    Args:
        modules: The modules to train; ``network`` holds the parts.
        names: Of parts of the network, such as ``visual.trunk.stages.0``.

    Returns:
        The parts.

    Raises:
        UsageError: The network has no such part, or nothing is left to train.
    """
    if not names:
        return ()
    parts = _parts_named(modules["network"], names)
    for part in parts:
        part.requires_grad_(False)
    if not any(parameter.requires_grad for module in modules.values() for parameter in module.parameters()):
        raise UsageError(f"With {', '.join(names)} frozen, nothing is left to train.")
    return parts


def _parts_named(network: nn.Module, names: Sequence[str]) -> tuple[nn.Module, ...]:
    known = dict(network.named_modules())
    if missing := [name for name in names if name not in known]:
        raise UsageError(f"The network has no part named {', '.join(missing)} to freeze.",
                         hint=did_you_mean(missing[0], known))  # fmt: skip
    return tuple(known[name] for name in names)


def check_plan(plan: TrainingPlan, network: nn.Module) -> None:
    """Refuse a plan that names parts which a network does not have, before the training is prepared.

    Raises:
        UsageError: Says which option needs what.
    """
    _parts_named(network, plan.frozen)
    if plan.backbone_frozen:
        find_backbone({"network": network})
    if plan.patch_dropout:
        Patches(image_tower(network), plan.patch_dropout, plan.steps or 1)


@torch.no_grad()
def check_input(network: nn.Module, image: ImageSpec, name: str) -> None:
    """Refuse an image tower that cannot take its own images: a size in its configuration that it was not built for.

    Args:
        network: In eval mode.
        image: The preprocessing.
        name: Of the tower, for the message.

    Raises:
        ModelError: The tower fails on an empty image.
    """
    try:
        image_tower(network)(torch.zeros(1, 3, image.height, image.width))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"The student {name} cannot take images of {image.height} × {image.width} px: "
            f"{first_line(error).rstrip('.')}.",
            hint="Give the image size that the tower was built for.",
        ) from error


class Backbone:
    """A part that is trained in some steps only; the others leave its weights and running means as they are."""

    def __init__(self, part: nn.Module, projection: nn.Module | None) -> None:
        own = set() if projection is None else set(projection.parameters())
        self._part = part
        self._trained = [each for each in part.parameters() if each.requires_grad and each not in own]

    def hold(self, held: bool) -> None:
        """Hold the part still, or let it learn, from the next step."""
        self._part.train(not held)
        for parameter in self._trained:
            parameter.requires_grad_(not held)


def find_backbone(modules: Mapping[str, nn.Module]) -> Backbone:
    """The timm backbone of the image tower in training.

    Raises:
        UsageError: The image tower has none.
    """
    trunk = dict(modules["network"].named_modules()).get("visual.trunk")
    if trunk is None:
        raise UsageError("backbone_frozen needs a student on a timm backbone, and this image tower has none.",
                         hint="Leave it out of the recipe, or name the frozen parts in frozen.")  # fmt: skip
    return Backbone(trunk, projection_of(image_tower(modules["network"])))


class Interruption:
    """Turns the first SIGINT or SIGTERM into :attr:`asked`, honoured after the step; the second one stops at once.

    Attributes:
        asked: Whether the run is to stop.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Listen while the block runs. Signals reach the main thread alone, so elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask_to_stop(number: int, _: object) -> None:
            self.asked = True
            signal.signal(number, signal.default_int_handler)

        before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
