"""What is published of a folder: its kind, its model, and the files that belong to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobileclip_kit.bundle import MANIFEST_FILE, open_bundle
from mobileclip_kit.errors import DataError
from mobileclip_kit.exporting.folder import EXPORT_FILE, SAMPLES_FILE, Export, is_export, open_export
from mobileclip_kit.exporting.layout_file import LAYOUT_FILE
from mobileclip_kit.extras import is_installed
from mobileclip_kit.spec import (
    CONFIG_FILE,
    MERGES_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    check_merges,
    read_spec,
)

Kind = Literal["model", "export", "bundle"]
# Without training.json, which names images that were held out or skipped.
_MODEL_FILES = (MODEL_FILE, CONFIG_FILE, WEIGHTS_FILE, MERGES_FILE, TOKENIZER_FILE, "recipe.toml")


@dataclass(frozen=True)
class Contents:
    """A folder that can be published.

    Attributes:
        path: The folder.
        kind: What it is.
        spec: The model.
        files: Paths relative to the folder; nothing else of it is uploaded.
        export: The towers with their verification; None for a model folder.
    """

    path: Path
    kind: Kind
    spec: ModelSpec
    files: tuple[Path, ...]
    export: Export | None = None


def read_contents(path: Path) -> Contents:
    """Open a folder and compare its files with their SHA-256.

    Raises:
        DataError: The folder is neither a model, nor an export, nor a bundle.
        ExportError: A file is missing or was changed.
        ModelError: The model folder is damaged.
    """
    if is_export(path):
        export = open_export(path, check_hashes=True)
        named = [tower.file for tower in export.towers.values()]
        others = [MERGES_FILE, TOKENIZER_FILE, SAMPLES_FILE]
        return Contents(path, "export", export.spec, _files(path, [EXPORT_FILE, *named, *others]), export)
    if (path / MANIFEST_FILE).is_file():
        bundle = open_bundle(path, check=True)
        files = _files(path, [MANIFEST_FILE, *(file.file for file in bundle.files.values())])
        return Contents(path, "bundle", bundle.spec, files, bundle.as_export())
    if (path / MODEL_FILE).is_file() and (path / WEIGHTS_FILE).is_file():
        check_merges(path)
        if is_installed("torch"):  # the model hash covers the weights
            from mobileclip_kit.networks.model import load_model

            load_model(path)
        return Contents(path, "model", read_spec(path), _files(path, _MODEL_FILES))
    if (path / LAYOUT_FILE).is_file():
        raise DataError(
            f"{path} is laid out for another program, and mckit cannot read it back.",
            hint=f"Upload it with `hf upload OWNER/NAME {path}`.",
        )
    problem = "is neither a model folder, nor an export, nor a bundle" if path.exists() else "does not exist"
    raise DataError(f"{path} {problem}.", hint="Pass what `mckit distill`, `mckit export` or `mckit bundle` wrote.")


def _files(folder: Path, names: list[str] | tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(sorted(file for name in dict.fromkeys(names) for file in _below(folder, folder / name)))


def _below(folder: Path, path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path.relative_to(folder)
    elif path.is_dir():
        yield from (child.relative_to(folder) for child in path.rglob("*") if child.is_file())
