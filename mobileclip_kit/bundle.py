"""The bundle: one folder with everything that the app needs, and ``manifest.json``, which says what that is.

The Swift package reads the same manifest (``Manifest.swift``); the parts and their file names stand in
:data:`FILE_NAMES` here and in ``BundlePart`` there, and a test compares the two.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from mobileclip_kit import __version__
from mobileclip_kit.errors import DataError, ExportError, IndexFormatError, ModelError, ModelMismatchError
from mobileclip_kit.exporting.digests import hash_path
from mobileclip_kit.exporting.folder import Export, ExportedTower, open_export
from mobileclip_kit.files import atomic_folder, read_json, size_bytes, write_json
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import MAX_BATCH_ROWS, Numbers, PhoneHeader
from mobileclip_kit.index.phone_writer import write_phone_index
from mobileclip_kit.spec import MERGES_FILE, ModelSpec, Tower
from mobileclip_kit.textness.vector import Textness
from mobileclip_kit.tokenizer import Tokenizer

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

Part = Literal["image", "text", "merges", "textness", "index"]
FILE_NAMES: dict[Part, str] = {
    "image": "image.mlpackage",
    "text": "text.mlpackage",
    "merges": "merges.txt",
    "textness": "textness.json",
    "index": "library.mckitidx",
}
REQUIRED: tuple[Part, ...] = ("image", "text", "merges")

_AGAIN = "Copy the bundle again, or make it again with `mckit bundle`."


@dataclass(frozen=True, kw_only=True)
class BundledFile:
    """One part as the manifest describes it.

    Attributes:
        file: Its name within the bundle.
        size_bytes: Of the file, or of all files of the package.
        sha256: Hex digest, see :func:`mobileclip_kit.exporting.digests.hash_path`.
    """

    file: str
    size_bytes: int
    sha256: str

    @classmethod
    def describe(cls, path: Path) -> BundledFile:
        """Measure a file that has just been written."""
        return cls(file=path.name, size_bytes=size_bytes(path), sha256=hash_path(path))


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: The folder.
        spec: Of the model; tells the app how to feed it.
        precision: Of the Core ML packages.
        files: The parts that it has.
    """

    path: Path
    spec: ModelSpec
    precision: str
    files: Mapping[Part, BundledFile]

    @property
    def size_bytes(self) -> int:
        """All parts together."""
        return sum(part.size_bytes for part in self.files.values())

    def as_export(self) -> Export:
        """Its towers as an export that a runtime opens."""
        towers = {
            tower: ExportedTower(tower=tower, **vars(self.files[tower]))
            for tower in get_args(Tower)
            if tower in self.files
        }
        precision: Any = self.precision
        return Export(path=self.path, spec=self.spec, format="coreml", precision=precision, towers=towers)

    def to_json(self) -> dict[str, Any]:
        """What ``manifest.json`` says."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": "bundle",
            "mckit": __version__,
            "precision": self.precision,
            "model": self.spec.to_json(),
            "files": {part: vars(file) for part, file in self.files.items()},
        }


def make_bundle(
    destination: Path,
    export: Path,
    *,
    text: Path | None = None,
    textness: Path | None = None,
    index: Path | None = None,
    numbers: Numbers = "int8",
    force: bool = False,
) -> Bundle:
    """Put everything that the app needs into one folder.

    Args:
        destination: The folder to make.
        export: A Core ML export; with both towers unless ``text`` is given.
        text: A Core ML export whose text tower is used: of the teacher whose space an image-only student learned.
        textness: A ``textness.json`` of the same model.
        index: An index folder of the same model; becomes a ready index on the phone, its items named by their paths.
        numbers: How the ready index stores its vectors.
        force: Replace a bundle that stands at ``destination``.

    Returns:
        The bundle, every hash written down.

    Raises:
        ExportError: The export is damaged, not for Core ML, or lacks a tower.
        ModelMismatchError: The textness vector or the index belongs to another model.
        DataError: The textness vector cannot be used.
        IndexFormatError: The index cannot be used.
        OutputError: ``destination`` exists or cannot be written.
    """
    opened = open_export(export, check_hashes=True)
    words = opened if text is None else open_export(text, check_hashes=True)
    spec = _require_for_phone(opened, words)
    with atomic_folder(destination, force=force) as staging:
        _copy(opened.tower_path("image"), staging / FILE_NAMES["image"])
        _copy(words.tower_path("text"), staging / FILE_NAMES["text"])
        _copy(words.path / MERGES_FILE, staging / FILE_NAMES["merges"])
        if textness is not None:
            _check_textness(textness, spec)
            _copy(textness, staging / FILE_NAMES["textness"])
        if index is not None:
            write_library(index, staging / FILE_NAMES["index"], spec, numbers)
        present = [part for part in get_args(Part) if (staging / FILE_NAMES[part]).exists()]
        files = {part: BundledFile.describe(staging / FILE_NAMES[part]) for part in present}
        bundle = Bundle(path=destination, spec=spec, precision=opened.precision, files=files)
        write_json(staging / MANIFEST_FILE, bundle.to_json())
    return bundle


def open_bundle(path: Path, *, check: bool = False) -> Bundle:
    """Read a bundle's manifest and look whether its files are there.

    Args:
        path: The folder.
        check: Read every byte as well: hashes, the tokenizer, the textness vector and the index.

    Raises:
        ExportError: No bundle, of another format version, or a file is missing, cut off or altered.
        ModelMismatchError: A part belongs to another model.
    """
    bundle = _read_manifest(path)
    for part in REQUIRED:
        if part not in bundle.files:
            raise ExportError(f"The bundle {path} lacks its {part} part.", hint=_AGAIN)
    for file in bundle.files.values():
        _check_file(path, file, check_hash=check)
    if check:
        _check_contents(bundle)
    return bundle


def write_library(index: Path, destination: Path, spec: ModelSpec, numbers: Numbers) -> None:
    """Write an index folder's vectors as a phone's index file.

    Raises:
        ModelMismatchError: The index belongs to another model.
        IndexFormatError: The index cannot be used.
        DataError: An item's name is not UTF-8.
    """
    with IndexReader(index) as opened:
        spec.check_same_model(opened.spec.model_hash, f"The index {index}")
        items = [(item.row, item) for item in opened.store.items() if item.row is not None]
        parts = (
            (
                [item.name for _, item in part],
                opened.vectors([row for row, _ in part]),
                [(item.mtime_ns or 0) // 1_000_000 for _, item in part],
            )
            for part in (items[start : start + MAX_BATCH_ROWS] for start in range(0, len(items), MAX_BATCH_ROWS))
        )
        write_phone_index(destination, PhoneHeader(spec.embedding_dim, numbers, spec.model_hash), parts)


def _require_for_phone(export: Export, words: Export) -> ModelSpec:
    """The spec of a bundle with one export's image tower and another one's text tower, often the same."""
    for each in (export, words):
        if each.format != "coreml":
            raise ExportError(
                f"{each.path} is an {each.format} export; a phone needs Core ML.",
                hint="Export the model with --format coreml.",
            )
    if "image" not in export.towers or "text" not in words.towers:
        raise ExportError(
            f"{export.path} has the towers {', '.join(export.towers)}; the app needs an image and a text tower.",
            hint="Add the teacher's Core ML export with --text.",
        )
    if words.merges is None or words.spec.require_text().tokenizer != "clip-bpe":
        raise ExportError(f"{words.path} has no merges.txt: its tokenizer is not one that the phone knows.")
    if words.merges_sha256 is None and words.merges.is_symlink():
        raise ExportError(
            f"{words.merges} links to another file, and {words.path} is too old to say its hash.",
            hint="Export the model again.",
        )
    own, other = export.spec, words.spec
    if other.model_hash == own.model_hash:
        return own
    if other.model_hash != own.provenance.get("teacher_hash") or other.embedding_dim != own.embedding_dim:
        raise ModelMismatchError(
            f"The text tower of {words.path} belongs to the model {other.model_hash[:12]}, which is neither {own.name} "
            "nor its teacher.",
            hint="Give the export of the teacher that the student was distilled from.",
        )
    return replace(own, text=other.text).with_provenance(text_tower_of=other.model_hash)


def _copy(source: Path, destination: Path) -> None:
    """Copy a file, or a package file by file: what stops the copying of a tree says neither where nor why."""
    if not source.is_dir():
        shutil.copyfile(source, destination)
        return
    destination.mkdir()
    for child in sorted(source.iterdir()):
        if child.is_symlink() and child.is_dir():
            raise ExportError(
                f"{child} links to another folder, whose files are covered by no hash.",
                hint="Put the folder itself in its place, or export the model again.",
            )
        _copy(child, destination / child.name)


def _check_textness(path: Path, spec: ModelSpec) -> None:
    textness = Textness.load(path)
    spec.check_same_model(textness.model_hash, f"The textness vector {path}")
    if textness.vector.shape != (spec.embedding_dim,):
        raise DataError(f"{path} holds {len(textness.vector)} numbers; the model gives {spec.embedding_dim}.")


def _read_manifest(path: Path) -> Bundle:
    source = path / MANIFEST_FILE
    if not source.is_file():
        raise ExportError(f"{path} is not a bundle: it has no {MANIFEST_FILE}.", hint="Make one with `mckit bundle`.")
    try:
        document = read_json(source)
        if document.get("kind") != "bundle" or document.get("format_version") != FORMAT_VERSION:
            raise ExportError(
                f"{source} is a {document.get('kind')} of format version {document.get('format_version')}; this mckit "
                f"reads bundles of version {FORMAT_VERSION}.",
                hint="Update mckit, or make the bundle again.",
            )
        files = {
            part: BundledFile(file=str(entry["file"]), size_bytes=int(entry["size_bytes"]), sha256=str(entry["sha256"]))
            for part, entry in _known(document["files"].items())
        }
        spec = ModelSpec.from_json(document["model"], str(source))
        _require_keys(document["model"], spec)
        if not isinstance(document["precision"], str):
            raise TypeError(f"precision is {document['precision']!r}, not a text")
        return Bundle(path=path, spec=spec, precision=document["precision"], files=files)
    except (DataError, ModelError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = error.message.rstrip(".") if isinstance(error, DataError | ModelError) else error
        raise ExportError(f"{source} is damaged: {reason}.", hint=_AGAIN) from error


def _require_keys(model: Mapping[str, Any], spec: ModelSpec) -> None:
    """The phone has no defaults: refuse a description that leaves out what mckit always writes."""
    for section in ("image", "text"):
        for name in (spec.to_json()[section] or {}).keys() - (model[section] or {}).keys():
            raise KeyError(f"model.{section}.{name}")


def _known(entries: Iterable[tuple[str, Any]]) -> Iterable[tuple[Part, Any]]:
    """The parts that this version knows; newer ones are left alone."""
    return ((part, entry) for name, entry in entries for part in get_args(Part) if part == name)


def _check_file(folder: Path, file: BundledFile, *, check_hash: bool) -> None:
    if file.file in ("", ".", "..") or os.sep in file.file or "/" in file.file:
        raise ExportError(f"{folder / MANIFEST_FILE} names a file outside its folder: {file.file!r}.", hint=_AGAIN)
    path = folder / file.file
    if not path.exists():
        raise ExportError(f"{path} is missing.", hint=_AGAIN)
    actual = size_bytes(path)
    if actual != file.size_bytes:
        raise ExportError(f"{path} has {actual} bytes, but {MANIFEST_FILE} says {file.size_bytes}.", hint=_AGAIN)
    if check_hash and hash_path(path) != file.sha256:
        raise ExportError(f"{path} was changed: its SHA-256 is not the one in {MANIFEST_FILE}.", hint=_AGAIN)


def _check_contents(bundle: Bundle) -> None:
    """Open each part as the app does, so that a bundle that checks is one that works."""
    try:
        Tokenizer.for_spec(bundle.spec.require_text(), bundle.path / bundle.files["merges"].file)
        if "textness" in bundle.files:
            _check_textness(bundle.path / bundle.files["textness"].file, bundle.spec)
        if "index" in bundle.files:
            path = bundle.path / bundle.files["index"].file
            PhoneIndex(path, model_hash=bundle.spec.model_hash).verify()
    except (ModelError, DataError, IndexFormatError) as error:
        raise ExportError(f"The bundle {bundle.path} cannot be used: {error.message}", hint=error.hint) from error
