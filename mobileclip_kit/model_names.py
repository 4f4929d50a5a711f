"""The names of models and devices, checked without importing open_clip or torch, which takes many seconds."""

from __future__ import annotations

import difflib
import functools
import importlib.util
from pathlib import Path

from mobileclip_kit.errors import ModelError, UsageError
from mobileclip_kit.files import near_paths
from mobileclip_kit.spec import CONFIG_FILE

HUB = "hf-hub:"
FOLDER = "local-dir:"
_DEVICES = ("cpu", "cuda", "mps", "auto")
# What else may lie in a folder, by the file that says so.
_OTHER_FOLDERS = {
    "export.json": ("an export", "Pass the model folder that it was made from."),
    "manifest.json": ("a bundle", "Pass the model folder that its export was made from."),
    "index.json": ("an index", "Pass the model that it was built with."),
    "cache.json": ("a teacher cache", "Pass the teacher's model."),
}


def check_model_name(name: str | Path) -> None:
    """Refuse a name that is no model folder, no hub address and no open_clip architecture.

    Args:
        name: A model folder, ``hf-hub:org/repo``, or an open_clip name with or without a ``:tag``. Whether the tag
            exists shows when the model is loaded.

    Raises:
        ModelError: Names the nearest known ones.
    """
    text = str(name).removeprefix(FOLDER)
    architecture = text.partition(":")[0]
    known = architectures()
    if Path(text).is_dir():
        _check_folder(Path(text))
        return
    if text.startswith(HUB) or not known or architecture in known:
        return
    if Path(text).exists():
        raise ModelError(f"{text} is a file, not a model folder.", hint="Pass the folder with its model.json.")
    folders = near_paths(Path(text))
    if "/" in text or text.startswith("."):
        hint = f"Did you mean {', '.join(folders)}?" if folders else "Check the path, or pass an open_clip name."
        raise ModelError(f"There is no model folder {text}.", hint=hint)
    tag = text.removeprefix(architecture)
    near = [f"{name}{tag}" for name in difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)]
    hint = (
        f"Did you mean {', '.join([*folders, *near][:3])}?"
        if folders or near
        else ("`open_clip.list_models()` lists the known names.")
    )
    raise ModelError(f"No model is called {architecture!r}, and no such folder exists.", hint=hint)


def _check_folder(folder: Path) -> None:
    if (folder / CONFIG_FILE).is_file():
        return
    for file, (kind, hint) in _OTHER_FOLDERS.items():
        if (folder / file).is_file():
            raise ModelError(f"{folder} is {kind}, not a model folder.", hint=hint)
    raise ModelError(f"{folder} is not a model folder: it has no {CONFIG_FILE}.")


def check_device_name(name: str) -> None:
    """Refuse a name that is no device's; whether this machine has the device shows when torch is imported.

    Raises:
        UsageError: Names the known ones.
    """
    kind, colon, number = name.partition(":")
    if kind not in _DEVICES or (colon and not number.isdecimal()):
        raise UsageError(f"No device is called {name!r}; the devices are {', '.join(_DEVICES)}.")


@functools.cache
def architectures() -> tuple[str, ...]:
    """open_clip's names; none where it is not installed."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        return ()
    return tuple(sorted(path.stem for path in (Path(found.origin).parent / "model_configs").glob("*.json")))
