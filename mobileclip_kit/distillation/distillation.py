"""A whole run of distillation: images or texts and a teacher in, model folder out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from mobileclip_kit.data.images import Images, NoImages, identities_of
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.augment import Augmentation
from mobileclip_kit.distillation.evaluation import evaluate_holdout
from mobileclip_kit.distillation.mixture import MixtureOptions
from mobileclip_kit.distillation.mixture_objective import MixtureObjective
from mobileclip_kit.distillation.objective import VectorObjective
from mobileclip_kit.distillation.ranks import Ranks, open_ranks
from mobileclip_kit.distillation.recipe import Recipe
from mobileclip_kit.distillation.run_folder import finish_run, open_run, run_folder
from mobileclip_kit.distillation.stages import Phase, run_stages
from mobileclip_kit.distillation.student import TEACHERS_OWN, Student, StudentPlan, init_notes, make_student
from mobileclip_kit.distillation.targets import TeacherSide
from mobileclip_kit.distillation.teachers import (
    Teacher,
    open_teachers,
    run_teacher_once,
    stored_texts,
    targets_note,
    teacher_side,
)
from mobileclip_kit.distillation.texts import Texts, collect_texts, read_bank
from mobileclip_kit.distillation.trainer import Trainer, TrainingResult
from mobileclip_kit.distillation.training_set import Usable, fingerprint_of, load_images, split_holdout, usable_pairs
from mobileclip_kit.distillation.views import replay_views
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.inherit.choice import Choice
from mobileclip_kit.networks.model import Model, describe, load_model
from mobileclip_kit.spec import ImageSpec, ModelSpec
from mobileclip_kit.tokenizer import load_tokenizer

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class DistillRequest:
    """What is to be distilled.

    Attributes:
        data: A source of images, see :func:`mobileclip_kit.data.sources.open_source`.
        out: The model folder to make.
        student: A row of ``STUDENTS``: a new image tower; None trains a text tower alone.
        text: A row of ``TEXT_TOWERS``: a new text tower; ``teacher`` trains the teacher's own; None trains none.
        recipe: With the objective ``mixture``.
        teacher: A live teacher, or None.
        cache: Teacher caches; the student shares the first one's space.
        text_from: The model whose text tower the student carries; None takes a live teacher's.
        init: A model whose image tower the student starts from, or keeps beside a new text tower.
        inherit: Start new towers from these channels of the teacher's; None leaves it to the recipe.
        bank: A file of texts to compare images with, one class name or text a line.
        templates: A file of templates for the bank's names.
        trim_vocab: Keep only the vocabulary that captions and bank need, and single bytes.
        limit: Take the first images only.
        holdout: A share or a file, see :func:`mobileclip_kit.distillation.training_set.split_holdout`.
        draft: Decode JPEGs at reduced resolution where the target size allows.
        device: Where to train.
        checkpoint_seconds: Time between checkpoints.
        resume: Go on with an interrupted run.
        force: Replace an existing model.
    """

    data: Path | str
    out: Path
    student: str | None = None
    text: str | None = None
    recipe: Recipe
    teacher: str | None = None
    cache: Path | Sequence[Path] | None = None
    text_from: str | None = None
    init: str | None = None
    inherit: Choice | None = None
    bank: Path | None = None
    templates: Path | None = None
    trim_vocab: bool = False
    limit: int | None = None
    holdout: str | None = None
    draft: bool = False
    device: str = "cpu"
    checkpoint_seconds: float = 60.0
    resume: bool = False
    force: bool = False

    @property
    def caches(self) -> tuple[Path, ...]:
        """The caches as a tuple."""
        if self.cache is None:
            return ()
        return (self.cache,) if isinstance(self.cache, Path) else tuple(self.cache)


@dataclass(frozen=True)
class DistillReport:
    """What was made.

    Attributes:
        spec: The student's.
        result: Steps, seconds, images a second.
        metrics: ``loss`` and the cosines at the end of training; ``holdout_…`` on the images that were held out.
        images: How many were trained on.
        skipped: What was left out, with reasons.
        notes: What the user should know.
    """

    spec: ModelSpec
    result: TrainingResult
    metrics: dict[str, float]
    images: int
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Material:
    """What a run learns from."""

    pairs: list[Pair]
    bank: list[str]
    skipped: list[Skipped]
    notes: list[str]


def distill(request: DistillRequest) -> DistillReport:
    """Distil one or several teachers into a student.

    Started by ``torchrun`` or accelerate's launcher, the processes share each batch and give what one process with the
    whole batch gives; the first one writes the model.

    Raises:
        UsageError: Flags contradict each other.
        DataError: Fewer than two images can be used.
        ModelError: A student, teacher or starting model is unknown or does not fit.
        CacheError: A cache is damaged, or lacks what the recipe needs.
        TrainingError: The loss is no longer finite, or the checkpoint belongs to another run.
        OutputError: The output exists or cannot be written.
    """
    recipe, plan = request.recipe, _plan(request)
    ranks = open_ranks(request.device)
    run = run_folder(request.out)
    if ranks.is_first:
        open_run(request.out, resume=request.resume, force=request.force)
    ranks.wait()
    teachers = open_teachers(request.teacher, request.caches)
    _check_mixture(recipe.options, teachers)
    material = _material(request, plan, recipe.options, teachers[0])
    init = load_model(request.init) if request.init else None
    texts = collect_texts([pair.captions for pair in material.pairs], material.bank)
    student = _in_turn(ranks, lambda: make_student(plan, teachers[0], init, texts.texts, run))
    material.notes += init_notes(plan, teachers[0], init)
    image = ImageSpec.from_open_clip(student.config["preprocess_cfg"])
    recipe, train, holdout, replay = _training_set(request, plan, recipe, teachers, material, run, ranks)
    train, images = _images(plan, train, image, request.draft)
    material.skipped += images.skipped
    recipe = _fit_batch(recipe, len(train), ranks.count, material)

    texts = collect_texts([pair.captions for pair in train.pairs], material.bank)
    sides = [_side(teacher, train, texts, student, plan, recipe.options, run, ranks) for teacher in teachers]
    provenance = _provenance(request, recipe, teachers, init)
    fingerprint = {**provenance, "data": fingerprint_of(train), "recipe": recipe.to_toml(),
                   "texts": str(identities_of(["\0".join(texts.texts)])[0]),
                   **({"fast_decode": True} if request.draft else {})}  # fmt: skip

    def train_phase(student: Student, phase: Phase) -> TrainingResult:
        student.network.to(ranks.device)
        if recipe.training.gradient_checkpointing:
            _checkpoint_gradients(student.network, material.notes)
        objective: VectorObjective = MixtureObjective(
            student.network, recipe.options, sides,
            images=len(train), texts=texts if texts.texts and _uses_texts(plan, recipe.options) else None,
            towers=plan.towers, tokens=_tokens(student, texts),
        )  # fmt: skip
        trainer = Trainer(
            objective if phase.wrap is None else phase.wrap(objective), images, phase.plan(recipe.training),
            augmentation=recipe.augmentation, image=image, folder=phase.folder, device=ranks.device, replay=replay,
            ranks=ranks, rates=phase.rates, checkpoint_seconds=request.checkpoint_seconds, fingerprint=fingerprint,
        )  # fmt: skip
        return trainer.run(resume=request.resume)

    already = len(images.skipped)
    if recipe.stages is None:
        result = train_phase(student, Phase(folder=run))
    else:
        staged = run_stages(student, recipe.stages, run, ranks, train_phase, fingerprint)
        student, result = staged.student, staged.result
        provenance["stages"] = staged.stages
    material.skipped += ranks.collect(images.skipped[already:])
    return _finish(request, recipe, student, teachers[0], material, train, holdout, image, provenance, result, ranks)


def _plan(request: DistillRequest) -> StudentPlan:
    if request.recipe.objective != "mixture":
        raise UsageError(
            f"The recipe {request.recipe.name} trains {request.recipe.objective}; "
            "`mckit distill` takes recipes with the objective mixture."
        )
    image, text = request.student, request.text
    if request.recipe.stages is not None:
        if image or text or request.init or request.inherit:
            raise UsageError(
                f"The recipe {request.recipe.name} cuts the teacher itself down, both towers.",
                hint="Leave --student, --text, --init and --inherit out.",
            )
        image = text = TEACHERS_OWN
    plan = StudentPlan(image=image, text=text, text_from=request.text_from,
                       inherit=request.inherit or request.recipe.inherit,
                       trim_vocab=request.trim_vocab, seed=request.recipe.training.seed)  # fmt: skip
    if request.holdout is not None and "image" not in plan.towers:
        raise UsageError("--holdout compares images, but only a text tower is trained.")
    if request.templates is not None and request.bank is None:
        raise UsageError("--templates needs --bank: templates are filled with its names.")
    return plan


def _check_mixture(options: MixtureOptions, teachers: Sequence[Teacher]) -> None:
    if len(teachers) > 1 and not options.affinity:
        raise UsageError(
            f"{len(teachers)} teachers are averaged in the affinity, whose weight is 0 in this recipe.",
            hint="Give affinity a weight, or pass one cache.",
        )


def _uses_texts(plan: StudentPlan, options: MixtureOptions) -> bool:
    return options.needs_texts or "text" in plan.towers


def _uses_images(plan: StudentPlan, options: MixtureOptions) -> bool:
    """Whether teachers' image vectors are needed at all: a text tower may learn from texts alone."""
    return options.needs_texts or "image" in plan.towers


def _material(request: DistillRequest, plan: StudentPlan, options: MixtureOptions, teacher: Teacher) -> _Material:
    """Images with what the recipe needs of their captions."""
    skipped: list[Skipped] = []
    bank = read_bank(request.bank, request.templates) if request.bank is not None else []
    pairs = list(islice(open_source(request.data, skipped), request.limit))
    needs_captions = options.contrastive > 0.0 or (_uses_texts(plan, options) and not bank)
    if needs_captions:
        without = [pair for pair in pairs if not any(caption.strip() for caption in pair.captions)]
        skipped += [Skipped(pair.key, "It has no caption.") for pair in without]
        names = {pair.key for pair in without}
        pairs = [pair for pair in pairs if pair.key not in names]
        if not pairs:
            raise DataError(
                f"No image of {request.data} has a caption, and this recipe compares images with texts.",
                hint="Pass images with captions, or a --bank of texts.",
            )
    kept = [replace(pair, captions=tuple(caption for caption in pair.captions if caption.strip())) for pair in pairs]
    notes = list(teacher.notes)
    if bank and not _uses_texts(plan, options) and not request.trim_vocab:
        notes.append(f"The recipe {request.recipe.name} compares images with no texts: --bank has no effect.")
    return _Material(kept, bank, skipped, notes)


def _training_set(request: DistillRequest, plan: StudentPlan, recipe: Recipe, teachers: Sequence[Teacher],
                  material: _Material, run: Path, ranks: Ranks) -> tuple[Recipe, Usable, Usable, Any]:  # fmt: skip
    """The images with a target, and how they are varied."""
    first, pairs = teachers[0], material.pairs
    if "image" not in plan.towers:  # no image is shown to anybody but a live teacher, once
        recipe = replace(recipe, augmentation=Augmentation())
    uses = _uses_images(plan, recipe.options)
    if uses and first.live is not None and recipe.augmentation.changes_nothing:
        failed = _in_turn(ranks, lambda: run_teacher_once(first, pairs, run / "teacher", device=ranks.device))
        material.skipped += failed
        names = {skip.item for skip in failed}
        pairs = [pair for pair in pairs if pair.key not in names]
    stored = [teacher.cache for teacher in teachers if teacher.cache is not None]
    known = set.intersection(*(set(cache.hashes) for cache in stored)) if stored and uses else None
    replay = None
    if first.cache is not None and "image" in plan.towers:
        recipe, replay = replay_views(recipe, first.cache.description)
        if replay is None and not recipe.augmentation.changes_nothing:
            material.notes.append(
                f"{first.cache.path} holds vectors of plain images, towards which the student's varied ones are "
                "drawn; `mckit cache --views` stores vectors of varied ones."
            )
    where = ", ".join(str(cache.path) for cache in stored)
    train, holdout = split_holdout(usable_pairs(pairs, known, material.skipped, where), request.holdout)
    if request.holdout is not None and not len(holdout):
        material.notes.append(f"--holdout {request.holdout} of {len(train)} images is none: nothing was held out.")
    return recipe, train, holdout, replay


def _images(plan: StudentPlan, train: Usable, image: ImageSpec, draft: bool) -> tuple[Usable, Images]:
    if "image" in plan.towers:
        return load_images(train, image, draft=draft)
    return train, NoImages(identities_of(train.hashes))


def _fit_batch(recipe: Recipe, images: int, processes: int, material: _Material) -> Recipe:
    skipped = material.skipped
    if images < 2:
        first = f" ({len(skipped)} skipped; the first, {skipped[0].item}: {skipped[0].reason})" if skipped else ""
        raise DataError(f"{images} images can be trained on; distillation needs at least 2{first}.")
    if images >= recipe.training.batch_size:
        return recipe
    fitting = images - images % processes
    material.notes.append(
        f"{images} images do not fill a batch of {recipe.training.batch_size}; the batch is {fitting}."
    )
    return recipe.with_training(batch_size=fitting)


def _side(teacher: Teacher, train: Usable, texts: Texts, student: Student, plan: StudentPlan, options: MixtureOptions,
          run: Path, ranks: Ranks) -> TeacherSide:  # fmt: skip
    vectors = None
    if texts.texts and _uses_texts(plan, options):
        model = teacher.live or (student.text if _same(student.text, teacher) else None)
        vectors = _in_turn(ranks, lambda: stored_texts(teacher, texts.texts, model, run / "teacher",
                                                       unit_scale=options.unit_scale, device=ranks.device))  # fmt: skip
    if not _uses_images(plan, options):
        return TeacherSide(None, None, vectors, teacher.logit_scale or 100.0)
    return teacher_side(teacher, train.hashes, unit_scale=options.unit_scale, device=ranks.device, texts=vectors)


def _same(model: Model | None, teacher: Teacher) -> bool:
    """Whether a model is the teacher itself, with its vocabulary trimmed perhaps."""
    return model is not None and teacher.identity in (model.spec.model_hash, model.spec.provenance.get("vocabulary_of"))


def _tokens(student: Student, texts: Texts) -> torch.Tensor | None:
    if "text" not in student.towers or not texts.texts:
        return None
    spec = describe("student", student.network, student.config)
    return torch.from_numpy(load_tokenizer(spec.require_text(), student.merges)(list(texts.texts)))


def _checkpoint_gradients(network: Any, notes: list[str]) -> None:
    network.set_grad_checkpointing(True)
    trunk = getattr(network.visual, "trunk", None)
    if trunk is not None and not hasattr(trunk, "set_grad_checkpointing"):
        notes.append("This image tower cannot compute activations again; gradient_checkpointing has no effect on it.")


def _provenance(
    request: DistillRequest, recipe: Recipe, teachers: Sequence[Teacher], init: Model | None
) -> dict[str, Any]:
    first = teachers[0]
    several = {"teachers": [teacher.identity for teacher in teachers]} if len(teachers) > 1 else {}
    new_text = {"text": request.text} if request.text else {}
    return {
        "teacher": first.name,
        "teacher_hash": first.identity,
        **several,
        "student": request.student,
        **new_text,
        "recipe": recipe.name,
        "init": init.spec.model_hash if init else None,
        "inherit": request.inherit or recipe.inherit,
        "targets": targets_note(first, recipe.options.unit_scale),
    }


def _finish(request: DistillRequest, recipe: Recipe, student: Student, teacher: Teacher, material: _Material,
            train: Usable, holdout: Usable, image: ImageSpec, provenance: dict[str, Any], result: TrainingResult,
            ranks: Ranks) -> DistillReport:  # fmt: skip
    """Measure the student and write its folder."""
    cosines = {name: value for name, value in result.parts.items() if name in ("cosine", "cosine_text")}
    metrics = {"loss": result.loss, **cosines}
    metrics |= evaluate_holdout(student.network, teacher, holdout, image, material.skipped, draft=request.draft,
                                unit_scale=recipe.options.unit_scale, device=ranks.device)  # fmt: skip
    student.network.to("cpu")
    spec = describe(request.out.name, student.network, student.config, **provenance, torch=torch.__version__)
    training = {"images": len(train), "metrics": metrics, **asdict(result), "notes": material.notes,
                "holdout": [pair.key for pair in holdout.pairs],
                "skipped": [asdict(skip) for skip in material.skipped]}  # fmt: skip
    if ranks.is_first:
        spec = finish_run(request.out, run_folder(request.out), student.network, student.config, spec, recipe=recipe,
                          training=training, merges=student.merges, force=request.force)  # fmt: skip
    ranks.wait()
    return DistillReport(spec, result, metrics, len(train), material.skipped, material.notes)


def _in_turn(ranks: Ranks, work: Callable[[], Made]) -> Made:
    """What the first process does and leaves on disk, the others then find there."""
    if not ranks.is_first:
        ranks.wait()
    made = work()
    if ranks.is_first:
        ranks.wait()
    return made
