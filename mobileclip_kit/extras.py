"""What each extra of the package installs, and the error that names the one that is missing.

``pip install mobileclip-kit`` brings what indexing, searching and serving with an ONNX export need. Everything else is
an extra of ``pyproject.toml``; the tables below repeat the extras by the names that Python imports.
"""

from __future__ import annotations

import importlib.util

from mobileclip_kit.errors import MissingExtraError

# Extra → the packages that it adds, by import name.
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("torch", "open_clip", "timm", "accelerate", "scipy", "safetensors", "huggingface_hub", "fsspec"),
    "export": ("coremltools", "onnx", "onnxscript", "onnxsim"),
    "bench": ("jinja2", "matplotlib", "sklearn", "scipy", "threadpoolctl", "onnx"),
    "heic": ("pillow_heif",),
    "parquet": ("pyarrow",),
    "hf": ("transformers", "tokenizers"),
    "tensorboard": ("tensorboard",),
}
# Extra → other extras that it installs as well.
INCLUDES: dict[str, tuple[str, ...]] = {"export": ("train",), "all": tuple(EXTRAS)}

# Command → the extras without which it cannot do anything. One that is not listed runs in the base installation.
COMMANDS: dict[str, tuple[str, ...]] = {
    "quickstart": ("bench", "export"),
    "scenes": ("bench",),  # draws words with matplotlib's fonts
    "train": ("train",),
    "cache": ("train",),
    "distill": ("train",),
    "export": ("export",),
    "verify": ("export",),
    "textness": ("bench",),
    "bench": ("bench",),
}


def packages_of(extra: str) -> list[str]:
    """The packages that an extra installs beside the base ones, by import name."""
    own = list(EXTRAS.get(extra, ()))
    return [*own, *(name for included in INCLUDES.get(extra, ()) for name in packages_of(included) if name not in own)]


def require(what: str, *extras: str) -> None:
    """Check that extras are installed, without importing them.

    Args:
        what: What needs them, for the message: "mckit distill".
        extras: Keys of :data:`EXTRAS` or :data:`INCLUDES`.

    Raises:
        MissingExtraError: A package of one of them is not installed.
    """
    lacking = [extra for extra in extras if not all(map(_is_installed, packages_of(extra)))]
    if lacking:
        raise missing_extra(what, *lacking)


def missing_extra(what: str, *extras: str) -> MissingExtraError:
    """The error for extras that are not installed."""
    named = ",".join(extras)
    return MissingExtraError(f"{what} needs the extra [{named}]; install it with: {install_line(*extras)}")


def install_line(*extras: str) -> str:
    """What to type to install extras, from a package index or in a clone of the repository."""
    named = ",".join(extras)
    return f'pip install "mobileclip-kit[{named}]" (in a clone: pip install -e ".[{named}]")'


def extra_of(module: str | None) -> str | None:
    """The first extra that installs a module, by its import name; None for a module of no extra."""
    package = (module or "").split(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
