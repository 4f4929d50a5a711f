"""A whole run of distillation: pictures and a teacher in, model folder out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.data.pictures import Pictures, Rows
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distill.features import FeatureObjective, Targets
from mobileclip_kit.distill.objective import Batch, Moment
from mobileclip_kit.distill.recipe import Recipe
from mobileclip_kit.distill.run_folder import finish_run, open_run
from mobileclip_kit.distill.teachers import (
    Teacher,
    open_teacher,
    run_teacher_once,
    set_logit_scale,
    take_over_image_tower,
    targets_of,
    text_source,
)
from mobileclip_kit.distill.trainer import Trainer, TrainingResult
from mobileclip_kit.distill.training_set import (
    Usable,
    fingerprint_of,
    load_pictures,
    split_holdout,
    usable_pairs,
)
from mobileclip_kit.distill.views import replay_views
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.images import normalize
from mobileclip_kit.inherit.manual import inherit_leading_channels
from mobileclip_kit.networks.devices import check_device
from mobileclip_kit.networks.model import Model, describe, load_model
from mobileclip_kit.networks.raw import encode_raw
from mobileclip_kit.networks.students import build_student, student_config
from mobileclip_kit.spec import ImageSpec, ModelSpec

_EVALUATION_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class DistillRequest:
    """What is to be distilled.

    Attributes:
        data: A source of pictures, see :func:`mobileclip_kit.data.sources.open_source`.
        out: The model folder to make.
        student: A row of ``STUDENTS``.
        recipe: With the objective ``features``.
        teacher: A live teacher, or None.
        cache: A teacher cache, or None.
        text_from: The model whose text tower the student carries; None takes a live teacher's.
        init: A model whose image tower the student starts from.
        inherit: Start the student from the leading channels of the live teacher's image tower.
        limit: Take the first pictures only.
        holdout: A share or a file, see :func:`mobileclip_kit.distill.training_set.split_holdout`.
        draft: Decode JPEGs at reduced resolution where the target size allows.
        device: Where to train.
        checkpoint_seconds: Time between checkpoints.
        resume: Go on with an interrupted run.
        force: Replace an existing model.
    """

    data: Path
    out: Path
    student: str
    recipe: Recipe
    teacher: str | None = None
    cache: Path | None = None
    text_from: str | None = None
    init: str | None = None
    inherit: bool = False
    limit: int | None = None
    holdout: str | None = None
    draft: bool = False
    device: str = "cpu"
    checkpoint_seconds: float = 60.0
    resume: bool = False
    force: bool = False


@dataclass(frozen=True)
class DistillReport:
    """What was made.

    Attributes:
        spec: The student's.
        result: Steps, seconds, pictures a second.
        metrics: ``loss`` and ``cosine`` at the end of training; ``holdout_…`` on the pictures that were held out.
        pictures: How many were trained on.
        skipped: What was left out, with reasons.
        notes: What the user should know.
    """

    spec: ModelSpec
    result: TrainingResult
    metrics: dict[str, float]
    pictures: int
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def distill(request: DistillRequest) -> DistillReport:
    """Distil a teacher's image tower into a student.

    Raises:
        UsageError: Flags contradict each other.
        DataError: Fewer than two pictures can be used.
        ModelError: A student, teacher or starting model is unknown or does not fit.
        CacheError: The cache is damaged.
        TrainingError: The loss is no longer finite, or the checkpoint belongs to another run.
        OutputError: The output exists or cannot be written.
    """
    recipe = request.recipe
    if recipe.objective != "features":
        raise UsageError(
            f"The recipe {recipe.name} trains {recipe.objective}; `mckit distill` takes recipes of features."
        )
    device = check_device(request.device)
    run = open_run(request.out, resume=request.resume, force=request.force)
    teacher = open_teacher(request.teacher, request.cache)
    skipped: list[Skipped] = []
    notes = list(teacher.notes)
    init = load_model(request.init) if request.init else None
    network, config, text = _student(request, teacher, init)
    pairs = list(islice(open_source(request.data, skipped), request.limit))
    if teacher.live is not None and recipe.augmentation.changes_nothing:
        failed = run_teacher_once(teacher, pairs, run / "teacher", device=device)
        skipped += failed
        pairs = [pair for pair in pairs if pair.key not in {skip.item for skip in failed}]
    known = teacher.cache.rows_by_content() if teacher.cache else None
    recipe, replay = replay_views(recipe, teacher.cache.description) if teacher.cache else (recipe, None)
    train, holdout = split_holdout(usable_pairs(pairs, known, skipped, str(request.cache)), request.holdout)
    image = ImageSpec.from_open_clip(config["preprocess_cfg"])
    train, pictures = load_pictures(train, image, draft=request.draft)
    skipped += pictures.skipped
    recipe = _fit_batch(recipe, len(train), skipped, notes)

    network.to(device)
    targets, about = targets_of(teacher, train.hashes, unit_scale=recipe.options.unit_scale, device=device)
    objective = FeatureObjective(network, targets, recipe.options)
    provenance = {
        "teacher": teacher.name,
        "teacher_hash": teacher.identity,
        "student": request.student,
        "recipe": recipe.name,
        "init": init.spec.model_hash if init else None,
        "inherit": request.inherit,
        **about,
    }
    trainer = Trainer(
        objective, pictures, recipe.training,
        augmentation=recipe.augmentation, image=image, folder=run, device=device, replay=replay,
        checkpoint_seconds=request.checkpoint_seconds,
        fingerprint={**provenance, "data": fingerprint_of(train), "recipe": recipe.to_toml()},
    )  # fmt: skip
    already = len(pictures.skipped)
    result = trainer.run(resume=request.resume)
    skipped += pictures.skipped[already:]
    metrics = {"loss": result.loss, **{name: result.parts[name] for name in ("cosine",) if name in result.parts}}
    metrics |= _evaluate(network, teacher, holdout, image, request, skipped, device)
    network.to("cpu")
    spec = describe(request.out.name, network, config, **provenance, torch=torch.__version__)
    training = {"pictures": len(train), "metrics": metrics, **asdict(result), "notes": notes,
                "holdout": [pair.key for pair in holdout.pairs],
                "skipped": [asdict(skip) for skip in skipped]}  # fmt: skip
    spec = finish_run(request.out, run, network, config, spec, recipe=recipe, training=training,
                      merges=text.merges if text else None, force=request.force)  # fmt: skip
    return DistillReport(spec, result, metrics, len(train), skipped, notes)


def _student(request: DistillRequest, teacher: Teacher,
             init: Model | None) -> tuple[nn.Module, dict[str, Any], Model | None]:  # fmt: skip
    text = text_source(teacher, request.text_from, init)
    config = student_config(request.student, embedding_dim=teacher.embedding_dim, image=teacher.image, teacher=text)
    network = build_student(config, seed=request.recipe.training.seed, teacher=text)
    if init is not None:
        take_over_image_tower(network, init)
    if request.inherit:
        if teacher.live is None or init is not None:
            raise UsageError("--inherit needs a live --teacher, and no --init beside it.")
        inherit_leading_channels(network, teacher.live.network)
    if text is None:
        set_logit_scale(network, teacher.logit_scale)
    return network, config, text


def _fit_batch(recipe: Recipe, pictures: int, skipped: list[Skipped], notes: list[str]) -> Recipe:
    if pictures < 2:
        first = f" ({len(skipped)} skipped; the first, {skipped[0].item}: {skipped[0].reason})" if skipped else ""
        raise DataError(f"{pictures} pictures can be trained on; distillation needs at least 2{first}.")
    if pictures >= recipe.training.batch_size:
        return recipe
    notes.append(f"{pictures} pictures do not fill a batch of {recipe.training.batch_size}; the batch is {pictures}.")
    return recipe.with_training(batch_size=pictures)


@torch.inference_mode()
def _evaluate(network: nn.Module, teacher: Teacher, holdout: Usable, image: ImageSpec, request: DistillRequest,
              skipped: list[Skipped], device: str) -> dict[str, float]:  # fmt: skip
    """Cosine and mean absolute difference between student and teacher on the held-out pictures.

    CLIP's image vectors lie in a narrow cone: their own mean, one vector for all pictures, already has a high cosine to
    each. ``holdout_cosine_of_mean`` says how high, so that nobody takes it for something learned.
    """
    if not len(holdout):
        return {}
    holdout, pictures = load_pictures(holdout, image, draft=request.draft)
    skipped += pictures.skipped
    scale = request.recipe.options.unit_scale
    targets, _ = targets_of(teacher, holdout.hashes, unit_scale=scale, device=device)
    students, teachers = [torch.zeros(0, teacher.embedding_dim)], [torch.zeros(0, teacher.embedding_dim)]
    for student, wanted in _vectors(network, targets, pictures, image, device):
        students.append(student.cpu())
        teachers.append(wanted.cpu())
    ours, theirs = torch.cat(students), torch.cat(teachers)
    if not len(theirs):
        return {}
    constant = F.normalize(theirs, dim=1).mean(0, keepdim=True)
    return {
        "holdout_pictures": len(theirs),
        "holdout_cosine": float(F.cosine_similarity(ours, theirs).mean()),
        "holdout_cosine_of_mean": float(F.cosine_similarity(constant, theirs).mean()),
        "holdout_l1": float((ours - theirs).abs().mean()),
    }


def _vectors(network: nn.Module, targets: Targets, pictures: Pictures, image: ImageSpec,
             device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # fmt: skip
    every = np.arange(len(pictures), dtype=np.int64)
    chunks: list[Rows] = np.array_split(every, len(every) // _EVALUATION_BATCH + 1)
    for rows, pixels in pictures.read(iter(chunks)):
        images = torch.from_numpy(normalize(pixels, image)).to(device)
        batch = Batch(rows, images, Moment(step=0, steps=1, epoch=0, epochs=1, seed=0))
        yield encode_raw(network, images), targets(batch)
