"""The export folder: what a phone, a runtime and ``mckit verify`` read.

``export.json`` beside one file a tower (``image.onnx``, ``text.mlpackage``) and the tokenizer's ``merges.txt``.
Reading it needs neither torch nor any runtime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from mobileclip_kit import __version__
from mobileclip_kit.errors import ExportError, MckitError
from mobileclip_kit.exporting.digests import hash_path, read_digest
from mobileclip_kit.exporting.merges import check_merges_file
from mobileclip_kit.files import read_json, size_bytes, write_json
from mobileclip_kit.spec import FORMAT_VERSION, MERGES_FILE, ModelSpec, Tower

EXPORT_FILE = "export.json"
_AGAIN = "Copy the export again, or make it again with `mckit export`."

Format = Literal["onnx", "coreml"]
Precision = Literal["fp32", "fp16", "int8", "int8-weights", "palette8", "palette6", "palette4"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "coreml": ".mlpackage"}
# What each format can be written in, the default first.
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8", "int8-weights"),
    "coreml": ("fp16", "fp32", "int8", "palette8", "palette6", "palette4"),
}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How near one exported tower comes to its model.

    Attributes:
        tower: ``image`` or ``text``.
        runtime: What executed the export: ``onnxruntime``, ``mil`` or ``coreml``.
        images: Images compared, or texts for a text tower.
        inputs: Where they came from: "64 images of photos/".
        cosine_min: Least cosine between the export's and the model's vector of one input.
        cosine_mean: Mean of these cosines.
        overlap_at_10: Mean share of the ten nearest inputs (each input a query among the others) that both name;
            None when there are fewer than three inputs.
        threshold: What ``cosine_min`` has to reach.
    """

    tower: Tower
    runtime: str
    images: int
    inputs: str
    cosine_min: float
    cosine_mean: float
    overlap_at_10: float | None
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the least cosine reaches the threshold."""
        return self.cosine_min >= self.threshold

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read one of a tower's results in ``export.json``."""
        document = {"images": document.get("pictures"), **document}  # the first version's name of the key
        known = {f.name for f in fields(cls)}
        numbers = {name: float(document[name]) for name in ("cosine_min", "cosine_mean", "threshold")}
        return cls(**{key: value for key, value in document.items() if key in known} | numbers)


@dataclass(frozen=True, kw_only=True)
class ExportedTower:
    """One tower's file.

    Attributes:
        tower: ``image`` or ``text``.
        file: Its name within the export folder.
        size_bytes: Of the file, or of all files of the package.
        sha256: Hex digest, see :func:`~mobileclip_kit.exporting.digests.hash_path`.
        kept_in_float: Operators that the precision would have reduced and that were kept; empty when none were.
        notes: How it was made: converter, operator set, the simplifier's effect.
        verification: One for each runtime that executed it.
    """

    tower: Tower
    file: str
    size_bytes: int
    sha256: str
    kept_in_float: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    verification: tuple[Verification, ...] = ()

    @classmethod
    def from_file(cls, tower: Tower, path: Path, *, kept_in_float: Sequence[str] = (), **notes: Any) -> Self:
        """Describe a file that has just been written."""
        return cls(
            tower=tower,
            file=path.name,
            size_bytes=size_bytes(path),
            sha256=hash_path(path),
            kept_in_float=tuple(kept_in_float),
            notes=notes,
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the object that stands in ``export.json``."""
        values = {f.name: document[f.name] for f in fields(cls) if f.name in document}
        if not isinstance(values["file"], str):
            raise TypeError(f"{values['file']!r} is no name of a file")
        values["kept_in_float"] = tuple(values.get("kept_in_float", ()))
        values["verification"] = tuple(map(Verification.from_json, values.get("verification", ())))
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Export:
    """One format and one precision of a model.

    Attributes:
        path: The folder.
        spec: The model's own spec; ``spec.model_hash`` says whose export it is.
        format: ``onnx`` or ``coreml``.
        precision: ``fp32``, ``fp16`` (weights alone in ONNX), ``int8`` (weights and activations in ONNX, weights alone
            in Core ML), ``int8-weights`` (ONNX: weights alone) or ``palette8``, ``palette6``, ``palette4`` (weights out
            of 256, 64 or 16 values).
        towers: The exported towers by name.
        merges_sha256: Hex digest of ``merges.txt``; None when there is none, or in an export of an older mckit.
    """

    path: Path
    spec: ModelSpec
    format: Format
    precision: Precision
    towers: Mapping[Tower, ExportedTower]
    merges_sha256: str | None = None

    @property
    def merges(self) -> Path | None:
        """The tokenizer's ``merges.txt``, or None when the model needs none."""
        path = self.path / MERGES_FILE
        return path if path.is_file() else None

    def tower_path(self, tower: Tower) -> Path:
        """The file of a tower.

        Raises:
            ExportError: The export does not have the tower.
        """
        if tower not in self.towers:
            raise ExportError(
                f"The export {self.path} has no {tower} tower, only {', '.join(self.towers)}.",
                hint="Export a model that has one.",
            )
        return self.path / self.towers[tower].file

    def sound_path(self, tower: Tower, *, from_memory: bool = False) -> Path:
        """The file of a tower, after its SHA-256 was compared with the one in ``export.json``.

        Args:
            tower: ``image`` or ``text``.
            from_memory: See :func:`~mobileclip_kit.exporting.digests.read_digest`.

        Raises:
            ExportError: The export does not have the tower, or its file is missing or was changed.
        """
        path = self.tower_path(tower)
        _check_file(path, self.towers[tower])
        _check_digest(path, self.towers[tower], from_memory=from_memory)
        return path

    def with_verification(self, results: Sequence[Verification]) -> Self:
        """A copy whose towers carry these results in place of earlier ones."""
        towers = {
            name: replace(tower, verification=tuple(result for result in results if result.tower == name))
            for name, tower in self.towers.items()
        }
        return replace(self, towers=towers)

    def rows(self) -> list[dict[str, Any]]:
        """One object for each tower and runtime, as ``mckit export --json`` and ``mckit verify --json`` print them."""
        return [
            {
                "path": str(self.path),
                "model": self.spec.name,
                "file": tower.file,
                "format": self.format,
                "precision": self.precision,
                **asdict(result),
                "size_bytes": tower.size_bytes,
                "passed": result.passed,
                "kept_in_float": list(tower.kept_in_float),
            }
            for tower in self.towers.values()
            for result in tower.verification
        ]

    def write(self) -> None:
        """Write ``export.json`` into the folder."""
        towers = {}
        for name, tower in self.towers.items():
            entry = asdict(tower)
            for result, written in zip(tower.verification, entry["verification"], strict=True):
                written["passed"] = result.passed
            towers[name] = entry
        document = {
            "format_version": FORMAT_VERSION,
            "mckit": __version__,
            "format": self.format,
            "precision": self.precision,
            "model": self.spec.to_json(),
            "towers": towers,
            "merges_sha256": self.merges_sha256,
        }
        write_json(self.path / EXPORT_FILE, document)


def show_cosine(value: float) -> str:
    """Five digits, rounded down: what fails a threshold must not look as if it reached it."""
    return f"{math.floor(value * 1e5) / 1e5:.5f}"


def is_export(path: Path) -> bool:
    """Whether a folder calls itself an export."""
    return (path / EXPORT_FILE).is_file()


def open_export(path: Path, *, check_hashes: bool = False) -> Export:
    """Read an export folder's manifest and look whether its files are there.

    Args:
        path: The folder.
        check_hashes: Read every file and compare its SHA-256 as well. Else the towers' sizes are compared, and
            :meth:`Export.sound_path` compares a tower's SHA-256 when its file is needed. That of ``merges.txt`` is
            always compared.

    Raises:
        ExportError: Not an export, of another format version, or a file is missing, cut off or altered.
    """
    if not is_export(path):
        raise ExportError(
            f"{path} is not an export: it has no {EXPORT_FILE}." if path.exists() else f"There is no export {path}.",
            hint="Make one with `mckit export`.",
        )
    export = _read_manifest(path)
    for tower in export.towers.values():
        _check_file(export.path / tower.file, tower)
        if check_hashes:
            _check_digest(export.path / tower.file, tower, from_memory=False)
    check_merges_file(path / MERGES_FILE, spec=export.spec, sha256=export.merges_sha256, count=check_hashes)
    return export


def _read_manifest(path: Path) -> Export:
    source = path / EXPORT_FILE
    try:
        document = read_json(source)
        if document.get("format_version") != FORMAT_VERSION:
            raise ExportError(
                f"{source} has format version {document.get('format_version')}; this mckit reads version "
                f"{FORMAT_VERSION}.",
                hint="Update mckit, or export again.",
            )
        if document["format"] not in get_args(Format) or document["precision"] not in get_args(Precision):
            raise ExportError(f"{source} names the format {document['format']} {document['precision']}.")
        towers = {name: ExportedTower.from_json(entry) for name, entry in document["towers"].items()}
        if not towers or any(name not in get_args(Tower) or name != tower.tower for name, tower in towers.items()):
            raise ExportError(
                f"{source} names the towers {', '.join(towers) or 'none'}.", hint="Export the model again."
            )
        spec = ModelSpec.from_json(document["model"], str(source))
        merges_sha256 = document.get("merges_sha256")
        if not isinstance(merges_sha256, str | None):
            raise TypeError(f"merges_sha256 is {merges_sha256!r}, not a text")
    except ExportError:
        raise
    except (MckitError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = error.message.rstrip(".") if isinstance(error, MckitError) else error
        raise ExportError(f"{source} is damaged: {reason}.", hint="Export the model again.") from error
    return Export(
        path=path,
        spec=spec,
        format=document["format"],
        precision=document["precision"],
        towers=towers,
        merges_sha256=merges_sha256,
    )


def _check_file(path: Path, tower: ExportedTower) -> None:
    if Path(tower.file).name != tower.file:
        raise ExportError(f"{path.parent / EXPORT_FILE} names a file outside its folder: {tower.file}.")
    if not path.exists():
        raise ExportError(f"{path} is missing.", hint=_AGAIN)
    actual = size_bytes(path)
    if actual != tower.size_bytes:
        raise ExportError(f"{path} has {actual} bytes, but {EXPORT_FILE} says {tower.size_bytes}.", hint=_AGAIN)


def _check_digest(path: Path, tower: ExportedTower, *, from_memory: bool) -> None:
    if read_digest(path, from_memory=from_memory) != tower.sha256:
        raise ExportError(f"{path} was changed: its SHA-256 is not the one in {EXPORT_FILE}.", hint=_AGAIN)
