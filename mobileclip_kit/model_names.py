"""The names of models and devices, checked without importing open_clip or torch, which takes many seconds."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from mobileclip_kit.errors import ModelError, UsageError
from mobileclip_kit.files import near_paths
from mobileclip_kit.options import Option
from mobileclip_kit.spec import CONFIG_FILE

HUB = "hf-hub:"
FOLDER = "local-dir:"
# Students on a backbone of timm: its last features, or those of several stages.
TIMM, STAGES = "timm:", "stages:"
# What torch trains on, and what models are executed on.
TORCH_DEVICES = ("cpu", "cuda", "mps", "auto")
DEVICES = ("cpu", "cuda", "mps", "coreml", "openvino", "auto")
DEVICE_HELP = "Where the model computes: cpu, cuda, mps, coreml, openvino; auto for the best that is installed."
DeviceOption = Annotated[str | None, Option(DEVICE_HELP)]
# A number for a graphics card, a word for one of OpenVINO's devices.
_PART = re.compile(r"[A-Za-z0-9_.,]+", re.ASCII)
# So many of the models in a folder are suggested.
_NAMED = 3
# What else may lie in a folder, by the file that says so.
_OTHER_FOLDERS = {
    "export.json": ("an export", "Pass the model folder that it was made from."),
    "manifest.json": ("a bundle", "Pass the model folder that its export was made from."),
    "index.json": ("an index", "Pass the model that it was built with."),
    "cache.json": ("a teacher cache", "Pass the teacher's model."),
}


def is_backbone(student: str | None) -> bool:
    """Whether a student's name is that of a backbone of timm."""
    return student is not None and student.startswith((TIMM, STAGES))


def check_model_name(name: str | Path, *, exports: bool = False) -> None:
    """Refuse a name that is no model folder, no hub address and no open_clip architecture.

    Args:
        name: A model folder, ``hf-hub:org/repo``, or an open_clip name with or without a ``:tag``. A tag that
            :func:`pretrained_tags` does not tell is checked when the model is loaded.
        exports: Whether exports may take its place, so that those in a folder of models are named too.

    Raises:
        ModelError: Names the nearest known ones.
    """
    text = str(name).removeprefix(FOLDER)
    architecture = text.partition(":")[0]
    known = architectures()
    if Path(text).is_dir():
        _check_folder(Path(text), exports=exports)
        return
    if text.startswith(HUB) or not known:
        return
    if architecture in known:
        tag = text.partition(":")[2]
        if tag and (tags := pretrained_tags().get(architecture)):
            check_tag(architecture, tag, tags)
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


def check_tag(architecture: str, tag: str, known: Iterable[str]) -> None:
    """Refuse a tag of which open_clip has no weights, unless it is a file of weights.

    Raises:
        ModelError: Names the nearest known ones.
    """
    tags = list(known)
    if tag in tags or Path(tag).is_file():
        return
    nearest = difflib.get_close_matches(tag, tags, n=3, cutoff=0.3) or tags[:3]
    hint = f"Did you mean {', '.join(f'{architecture}:{each}' for each in nearest)}?" if nearest else None
    raise ModelError(f"{architecture} has no pretrained weights {tag!r}.", hint=hint)


def _check_folder(folder: Path, *, exports: bool) -> None:
    if (folder / CONFIG_FILE).is_file():
        return
    for file, (kind, hint) in _OTHER_FOLDERS.items():
        if (folder / file).is_file():
            raise ModelError(f"{folder} is {kind}, not a model folder.", hint=hint)
    wanted = (CONFIG_FILE, "export.json") if exports else (CONFIG_FILE,)
    inside = [str(path.parent) for file in wanted for path in sorted(folder.glob(f"*/{file}"))][:_NAMED]
    raise ModelError(
        f"{folder} is not a model folder: it has no {CONFIG_FILE}.",
        hint=f"Did you mean {' or '.join(inside)}?" if inside else None,
    )


def check_device_name(name: str, known: Sequence[str] = TORCH_DEVICES) -> None:
    """Refuse a name that is no device's; whether this machine has the device shows when its runtime is imported.

    Args:
        name: Such as ``cuda``, ``cuda:1`` or ``openvino:GPU``.
        known: The devices that can be named.

    Raises:
        UsageError: Names the known ones.
    """
    kind, colon, part = name.partition(":")
    good_part = part.isdecimal() if kind in TORCH_DEVICES else _PART.fullmatch(part) and kind == "openvino"
    if kind not in known or (colon and not good_part):
        raise UsageError(f"No device is called {name!r}; the devices are {', '.join(known)}.")


@functools.cache
def architectures() -> tuple[str, ...]:
    """open_clip's names; none where it is not installed."""
    folder = _open_clip_folder()
    return () if folder is None else tuple(sorted(path.stem for path in (folder / "model_configs").glob("*.json")))


@functools.cache
def pretrained_tags() -> Mapping[str, tuple[str, ...]]:
    """The tags of open_clip's architectures, read from the source of its table of weights.

    An architecture is absent where the table is not written as it is today, or is computed (``ViT-B-32-quickgelu``).
    """
    folder = _open_clip_folder()
    if folder is None:
        return {}
    try:
        statements = ast.parse((folder / "pretrained.py").read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError):
        return {}
    values = {
        target.id: statement.value
        for statement in statements
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    table = values.get("_PRETRAINED")
    if not isinstance(table, ast.Dict):
        return {}
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        weights = values.get(value.id) if isinstance(value, ast.Name) else value
        if isinstance(key, ast.Constant) and isinstance(weights, ast.Call) and not weights.args:  # dict(openai=…)
            found[str(key.value)] = tuple(each.arg for each in weights.keywords if each.arg is not None)
    return found


def _open_clip_folder() -> Path | None:
    """The package's folder, without importing it; None where it is not installed."""
    found = importlib.util.find_spec("open_clip")
    return None if found is None or found.origin is None else Path(found.origin).parent
