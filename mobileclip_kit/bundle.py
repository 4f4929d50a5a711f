"""The bundle: one folder with everything the app needs, described by ``manifest.json``.

The Swift package reads the same manifest (``Manifest.swift``). :data:`FILE_NAMES` here and ``BundlePart`` there list
the parts and their file names; a test compares them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from mobileclip_kit import __version__
from mobileclip_kit.arrays import parts_of
from mobileclip_kit.confidence.background import BACKGROUND_FILE, Background
from mobileclip_kit.errors import DataError, ExportError, IndexFormatError, ModelError, ModelMismatchError
from mobileclip_kit.exporting.digests import ListedFile, hash_path
from mobileclip_kit.exporting.folder import SAMPLES_FILE, Export, ExportedTower, open_export
from mobileclip_kit.exporting.precisions import FORMATS
from mobileclip_kit.files import atomic_folder, read_json, write_json
from mobileclip_kit.formats import from_document, to_document
from mobileclip_kit.hub import local_place
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import MAX_BATCH_ROWS, Numbers, PhoneHeader
from mobileclip_kit.index.phone_writer import write_phone_index
from mobileclip_kit.options import Option
from mobileclip_kit.spec import MERGES_FILE, ModelSpec, Tower
from mobileclip_kit.textness.vector import Textness
from mobileclip_kit.tokenizer import Tokenizer

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

Part = Literal["image", "text", "merges", "textness", "index", "background", "samples", "image_ai", "text_ai"]
FILE_NAMES: dict[Part, str] = {
    "image": "image.mlpackage",
    "text": "text.mlpackage",
    "merges": "merges.txt",
    "textness": "textness.json",
    "index": "library.mckitidx",
    "background": BACKGROUND_FILE,
    "samples": SAMPLES_FILE,
    "image_ai": "image.aimodel",
    "text_ai": "text.aimodel",
}
REQUIRED: tuple[Part, ...] = ("image", "text", "merges")

_AGAIN = "Copy the bundle again, or make it again with `mckit bundle`."


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """What ``mckit bundle`` makes, see :func:`make_bundle`, or checks."""

    export: Annotated[Path | None, Option("A Core ML export.", names=("export",))] = None
    out: Annotated[Path | None, Option("The folder to make.", names=("-o",), metavar="DIR")] = None
    text: Annotated[
        Path | None,
        Option("Export whose text tower to use: the teacher of an image-only student.", metavar="EXPORT"),
    ] = None
    textness: Annotated[Path | None, Option("A textness.json of the same model.", metavar="FILE")] = None
    index: Annotated[Path | None, Option("Include this index, ready to use on the phone.", metavar="INDEX")] = None
    core_ai: Annotated[Path | None, Option("Include this Core AI export too; iOS 27 prefers it.", metavar="EXPORT")] = (
        None
    )
    numbers: Annotated[Numbers, Option("Number format of the vectors in that index.")] = "int8"
    check: Annotated[Path | None, Option("Check an existing bundle instead.", metavar="DIR")] = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``manifest.json``.

    Attributes:
        mckit: Version of mckit that wrote it.
        precision: Precision of the Core ML packages.
        model: The object of :meth:`ModelSpec.to_json`.
        files: The parts.
    """

    format_version: int = FORMAT_VERSION
    kind: str = "bundle"
    mckit: str = __version__
    precision: str
    model: Mapping[str, Any]
    files: Mapping[Part, ListedFile]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: The folder.
        spec: Description of the model; tells the app how to prepare its inputs.
        precision: Precision of the Core ML packages.
        files: The parts that the bundle has.
    """

    path: Path
    spec: ModelSpec
    precision: str
    files: Mapping[Part, ListedFile]

    @property
    def size_bytes(self) -> int:
        """Size of all parts together."""
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
        """The object in ``manifest.json``."""
        document: dict[str, Any] = to_document(
            Manifest(precision=self.precision, model=self.spec.to_json(), files=self.files)
        )
        return document


def make_bundle(
    destination: Path,
    export: Path,
    *,
    text: Path | None = None,
    textness: Path | None = None,
    index: Path | None = None,
    core_ai: Path | None = None,
    numbers: Numbers = "int8",
    force: bool = False,
) -> Bundle:
    """Put everything the app needs into one folder.

    Args:
        destination: The folder to make.
        export: A Core ML export, with both towers unless ``text`` is given.
        text: A Core ML export whose text tower is used, for an image-only student: that of its teacher.
        textness: A ``textness.json`` of the same model.
        index: An index folder of the same model. It becomes a ready-made index on the phone, whose items are named by
            their paths. Its background goes with it, if it has one.
        core_ai: A Core AI export of the same model, whose towers iOS 27 prefers.
        numbers: Number format of the vectors in that index.
        force: Replace an existing bundle at ``destination``.

    Returns:
        The bundle.

    Raises:
        ExportError: The export is damaged, is not for Core ML, or lacks a tower.
        ModelMismatchError: The textness vector or the index belongs to another model.
        DataError: The textness vector cannot be used.
        IndexFormatError: The index cannot be used.
        OutputError: ``destination`` exists or cannot be written.
    """
    image_export = open_export(export, check_hashes=True)
    text_export = image_export if text is None else open_export(text, check_hashes=True)
    spec = _require_for_phone(image_export, text_export)
    with atomic_folder(destination, force=force, kinds=(MANIFEST_FILE,)) as staging:
        _copy(image_export.tower_path("image"), staging / FILE_NAMES["image"])
        _copy(text_export.tower_path("text"), staging / FILE_NAMES["text"])
        _copy(text_export.path / MERGES_FILE, staging / FILE_NAMES["merges"])
        if textness is not None:
            _check_textness(textness, spec)
            _copy(textness, staging / FILE_NAMES["textness"])
        if index is not None:
            write_library(index, staging / FILE_NAMES["index"], spec, numbers)
            if (index / BACKGROUND_FILE).is_file():
                _check_background(index / BACKGROUND_FILE, spec)
                _copy(index / BACKGROUND_FILE, staging / FILE_NAMES["background"])
        exports = [image_export, text_export]
        if core_ai is not None:
            exports.append(_copy_core_ai(core_ai, staging, spec))
        _write_samples(exports, staging / FILE_NAMES["samples"])
        present = [part for part in get_args(Part) if (staging / FILE_NAMES[part]).exists()]
        files = {part: ListedFile.describe(staging / FILE_NAMES[part]) for part in present}
        bundle = Bundle(path=destination, spec=spec, precision=image_export.precision, files=files)
        write_json(staging / MANIFEST_FILE, bundle.to_json(), sealed=True)
    return bundle


def open_bundle(path: Path, *, check: bool = False) -> Bundle:
    """Read a bundle's manifest and check that its files exist.

    Args:
        path: The folder.
        check: Read all files as well: their hashes, the tokenizer, the textness vector and the index.

    Raises:
        ExportError: The folder is not a bundle, has another format version, or a file is missing, truncated or changed.
        ModelMismatchError: A part belongs to another model.
    """
    path = Path(local_place(path))
    bundle = _read_manifest(path)
    for part in REQUIRED:
        if part not in bundle.files:
            raise ExportError(f"The bundle {path} lacks its {part} part.", hint=_AGAIN)
    for file in bundle.files.values():
        file.check(path / MANIFEST_FILE, hint=_AGAIN, digest=hash_path if check else None)
    if check:
        _check_contents(bundle)
    return bundle


def write_library(index: Path, destination: Path, spec: ModelSpec, numbers: Numbers) -> None:
    """Write the vectors of an index folder as the phone's index file.

    Raises:
        ModelMismatchError: The index belongs to another model.
        IndexFormatError: The index cannot be used.
        DataError: An item's name is not UTF-8.
    """
    with IndexReader(index) as opened:
        spec.check_same_model(opened.spec, f"The index {index}")
        items = [(item.row, item) for item in opened.store.items() if item.row is not None]
        parts = (
            (
                [item.name for _, item in part],
                opened.vectors([row for row, _ in part]),
                [(item.mtime_ns or 0) // 1_000_000 for _, item in part],
            )
            for part in parts_of(items, MAX_BATCH_ROWS)
        )
        write_phone_index(destination, PhoneHeader(spec.embedding_dim, numbers, spec.model_hash), parts)


def _require_for_phone(export: Export, text_export: Export) -> ModelSpec:
    """The description of a bundle with the image tower of one export and the text tower of another, or of the same."""
    for each in (export, text_export):
        if each.format != "coreml":
            raise ExportError(
                f"{each.path} is in {FORMATS[each.format].title}; the app needs Core ML.",
                hint="Export the model with --format coreml; --core-ai adds a Core AI export.",
            )
    if "image" not in export.towers or "text" not in text_export.towers:
        raise ExportError(
            f"{export.path} has the towers {', '.join(export.towers)}; the app needs an image and a text tower.",
            hint="Add the teacher's Core ML export with --text.",
        )
    if text_export.tokenizer_file is None or text_export.spec.require_text().tokenizer != "clip-bpe":
        raise ExportError(f"{text_export.path} has no merges.txt: the phone does not support its tokenizer.")
    if text_export.merges_sha256 is None and text_export.tokenizer_file.is_symlink():
        raise ExportError(
            f"{text_export.path / MERGES_FILE} links to another file, and the export is too old to contain its hash.",
            hint="Export the model again.",
        )
    own, other = export.spec, text_export.spec
    if other.model_hash == own.model_hash:
        return own
    if other.model_hash != own.provenance.get("teacher_hash") or other.embedding_dim != own.embedding_dim:
        raise ModelMismatchError(
            f"The text tower of {text_export.path} belongs to the model {other.model_hash[:12]}, which is neither "
            f"{own.name} nor its teacher.",
            hint="Pass the export of the teacher that the student was distilled from.",
        )
    return replace(own, text=other.text).with_provenance(text_tower_of=other.model_hash)


def _copy_core_ai(path: Path, folder: Path, spec: ModelSpec) -> Export:
    """Copy the towers of a Core AI export of the same model."""
    export = open_export(path, check_hashes=True)
    if export.format != "coreai":
        raise ExportError(
            f"{path} is a {FORMATS[export.format].title} export, not one for Core AI.",
            hint="Export the model with --format coreai.",
        )
    spec.check_same_model(export.spec.model_hash, f"The export {path}")
    for tower in export.towers:
        _copy(export.tower_path(tower), folder / FILE_NAMES["image_ai" if tower == "image" else "text_ai"])
    return export


def _write_samples(exports: Sequence[Export], path: Path) -> None:
    """Write the samples by which the app tests itself: images of the first export, texts of the second.

    The app compares every tower with them, so the least cosine is the least that any export has to reach. Older
    exports have no samples.
    """
    if any(export.samples_sha256 is None for export in exports[:2]):
        return
    images, texts, *others = (
        read_json(export.path / SAMPLES_FILE) for export in exports if export.samples_sha256 is not None
    )
    least = min(document["least_cosine"] for document in (images, texts, *others))
    write_json(path, {**images, "texts": texts["texts"], "least_cosine": least})


def _copy(source: Path, destination: Path) -> None:
    """Copy a file, or a package file by file: an error of copying a tree names neither the file nor the reason."""
    if not source.is_dir():
        shutil.copyfile(source, destination)
        return
    destination.mkdir()
    for child in sorted(source.iterdir()):
        if child.is_symlink() and child.is_dir():
            raise ExportError(
                f"{child} links to another folder, whose files are covered by no hash.",
                hint="Replace the link by the folder, or export the model again.",
            )
        _copy(child, destination / child.name)


def _check_background(path: Path, spec: ModelSpec) -> None:
    spec.check_same_model(Background.read(path).model_hash, f"The background {path}")


def _check_textness(path: Path, spec: ModelSpec) -> None:
    textness = Textness.load(path)
    spec.check_same_model(textness.model_hash, f"The textness vector {path}")
    if textness.vector.shape != (spec.embedding_dim,):
        raise DataError(f"{path} has {len(textness.vector)} numbers; the model's embeddings have {spec.embedding_dim}.")


def _read_manifest(path: Path) -> Bundle:
    source = path / MANIFEST_FILE
    if not source.is_file():
        raise ExportError(f"{path} is not a bundle: it has no {MANIFEST_FILE}.", hint="Make one with `mckit bundle`.")
    try:
        document = read_json(source)
        kind, version = document.get("kind"), document.get("format_version")
        if kind != "bundle" or version != FORMAT_VERSION:
            raise ExportError(
                f"{source} has the kind {kind} and format version {version}; this mckit reads bundles of version "
                f"{FORMAT_VERSION}.",
                hint="Update mckit, or make the bundle again.",
            )
        manifest = from_document(document, Manifest, where=str(source), error=DataError)
        spec = ModelSpec.from_json(manifest.model, f"{source}: model")
    except (DataError, ModelError) as error:
        raise ExportError(f"The bundle is damaged: {error.message}", hint=_AGAIN) from error
    # The phone has no default values.
    for section in ("image", "text"):
        for name in (spec.to_json()[section] or {}).keys() - (manifest.model[section] or {}).keys():
            raise ExportError(f"The bundle is damaged: {source}: model.{section} has no {name}.", hint=_AGAIN)
    return Bundle(path=path, spec=spec, precision=manifest.precision, files=manifest.files)


def check_part(folder: Path, file: ListedFile) -> None:
    """Compare a part of the bundle ``folder`` with its SHA-256.

    Raises:
        ExportError: It is missing or was changed.
    """
    file.check(folder / MANIFEST_FILE, hint=_AGAIN, digest=hash_path)


def _check_contents(bundle: Bundle) -> None:
    """Open each part as the app does, so that a bundle that passes works."""
    try:
        Tokenizer.for_spec(bundle.spec.require_text(), bundle.path / bundle.files["merges"].file)
        if "background" in bundle.files:
            _check_background(bundle.path / bundle.files["background"].file, bundle.spec)
        if "textness" in bundle.files:
            _check_textness(bundle.path / bundle.files["textness"].file, bundle.spec)
        if "index" in bundle.files:
            path = bundle.path / bundle.files["index"].file
            PhoneIndex(path, model_hash=bundle.spec.model_hash).verify()
    except (ModelError, DataError, IndexFormatError) as error:
        raise ExportError(f"The bundle {bundle.path} cannot be used: {error.message}", hint=error.hint) from error
