"""A whole run of distillation: images or texts and a teacher in, model folder out."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.arrays import parts_of
from mobileclip_kit.data.images import Images, NoImages, Rows, identities_of
from mobileclip_kit.data.pair import Skipped, first_reason
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.augment import Replay, replay_views
from mobileclip_kit.distillation.captions import RunTexts, read_bank
from mobileclip_kit.distillation.distributed import Made, check_batch, open_context
from mobileclip_kit.distillation.frozen import passed_once
from mobileclip_kit.distillation.mixture import MixtureObjective, check_inputs
from mobileclip_kit.distillation.objective import Batch, StepContext
from mobileclip_kit.distillation.projection import start_projection
from mobileclip_kit.distillation.request import DistillRequest, TrainingRequest
from mobileclip_kit.distillation.run_folder import DECODED_FILE, finish_run, holds_work, open_run, run_folder
from mobileclip_kit.distillation.stages import Phase, run_stages
from mobileclip_kit.distillation.student import Student, init_notes, make_student
from mobileclip_kit.distillation.tables import Augmentation, MixtureOptions
from mobileclip_kit.distillation.teachers import (
    TeacherTargets,
    check_text_source,
    is_teacher,
    open_teachers,
    resized,
    run_teacher_once,
    seen_by_both,
    stored_texts,
    targets_note,
    teacher_targets,
)
from mobileclip_kit.distillation.trainer import Trainer, TrainerSetup, TrainingResult, check_input, check_plan
from mobileclip_kit.distillation.training_set import (
    fingerprint_of,
    load_images,
    some_rows,
    split_holdout,
    usable_pairs,
)
from mobileclip_kit.errors import DataError, MckitError, UsageError
from mobileclip_kit.files import counted, sha256_of_file
from mobileclip_kit.images import normalize
from mobileclip_kit.inherit.manual import kept_units
from mobileclip_kit.inherit.reconstruction import can_be_fitted, fit_head, fit_layers
from mobileclip_kit.networks.backbones import measure_batch_norms, projection_of
from mobileclip_kit.networks.families import encode_raw, image_tower
from mobileclip_kit.networks.model import describe, load_model
from mobileclip_kit.progress import Progress, say
from mobileclip_kit.scenes.truth import is_scenes
from mobileclip_kit.spec import ImageSpec, ModelSpec
from mobileclip_kit.tokenizer import load_tokenizer

_HOLDOUT_BATCH = 32
_DIGESTED = 4096
# Images that a projection is fitted to, and those that folded batch norms are measured on.
_PROJECTION_IMAGES, MEASURED = 20_000, 128
# Images that inherited layers are fitted on.
_FITTED_IMAGES = 4000
_LEAST_IMAGES = 2


@dataclass(frozen=True)
class TrainingReport:
    """The result of a training run.

    Attributes:
        path: The model folder.
        spec: The model's.
        result: Steps, seconds, images a second.
        metrics: ``loss`` and its parts, if there was a step; ``holdout_…`` on the images that were held out.
        images: How many were trained on.
        skipped: What was left out, with reasons.
        notes: What the user should know.
    """

    path: Path
    spec: ModelSpec
    result: TrainingResult
    metrics: dict[str, float]
    images: int
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The document of ``--json``."""
        return {
            "model": str(self.path),
            "steps": self.result.steps,
            "seconds": round(self.result.seconds, 3),
            "images_per_s": round(self.result.images_per_s, 1),
            "metrics": self.metrics,
            "images": self.images,
            "towers": list(self.spec.towers),
            "notes": self.notes,
            "skipped": [asdict(skip) for skip in self.skipped],
        }


def distill(request: DistillRequest) -> TrainingReport:
    """Distil one or several teachers into a student.

    Started by ``torchrun`` or accelerate's launcher, the processes share each batch and give what one process with the
    whole batch gives; the first one writes the model.

    Raises:
        UsageError: Values contradict each other.
        DataError: Fewer than two images can be used.
        ModelError: A teacher or starting model is damaged or does not fit.
        ModelMismatchError: A model belongs to another teacher.
        CacheError: A cache is damaged, or lacks what the recipe needs.
        TrainingError: The loss is no longer finite, or the checkpoint belongs to another run.
        OutputError: The output exists or cannot be written.
    """
    return DistillRun(request).run()


class TrainingRun:
    """What runs with and without a teacher have in common.

    Args:
        request: What was asked for.
        device: Where to train.

    Attributes:
        recipe: As resolved; its batch is made to fit the images.
        processes: Those that share the run.
        folder: Where the run's files lie meanwhile.
        skipped: What was left out, with reasons.
        notes: What the user should know.
    """

    def __init__(self, request: TrainingRequest, device: str) -> None:
        self.recipe, self.processes = request.resolved, open_context(device)
        self.folder = run_folder(request.out)
        self.skipped: list[Skipped] = []
        self.notes: list[str] = []
        self._request = request
        self._is_pointless = False

    @property
    def decoded_file(self) -> Path | None:
        """Where images are kept decoded that do not fit into memory, or None."""
        return self.folder / DECODED_FILE if self._request.decode_once else None

    def decoded(self, load: Callable[[], Made]) -> Made:
        """What a function loads; where processes share a file, the first one makes it before the others read it."""
        return load() if self.decoded_file is None else self.processes.first(load)

    def require_images(self, count: int) -> None:
        """Refuse a training set that is too small; then the teacher's vectors of it are of no use either.

        Raises:
            DataError: Fewer than two images.
        """
        if count >= _LEAST_IMAGES:
            return
        self._is_pointless = True
        images, why = counted(count, "image"), first_reason(self.skipped, "skipped")
        raise DataError(f"{images} can be trained on; distillation needs at least {_LEAST_IMAGES}{why}.")

    def note(self, sentence: str) -> None:
        """Say something once, as soon as it is known, and keep it for the report."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            if self.processes.is_first:
                say(sentence)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """The run's folder; a run that is refused before it did any work leaves none behind."""
        request, existed = self._request, self.folder.exists()
        with contextlib.ExitStack() as held:
            if self.processes.is_first:
                held.enter_context(open_run(request.out, resume=request.resume, force=request.force))
            self.processes.wait()
            try:
                yield
            except MckitError:
                keeps = holds_work(self.folder) and not self._is_pointless
                if not existed and self.processes.is_first and self.folder.is_dir() and not keeps:
                    shutil.rmtree(self.folder)
                raise

    def fit_batch(self, images: int) -> None:
        """Make the recipe's batch no larger than the training set."""
        wanted = self.recipe.training.batch_size
        if images < wanted:
            fitting = images - images % self.processes.count
            self.note(f"{images} images do not fill a batch of {wanted}; the batch is {fitting}.")
            self.recipe = self.recipe.with_training(batch_size=fitting)
        check_batch(self.processes, self.recipe.training.batch_size)

    def plain_batches(self, images: Images, rows: Rows, seen: ImageSpec) -> Iterator[Batch]:
        """Some images as they are, without augmentation, in the order of the rows."""
        for kept, pixels in images.read(iter(np.array_split(rows, len(rows) // _HOLDOUT_BATCH + 1))):
            if len(kept):
                tensors = torch.from_numpy(normalize(pixels, seen)).to(self.processes.device)
                yield Batch(kept, tensors, StepContext(0, 1, 0, 0))

    def save(self, student: Student, result: TrainingResult, metrics: dict[str, float], images: int, spec: ModelSpec,
             **more: Any) -> TrainingReport:  # fmt: skip
        """Write the model folder in the first process, and remove the run's."""
        request, dtype = self._request, more.pop("dtype", torch.float32)
        training = {"images": images, "metrics": metrics, **asdict(result), "notes": self.notes, **more,
                    "skipped": [asdict(skip) for skip in self.skipped]}  # fmt: skip
        if is_scenes(request.data):
            spec = spec.with_provenance(data="synthetic scenes")
        if self.processes.is_first:
            spec = finish_run(request.out, student, spec, recipe=self.recipe, training=training, dtype=dtype,
                              force=request.force)  # fmt: skip
        self.processes.wait()
        return TrainingReport(request.out, spec, result, metrics, images, self.skipped, self.notes)


class DistillRun(TrainingRun):
    """The state of one distillation; :meth:`run` says in which order it comes to be.

    Attributes:
        options: The recipe's ``[mixture]`` table.
        teachers: One live teacher, or one for each cache; the student's vectors are in the first one's space.
        pairs: What the data has.
        bank: Texts to compare images with.
        init: The model to start from, or None.
        student: The model in training; ``image`` is its preprocessing, and ``seen`` that of the images of a batch.
        train: The pairs to train on, their ``images`` and all ``texts``; ``holdout`` are those held out.
        replay: Which stored views to show, or None.
        targets: What each teacher says of the images and texts.
    """

    def __init__(self, request: DistillRequest) -> None:
        super().__init__(request, request.device)
        self.request = request
        self.options: MixtureOptions = self.recipe.options

    def run(self) -> TrainingReport:
        """Do everything, or continue where an interrupted run stopped."""
        with self.opened():
            self.open_teachers()
            self.read_data()
            self.make_student()
            self.choose_images()
            self.load_images()
            self.ask_teachers()
            self.start_from_backbone()
            self.fit_inherited()
            return self.train_and_save()

    def open_teachers(self) -> None:
        """Load the teacher or open the caches, and say what the user should know of them."""
        self.teachers = open_teachers(self.request.teacher, self.request.cache)
        for sentence in self.teachers[0].notes:
            self.note(sentence)
        if len(self.teachers) > 1 and not (self.options.affinity or self.options.sigmoid_affinity):
            raise UsageError(
                f"{len(self.teachers)} teachers are averaged in the affinity, whose weight is 0 in this recipe.",
                hint="Give affinity a weight, or pass one cache.",
            )

        if (scales := self.options.teacher_scales) and len(scales) != len(self.teachers):
            numbers, teachers = counted(len(scales), "number"), counted(len(self.teachers), "teacher")
            raise UsageError(f"teacher_scales has {numbers} for {teachers}.",
                             hint="Give one for each --cache, in their order.")  # fmt: skip

    def read_data(self) -> None:
        """List the images with what the recipe needs of their captions, and the text bank."""
        request, uses_texts = self.request, self.request.uses_texts
        self.bank = read_bank(request.bank, request.templates) if request.bank is not None else []
        pairs = list(islice(open_source(request.data, self.skipped, split="train"), request.limit))
        pairs = [replace(pair, captions=tuple(text for text in pair.captions if text.strip())) for pair in pairs]
        if self.options.needs_captions or (uses_texts and not self.bank):
            self.skipped += [Skipped(pair.key, "It has no caption.") for pair in pairs if not pair.captions]
            pairs = [pair for pair in pairs if pair.captions]
            if not pairs:
                raise DataError(
                    f"No image of {request.data} has a caption, and this recipe compares images with texts.",
                    hint="Pass images with captions, or a --bank of texts.",
                )
        self.require_images(len(pairs))
        self.pairs = pairs
        if self.options.both_captions and (synthetic := sum(pair.only_synthetic for pair in pairs)):
            self.note(f"{synthetic} of {counted(len(pairs), 'image')} have no real caption; with both_captions, their "
                      "first synthetic one takes its place.")  # fmt: skip
        if self.bank and not uses_texts and not request.trim_vocab:
            self.note(f"The recipe {self.recipe.name} compares images with no texts: --bank has no effect.")

    def make_student(self) -> None:
        """Build the student, and refuse what cannot be trained before any vector is computed."""
        request, first = self.request, self.teachers[0]
        texts = RunTexts.collect((pair.captions for pair in self.pairs), self.bank)
        stored = first.cache is not None or self._runs_teacher_once
        check_inputs(self.options, request.towers, texts if request.uses_texts else RunTexts.collect((), ()),
                     stored=stored)  # fmt: skip
        self.init = load_model(request.init) if request.init and not request.init_file else None
        self.student = self.processes.first(lambda: make_student(request, first, self.init, texts.texts, self.folder))
        self.image = self.seen = ImageSpec.from_open_clip(self.student.config["preprocess_cfg"])
        self._require_trainable()
        source = self.student.text
        for sentence in (*init_notes(request, first, self.init, self.image), *(source.warnings if source else ())):
            self.note(sentence)

    def _require_trainable(self) -> None:
        request, network, plan = self.request, self.student.network, self.recipe.training
        if "image" in request.towers:
            check_input(network, self.image, str(request.image_tower))
        if self.recipe.stages is None:
            check_plan(plan, network)
        fits = self._has_trained_trunk and projection_of(image_tower(network)) is not None
        if plan.steps == 0 and not fits and self.init is None and request.inherited is None:
            why = "has no linear projection on a timm backbone to fit"
            why = why if self._is_trained else "starts from random weights"
            raise UsageError(
                f"With steps = 0 nothing is trained, and this student {why}.",
                hint="Name a trained backbone as --student timm:NAME, or give more steps.",
            )

    @property
    def _is_trained(self) -> bool:
        """Whether the image tower has weights that were trained on something else."""
        return self.request.init_file is not None or (self.request.is_timm and self.init is None)

    @property
    def _has_trained_trunk(self) -> bool:
        return self._is_trained and hasattr(image_tower(self.student.network), "trunk")

    @property
    def _runs_teacher_once(self) -> bool:
        """Whether a live teacher's vectors are the same in each epoch, so that it need not run in the loop."""
        request, first = self.request, self.teachers[0]
        varied = "image" in request.towers and not self.recipe.augmentation.changes_nothing
        return request.uses_images and first.live is not None and not varied

    def choose_images(self) -> None:
        """The images that have a target, how they are varied, and those that are held out."""
        request, first, pairs = self.request, self.teachers[0], self.pairs
        if self._runs_teacher_once:
            failed = self.processes.first(
                lambda: run_teacher_once(first, pairs, self.folder / "teacher", device=self.processes.device)
            )
            self.skipped += failed
            names = {skip.item for skip in failed}
            pairs = [pair for pair in pairs if pair.key not in names]
        self.replay: Replay | None = None
        if "image" not in request.towers:  # only a live teacher sees the images, once
            self.recipe = replace(self.recipe, augmentation=Augmentation())
        elif first.cache is not None:
            self.recipe, self.replay = replay_views(self.recipe, first.cache.description)
            if self.replay is None and not self.recipe.augmentation.changes_nothing:
                self.note(
                    f"{first.cache.path} holds vectors of plain images, which are the targets of the student's varied "
                    "ones; `mckit cache --views` stores vectors of varied ones."
                )
        stored = [teacher.cache for teacher in self.teachers if teacher.cache is not None]
        known = set.intersection(*(set(cache.hashes) for cache in stored)) if stored and request.uses_images else None
        where = ", ".join(str(cache.path) for cache in stored)
        usable = usable_pairs(pairs, known, self.skipped, where)
        self.train, self.holdout = split_holdout(usable, request.holdout)
        if request.holdout is not None and not len(self.holdout):
            self.note(f"--holdout {request.holdout} of {len(self.train)} images is none: nothing was held out.")
        if self.student.text is not None and request.uses_images:
            check_text_source(self.student.text, first, self.train, is_student=request.text_from is None)

    def load_images(self) -> None:
        """Decode the training set where it fits into memory."""
        if "image" in self.request.towers:
            self.seen = seen_by_both(self.image, self.teachers[0])
            self.train, self.images = self.decoded(
                lambda: load_images(self.train, self.seen, draft=self.request.fast_decode, file=self.decoded_file)
            )
        else:
            self.images = NoImages(identities_of(self.train.hashes))
        self.skipped += self.images.skipped
        self._told = len(self.images.skipped)
        self.require_images(len(self.train))
        self.fit_batch(len(self.train))

    def ask_teachers(self) -> None:
        """The targets: vectors of images and texts, stored or computed."""
        request, unit_scale, device = self.request, self.options.unit_scale, self.processes.device
        self.texts = RunTexts.collect((pair.captions for pair in self.train.pairs), self.bank)
        self.targets: list[TeacherTargets] = []
        for teacher in self.teachers:
            vectors = None
            if self.texts.texts and request.uses_texts:
                source = self.student.text
                model = teacher.live or (source if source is not None and is_teacher(source, teacher) else None)
                vectors = self.processes.first(
                    lambda teacher=teacher, model=model: stored_texts(  # type: ignore[misc]
                        teacher, self.texts.texts, model, self.folder / "teacher", unit_scale=unit_scale, device=device
                    )
                )
            if request.uses_images:
                targets = teacher_targets(teacher, self.train.hashes, self.seen, unit_scale=unit_scale, device=device)
                self.targets.append(replace(targets, texts=vectors))
            else:
                self.targets.append(
                    TeacherTargets(None, None, vectors, teacher.logit_scale or 100.0, teacher.logit_bias)
                )

    @torch.no_grad()
    def start_from_backbone(self) -> None:
        """Fit a trained backbone's projection to the teacher's vectors before anything is trained."""
        if not self._has_trained_trunk:
            return
        visual = image_tower(self.student.network)
        projection = projection_of(visual)
        device, targets = self.processes.device, self.targets[0].images
        assert targets is not None
        network: Any = self.student.network.to(device).eval()
        rows = some_rows(len(self.images), _PROJECTION_IMAGES)
        batches = self.plain_batches(self.images, some_rows(len(self.images), MEASURED), self.seen)
        measure_batch_norms(network, (resized(batch.images, self.image) for batch in batches))
        if projection is None:
            return
        features: list[torch.Tensor] = []
        vectors = []
        hook = projection.register_forward_pre_hook(lambda _, given: features.append(given[0].cpu()))
        with Progress("projection", total=len(rows), unit="images") as progress:
            for batch in self.plain_batches(self.images, rows, self.seen):
                visual(resized(batch.images, self.image))
                vectors.append(targets(batch).cpu())
                progress.advance(len(batch.rows))
        hook.remove()
        fit = start_projection(projection, torch.cat(features), torch.cat(vectors), classifier=self.student.classifier,
                               widths=getattr(visual.trunk, "widths", ()))  # fmt: skip
        alike = fit.likeness is not None
        self.note(
            f"The projection starts by ridge regression: cosine {fit.cosine:.3f} to the teacher on images that the "
            "regression did not see"
            + (f", and correlation {fit.likeness:.2f} with which of them the teacher finds alike." if alike else ".")
        )

    @torch.no_grad()
    def fit_inherited(self) -> None:
        """Fit inherited layers to those they came from, and the head to the teacher's vectors, for ``fitted``."""
        giver = self.init or self.teachers[0].live or self.student.text
        if self.request.inherited != "fitted" or giver is None or "image" not in self.request.inheriting:
            return
        device, targets = self.processes.device, self.targets[0].images
        student, teacher = (network.to(device).eval() for network in (self.student.network, giver.network))
        ours, theirs = image_tower(student), image_tower(teacher)
        if not can_be_fitted(ours, theirs) or targets is None:
            self.note("Only layers of mckit's convolutional towers are fitted, where student and teacher have as many; "
                      "this student starts from inherited channels alone.")  # fmt: skip
            return
        rows = some_rows(len(self.images), _FITTED_IMAGES)
        batches = list(self.plain_batches(self.images, rows, self.seen))
        seen = [resized(batch.images, self.image) for batch in batches]
        fit_layers(ours.trunk, theirs.trunk, kept_units(student, teacher, "fitted"), seen)
        raw = self.options.kld_l1 or self.options.mse
        vectors = torch.cat([targets(batch).cpu() for batch in batches])
        cosine = fit_head(ours, seen, vectors, length=1.0 if raw else self.recipe.training.fitted_length)
        self.note(f"Inherited layers were fitted to the teacher's on {len(rows)} images: cosine {cosine:.3f} before "
                  "training.")  # fmt: skip

    def train_and_save(self) -> TrainingReport:
        """Train, in stages where the recipe has them, measure the student and write its folder."""
        provenance = self.provenance()
        if self.recipe.stages is None:
            result = self.train_phase(self.student, Phase(folder=self.folder))
        else:
            staged = run_stages(self.student, self.recipe.stages, self.folder, self.processes, self.train_phase,
                                self.fingerprint())  # fmt: skip
            self.student, result = staged.student, staged.result
            provenance["stages"] = staged.stages
        # Each process met those that the start of the training read.
        self.skipped += dict.fromkeys(self.processes.collect(self.images.skipped[self._told :]))
        cosines = {name: value for name, value in result.parts.items() if name in ("cosine", "cosine_text")}
        metrics = {**result.losses, **cosines, **self.evaluate_holdout()}
        if (found := metrics.get("holdout_cosine", 1.0)) <= (mean := metrics.get("holdout_cosine_of_mean", 0.0)):
            self.note(
                f"The student is useless: its cosine to the teacher on held-out images is {found:.3f}, and the mean of "
                f"the teacher's vectors of training images, given for every image, would have {mean:.3f}; train longer "
                "or on more images."
            )
        network = self.student.network.to("cpu")
        spec = describe(self.request.out.name, network, self.student.config, **provenance, torch=torch.__version__)
        return self.save(self.student, result, metrics, len(self.train), spec,
                         holdout=[pair.key for pair in self.holdout.pairs])  # fmt: skip

    def train_phase(self, student: Student, phase: Phase) -> TrainingResult:
        """One training from its first step, or from its checkpoint, to the end."""
        network: Any = student.network.to(self.processes.device)
        if self.recipe.training.gradient_checkpointing:
            network.set_grad_checkpointing(True)
            trunk = getattr(image_tower(network), "trunk", None)
            if trunk is not None and not hasattr(trunk, "set_grad_checkpointing"):
                self.note("This image tower cannot recompute activations; gradient_checkpointing has no effect on it.")
        plan = phase.plan(self.recipe.training)
        with passed_once(network, plan.frozen if self._shows_the_same else (), self.images, self.seen,
                         self.processes.device) as grids:  # fmt: skip
            objective = MixtureObjective(
                network, self.options, self.targets, images=len(self.train),
                texts=self.texts if self.request.uses_texts else None, towers=self.request.towers,
                tokens=self._tokens(student), image=self.image if grids is None else None,
            )  # fmt: skip
            setup = TrainerSetup(
                plan=plan, augmentation=self.recipe.augmentation, image=self.seen, folder=phase.folder,
                fingerprint=self.fingerprint(), replay=self.replay, checkpoint_seconds=self.request.checkpoint_seconds,
                rates=phase.rates,
            )  # fmt: skip
            wrapped = objective if phase.wrap is None else phase.wrap(objective)
            images = self.images if grids is None else grids
            return Trainer(wrapped, images, setup, self.processes).run(resume=self.request.resume)

    @property
    def _shows_the_same(self) -> bool:
        """Whether the student sees an image in each epoch as in the first, and neither teachers nor gates do."""
        stored = all(teacher.lookup is not None for teacher in self.targets) and self.recipe.stages is None
        return stored and self.recipe.augmentation.changes_nothing and self.replay is None and self.seen == self.image

    def _tokens(self, student: Student) -> torch.Tensor | None:
        if "text" not in student.towers or not self.texts.texts:
            return None
        spec = describe("student", student.network, student.config)
        return torch.from_numpy(load_tokenizer(spec.require_text(), student.tokenizer_file)(list(self.texts.texts)))

    def provenance(self) -> dict[str, Any]:
        """Where the student comes from, for its description."""
        request, first = self.request, self.teachers[0]
        made: dict[str, Any] = {"teacher": first.name, "teacher_hash": first.identity}
        if len(self.teachers) > 1:
            made["teachers"] = [teacher.identity for teacher in self.teachers]
        made["student"] = _tower_name(request.student)
        if request.text:
            made["text"] = _tower_name(request.text)
        return made | {
            "recipe": self.recipe.name,
            "init": sha256_of_file(request.init_file)
            if request.init_file
            else self.init.spec.model_hash
            if self.init
            else None,
            "inherit": request.inherited,
            "targets": targets_note(first, self.options.unit_scale),
        }

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for an interrupted run to be continued."""
        decoding = {"fast_decode": True} if self.request.fast_decode else {}
        return {**self.provenance(), "data": fingerprint_of(self.train), "recipe": self.recipe.to_toml(),
                "texts": str(identities_of(["\0".join(self.texts.texts)])[0]), **decoding,
                **self.student.made_as, **self._imported}  # fmt: skip

    @cached_property
    def _imported(self) -> dict[str, str]:
        """A digest of the targets that another program computed: no hash of a model says which they are."""
        digest = hashlib.sha256()
        caches = [teacher.cache for teacher in self.teachers]
        found = [targets for cache, targets in zip(caches, self.targets, strict=True)
                 if cache is not None and cache.description.teacher_hash is None]  # fmt: skip
        for targets in found:
            for rows in parts_of(np.arange(len(self.train) if targets.lookup else 0), _DIGESTED):
                assert targets.lookup is not None
                digest.update(targets.lookup(rows, 0).numpy().tobytes())
            for part in () if targets.texts is None else torch.split(targets.texts, _DIGESTED):
                digest.update(part.cpu().numpy().tobytes())
        return {"set of vectors": digest.hexdigest()} if found else {}

    @torch.inference_mode()
    def evaluate_holdout(self) -> dict[str, float]:
        """Cosine and mean absolute difference between student and teacher on the held-out images.

        CLIP's image vectors lie in a narrow cone: the mean of the training images', one vector for all, already has a
        high cosine to each. ``holdout_cosine_of_mean`` says how high.
        """
        if not len(self.holdout):
            return {}
        holdout, images = load_images(self.holdout, self.seen, draft=self.request.fast_decode)
        targets = teacher_targets(self.teachers[0], holdout.hashes, self.seen, unit_scale=self.options.unit_scale,
                                  device=self.processes.device).images  # fmt: skip
        known = self.targets[0].images
        assert targets is not None and known is not None
        students, teachers = list[torch.Tensor](), list[torch.Tensor]()
        for batch in self.plain_batches(images, np.arange(len(images), dtype=np.int64), self.seen):
            students.append(encode_raw(self.student.network, resized(batch.images, self.image)).cpu())
            teachers.append(targets(batch).cpu())
        self.skipped += images.skipped
        if not teachers:
            return {}
        ours, theirs = torch.cat(students), torch.cat(teachers)
        some = self.plain_batches(self.images, some_rows(len(self.images), MEASURED), self.seen)
        constant = F.normalize(torch.cat([known(batch).cpu() for batch in some]), dim=1).mean(0, keepdim=True)
        return {
            "holdout_images": len(theirs),
            "holdout_cosine": float(F.cosine_similarity(ours, theirs).mean()),
            "holdout_cosine_of_mean": float(F.cosine_similarity(constant, theirs).mean()),
            "holdout_l1": float((ours - theirs).abs().mean()),
        }


def _tower_name(name: str | None) -> str | None:
    return Path(name).stem if name is not None and name.endswith(".json") else name
