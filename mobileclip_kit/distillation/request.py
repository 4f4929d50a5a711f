"""The requests of ``distill`` and ``train``: one dataclass each, for Python and for the command line.

A request checks itself when it is made, names of recipes, students and models included, before torch is imported and
before anything is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args

from mobileclip_kit.cache.folder import cache_folders, read_description
from mobileclip_kit.data.sources import check_source
from mobileclip_kit.distillation.captions import read_bank
from mobileclip_kit.distillation.recipe import Recipe, load_recipe
from mobileclip_kit.distillation.run_folder import check_run
from mobileclip_kit.distillation.tables import ComputeType, LightClipLoss, PairOptions
from mobileclip_kit.distillation.training_set import read_holdout
from mobileclip_kit.errors import ModelError, OutputError, UsageError
from mobileclip_kit.inherit import Choice
from mobileclip_kit.model_names import HUB, check_device_name, check_model_name, is_backbone
from mobileclip_kit.options import Option
from mobileclip_kit.resources import did_you_mean, tower_config
from mobileclip_kit.spec import Tower
from mobileclip_kit.urls import is_url

# The value of ``text`` that means the teacher's own text tower, trained on; with stages, of ``student`` too.
TEACHERS_OWN = "teacher"
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_PATHS = ("data", "out", "bank", "templates")
_RECIPE = Option("A preset's name or a TOML file.", metavar="R")
_OVERRIDES = ("epochs", "steps", "batch_size", "lr", "seed", "precision", "micro_batch")


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """The common part of the requests to distil and to train.

    Paths may be given as texts. The values from ``epochs`` to ``precision`` replace the recipe's; None keeps them.
    """

    data: Annotated[Path | str, Option("Images, perhaps with captions: a folder, file or shards.", metavar="D")]
    out: Annotated[Path, Option("The model folder to make.", names=("-o",), metavar="MODEL")]
    recipe: Annotated[str | Path | Recipe, _RECIPE] = "piccollage"
    epochs: Annotated[int | None, Option("Passes over the images.", metavar="N")] = None
    steps: Annotated[int | None, Option("Total number of updates, instead of --epochs.", metavar="N")] = None
    batch_size: Annotated[int | None, Option("Images per update.", metavar="N")] = None
    lr: Annotated[float | None, Option("Peak learning rate.", metavar="RATE")] = None
    seed: Annotated[int | None, Option("Seed of weights, order and augmentation.", metavar="N")] = None
    precision: Annotated[ComputeType | None, Option("Type of matrix products.")] = None
    limit: Annotated[int | None, Option("Take the first N images only.", metavar="N", at_least=2)] = None
    trim_vocab: Annotated[bool, Option("Keep only the vocabulary that the texts of the run need, and bytes.")] = False
    decode_once: Annotated[
        bool, Option("Decode images that do not fit into memory into a file during the run, not in each epoch.")
    ] = False
    device: Annotated[str, Option("cpu, cuda, mps or auto.")] = "cpu"
    checkpoint_seconds: Annotated[float, Option("Time between checkpoints.", metavar="S", at_least=0)] = 60.0
    resume: Annotated[bool, Option("Continue an interrupted run.")] = False
    force: Annotated[bool, Option("Replace an output that exists already.")] = False

    def __post_init__(self) -> None:
        for name in _PATHS:
            value = getattr(self, name, None)
            if isinstance(value, str) and not is_url(value):
                object.__setattr__(self, name, Path(value))
        _ = self.resolved

    def check(self) -> None:
        """Refuse places that cannot be read or written, before torch is imported.

        Raises:
            DataError: The images are missing.
            OutputError: The output exists, is being made, or cannot be written.
            UsageError: No device has this name.
        """
        check_device_name(self.device)
        check_source(self.data)
        if os.environ.get("RANK", "0") == "0":  # under torchrun the others may start when the run's folder exists
            check_run(self.out, resume=self.resume, force=self.force)

    @cached_property
    def resolved(self) -> Recipe:
        """The recipe with the request's own values in place of its."""
        recipe = self.recipe if isinstance(self.recipe, Recipe) else load_recipe(self.recipe)
        return recipe.with_training(**{name: getattr(self, name, None) for name in _OVERRIDES})


@dataclass(frozen=True, kw_only=True)
class DistillRequest(TrainingRequest):
    """A distillation to run.

    Raises:
        UsageError: Values contradict each other, or the recipe is unknown or does not fit.
        ModelError: The student, the text tower or a model is unknown.
    """

    teacher: Annotated[str | None, Option("A model folder, ViT-B-32:openai or hf-hub:….", metavar="T")] = None
    cache: Annotated[
        tuple[Path, ...],
        Option("A teacher's stored vectors instead; the affinities of several are averaged.", metavar="CACHE"),
    ] = ()
    student: Annotated[
        str | None,
        Option("A new image tower: vit-s6-h12, …, a JSON file, timm:NAME[.TAG] or stages:NAME.", metavar="S"),
    ] = None
    text: Annotated[
        str | None,
        Option("A new text tower: motis-4, … or a JSON file; teacher trains the teacher's own.", metavar="X"),
    ] = None
    text_from: Annotated[str | None, Option("Take this model's text tower, not the teacher's.", metavar="T")] = None
    init: Annotated[
        str | None,
        Option(
            "Start from this model's image tower, whatever its number of heads, or a backbone's FILE.safetensors.",
            metavar="MODEL",
        ),
    ] = None
    inherit: Annotated[
        Choice | None,
        Option(
            "Start new towers from the leading or the heaviest channels of a wider teacher's; fitted also fits layers.",
            flag_value="leading",
        ),
    ] = None
    bank: Annotated[Path | None, Option("Texts to compare images with, one a line.", metavar="FILE")] = None
    templates: Annotated[
        Path | None, Option("With --bank: one template a line, such as: a photo of a {}", metavar="FILE")
    ] = None
    holdout: Annotated[
        str | float | None, Option("Images kept out of training: a share, or a file of names.", metavar="SHARE|FILE")
    ] = None
    micro_batch: Annotated[
        int | None, Option("Images in one forward pass; the loss still compares the whole batch.", metavar="N")
    ] = None
    fast_decode: Annotated[bool, Option("Decode large JPEGs at reduced resolution.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        caches: Any = (self.cache,) if isinstance(self.cache, str | Path) else self.cache or ()
        object.__setattr__(self, "cache", tuple(Path(cache) for cache in caches))
        if self.resolved.objective != "mixture":
            raise UsageError(
                f"The recipe {self.resolved.name} trains {self.resolved.objective}; `mckit distill` takes recipes with "
                "the objective mixture.",
                hint="Use `mckit train` with it." if self.resolved.objective == "pairs" else None,
            )
        if (self.teacher is None) == (not self.cache):
            raise UsageError("Give either --teacher or --cache: vectors come from one of them.")
        if self.resolved.stages is not None and (self.student or self.text or self.init or self.inherit):
            raise UsageError(
                f"The recipe {self.resolved.name} prunes both towers of the teacher; it trains no new tower.",
                hint="Leave --student, --text, --init and --inherit out.",
            )
        if not self.towers:
            raise UsageError("Name a --student to train an image tower, a --text to train a text tower, or both.")
        if self.holdout is not None and "image" not in self.towers:
            raise UsageError("--holdout compares images, but only a text tower is trained.")
        if self.holdout is not None:
            read_holdout(self.holdout)
        if self.templates is not None and self.bank is None:
            raise UsageError("--templates needs --bank: templates are filled with its names.")
        self._check_names()

    def check(self) -> None:
        """Refuse places that cannot be read or written, before torch is imported.

        Raises:
            MckitError: See :meth:`TrainingRequest.check`; also a cache, a bank or a device that does not exist.
        """
        for folder in (folder for cache in self.cache for folder in cache_folders(cache)):
            read_description(folder)
        if self.bank is not None:
            read_bank(self.bank, self.templates)
        for model in (self.teacher, self.text_from):
            if model is not None and Path(model).exists() and Path(model).resolve() == self.out.resolve():
                raise OutputError(f"{self.out} is the teacher, and would be replaced.", hint="Choose another -o.")
        super().check()

    def _check_names(self) -> None:
        if self.student is not None and not self.is_timm:
            tower_config("student", self.student)
        if self.init_file is not None:
            if self.student is None:
                raise UsageError("--init with a file of weights needs --student, which says of what they are.")
            _check_weights_file(self.init_file)
        if self.text not in (None, TEACHERS_OWN):
            tower_config("text tower", str(self.text))
        for model in (self.teacher, self.text_from, None if self.init_file else self.init):
            if model is not None:
                check_model_name(str(model))

    @property
    def is_timm(self) -> bool:
        """Whether the student's image tower is a backbone of timm's."""
        return is_backbone(self.student)

    @property
    def init_file(self) -> Path | None:
        """The file of a backbone's weights to start from."""
        return weights_file(self.init)

    @property
    def image_tower(self) -> str | None:
        """The new image tower, ``teacher`` for the teacher's own; None keeps a finished one."""
        return self.student if self.resolved.stages is None else TEACHERS_OWN

    @property
    def text_tower(self) -> str | None:
        """The new text tower, ``teacher`` for the teacher's own; None trains none."""
        return self.text if self.resolved.stages is None else TEACHERS_OWN

    @property
    def towers(self) -> tuple[Tower, ...]:
        """Which towers are trained."""
        given: Iterable[tuple[Tower, str | None]] = (("image", self.image_tower), ("text", self.text_tower))
        return tuple(tower for tower, name in given if name)

    @property
    def inherited(self) -> Choice | None:
        """Which channels of the teacher's the :attr:`inheriting` towers start from."""
        return self.inherit or (self.resolved.inherit if self.inheriting else None)

    @property
    def inheriting(self) -> tuple[Tower, ...]:
        """Towers that start from channels of the teacher's; a recipe leaves a trained backbone its own weights."""
        if self.inherit or not (self.is_timm or self.init_file is not None):
            return self.towers if self.inherit or self.resolved.inherit else ()
        return ("text",) if "text" in self.towers and self.resolved.inherit else ()

    @property
    def uses_texts(self) -> bool:
        """Whether the run compares anything with texts."""
        return self.resolved.options.needs_texts or "text" in self.towers

    @property
    def uses_images(self) -> bool:
        """Whether teachers' image vectors are needed: a text tower may learn from texts alone."""
        return self.resolved.options.needs_texts or "image" in self.towers


def weights_file(init: str | Path | None) -> Path | None:
    """The file that ``--init`` names; None for a model."""
    if init is None:
        return None
    path = Path(init)
    if path.is_dir() or str(init).startswith(HUB):
        return None
    # A file without a suffix in the current folder may be called like a model of open_clip.
    is_file = path.is_file() and (path.suffix != "" or len(path.parts) > 1)
    return path if is_file or path.suffix.lower() in (".safetensors", *_PICKLES) else None


def _check_weights_file(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", hint="Check the path of --init.")
    if path.suffix.lower() in _PICKLES:
        raise ModelError(
            f"{path} is a pickle, which may run code when it is read; mckit reads .safetensors.",
            hint='Convert it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), "weights.safetensors").',
        )
    if path.suffix.lower() != ".safetensors":
        raise ModelError(f"{path} is not called .safetensors, the only format of weights that --init reads.",
                         hint="Pass a model folder, or rename the file if it has this format.")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainingRequest):
    """A training from image-caption pairs, without a teacher, to run.

    Raises:
        UsageError: The recipe is unknown or needs a teacher, or a value is out of range.
        ModelError: The student, the text tower or the model to start from is unknown.
    """

    student: Annotated[
        str | None, Option("Image tower: resnet18, …, a JSON file, timm:NAME[.TAG] or stages:NAME.", metavar="S")
    ] = None
    text: Annotated[str | None, Option("Text tower: text-8, …, or a JSON file.", metavar="X")] = None
    losses: Annotated[str | tuple[str, ...] | None, Option("Which of align,tokens,mlm; or none.", metavar="LIST")] = (
        None
    )
    image_size: Annotated[int | None, Option("Width and height of the model's input in pixels.", metavar="PX")] = None
    embedding_dim: Annotated[int | None, Option("Width of the vectors.", metavar="N")] = None
    init: Annotated[
        str | None,
        Option("Start from this model of the same towers, or a backbone's FILE.safetensors.", metavar="MODEL"),
    ] = None
    recipe: Annotated[str | Path | Recipe, _RECIPE] = "lightclip"

    def __post_init__(self) -> None:
        super().__post_init__()
        options = self.resolved.options
        if not is_backbone(options.student):
            tower_config("student", options.student)
        tower_config("text tower", options.text)
        if self.resolved.training.steps == 0:
            raise UsageError("steps is 0; training from pairs needs at least 1.")
        if self.init_file is not None:
            _check_weights_file(self.init_file)
        elif self.init is not None:
            check_model_name(str(self.init))

    @property
    def init_file(self) -> Path | None:
        """The file of the image tower's weights to start from."""
        return weights_file(self.init)

    @cached_property
    def resolved(self) -> Recipe:
        """The recipe with the request's own values in place of its."""
        recipe = super().resolved
        if not isinstance(recipe.options, PairOptions):
            raise UsageError(
                f"The recipe {recipe.name} has the objective {recipe.objective!r}, which needs a teacher.",
                hint="Use `mckit distill` with it, or --recipe lightclip here.",
            )
        given: dict[str, Any] = {
            "student": self.student, "text": self.text, "losses": _losses(self.losses), "image_size": self.image_size,
            "embedding_dim": self.embedding_dim, "trim_vocab": self.trim_vocab or None,
        }  # fmt: skip
        changed = {name: value for name, value in given.items() if value is not None}
        return replace(recipe, options=replace(recipe.options, **changed))


def _losses(given: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    listed = given.split(",") if isinstance(given, str) else given
    names = tuple(name.strip() for name in listed if name.strip() and name.strip() != "none")
    known = get_args(LightClipLoss)
    for name in names:
        if name not in known:
            raise UsageError(
                f"--losses names {name!r}; it may name align, tokens and mlm, or be none.",
                hint=did_you_mean(name, known),
            )
    return names
