"""``MODEL.run``: what a run keeps beside the model it is making, and how it becomes the model folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobileclip_kit.distillation.checkpoint import CHECKPOINT_FILE
from mobileclip_kit.distillation.recipe import Recipe, save_recipe
from mobileclip_kit.distillation.run_log import EVENTS_FOLDER, LOG_FILE
from mobileclip_kit.errors import OutputError
from mobileclip_kit.files import atomic_folder, check_can_write, write_json
from mobileclip_kit.networks.model import save_model
from mobileclip_kit.spec import MERGES_FILE, ModelSpec

RECIPE_FILE = "recipe.toml"
TRAINING_FILE = "training.json"


def run_folder(model: Path) -> Path:
    """Where a run's files lie while the model is being made."""
    return model.with_name(f"{model.name}.run")


def open_run(model: Path, *, resume: bool, force: bool) -> Path:
    """The run's folder for a model, before any work is spent.

    Args:
        model: Where the model will be.
        resume: Keep an interrupted run's files.
        force: Replace the model, and drop an interrupted run unless ``resume``.

    Raises:
        OutputError: The model exists already, its place cannot be written, or an interrupted run is there and neither
            flag says what to do with it.
    """
    model = Path(model)
    check_can_write(model, force=force)
    run = run_folder(model)
    if run.exists() and not resume:
        if not force:
            raise OutputError(
                f"{run} holds a run that was interrupted.", hint="Add --resume to go on, or --force to start anew."
            )
        close_run(run)
    return run


def close_run(run: Path) -> None:
    """Remove a run's files.

    Raises:
        OutputError: The folder is not a run's.
    """
    if any(run.iterdir()) and not any(
        (run / name).exists() for name in (CHECKPOINT_FILE, LOG_FILE, "teacher", "stages", MERGES_FILE)
    ):
        raise OutputError(f"{run} was not made by mckit, so it is not removed.", hint="Choose another -o.")
    shutil.rmtree(run)


def finish_run(
    model: Path,
    run: Path,
    network: nn.Module,
    config: Mapping[str, Any],
    spec: ModelSpec,
    *,
    recipe: Recipe,
    training: Mapping[str, Any],
    merges: Path | None = None,
    dtype: torch.dtype = torch.float32,
    force: bool = False,
) -> ModelSpec:
    """Write the model folder and remove the run.

    Args:
        model: The folder to make.
        run: From :func:`open_run`; its log goes into the model folder.
        network: The trained model.
        config: See :func:`mobileclip_kit.networks.model.save_model`.
        spec: Its description.
        recipe: As resolved; saved as ``recipe.toml``.
        training: Saved as ``training.json``: steps, seconds, metrics, what was skipped.
        merges: A trimmed vocabulary's merges.
        dtype: Of the saved weights.
        force: Replace an existing model.

    Returns:
        The spec as written, with its hash.
    """
    with atomic_folder(model, force=force) as folder:
        spec = save_model(folder, network, config, spec, merges, dtype=dtype)
        save_recipe(folder / RECIPE_FILE, recipe)
        write_json(folder / TRAINING_FILE, dict(training))
        if (run / LOG_FILE).is_file():
            shutil.copyfile(run / LOG_FILE, folder / LOG_FILE)
        if (run / EVENTS_FOLDER).is_dir():
            shutil.copytree(run / EVENTS_FOLDER, folder / EVENTS_FOLDER)
    close_run(run)
    return spec
