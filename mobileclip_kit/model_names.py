"""The names of models, checked without importing open_clip or torch, which takes many seconds."""

from __future__ import annotations

import difflib
import functools
import importlib.util
from pathlib import Path

from mobileclip_kit.errors import ModelError

HUB = "hf-hub:"
FOLDER = "local-dir:"


def check_model_name(name: str | Path) -> None:
    """Refuse a name that is no folder, no hub address and no open_clip architecture.

    Args:
        name: A model folder, ``hf-hub:org/repo``, or an open_clip name with or without a ``:tag``. Whether the tag
            exists shows when the model is loaded.

    Raises:
        ModelError: Names the nearest known ones.
    """
    text = str(name).removeprefix(FOLDER)
    architecture = text.partition(":")[0]
    known = architectures()
    if text.startswith(HUB) or Path(text).is_dir() or not known or architecture in known:
        return
    if Path(text).exists():
        raise ModelError(f"{text} is a file, not a model folder.", hint="Pass the folder with its model.json.")
    if "/" in text or text.startswith("."):
        raise ModelError(f"There is no model folder {text}.", hint="Check the path, or pass an open_clip name.")
    nearest = difflib.get_close_matches(architecture, [*known, *_folders_here()], n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(nearest)}?" if nearest else "`open_clip.list_models()` lists the known names."
    raise ModelError(f"No model is called {architecture!r}, and no such folder exists.", hint=hint)


@functools.cache
def architectures() -> tuple[str, ...]:
    """open_clip's names; none where it is not installed."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        return ()
    return tuple(sorted(path.stem for path in (Path(found.origin).parent / "model_configs").glob("*.json")))


def _folders_here() -> list[str]:
    return [path.parent.name for kind in ("model", "export") for path in Path().glob(f"*/{kind}.json")]
