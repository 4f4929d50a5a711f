"""Whether what mckit wrote is still what it wrote: every file of a folder against its checksum.

The commands that use a file check it too. This module reads everything, also what they read in parts or remember.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mobileclip_kit.errors import DataError, MckitError
from mobileclip_kit.files import SEAL_KEY, nothing_at, read_json
from mobileclip_kit.progress import track

_END_BYTES = 4096
# A file, how it is checked in words, and the check, which raises an error of mckit.
_Step = tuple[Path, str, Callable[[], object]]


@dataclass(frozen=True)
class CheckedFile:
    """The result for one file.

    Attributes:
        path: The file.
        how: What it was compared with.
        problem: What is wrong, naming the file; None if nothing is.
        hint: How to make the file anew.
    """

    path: Path
    how: str
    problem: str | None = None
    hint: str | None = None


def check_path(path: Path) -> list[CheckedFile]:
    """Check a file or folder that mckit wrote; folders of several such things are checked as a whole.

    Raises:
        DataError: It does not exist, or is nothing that mckit writes with checksums.
    """
    if not path.exists():
        message, hint = nothing_at(path, "Pass a file or folder that mckit wrote.")
        raise DataError(message, hint=hint)
    steps = list(_steps(path))
    if not steps:
        raise DataError(f"{path} is nothing that mckit checks.", hint="See what it is with `mckit inspect`.")
    return [_run(*step) for step in track(steps, "check", "files")]


def _run(path: Path, how: str, check: Callable[[], object]) -> CheckedFile:
    try:
        check()
    except MckitError as error:
        named = error.message if path.name in error.message else f"{path}: {error.message}"
        return CheckedFile(path, how, named, error.hint or "Copy it again, or make it again.")
    except OSError as error:
        return CheckedFile(path, how, f"{path} cannot be read: {error.strerror}.", "Copy it again, or make it again.")
    return CheckedFile(path, how)


def _steps(path: Path) -> Iterator[_Step]:
    """The checks of a file or folder by its marker, and of the folders in it."""
    seen = set[Path]()
    for marker, steps in _FOLDERS.items():
        if (path / marker).is_file():
            for step in steps(path):
                seen.add(step[0])
                yield step
            break
    if path.is_dir():
        for child in sorted(path.iterdir()):
            if child.is_dir() and not child.is_symlink() and child.suffix != ".mlpackage":
                yield from _steps(child)
            elif child not in seen and child.is_file():
                yield from _single_file(child)
    else:
        yield from _single_file(path)


def _single_file(path: Path) -> Iterator[_Step]:
    """The check of one file: a phone's index, a textness vector, or another document with a checksum."""
    if path.suffix == ".mckitidx":
        yield from _phone_index(path)
    elif path.suffix == ".json":
        with path.open("rb") as stream:  # captions and the like may be large; the checksum is the last key
            first = stream.read(_END_BYTES)
            stream.seek(max(0, path.stat().st_size - _END_BYTES))
            last = stream.read()
        if b'"kind": "textness"' in first:
            yield from _textness(path)
        elif SEAL_KEY.encode() in last:
            yield path, "SHA-256 of its content", partial(read_json, path)


def _model(path: Path) -> Iterator[_Step]:
    def check() -> None:
        from mobileclip_kit.networks.model import load_model

        load_model(str(path))

    yield path / "open_clip_model.safetensors", "model hash; merges and settings: SHA-256", check


def _export(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.exporting.folder import EXPORT_FILE, open_export

    yield path / EXPORT_FILE, "SHA-256 of its content, of settings and tokenizer", lambda: open_export(path)
    try:
        document = read_json(path / EXPORT_FILE).get("towers")
    except MckitError:
        return  # the first row says so
    for tower, entry in document.items() if isinstance(document, dict) else ():
        file = entry.get("file") if isinstance(entry, dict) else None
        yield path / str(file), "SHA-256", partial(_check_tower, path, tower)


def _check_tower(path: Path, tower: Any) -> None:
    from mobileclip_kit.exporting.folder import open_export

    open_export(path).sound_path(tower)


def _layout(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.exporting.layout_file import LAYOUT_FILE, LayoutFile

    row = path / LAYOUT_FILE, "SHA-256 of its content", lambda: LayoutFile.read(path)
    try:
        described = LayoutFile.read(path)
    except MckitError:
        yield row  # which says so
        return
    yield row if described.files else (row[0], "read; an older mckit wrote no checksums of the files", row[2])
    for name in described.files:
        yield path / name, "SHA-256", partial(described.check, path, name)


def _index(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.confidence.background import BACKGROUND_FILE, Background
    from mobileclip_kit.index.ann_index import DerivedIndex
    from mobileclip_kit.index.folder import INDEX_FILE, ITEMS_FILE, IndexHeader, IndexReader
    from mobileclip_kit.index.store import Store
    from mobileclip_kit.index.tags import TAGS_FILE, Tags

    def check_items() -> None:
        store = Store.open(path / ITEMS_FILE, writable=False)
        try:
            store.check()
        finally:
            store.close()

    def check_matrix() -> None:
        with IndexReader(path) as index:
            index.check_matrix()
            index.check_rows()

    def check_derived(file: Path) -> None:
        described = IndexHeader.read(path).derived
        if described is not None and described.file == file.name:
            DerivedIndex.check(file, described)
            DerivedIndex(file, described)

    yield path / INDEX_FILE, "SHA-256 of its content", lambda: IndexHeader.read(path)
    yield path / ITEMS_FILE, "a checksum for each item, and SQLite's own check", check_items
    for file in sorted(path.glob("vectors*.f32")):
        yield file, "a checksum for each block, and the length of each row", check_matrix
    for file in sorted(path.glob("*.faiss")):
        yield file, "SHA-256", partial(check_derived, file)
    if (path / "textness.json").is_file():
        yield from _textness(path / "textness.json")
    if (path / TAGS_FILE).is_file():
        yield path / TAGS_FILE, "SHA-256", lambda: Tags.read(path)
    if (path / BACKGROUND_FILE).is_file():
        yield path / BACKGROUND_FILE, "SHA-256", lambda: Background.read(path / BACKGROUND_FILE)


def _cache(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.cache.folder import SHARDS, TeacherCache, check_shard, read_description

    yield path / "cache.json", "SHA-256 of its content", lambda: read_description(path)
    try:
        shards = read_description(path)[1]
    except MckitError:
        return  # the first row says so
    for shard in shards:
        yield path / SHARDS / f"{shard.name}.npy", "SHA-256", partial(check_shard, path, shard)
    yield path / SHARDS, "opened", lambda: TeacherCache.open(path, verify=False)


def _bundle(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.bundle import check_part, open_bundle

    yield path / "manifest.json", "SHA-256 of its content; every part: opened", lambda: open_bundle(path, check=True)
    try:
        bundle = open_bundle(path)
    except MckitError:
        return  # the first row says so
    for part in bundle.files.values():
        yield path / part.file, "SHA-256", partial(check_part, path, part)


def _scenes(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.images import load_image
    from mobileclip_kit.scenes.folder import read_scenes_file
    from mobileclip_kit.scenes.truth import read_truth

    yield path / "scenes.json", "SHA-256 of its content and of the lists", lambda: read_scenes_file(path)
    yield path / "truth.jsonl", "SHA-256", lambda: read_truth(path)
    for image in sorted((path / "images").glob("*.png")):
        yield image, "checksums of PNG", partial(load_image, image)


def _dump(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.indexing.importing import VECTORS_JSON, VectorsFile

    yield path / VECTORS_JSON, "SHA-256 of its content", lambda: VectorsFile.read(path)
    try:
        described = VectorsFile.read(path)
    except MckitError:
        return  # the first row says so
    for name, sha256 in described.files.items():
        one = replace(described, files={name: sha256})
        yield path / name, "SHA-256", partial(one.check_files, path)


def _checkpoint(path: Path) -> Iterator[_Step]:
    def check() -> None:
        from mobileclip_kit.distillation.checkpoint import load_checkpoint

        load_checkpoint(path / "checkpoint.safetensors")

    yield path / "checkpoint.safetensors", "SHA-256 of its content", check


def _phone_index(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.index.phone import PhoneIndex

    yield path, "a checksum for each batch", lambda: PhoneIndex(path).verify()


def _textness(path: Path) -> Iterator[_Step]:
    from mobileclip_kit.textness.vector import Textness

    yield path, "SHA-256 of its content, and the vectors' lengths", lambda: Textness.load(path)


def _document(name: str) -> Callable[[Path], Iterator[_Step]]:
    def steps(path: Path) -> Iterator[_Step]:
        yield path / name, "SHA-256 of its content", lambda: read_json(path / name)

    return steps


# Marker file → the checks of the folder; the first that is there is chosen.
_FOLDERS: dict[str, Callable[[Path], Iterator[_Step]]] = {
    "model.json": _model,
    "export.json": _export,
    "layout.json": _layout,
    "index.json": _index,
    "cache.json": _cache,
    "manifest.json": _bundle,
    "vectors.json": _dump,
    "scenes.json": _scenes,
    "checkpoint.safetensors": _checkpoint,
    "textness.json": lambda path: _textness(path / "textness.json"),
    "quickstart.json": _document("quickstart.json"),
    "comparison.json": _document("comparison.json"),
    "report.json": _document("report.json"),
}
