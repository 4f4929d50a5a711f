"""The recipes, students and models that travel with mckit, in ``models/`` or the installed package; the cache folder.

A recipe, a student or a text tower is named by a preset's name or by a file of one's own. Nothing here imports torch,
so that a wrong name is refused at once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from mobileclip_kit.errors import DataError, MckitError, ModelError, UsageError
from mobileclip_kit.files import read_json

Preset = Literal["recipe", "student", "text tower"]

_PACKAGE = Path(__file__).resolve().parent
_FOLDERS: dict[Preset, str] = {
    "recipe": "recipes/*.toml",
    "student": "students/*.json",
    "text tower": "text_towers/*.json",
}


def cache_folder() -> Path:
    """Where this system keeps what can be made again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mckit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mckit"


def models_folder() -> Path:
    """The folder with the presets and the bundled models.

    Raises:
        DataError: Neither the checkout's ``models`` nor the installed copy is there.
    """
    for folder in (_PACKAGE / "_models", _PACKAGE.parent / "models"):
        if folder.is_dir():
            return folder
    raise DataError(f"{_PACKAGE} has no models beside it.", hint="Install mckit again; the installation is incomplete.")


def preset_names(kind: Preset) -> list[str]:
    """The names of the presets of a kind, in alphabetical order."""
    return sorted(path.stem for path in models_folder().glob(_FOLDERS[kind]))


def preset_file(kind: Preset, name: str | Path) -> Path:
    """The file of a preset, or the user's own file.

    Raises:
        UsageError: No recipe has this name, or there is no such file.
        ModelError: The same of a student or a text tower.
    """
    path, pattern = Path(name), models_folder() / _FOLDERS[kind]
    error: type[MckitError] = UsageError if kind == "recipe" else ModelError
    if path.is_file():
        return path
    if path.suffix == pattern.suffix:
        raise error(f"There is no {kind} file {path}.")
    if str(name) not in (known := preset_names(kind)):
        raise error(
            f"No {kind} is called {str(name)!r}; the {kind}s are {', '.join(known)}.", hint=did_you_mean(name, known)
        )
    return pattern.with_name(f"{name}{pattern.suffix}")


def tower_config(kind: Literal["student", "text tower"], name: str | Path) -> dict[str, Any]:
    """A student's ``vision_cfg`` or a text tower's ``text_cfg``.

    Args:
        kind: Which of the two.
        name: A preset's name, or a JSON file that holds the section itself, an open_clip ``model_cfg``, or an
            ``open_clip_config.json``.

    Raises:
        ModelError: The name is unknown, or the file does not describe such a tower.
    """
    path, section = preset_file(kind, name), "vision_cfg" if kind == "student" else "text_cfg"
    document = read_json(path)
    document = document.get("model_cfg", document)
    found = document.get(section, document) if isinstance(document, dict) else None
    if not isinstance(found, dict) or not {"layers", "timm_model_name", "width"}.intersection(found):
        raise ModelError(
            f"{path} describes no {kind}.", hint=f"It must hold open_clip's {section}; models/ has examples."
        )
    return {"image_size": 224, **found} if kind == "student" else dict(found)


def did_you_mean(name: object, known: Iterable[str], *, most: int = 1) -> str | None:
    """A hint that names the known names nearest to a wrong one, or None."""
    near = difflib.get_close_matches(str(name), list(known), n=most, cutoff=0.5)
    return f"Did you mean {', '.join(near)}?" if near else None
