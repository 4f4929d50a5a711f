"""The trainer on a toy objective: resuming, averaging, refusing."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from mobileclip_kit.data.images import MemoryImages, identities_of
from mobileclip_kit.distillation.checkpoint import (
    Checkpoint,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
    trained_parameters,
)
from mobileclip_kit.distillation.objective import Batch, Encoded, StepContext
from mobileclip_kit.distillation.run_folder import LOG_FILE, RunLog
from mobileclip_kit.distillation.tables import Augmentation, TrainingPlan
from mobileclip_kit.distillation.trainer import Backbone, Trainer, TrainerSetup, TrainingResult, freeze
from mobileclip_kit.distillation.training_set import batch_rows
from mobileclip_kit.errors import DataError, OutputError, TrainingError, UsageError
from mobileclip_kit.networks.patches import Patches
from mobileclip_kit.spec import ImageSpec
from tests.processes import life

IMAGE = ImageSpec(height=8, width=8)
PLAN = TrainingPlan(epochs=4, batch_size=4, lr=1e-2, seed=3)
AUGMENTATION = Augmentation(crop_scale=(0.5, 1.0), flip=0.5, brightness=0.2)


class MeanColour:
    """Predicts an image's number; batch norm has buffers, dropout draws random numbers."""

    def __init__(self, *, fail_at: int = -1, interrupt_at: int = -1, pause: float = 0.0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = nn.Sequential(
                nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1)
            )
        self.fail_at, self.interrupt_at, self.pause = fail_at, interrupt_at, pause

    def modules(self) -> Mapping[str, nn.Module]:
        """See Objective."""
        return {"network": self.network}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """See Objective."""
        time.sleep(self.pause)
        if batch.context.step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        wanted = torch.from_numpy(batch.rows % 5).float()[:, None] + 0.1 * torch.rand(len(batch.rows), 1)
        loss = (self.network(batch.images) - wanted).square().mean()
        return loss * (float("nan") if batch.context.step == self.fail_at else 1.0), {"part": 1.0}


class PartsColour(MeanColour):
    """The same of vectors, so that a batch can be cut; asked to stop while the whole batch is compared."""

    def encode(self, batch: Batch) -> Encoded:
        """See VectorObjective."""
        return Encoded({"found": self.network(batch.images)}, {})

    def shared(self, context: StepContext) -> dict[str, Tensor]:
        """See VectorObjective."""
        return {}

    def compare(
        self, encoded: Encoded, shared: Any, rows: Any, context: StepContext
    ) -> tuple[Tensor, dict[str, float]]:
        """See VectorObjective."""
        if context.step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return (encoded.trained["found"] - torch.from_numpy(rows % 5)[:, None]).square().mean(), {"part": 1.0}


class LosingImages(MemoryImages):
    """Some steps' images cannot be decoded, but for a few."""

    def __init__(self, left: Mapping[int, int]) -> None:
        made = images()
        super().__init__(made.pixels, made.identities)
        self.left = left

    def read(self, batches: Any) -> Any:
        """See Images."""
        for step, (rows, pixels) in enumerate(super().read(batches)):
            yield rows[: self.left.get(step)], pixels[: self.left.get(step)]


def images(count: int = 18) -> MemoryImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return MemoryImages(pixels, identities_of(str(row) for row in range(count)))


def train(folder: Path, objective: MeanColour, *, plan: TrainingPlan = PLAN, resume: bool = False,
          seconds: float = 1e9, shown: MemoryImages | None = None, **fingerprint: Any) -> TrainingResult:  # fmt: skip
    setup = TrainerSetup(plan=plan, augmentation=AUGMENTATION, image=IMAGE, folder=folder,
                         fingerprint={"data": "toy", **fingerprint}, checkpoint_seconds=seconds)  # fmt: skip
    return Trainer(objective, shown or images(), setup).run(resume=resume)


def assert_same_weights(one: MeanColour, other: MeanColour) -> None:
    theirs = other.network.state_dict()
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        *(
            replace(PLAN, **change)
            for change in ({"ema_decay": 0.9}, {"precision": "bfloat16"}, {"precision": "float16"})
        ),
    ],
)
def test_resume_equals_uninterrupted_run(tmp_path: Path, plan: TrainingPlan) -> None:
    """Bit for bit, batch norm's buffers and the moving average included, interrupted inside an epoch."""
    whole, stopped, resumed = MeanColour(), MeanColour(interrupt_at=5), MeanColour()
    result = train(tmp_path / "whole", whole, plan=plan)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", stopped, plan=plan)
    again = train(tmp_path / "parts", resumed, plan=plan, resume=True)
    assert_same_weights(whole, resumed)
    assert result.steps == again.steps == 16
    assert result.loss == again.loss


def test_ctrl_c_while_a_cut_batch_is_compared_stops_after_the_step(tmp_path: Path) -> None:
    plan = replace(PLAN, micro_batch=2)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", PartsColour(interrupt_at=5), plan=plan)
    assert load_checkpoint(tmp_path / "parts" / "checkpoint.safetensors").state["step"] == 6
    whole, resumed = PartsColour(), PartsColour()
    train(tmp_path / "whole", whole, plan=plan)
    train(tmp_path / "parts", resumed, plan=plan, resume=True)
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_batches_of_which_nothing_is_left_teach_nothing(tmp_path: Path, micro_batch: int | None) -> None:
    """The last step among them: its loss is no number, and the result still can be written."""
    shown = LosingImages({3: 0, 8: 1, 15: 0})
    result = train(tmp_path, PartsColour(), plan=replace(PLAN, micro_batch=micro_batch), shown=shown)
    losses = [json.loads(line)["loss"] for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert [step for step, loss in enumerate(losses) if loss is None] == [3, 8, 15]
    json.dumps(asdict(result), allow_nan=False)


def test_a_run_that_was_killed_once_all_was_done_tells_the_same(tmp_path: Path) -> None:
    first = train(tmp_path, MeanColour())
    again = train(tmp_path, MeanColour(), resume=True)
    assert again.parts == first.parts and again.loss == first.loss


def test_log_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, MeanColour(interrupt_at=5))
    with (tmp_path / LOG_FILE).open("a") as log:
        log.write('{"step": 6, "loss": 1.0}\n')  # written after the checkpoint, then killed
    train(tmp_path, MeanColour(), resume=True)
    entries = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(16))
    assert {"loss", "part", "lr", "gradient_norm", "epoch", "seconds"} <= set(entries[-1])


def test_a_log_that_is_gone_on_with_is_never_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while the log is opened again must not cost what it held."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, MeanColour(interrupt_at=5))
    before = (tmp_path / LOG_FILE).read_bytes()

    def killed(path: Path, text: str, **_: Any) -> None:
        path.write_bytes(text.encode()[: len(text) // 2])
        raise SystemExit

    with monkeypatch.context() as patched, suppress(SystemExit):
        patched.setattr(Path, "write_text", killed)
        train(tmp_path, MeanColour(), resume=True)
    assert (tmp_path / LOG_FILE).read_bytes().startswith(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="lives of a run come from a fork server")
def test_run_killed_at_any_moment_resumes(tmp_path: Path) -> None:
    """Twenty SIGKILLs at random moments of a run that writes a checkpoint after every step; then it is finished."""
    folder, moments = tmp_path / "killed", np.random.default_rng(0).uniform(0.005, 0.1, 20)
    for moment in moments:
        with life(train, folder, MeanColour(pause=0.01), seconds=0.0, resume=True):
            time.sleep(moment)
    whole, resumed = MeanColour(), MeanColour()
    train(tmp_path / "whole", whole)
    train(folder, resumed, resume=True)
    assert_same_weights(whole, resumed)
    assert {path.name for path in folder.iterdir()} - {"tensorboard"} == {"checkpoint.safetensors", LOG_FILE}


def use_writer(monkeypatch: pytest.MonkeyPatch, writer: type) -> None:
    """Stand in for TensorBoard."""
    for name, holds in (("tensorboard", {}), ("torch.utils.tensorboard", {"SummaryWriter": writer})):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(holds)
        monkeypatch.setitem(sys.modules, name, module)


def test_an_error_of_tensorboards_thread_is_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next step that is logged raises it; those of other threads are printed as ever."""

    class _AsyncWriterThread(threading.Thread):
        def run(self) -> None:
            raise OSError("The disk is full.")

    class Writer:
        def __init__(self, *_: object, **__: object) -> None:
            for kind in (_AsyncWriterThread, type("Other", (_AsyncWriterThread,), {})):
                thread = kind()
                thread.start()
                thread.join()

        def close(self) -> None: ...

    use_writer(monkeypatch, Writer)
    printed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hook := printed.append)
    with RunLog(tmp_path, step=0):
        pass
    assert [type(each.thread).__name__ for each in printed] == ["Other"] and threading.excepthook is hook


def test_steps_are_shown_to_tensorboard_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    made: list[dict[str, Any]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            made.append({"folder": Path(folder).name, "purge_step": purge_step})

        def add_scalar(self, name: str, value: float, step: int) -> None:
            seen.append((name, step))

        def flush(self) -> None: ...

        def close(self) -> None: ...

    use_writer(monkeypatch, Writer)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, MeanColour(interrupt_at=5))
    train(tmp_path, MeanColour(), resume=True)
    assert [step for name, step in seen if name == "loss"] == list(range(16))
    assert made == [{"folder": "tensorboard", "purge_step": 0}, {"folder": "tensorboard", "purge_step": 6}]


def test_an_objective_of_whole_batches_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whole batches in one process"):
        train(tmp_path, MeanColour(), plan=replace(PLAN, micro_batch=2))


def test_loss_falls(tmp_path: Path) -> None:
    train(tmp_path, MeanColour(), plan=replace(PLAN, epochs=30))
    losses = [json.loads(line)["loss"] for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


def test_lost_loss_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss is nan at step 7.*keeps the last good state"):
        train(tmp_path, MeanColour(fail_at=7), seconds=0.0)
    resumed, whole = MeanColour(), MeanColour()
    train(tmp_path, resumed, resume=True)
    train(tmp_path / "whole", whole)
    assert_same_weights(whole, resumed)


def test_lost_weights_never_become_a_checkpoint_or_a_result(tmp_path: Path) -> None:
    """The loss of the very step that loses them is still finite."""
    with pytest.raises(TrainingError, match=r"weight network\..* is nan at step 0.*Nothing was saved"):
        train(tmp_path, MeanColour(), plan=replace(PLAN, epochs=1, lr=1e39, warmup_share=0.0), seconds=0.0)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, MeanColour(interrupt_at=2))
    with pytest.raises(TrainingError, match="another teacher"):
        train(tmp_path, MeanColour(), resume=True, teacher="other")


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, MeanColour(interrupt_at=2))
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(TrainingError, match="cannot be read"):
        train(tmp_path, MeanColour(), resume=True)


def test_fused_steps_are_counted_on_the_parameters_device() -> None:
    """As torch's own load_state_dict does: on a GPU the fused update reads them there."""
    optimizer = torch.optim.AdamW([torch.zeros(2, requires_grad=True)], fused=True)
    elsewhere = nn.Parameter(torch.zeros(2, device="meta"))
    restore_optimizer(optimizer, {"w": elsewhere},
                      {"optimizer/step/w": torch.tensor(3.0), "optimizer/exp_avg/w": torch.ones(2)})  # fmt: skip
    assert {entry.device.type for entry in optimizer.state[elsewhere].values()} == {"meta"}


def test_full_disk_is_one_sentence_and_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: both reach safetensors as a failed write."""
    file = tmp_path / "c.safetensors"
    save_checkpoint(file, Checkpoint({"a": torch.ones(3)}, {"step": 1}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            save_checkpoint(file, Checkpoint({"a": torch.ones(1_000_000)}, {"step": 2}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_checkpoint(file).state == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_moving_average_becomes_the_result(tmp_path: Path) -> None:
    last, average = MeanColour(), MeanColour()
    train(tmp_path / "last", last)
    train(tmp_path / "average", average, plan=replace(PLAN, ema_decay=0.99))
    assert not torch.equal(last.network[1].weight, average.network[1].weight)


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="18 images do not fill a batch of 32"):
        train(tmp_path, MeanColour(), plan=replace(PLAN, batch_size=32))


def test_weight_decay_spares_vectors(tmp_path: Path) -> None:
    setup = TrainerSetup(plan=PLAN, augmentation=Augmentation(), image=IMAGE, folder=tmp_path, fingerprint={})
    trainer = Trainer(MeanColour(), images(), setup)
    decayed, spared = trainer._optimizer.param_groups
    assert {tuple(p.shape) for p in decayed["params"]} == {(8, 192), (1, 8)}
    assert all(p.ndim == 1 for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_every_epoch_is_a_permutation_that_any_step_can_enter() -> None:
    rows = list(batch_rows(10, batch_size=5, seed=1, first_step=0, steps=6))
    epochs = [np.concatenate(rows[start : start + 2]) for start in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    for first in range(6):
        for late, whole in zip(
            batch_rows(10, batch_size=5, seed=1, first_step=first, steps=6), rows[first:], strict=True
        ):
            assert np.array_equal(late, whole)


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 1))


def test_frozen_parts_keep_weights_and_running_means_and_the_rest_learns():
    model = convolutions()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parts = freeze({"network": model}, ("0",))
    model.train()
    for part in parts:
        part.eval()
    assert [name for name, _ in trained_parameters({"network": model})] == ["network.1.weight", "network.1.bias"]
    model(torch.rand(2, 3, 4, 4)).sum().backward()
    with torch.no_grad():
        for _, parameter in trained_parameters({"network": model}):
            parameter -= parameter.grad
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("0."))
    assert not torch.equal(after["1.bias"], before["1.bias"])
    assert model[0][0].weight.grad is None


def test_nothing_is_frozen_by_default():
    model = convolutions()
    assert freeze({"network": model}, ()) == ()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_unknown_parts_and_networks_frozen_whole_are_refused():
    with pytest.raises(UsageError, match="no part named visual.stem"):
        freeze({"network": convolutions()}, ("visual.stem",))
    with pytest.raises(UsageError, match="nothing is left to train"):
        freeze({"network": convolutions()}, ("0", "1"))


def test_patches_of_timms_transformers_are_dropped_but_not_their_class_token() -> None:
    visual = nn.Module()
    visual.trunk = trunk = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, num_classes=0)
    before, given = trunk.state_dict().keys(), torch.rand(2, 3, 64, 64)
    patches = Patches(visual, 0.75, steps=20)
    shapes = []
    for step in (0, 17, 18, 19):
        patches.choose(step)
        shapes.append(tuple(trunk.train().forward_features(given).shape[:2]))
    assert shapes == [(2, 5), (2, 5), (2, 17), (2, 17)]
    patches.choose(0)
    assert trunk.eval().forward_features(given).shape[1] == 17
    patches.restore()
    assert isinstance(trunk.patch_drop, nn.Identity) and trunk.state_dict().keys() == before


def test_a_backbone_that_is_held_still_drops_patches_too() -> None:
    visual = nn.Module()
    visual.trunk = nn.Module()
    visual.trunk.patch_drop, visual.trunk.inner = nn.Identity(), nn.Linear(1, 1)
    patches, backbone, drops = Patches(visual, 0.5, steps=10), Backbone(visual.trunk, None), []
    for step in range(3):
        backbone.hold(step < 2)
        patches.choose(step)
        drops.append(visual.trunk.patch_drop(torch.zeros(1, 8, 1)).shape[1])
    assert drops == [4, 4, 4]


def test_transformers_with_rotary_positions_drop_patches() -> None:
    visual = nn.Module()
    visual.trunk = trunk = timm.create_model("eva02_tiny_patch14_224", img_size=28, depth=1, num_classes=0)
    patches = Patches(visual, 0.5, steps=10)
    patches.choose(0)
    assert trunk.train().forward_features(torch.rand(2, 3, 28, 28)).shape[1] == 1 + 2
    patches.restore()
    assert trunk.forward_features(torch.rand(2, 3, 28, 28)).shape[1] == 1 + 4
