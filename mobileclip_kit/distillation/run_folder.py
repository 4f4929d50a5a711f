"""``MODEL.run``: the files of a run beside the model that it makes, its log, and writing the model folder.

Nothing here imports torch before a model is written, so that a place that is taken is refused at once.
"""

from __future__ import annotations

import contextlib
import filecmp
import importlib.util
import json
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mobileclip_kit.distillation.recipe import Recipe, save_recipe
from mobileclip_kit.errors import DataError, OutputError
from mobileclip_kit.files import atomic_folder, check_can_write, parse_json, write_json
from mobileclip_kit.locks import CAN_LOCK, try_lock, unlock
from mobileclip_kit.renames import remove
from mobileclip_kit.spec import MERGES_FILE, ModelSpec

if TYPE_CHECKING:
    import torch

    from mobileclip_kit.distillation.student import Student

CHECKPOINT_FILE = "checkpoint.safetensors"
RECIPE_FILE = "recipe.toml"
TRAINING_FILE = "training.json"
LOG_FILE = "log.jsonl"
DECODED_FILE = "decoded.u8"
EVENTS_FOLDER = "tensorboard"


def run_folder(model: Path) -> Path:
    """The folder of a run's files while the model is being made."""
    return model.with_name(f"{model.name}.run")


def check_run(model: Path, *, resume: bool, force: bool) -> None:
    """Refuse the place of a model before any work is spent.

    Args:
        model: Where the model will be.
        resume: Keep an interrupted run's files.
        force: Replace the model and an interrupted run.

    Raises:
        OutputError: The model exists already, its place cannot be written, or an interrupted run is there and neither
            flag says what to do with it.
    """
    run = run_folder(model)
    if not force and _is_finished(model, run):
        close_run(run)
    check_can_write(model, force=force, kinds=("model.json",))
    if run.exists() and not (resume or force):
        raise OutputError(
            f"{run} holds a run that was interrupted.", hint="Add --resume to continue it, or --force to start anew."
        )


@contextlib.contextmanager
def open_run(model: Path, *, resume: bool, force: bool) -> Iterator[None]:
    """Hold the lock of a run's folder while the block runs; a run that shall not be continued is removed first.

    Raises:
        OutputError: See :func:`check_run`; or another process is training there.
    """
    check_run(model, resume=resume, force=force)
    run = run_folder(model)
    if not resume and run.exists():
        with _locked(run):
            close_run(run)
    run.mkdir(parents=True, exist_ok=True)
    with _locked(run):
        yield


@contextlib.contextmanager
def _locked(run: Path) -> Iterator[None]:
    lock = try_lock(run)
    if lock is None and CAN_LOCK:
        raise OutputError(f"Another process is training in {run}.", hint="Wait until it is done, or choose another -o.")
    try:
        yield
    finally:
        unlock(lock)


def holds_work(run: Path) -> bool:
    """Whether a run's folder holds work that can be continued."""
    begun = (run / CHECKPOINT_FILE).exists() or (run / "stages").exists()
    return begun or any((run / "teacher").rglob("*.npy"))


def close_run(run: Path) -> None:
    """Remove a run's files.

    Raises:
        OutputError: The folder is not a run's.
    """
    ours = (LOG_FILE, MERGES_FILE, DECODED_FILE, "teacher")
    if any(run.iterdir()) and not (holds_work(run) or any((run / name).exists() for name in ours)):
        raise OutputError(f"{run} was not made by mckit, so it is not removed.", hint="Choose another -o.")
    for child in sorted(run.iterdir(), key=lambda path: path.name == LOG_FILE):
        remove(child)  # the log last, by which _is_finished knows what a kill left
    run.rmdir()


def _is_finished(model: Path, run: Path) -> bool:
    """Whether a kill after the model was made left the run: the model's log, which holds times, is the run's."""
    one, other = model / LOG_FILE, run / LOG_FILE
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def finish_run(
    model: Path,
    student: Student,
    spec: ModelSpec,
    *,
    recipe: Recipe,
    training: Mapping[str, Any],
    dtype: torch.dtype,
    force: bool = False,
) -> ModelSpec:
    """Write the model folder and remove the run.

    Args:
        model: The folder to make.
        student: As trained, on the CPU.
        spec: Its description.
        recipe: As resolved; saved as ``recipe.toml``.
        training: Saved as ``training.json``: steps, seconds, metrics, what was skipped.
        dtype: Of the saved weights.
        force: Replace an existing model.

    Returns:
        The spec as written, with its hash.
    """
    from mobileclip_kit.networks.model import save_model

    run = run_folder(model)
    with atomic_folder(model, force=force, kinds=("model.json",)) as folder:
        spec = save_model(folder, student.network, student.config, spec, student.tokenizer_file, dtype=dtype)
        save_recipe(folder / RECIPE_FILE, recipe)
        write_json(folder / TRAINING_FILE, dict(training), sealed=True)
        if (run / LOG_FILE).is_file():
            shutil.copyfile(run / LOG_FILE, folder / LOG_FILE)
        if (run / EVENTS_FOLDER).is_dir():
            shutil.copytree(run / EVENTS_FOLDER, folder / EVENTS_FOLDER)
    close_run(run)
    return spec


class RunLog:
    """The log of a run, begun or continued.

    Args:
        folder: Where ``log.jsonl`` and the events' folder lie.
        step: The first step; later entries of an earlier log are dropped.

    Attributes:
        losses: Of the steps so far, those that are finite.
        last: The finite numbers that the last step logged; none before the first one.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / LOG_FILE
        self.losses, self.last = _trim(path, step)
        self._lines = path.open("a", encoding="utf-8")
        self._events: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._hook, threading.excepthook = threading.excepthook, _without_writers(threading.excepthook)
            self._events = SummaryWriter(str(folder / EVENTS_FOLDER), purge_step=step)

    def write(self, step: int, parts: Mapping[str, float], seconds: float) -> None:
        """Log a step; numbers that are not finite become null."""
        finite = {name: value if math.isfinite(value) else None for name, value in parts.items()}
        self._lines.write(json.dumps({"step": step, **finite, "seconds": round(seconds, 3)}) + "\n")
        if self._events is not None:
            for name, value in finite.items():
                if value is not None:
                    self._events.add_scalar(name, value, step)
        if finite["loss"] is not None:
            self.losses.append(finite["loss"])

    def flush(self) -> None:
        """Bring everything to disk, as a checkpoint is about to rely on it."""
        self._lines.flush()
        if self._events is not None:
            self._events.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._lines.close()
        if self._events is not None:
            try:
                self._events.close()
            finally:
                threading.excepthook = self._hook


def _without_writers(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """A hook for errors of threads but TensorBoard's writer, which hands its error to whoever logs next."""

    def told(arguments: Any) -> None:
        if type(arguments.thread).__name__ != "_AsyncWriterThread":
            hook(arguments)

    return told


def read_log(path: Path, lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The entries of a log, one for each step.

    Args:
        path: The log, for messages.
        lines: Those of its lines that count.

    Raises:
        DataError: A line is not what a training writes.
    """
    rows = list[dict[str, Any]]()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(parse_json(line))
            if not isinstance(rows[-1]["loss"], float | int | None):
                raise TypeError
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} is damaged: line {number} is not what was written.", hint="Begin the run anew with --force."
            ) from error
    return rows


def _trim(path: Path, steps: int) -> tuple[list[float], dict[str, float]]:
    """Keep the log's first ``steps`` lines, drop what was logged after the checkpoint.

    Returns:
        The losses kept, and the numbers of the last step kept.

    Raises:
        DataError: See :func:`read_log`.
    """
    lines = path.read_bytes().splitlines(keepends=True)[:steps] if path.is_file() else []
    rows = read_log(path, lines)
    if path.is_file():
        # Not written anew: a kill would leave half of it.
        os.truncate(path, sum(len(line) for line in lines))
    ended = rows[-1] if rows else {}
    last = {name: value for name, value in ended.items() if name not in ("step", "seconds") and value is not None}
    return [row["loss"] for row in rows if row["loss"] is not None], last
