"""Recipes: how a model is trained, read from TOML into frozen, checked dataclasses.

A recipe has a name, the objective's name, and the tables of :mod:`mobileclip_kit.distillation.tables`: ``[training]``,
``[augmentation]``, the objective's own under the objective's name, and ``[stages]`` where the teacher itself is cut
down. The resolved recipe, with the overrides of the request, is saved with the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, get_args

from mobileclip_kit.distillation.tables import OBJECTIVES, Augmentation, StageOptions, TrainingPlan
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.formats import from_document, read_toml
from mobileclip_kit.inherit import Choice
from mobileclip_kit.resources import did_you_mean, preset_file


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train.

    Attributes:
        name: Shown in messages and in the model's provenance.
        objective: A key of :data:`~mobileclip_kit.distillation.tables.OBJECTIVES`.
        training: Steps, learning rate, seed.
        augmentation: How images are varied.
        options: The objective's own table.
        inherit: Start new towers from these channels of the teacher's, ``leading`` (in TOML also ``true``),
            ``heaviest`` or ``fitted``, see :mod:`mobileclip_kit.inherit`; None starts them at random.
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
            raise UsageError(
                "[stages] prunes both towers of the teacher: it takes the objective mixture and no inherit."
            )

    def with_training(self, **overrides: Any) -> Self:
        """A copy with other training values; None leaves a value unchanged.

        ``epochs`` without ``steps`` sets the recipe's own ``steps`` aside.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        if "epochs" in given and "steps" not in given:
            given["steps"] = None
        return replace(self, training=replace(self.training, **given))

    def to_toml(self) -> str:
        """The recipe as TOML, every value written out."""
        lines = [f"name = {_toml_value(self.name)}", f"objective = {_toml_value(self.objective)}"]
        lines += [f'inherit = "{self.inherit}"'] if self.inherit else []
        tables = {"training": self.training, "augmentation": self.augmentation, self.objective: self.options}
        for title, table in (tables | {"stages": self.stages}).items():
            values = [] if table is None else [(entry.name, getattr(table, entry.name)) for entry in fields(table)]
            lines += ["", f"[{title}]"] if values else []
            # TOML has no null: an absent key is None.
            lines += [f"{name} = {_toml_value(value)}" for name, value in values if value is not None]
        return "\n".join(lines) + "\n"


def load_recipe(name: str | Path) -> Recipe:
    """A preset by its name, or a recipe file.

    Raises:
        UsageError: No preset has this name (the nearest is named), the file is not TOML, or a key is unknown, of the
            wrong type or out of range.
    """
    path = preset_file("recipe", name)
    try:
        document = read_toml(path)
    except DataError as error:
        raise UsageError(error.message, hint=error.hint) from error
    return recipe_from(document, source=str(path))


def recipe_from(document: Mapping[str, Any], *, source: str) -> Recipe:
    """Check a parsed recipe.

    Raises:
        UsageError: A key is unknown, of the wrong type or out of range.
    """
    objective = document.get("objective")
    if objective not in OBJECTIVES:
        raise UsageError(
            f"{source}: objective is {objective!r}; it must be one of {', '.join(OBJECTIVES)}.",
            hint=did_you_mean(objective, OBJECTIVES),
        )
    kinds = {"training": TrainingPlan, "augmentation": Augmentation, objective: OBJECTIVES[objective],
             "stages": StageOptions}  # fmt: skip
    known = ["name", "objective", "inherit", *kinds]
    if unknown := [key for key in document if key not in known]:
        raise UsageError(f"{source} has the unknown key {unknown[0]!r}.", hint=did_you_mean(unknown[0], known))
    name, inherit = document.get("name", Path(source).stem), document.get("inherit", False)
    if not isinstance(name, str):
        raise UsageError(f"{source}: name is {name!r}; it must be a text.")
    if inherit not in (False, True, *get_args(Choice)):
        raise UsageError(f"{source}: inherit is {inherit!r}; it must be leading, heaviest, fitted, true or false.")
    tables: dict[str, Any] = {
        title: from_document(document.get(title, {}), kind, where=f"{source} [{title}]", error=UsageError)
        for title, kind in kinds.items()
        if title in document or title != "stages"
    }
    return Recipe(
        name=name,
        objective=objective,
        options=tables.pop(objective),
        inherit={False: None, True: "leading"}.get(inherit, inherit),
        **tables,
    )


def save_recipe(path: Path, recipe: Recipe) -> None:
    """Write ``recipe.toml``, atomically."""
    with atomic_file(path) as staging:
        staging.write_text(recipe.to_toml(), encoding="utf-8")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's basic strings are JSON's
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return repr(value)
