"""What each extra of the package installs, and the error that names the one that is missing.

``pip install .`` brings what indexing, searching and serving with an ONNX export need. Everything else is
an extra of ``pyproject.toml``; the tables below repeat the extras by the names that Python imports.
"""

from __future__ import annotations

import importlib.util

from mobileclip_kit.errors import MissingExtraError

# Extra → the packages that it adds, by import name.
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("torch", "open_clip", "timm", "accelerate", "scipy", "safetensors", "huggingface_hub", "fsspec"),
    "export": ("coremltools", "onnx", "onnxscript", "onnxsim"),
    "coreai": ("coreai", "coreai_opt", "coreai_torch", "ninja", "sklearn"),
    "litert": ("ai_edge_litert", "ai_edge_quantizer", "litert_torch"),
    "bench": ("jinja2", "matplotlib", "sklearn", "scipy", "threadpoolctl", "onnx"),
    "heic": ("pillow_heif",),
    "parquet": ("pyarrow",),
    "lance": ("lancedb", "pyarrow"),
    "hf": ("transformers", "tokenizers"),
    "hub": ("huggingface_hub",),
    "tensorboard": ("tensorboard",),
    "ray": ("ray", "fsspec"),
}
# Extra → the versions of its packages that its formats were tested with: beginnings, by the names of distributions.
TESTED: dict[str, dict[str, str]] = {
    "coreai": {"coreai-core": "1.0.0b3", "coreai-torch": "0.4.", "coreai-opt": "0.4."},
    "litert": {"ai-edge-litert": "2.", "ai-edge-quantizer": "0.10.", "litert-torch": "0.10."},
}

# Extra → other extras that it installs as well.
INCLUDES: dict[str, tuple[str, ...]] = {
    "export": ("train",),
    "coreai": ("export",),
    "litert": ("export",),
    "all": ("train", "export", "bench", "heic", "parquet", "lance", "ray", "hf", "hub", "tensorboard"),
}

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
    "push": ("hub",),
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
    lacking = [extra for extra in extras if not all(map(is_installed, packages_of(extra)))]
    if lacking:
        raise missing_extra(what, *lacking)


def require_tested(what: str, extra: str) -> None:
    """:func:`require`, and that the packages are of the versions in :data:`TESTED`.

    Raises:
        MissingExtraError: A package is not installed, or of another version.
    """
    from importlib import metadata  # takes long to import

    require(what, extra)
    for name, tested in TESTED.get(extra, {}).items():
        found = metadata.version(name)
        if not found.startswith(tested):
            raise MissingExtraError(
                f"{what} was tested with {name} {tested.removesuffix('.')}, but {found} is installed; "
                f"install the tested one with: {install_line(extra)}"
            )


def missing_extra(what: str, *extras: str) -> MissingExtraError:
    """The error for extras that are not installed."""
    named = ",".join(extras)
    return MissingExtraError(f"{what} needs the extra [{named}]; install it with: {install_line(*extras)}")


def install_line(*extras: str) -> str:
    """What to type to install extras; mckit is in no package index."""
    return f'pip install -e ".[{",".join(extras)}]" (in the clone of mckit)'


def extra_of(module: str | None) -> str | None:
    """The first extra that installs a module, by its import name; None for a module of no extra."""
    package = (module or "").split(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


def is_installed(package: str) -> bool:
    """Whether a package is there, by its import name; it is not imported."""
    return importlib.util.find_spec(package) is not None
