"""Progressive pruning (TinyCLIP, arXiv 2309.12314): 100 → 75 → 50 → 25 % of the parameters, each from the one before.

A stage has three parts: train gates under a budget, prune the student physically, train it to recover. The result of
each part is written with one rename and read back from disk, whether the run was interrupted or not, so a resumed run
ends with the same bits. Inside a part the trainer's own checkpoint is used::

    stages/run.json      the run's fingerprint: with another recipe or other images the stages are not continued
    stages/1-masks/      checkpoint and log of the gates' training
    stages/1-pruned/     the student, cut down
    stages/1-recovery/   checkpoint and log of its recovery
    stages/1/            the student of the first stage: the second starts here
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.data.images import Rows, identity_of
from mobileclip_kit.distillation.checkpoint import Checkpoint
from mobileclip_kit.distillation.distributed import DistributedContext
from mobileclip_kit.distillation.objective import Batch, Encoded, LossAndLog, StepContext, VectorObjective
from mobileclip_kit.distillation.run_folder import LOG_FILE, read_log
from mobileclip_kit.distillation.student import Student
from mobileclip_kit.distillation.tables import StageOptions, TrainingPlan
from mobileclip_kit.distillation.trainer import TrainingResult
from mobileclip_kit.errors import UsageError
from mobileclip_kit.files import atomic_folder, read_json, write_json
from mobileclip_kit.inherit.budget import ParameterBudget, choose_units
from mobileclip_kit.inherit.gates import Gates, require_finite
from mobileclip_kit.inherit.layout import Layout, layout_of, require_groups
from mobileclip_kit.inherit.masks import masked
from mobileclip_kit.inherit.prune import prune
from mobileclip_kit.networks.model import describe, load_model, save_model, tower_parameters

STAGES_FOLDER = "stages"
_RESULT_FILE = "result.json"
_RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training within a stage.

    Attributes:
        folder: Of its checkpoint and log.
        steps: Updates; None takes the recipe's.
        wrap: Puts the gates' objective around the recipe's, or None.
        rates: Learning rates of modules that have their own.
    """

    folder: Path
    steps: int | None = None
    wrap: Callable[[VectorObjective], VectorObjective] | None = None
    rates: Mapping[str, float] | None = None

    def plan(self, recipe: TrainingPlan) -> TrainingPlan:
        """The recipe's plan with this phase's steps."""
        return recipe if self.steps is None else replace(recipe, steps=self.steps)


Train = Callable[[Student, Phase], TrainingResult]


@dataclass(frozen=True)
class Staged:
    """The result of all stages.

    Attributes:
        student: The last stage's.
        result: Of all trainings: steps and seconds are sums, loss and parts the last recovery's.
        stages: For each stage its share, and the parameters of both towers.
    """

    student: Student
    result: TrainingResult
    stages: list[dict[str, Any]]


def run_stages(student: Student, options: StageOptions, run: Path, processes: DistributedContext, train: Train,
               fingerprint: Mapping[str, Any]) -> Staged:  # fmt: skip
    """Cut a student down stage by stage.

    Args:
        student: As large as its teacher.
        options: The stages.
        run: The run's folder; the files of an interrupted run are continued.
        processes: The processes; the first one writes.
        train: Trains a student to the end of a phase.
        fingerprint: What must be equal for the stages on disk to be continued: a small JSON object.

    Raises:
        ModelError: Neither tower can be cut, or a share cannot be met.
        UsageError: A share is below what cannot be cut away, or nothing is counted.
        TrainingError: The stages on disk belong to another run.
    """
    layout = layout_of(student.network)
    require_groups(layout, "the student")
    counted = _counted(layout, options)
    whole = counted.parameters(layout.groups)
    for share in options.shares:  # refuse an impossible share now, not after hours
        ParameterBudget(counted, round(share * whole), warmup_steps=1)
    folder = run / STAGES_FOLDER
    _claim(folder / _RUN_FILE, fingerprint, processes)
    results: list[TrainingResult] = []
    stages: list[dict[str, Any]] = []
    for number, share in enumerate(options.shares, start=1):
        stage = _Stage(folder, number, round(share * whole), options, processes, train)
        student = stage.run(student)
        results += stage.results
        stages.append({"share": share, "budget": stage.parameters, **tower_parameters(student.network)})
    if processes.is_first:
        _join_logs(folder, len(options.shares), run / LOG_FILE)
    return Staged(student, _sum(results), stages)


class PruningObjective(VectorObjective):
    """An objective's loss with gates drawn anew in each step, and the cost of exceeding the budget.

    The gates of a step depend on the run's seed and the step alone, so that all parts of a batch and all processes
    see the same ones.

    Args:
        inner: The loss of the masked student; its network contains the gates.
        gates: The gates of every group.
        budget: The number of parameters to reach.
    """

    def __init__(self, inner: VectorObjective, gates: Gates, budget: ParameterBudget) -> None:
        self._inner, self._gates, self._budget = inner, gates, budget

    def modules(self) -> Mapping[str, nn.Module]:
        """The inner objective's, the gates and the budget's multipliers."""
        return {**self._inner.modules(), "gates": self._gates, "budget": self._budget}

    def encode(self, batch: Batch) -> Encoded:
        """The vectors of some images of a batch."""
        self._draw(batch.context)
        return self._inner.encode(batch)

    def shared(self, context: StepContext) -> dict[str, Tensor]:
        """The vectors of a step that belong to no image."""
        self._draw(context)
        return self._inner.shared(context)

    def compare(self, encoded: Encoded, shared: Mapping[str, Tensor], rows: Rows, context: StepContext) -> LossAndLog:
        """The inner loss plus the penalty; the log gets the expected sparsity and its target."""
        loss, log = self._inner.compare(encoded, shared, rows, context)
        penalty, more = self._budget.penalty(self._gates, context.step)
        return loss + penalty, {**log, **more, "penalty": float(penalty.detach())}

    def _draw(self, context: StepContext) -> None:
        seed = identity_of(f"{context.seed}/gates/{context.step}") >> 1
        self._gates.draw(torch.Generator().manual_seed(seed))


class _Stage:
    """One share of the parameters."""

    def __init__(self, folder: Path, number: int, parameters: int, options: StageOptions, processes: DistributedContext,
                 train: Train) -> None:  # fmt: skip
        self._folder, self._number, self.parameters = folder, number, parameters
        self._options, self._processes, self._train = options, processes, train
        self.results: list[TrainingResult] = []

    def run(self, student: Student) -> Student:
        """Learn the gates, cut, recover: as much of it as is still to be done."""
        done, pruned = self._folder / f"{self._number}", self._folder / f"{self._number}-pruned"
        if not pruned.is_dir():
            self._write(*self._cut(student), pruned)
        student = self._read(student, pruned)
        if not done.is_dir():
            result = self._train(student, Phase(folder=self._folder / f"{self._number}-recovery"))
            self._write(student, result, done)
        return self._read(student, done)

    def _cut(self, student: Student) -> tuple[Student, TrainingResult]:
        options, network = self._options, student.network
        layout = layout_of(network)
        gates = Gates(layout.groups).to(self._processes.device)
        counted = _counted(layout, options)
        budget = ParameterBudget(counted, self.parameters, warmup_steps=options.mask_warmup_steps).to(
            self._processes.device
        )
        phase = Phase(
            folder=self._folder / f"{self._number}-masks",
            steps=options.mask_steps,
            wrap=lambda inner: PruningObjective(inner, gates, budget),
            rates={"gates": options.gate_lr, "budget": options.multiplier_lr},
        )
        with masked(network, layout, gates):
            result = self._train(student, phase)
        require_finite(gates)
        scores = {name: gates.scores(name).cpu() for name in layout.groups}
        kept = choose_units(scores, counted, self.parameters, even=options.even)
        small, config = prune(network.cpu(), student.config, layout, kept)
        return replace(student, network=small, config=config), result

    def _write(self, student: Student, result: TrainingResult, folder: Path) -> None:
        if self._processes.is_first:
            network: nn.Module = student.network.cpu()
            with atomic_folder(folder) as staging:
                save_model(staging, network, student.config, describe(folder.name, network, student.config))
                write_json(staging / _RESULT_FILE, asdict(result), sealed=True)
        self._processes.wait()

    def _read(self, student: Student, folder: Path) -> Student:
        model = load_model(folder)
        self.results.append(TrainingResult(**read_json(folder / _RESULT_FILE)))
        return replace(student, network=model.network, config=model.config)


def _counted(layout: Layout, options: StageOptions) -> Layout:
    """The table of those tensors whose parameters the shares are of."""
    counted = layout.of_layers() if options.counted == "layers" else layout
    if not counted.shapes:
        raise UsageError('[stages] counted = "layers" counts transformer layers, and neither tower has any.',
                         hint='Take counted = "all".')  # fmt: skip
    return counted


def _claim(file: Path, fingerprint: Mapping[str, Any], processes: DistributedContext) -> None:
    """Record the run's fingerprint, or refuse the stages of another run: finished ones have no checkpoint for this."""
    if processes.is_first and not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, dict(fingerprint), sealed=True)
    processes.wait()
    Checkpoint({}, {"fingerprint": read_json(file)}).check_fingerprint(fingerprint, file.parent)


def _join_logs(folder: Path, stages: int, log: Path) -> None:
    """One log of all phases, each line with its stage."""
    lines = []
    for number in range(1, stages + 1):
        for phase in ("masks", "recovery"):
            path = folder / f"{number}-{phase}" / LOG_FILE
            if path.is_file():
                rows = read_log(path, path.read_bytes().splitlines())
                lines += [json.dumps({"stage": number, "phase": phase, **row}) for row in rows]
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _sum(results: list[TrainingResult]) -> TrainingResult:
    last = results[-1]
    return replace(last, steps=sum(each.steps for each in results), seconds=sum(each.seconds for each in results))
