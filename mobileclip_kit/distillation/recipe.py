"""Recipes: how a model is trained, read from TOML into frozen, checked dataclasses.

A recipe has a name, the objective's name, and one table for each dataclass: ``[training]``, ``[augmentation]``, the
objective's own options under the objective's name, and ``[stages]`` where the student is its teacher, cut down. The
resolved recipe (flags applied) is saved with the model.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from mobileclip_kit.distillation.augment import Augmentation
from mobileclip_kit.distillation.mixture import MixtureOptions
from mobileclip_kit.distillation.pairs import PairOptions
from mobileclip_kit.distillation.stage_options import StageOptions
from mobileclip_kit.errors import UsageError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.inherit.choice import Choice
from mobileclip_kit.resources import models_folder

# Objective → its options: the recipe's table of the same name.
OPTIONS: dict[str, type[Any]] = {
    "mixture": MixtureOptions,
    "pairs": PairOptions,
}

Precision = Literal["float32", "bfloat16", "float16"]
Section = TypeVar("Section")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What the trainer itself needs to know.

    Attributes:
        epochs: Passes over the images.
        steps: Updates in all; when given it counts instead of ``epochs``.
        batch_size: Images in an update.
        optimizer: ``adamw``, or ``muon``, which learns more from an image, see :mod:`mobileclip_kit.distillation.muon`.
        lr: Peak learning rate of the optimizer.
        final_lr_share: Share of the peak that the cosine ends at.
        warmup_share: Share of the steps in which the learning rate rises.
        warmup_steps: Steps of the rise; when given they count instead of the share.
        weight_decay: Of weights with two dimensions or more; biases and norms have none.
        betas: AdamW's decay rates of the two moments.
        gradient_clip: Greatest norm of the gradient of all weights together; None leaves it as it is.
        precision: ``bfloat16`` and ``float16`` run matrix products in that type (autocast); weights stay float32.
        micro_batch: Images that pass the model at once; the loss still compares the whole batch. None takes all.
        gradient_checkpointing: Compute activations again for the gradient instead of keeping them: less memory, a third
            more time.
        ema_decay: Decay of the moving average of the weights that becomes the result; None keeps the last weights.
        frozen: Parts of the network that keep the weights they start with, such as ``visual.trunk.stages.0``.
        seed: Of weights, order and augmentation.
    """

    epochs: int = 20
    steps: int | None = None
    batch_size: int = 256
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    final_lr_share: float = 0.0
    warmup_share: float = 0.05
    warmup_steps: int | None = None
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_clip: float | None = 1.0
    precision: Precision = "float32"
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    ema_decay: float | None = None
    frozen: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _check(self.steps is None or self.steps >= 1, "steps", self.steps, "at least 1")
        _check(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2")
        _check(0.0 < self.lr < math.inf, "lr", self.lr, "above 0 and finite")
        _check(0.0 <= self.final_lr_share <= 1.0, "final_lr_share", self.final_lr_share, "in 0…1")
        _check(0.0 <= self.warmup_share <= 1.0, "warmup_share", self.warmup_share, "in 0…1")
        _check(self.warmup_steps is None or self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "at least 0")
        _check(self.weight_decay >= 0.0, "weight_decay", self.weight_decay, "at least 0")
        _check(all(0.0 <= beta < 1.0 for beta in self.betas), "betas", list(self.betas), "two numbers in 0…1")
        _check(self.gradient_clip is None or self.gradient_clip > 0.0, "gradient_clip", self.gradient_clip, "above 0")
        _check(self.ema_decay is None or 0.0 < self.ema_decay < 1.0, "ema_decay", self.ema_decay, "in 0…1")
        _check(self.micro_batch is None or self.micro_batch >= 1, "micro_batch", self.micro_batch, "at least 1")
        _check(0 <= self.seed < 1 << 32, "seed", self.seed, "in 0…4294967295")

    def total_steps(self, images: int) -> int:
        """Updates of the whole run; an epoch leaves out the images that fill no batch."""
        return self.steps or self.epochs * (images // self.batch_size)

    def rise(self, steps: int) -> int:
        """Steps of the warm-up."""
        return round(self.warmup_share * steps) if self.warmup_steps is None else self.warmup_steps


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train.

    Attributes:
        name: For people.
        objective: A row of :data:`OPTIONS`.
        training: Steps, learning rate, seed.
        augmentation: How images are varied.
        options: The objective's own dataclass.
        inherit: Start new towers from these channels of the teacher's, ``leading`` (in TOML also ``true``) or
            ``heaviest``; None starts them at random.
        stages: How the student is cut out of its teacher; None trains a new one.
    """

    name: str
    objective: str
    training: TrainingPlan = field(default_factory=TrainingPlan)
    augmentation: Augmentation = field(default_factory=Augmentation)
    options: Any
    inherit: Choice | None = None
    stages: StageOptions | None = None

    def __post_init__(self) -> None:
        if self.stages is not None and (self.inherit or self.objective != "mixture"):
            raise UsageError("[stages] cuts the teacher itself down: it takes the objective mixture and no inherit.")

    def with_training(self, **overrides: Any) -> Self:
        """A copy with other training values; None leaves a value as it is.

        Giving ``epochs`` without ``steps`` puts the recipe's own ``steps`` aside.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        if "epochs" in given and "steps" not in given:
            given["steps"] = None
        return replace(self, training=replace(self.training, **given))

    def to_toml(self) -> str:
        """The recipe as TOML, every value written out."""
        lines = [f"name = {_toml_value(self.name)}", f"objective = {_toml_value(self.objective)}"]
        lines += [f'inherit = "{self.inherit}"'] if self.inherit else []
        sections = {"training": self.training, "augmentation": self.augmentation, self.objective: self.options}
        if self.stages is not None:
            sections["stages"] = self.stages
        for title, section in sections.items():
            lines += ["", f"[{title}]"]
            for entry in fields(section):
                value = getattr(section, entry.name)
                if value is not None:  # TOML has no null: an absent key is None
                    lines.append(f"{entry.name} = {_toml_value(value)}")
        return "\n".join(lines) + "\n"


def load_recipe(name: str | Path) -> Recipe:
    """A preset by its name, or a recipe file.

    Raises:
        UsageError: No preset has this name (the nearest is named), the file is not TOML, or a key is unknown, of the
            wrong kind or out of range.
    """
    path = Path(name)
    if path.suffix != ".toml" and not path.is_file():
        folder = models_folder() / "recipes"
        presets = sorted(preset.stem for preset in folder.glob("*.toml"))
        if str(name) not in presets:
            raise UsageError(
                f"No recipe is called {str(name)!r}; the presets are {', '.join(presets)}.",
                hint=_nearest(name, presets),
            )
        path = folder / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"There is no recipe file {path}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error
    return recipe_from(document, source=str(path))


def recipe_from(document: Mapping[str, Any], *, source: str) -> Recipe:
    """Check a parsed recipe."""
    objective = document.get("objective")
    if objective not in OPTIONS:
        raise UsageError(
            f"{source}: objective is {objective!r}; it must be one of {', '.join(OPTIONS)}.",
            hint=_nearest(objective, OPTIONS),
        )
    known = {"name", "objective", "inherit", "training", "augmentation", "stages", objective}
    _refuse_unknown(document, known, source)
    name = document.get("name", Path(source).stem)
    if not isinstance(name, str):
        raise UsageError(f"{source}: name is {name!r}; it must be a text.")
    inherit = document.get("inherit", False)
    if inherit not in (False, True, *get_args(Choice)):
        raise UsageError(f"{source}: inherit is {inherit!r}; it must be leading, heaviest, true or false.")
    stages = document.get("stages")
    return Recipe(
        name=name,
        objective=objective,
        training=section_from(TrainingPlan, document.get("training", {}), f"{source} [training]"),
        augmentation=section_from(Augmentation, document.get("augmentation", {}), f"{source} [augmentation]"),
        options=section_from(OPTIONS[objective], document.get(objective, {}), f"{source} [{objective}]"),
        inherit={False: None, True: "leading"}.get(inherit, inherit),
        stages=None if stages is None else section_from(StageOptions, stages, f"{source} [stages]"),
    )


def save_recipe(path: Path, recipe: Recipe) -> None:
    """Write ``recipe.toml``, atomically."""
    with atomic_file(path) as staging:
        staging.write_text(recipe.to_toml(), encoding="utf-8")


def section_from(kind: type[Section], table: Any, where: str) -> Section:
    """Build a dataclass from a TOML table whose keys and types are checked.

    Raises:
        UsageError: A key is unknown, or a value has the wrong type or is out of range.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table.")
    hints = typing.get_type_hints(kind)
    _refuse_unknown(table, hints, where)
    values = {key: _converted(value, hints[key], f"{where} {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def _converted(value: Any, wanted: Any, where: str) -> Any:
    """``value`` as the annotated type: TOML's integers may stand for floats, its arrays for tuples."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin in (types.UnionType, typing.Union):
        return _converted(value, next(kind for kind in arguments if kind is not type(None)), where)
    elif origin is tuple:
        if isinstance(value, list):
            kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
            if len(kinds) == len(value):
                return tuple(_converted(item, kind, where) for item, kind in zip(value, kinds, strict=True))
    elif wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif wanted in (int, bool, str) and type(value) is wanted:
        return value
    name = getattr(wanted, "__name__", str(wanted)) if origin is None else str(wanted).replace("typing.", "")
    raise UsageError(f"{where} is {value!r}; it must be of the kind {name}.")


def _refuse_unknown(table: Mapping[str, Any], known: Any, where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where} has the unknown key {key!r}.", hint=_nearest(key, known))


def _nearest(name: object, known: Any) -> str | None:
    found = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.4)
    return f"Did you mean {found[0]}?" if found else None


def _check(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {value}; it must be {wanted}.")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's basic strings are JSON's
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return repr(value)
