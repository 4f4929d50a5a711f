"""What is installed, which runtimes work on this machine, and what is missing for which command."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import platform
from collections.abc import Iterator
from dataclasses import dataclass

from mobileclip_kit import __version__, extras
from mobileclip_kit.errors import first_line
from mobileclip_kit.exporting.precisions import FORMATS, load
from mobileclip_kit.images import image_suffixes

# The packages whose versions are told, by the names of their distributions.
LIBRARIES = ("numpy", "pillow", "onnxruntime", "faiss-cpu", "torch", "open_clip_torch", "timm", "coremltools",
             "coreai-core", "ai-edge-litert", "huggingface-hub")  # fmt: skip
# Format → what its runtime imports.
_ENGINES = {"onnx": "onnxruntime", "coreml": "coremltools", "coreai": "coreai", "litert": "ai_edge_litert"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: An extra, a format or a command.
        works: Whether it can be used.
        detail: What it is for, or what is missing.
    """

    name: str
    works: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What :func:`examine` found.

    Attributes:
        mckit: The version.
        python: The version.
        system: Operating system and processor.
        versions: Of the libraries that are installed.
        runtimes: One for each export format, and one for torch.
        extras: One for each extra.
        commands: One for each command that needs an extra.
        image_suffixes: Images that can be read.
    """

    mckit: str
    python: str
    system: str
    versions: dict[str, str]
    runtimes: tuple[Finding, ...]
    extras: tuple[Finding, ...]
    commands: tuple[Finding, ...]
    image_suffixes: tuple[str, ...]


def installed_versions() -> dict[str, str]:
    """The versions of :data:`LIBRARIES`; those that are not installed are left out."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def examine() -> Diagnosis:
    """Look at this installation; runtimes are imported, nothing is downloaded."""
    return Diagnosis(
        mckit=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        versions=installed_versions(),
        runtimes=tuple(_runtimes()),
        extras=tuple(_extra(name) for name in extras.EXTRAS),
        commands=tuple(_command(name, needed) for name, needed in extras.COMMANDS.items()),
        image_suffixes=tuple(sorted(image_suffixes())),
    )


def _runtimes() -> Iterator[Finding]:
    for name, format in FORMATS.items():
        if format.extra is not None and _missing(format.extra):
            yield Finding(name=name, works=False, detail=f"{format.title}: needs [{format.extra}]")
            continue
        problem = _problem(_ENGINES[name])
        executed = [each for each in map(load, format.runtimes) if each.is_available()] if problem is None else []
        detail = problem or f"{format.title}, executed by {executed[-1].runtime}"
        yield Finding(name=name, works=problem is None, detail=detail)
    if _missing("train"):
        yield Finding(name="torch", works=False, detail="model folders: needs [train]")
    else:
        problem = _problem("torch")
        yield Finding(name="torch", works=problem is None, detail=problem or _devices())


def _devices() -> str:
    torch = importlib.import_module("torch")
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return f"model folders, on {', '.join(['cpu', *(name for name, there in accelerators.items() if there)])}"


def _extra(name: str) -> Finding:
    own = [package for package in extras.EXTRAS[name] if not extras.is_installed(package)]
    lacking = [*own, *(f"[{included}]" for included in extras.INCLUDES.get(name, ()) if _missing(included))]
    return Finding(name=name, works=not lacking, detail=f"lacks {', '.join(lacking)}" if lacking else "installed")


def _command(name: str, needed: tuple[str, ...]) -> Finding:
    lacking = [extra for extra in needed if _missing(extra)]
    return Finding(name=name, works=not lacking, detail=extras.install_line(*lacking) if lacking else "")


def _missing(extra: str) -> list[str]:
    return [package for package in extras.packages_of(extra) if not extras.is_installed(package)]


def _problem(package: str) -> str | None:
    """Why a package cannot be imported; None if it can."""
    logging.disable(logging.WARNING)  # coremltools logs what is missing on Linux
    try:
        importlib.import_module(package)
    except Exception as error:  # a broken library raises whatever it likes
        return f"{package} cannot be imported: {first_line(error)}"
    finally:
        logging.disable(logging.NOTSET)
    return None
