"""The export folder: what a phone, a runtime and ``mckit verify`` read.

``export.json`` beside one file for each tower (``image.onnx``, ``text.mlpackage``), the tokenizer's ``merges.txt`` and
``tokenizer.json``, and ``samples.json``. Reading it needs neither torch nor any runtime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, get_args

from mobileclip_kit import __version__, formats
from mobileclip_kit.errors import ExportError, MckitError, ModelError, UsageError
from mobileclip_kit.exporting.digests import ListedFile, read_digest
from mobileclip_kit.exporting.precisions import Precision, find_precision
from mobileclip_kit.files import nothing_at, read_json, sha256_of_file
from mobileclip_kit.hub import local_place
from mobileclip_kit.model_names import check_model_name
from mobileclip_kit.spec import FORMAT_VERSION, MERGES_FILE, TOKENIZER_FILE, ModelSpec, Tower, stored_spec
from mobileclip_kit.tokenizer import STANDARD_MERGES_COUNT, Tokenizer, find_tokenizer

EXPORT_FILE = "export.json"
SAMPLES_FILE = "samples.json"
_AGAIN = "Copy the export again, or make it again with `mckit export`."


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How near one exported tower comes to its model.

    Attributes:
        tower: ``image`` or ``text``.
        runtime: What executed the export, such as ``onnxruntime`` or ``mil``; or what stood in for it, see
            :attr:`ExportFormat.twins <mobileclip_kit.exporting.precisions.ExportFormat.twins>`.
        images: Images compared, or texts for a text tower; fewer than asked for where time was up.
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


@dataclass(frozen=True, kw_only=True)
class ExportedTower(ListedFile):
    """One tower's file.

    Attributes:
        tower: ``image`` or ``text``.
        kept_in_float: Operators that the precision would have reduced and that were kept; empty when none were.
        notes: How it was made: converter, operator set, the simplifier's effect.
        verification: One for each runtime that executed it.
    """

    tower: Tower
    kept_in_float: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    verification: tuple[Verification, ...] = ()

    @classmethod
    def from_file(cls, tower: Tower, path: Path, *, kept_in_float: Sequence[str] = (), **notes: Any) -> Self:
        """Describe a file that has just been written."""
        return cls.describe(path, tower=tower, kept_in_float=tuple(kept_in_float), notes=notes)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``export.json``.

    Attributes:
        format_version: :data:`~mobileclip_kit.spec.FORMAT_VERSION`.
        mckit: The version that wrote it.
        format: As in :attr:`Export.format`.
        precision: As in :attr:`Export.precision`.
        model: A :class:`~mobileclip_kit.spec.ModelSpec` as JSON.
        towers: By name.
        merges_sha256: As in :attr:`Export.merges_sha256`.
        tokenizer_sha256: As in :attr:`Export.tokenizer_sha256`.
        samples_sha256: As in :attr:`Export.samples_sha256`.
    """

    format_version: int
    mckit: str = ""
    format: str
    precision: str
    model: Mapping[str, Any]
    towers: Mapping[Tower, ExportedTower]
    merges_sha256: str | None = None
    tokenizer_sha256: str | None = None
    samples_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """One format and one precision of a model.

    Attributes:
        path: The folder.
        spec: The model's own spec; ``spec.model_hash`` says whose export it is.
        format: A key of :data:`~mobileclip_kit.exporting.precisions.FORMATS`.
        precision: A row of the format's :func:`~mobileclip_kit.exporting.precisions.precisions_of`, by name.
        towers: The exported towers by name.
        merges_sha256: Hex digest of ``merges.txt``; None when there is none, or in an export of an older mckit.
        tokenizer_sha256: The same of ``tokenizer.json``.
        samples_sha256: The same of ``samples.json``, see :mod:`~mobileclip_kit.exporting.self_test`.
    """

    path: Path
    spec: ModelSpec
    format: str
    precision: str
    towers: Mapping[Tower, ExportedTower]
    merges_sha256: str | None = None
    tokenizer_sha256: str | None = None
    samples_sha256: str | None = None

    @property
    def row(self) -> Precision:
        """The precision's row of the table."""
        return find_precision(self.format, self.precision)

    @property
    def passed(self) -> bool:
        """Whether every tower passed in every runtime that executed it."""
        return all(result.passed for tower in self.towers.values() for result in tower.verification)

    @property
    def tokenizer_file(self) -> Path | None:
        """From :func:`~mobileclip_kit.tokenizer.find_tokenizer`."""
        return find_tokenizer(self.path, self.spec.text)

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
        digest = partial(read_digest, from_memory=from_memory)
        self.towers[tower].check(self.path / EXPORT_FILE, hint=_AGAIN, digest=digest)
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
        manifest = Manifest(
            format_version=FORMAT_VERSION, mckit=__version__, format=self.format, precision=self.precision,
            model=self.spec.to_json(), towers=self.towers, merges_sha256=self.merges_sha256,
            tokenizer_sha256=self.tokenizer_sha256, samples_sha256=self.samples_sha256,
        )  # fmt: skip
        formats.write(self.path / EXPORT_FILE, manifest)


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
            :meth:`Export.sound_path` compares a tower's SHA-256 when its file is needed. Those of the
            tokenizer are always compared.

    Raises:
        ExportError: Not an export, of another format version, or a file is missing, cut off or altered.
    """
    path = Path(local_place(path))
    if not is_export(path):
        hint = "Make one with `mckit export`."
        if path.exists():
            raise ExportError(f"{path} is not an export: it has no {EXPORT_FILE}.", hint=hint)
        message, hint = nothing_at(path, hint)
        raise ExportError(message, hint=hint)
    export = _read_manifest(path)
    for tower in export.towers.values():
        digest = partial(read_digest, from_memory=False) if check_hashes else None
        tower.check(path / EXPORT_FILE, hint=_AGAIN, digest=digest)
    _check_others(export, count=check_hashes)
    return export


def open_export_of(path: Path, model: str | Path, *, images: Path | None = None) -> Export:
    """Open an export to be compared with its model on images, after all that can be refused without torch.

    Args:
        path: The folder; every file is compared with its SHA-256.
        model: A model folder or an open_clip name.
        images: Images, or a captions file; None for generated ones.

    Raises:
        DataError: The images do not exist.
        ExportError: See :func:`open_export`.
        ModelError: No model has this name, or the folder is no model folder.
        ModelMismatchError: The export was made from another model.
    """
    from mobileclip_kit.data.sources import check_source

    check_model_name(model)
    if images is not None:
        check_source(images)
    export = open_export(path, check_hashes=True)
    if (spec := stored_spec(model)) is not None:
        spec.check_same_model(export.spec, f"The export {path}")
    return export


def _read_manifest(path: Path) -> Export:
    source = path / EXPORT_FILE
    again = "Export the model again."
    document = read_json(source)
    if document.get("format_version") != FORMAT_VERSION:
        version = document.get("format_version")
        raise ExportError(
            f"{source} has format version {version}; this mckit reads version {FORMAT_VERSION}.",
            hint=f"Update mckit, or {again[0].lower()}{again[1:]}",
        )
    manifest = formats.from_document(_modern(document), Manifest, where=str(source), error=ExportError, hint=again)
    try:
        find_precision(manifest.format, manifest.precision)
        spec = ModelSpec.from_json(manifest.model, str(source))
    except UsageError as error:
        raise ExportError(f"{source} names the format {manifest.format} {manifest.precision}.", hint=again) from error
    except MckitError as error:
        raise ExportError(f"{source} is damaged: {error.message}", hint=again) from error
    towers = {name: manifest.towers[name] for name in get_args(Tower) if name in manifest.towers}
    if not towers or manifest.towers.keys() != {tower.tower for tower in towers.values()}:
        raise ExportError(f"{source} names the towers {', '.join(manifest.towers) or 'none'}.", hint=again)
    return Export(
        path=path,
        spec=spec,
        format=manifest.format,
        precision=manifest.precision,
        towers=towers,
        merges_sha256=manifest.merges_sha256,
        tokenizer_sha256=manifest.tokenizer_sha256,
        samples_sha256=manifest.samples_sha256,
    )


def _modern(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document of an earlier mckit in today's words: ``pictures`` became ``images``, ``passed`` is computed."""
    if isinstance(document.get("towers"), dict):
        for tower in document["towers"].values():
            for result in tower.get("verification", ()) if isinstance(tower, dict) else ():
                if isinstance(result, dict):
                    result.pop("passed", None)
                    if "pictures" in result:
                        result["images"] = result.pop("pictures")
    return document


def _check_others(export: Export, *, count: bool) -> None:
    """Refuse samples that were changed, and tokenizer files that would split texts otherwise than the tower learned.

    Args:
        export: An older mckit wrote no digest of its ``merges.txt``, which may then be missing.
        count: Without a digest, read the file and compare how many merges it lists.

    Raises:
        ExportError: The file is missing, was changed, or does not fit the model.
    """
    digests = {
        MERGES_FILE: export.merges_sha256,
        TOKENIZER_FILE: export.tokenizer_sha256,
        SAMPLES_FILE: export.samples_sha256,
    }
    for name, digest in digests.items():
        path = export.path / name
        if digest is not None and not path.is_file():
            raise ExportError(f"{path} is missing.", hint=_AGAIN)
        if digest is not None and sha256_of_file(path) != digest:
            raise ExportError(f"{path} was changed: its SHA-256 is not the one in {EXPORT_FILE}.", hint=_AGAIN)
    path, text = export.path / MERGES_FILE, export.spec.text
    if export.merges_sha256 is not None:
        return
    if count and path.is_file() and text is not None and text.tokenizer == "clip-bpe":
        try:
            tokenizer = Tokenizer.for_spec(text, path)
        except ModelError as error:
            raise ExportError(f"The tokenizer of {path.parent} cannot be used: {error.message}", hint=_AGAIN) from error
        others = tokenizer.vocab_size - len(tokenizer.merges)  # bytes, start and end
        wanted = STANDARD_MERGES_COUNT if text.merges == "standard" else text.vocab_size - others
        if len(tokenizer.merges) != wanted:
            raise ExportError(f"{path} lists {len(tokenizer.merges)} merges; its model has {wanted}.", hint=_AGAIN)
