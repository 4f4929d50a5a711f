"""One flipped bit in each kind of file: `mckit check` and whatever uses the file say so, and name it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bundle import open_bundle
from mobileclip_kit.cache.folder import CacheDescription, TeacherCache
from mobileclip_kit.cache.writer import CacheWriter
from mobileclip_kit.checking import check_path
from mobileclip_kit.cli import main
from mobileclip_kit.confidence.background import BACKGROUND_FILE, Background
from mobileclip_kit.errors import DataError, MckitError
from mobileclip_kit.exporting.folder import open_export
from mobileclip_kit.exporting.layout_file import LAYOUT_FILE, LayoutFile
from mobileclip_kit.files import read_json, sha256_of_file, write_json
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.indexing.dumping import dump_index
from mobileclip_kit.indexing.importing import import_clip_retrieval
from mobileclip_kit.inspection import inspect_path
from mobileclip_kit.scenes.folder import SceneSet, read_scenes_file, write_scenes
from mobileclip_kit.scenes.truth import read_truth
from mobileclip_kit.spec import read_spec, write_spec
from mobileclip_kit.textness.vector import Textness
from tests.confidence.words import make_word_index

GOLDEN = Path(__file__).parent / "golden"
FIRST = GOLDEN / "first-version"
PHOTOS = FIRST / "photos"


DESCRIPTION = CacheDescription(teacher="t", teacher_hash="ff", embedding_dim=16, normalized=False)


def copy(name: str) -> Callable[[Path], None]:
    return lambda place: shutil.copytree(GOLDEN / name, place)


def make_export(place: Path) -> None:
    """One of the first version, with the digest of its merges that it would have today."""
    shutil.copytree(FIRST / "onnx-fp32", place)
    replace(open_export(place), merges_sha256=sha256_of_file(place / "merges.txt")).write()


def make_layout(place: Path) -> None:
    (place / "onnx").mkdir(parents=True)
    shutil.copy(FIRST / "onnx-fp32" / "image.onnx", place / "onnx" / "vision_model.onnx")
    spec = open_export(FIRST / "onnx-fp32").spec.to_json()
    LayoutFile(layout="transformersjs", precision="fp32", model=spec, towers={"image": "onnx/vision_model.onnx"}).write(
        place
    )


@pytest.mark.parametrize("name", ["../secret", "/etc/hosts"])
def test_a_layout_names_no_files_outside_its_folder(tmp_path: Path, name: str) -> None:
    make_layout(tmp_path / "layout")
    document = {**read_json(tmp_path / "layout" / LAYOUT_FILE), "files": {name: "00" * 32}}
    write_json(tmp_path / "layout" / LAYOUT_FILE, document)
    problems = [checked.problem for checked in check_path(tmp_path / "layout") if checked.problem]
    assert len(problems) == 1
    assert "outside its folder" in problems[0]


def use_layout(place: Path) -> None:
    described = LayoutFile.read(place)
    for name in described.files:
        described.check(place, name)


def make_model(place: Path) -> None:
    """As a training writes it today."""
    shutil.copytree(FIRST / "model", place)
    write_spec(place, read_spec(place))
    write_json(place / "training.json", {"steps": 42, "seconds": 1.5}, sealed=True)


def make_index(place: Path) -> None:
    run("index", PHOTOS, "--model", FIRST / "onnx-fp32", "-o", place)


def make_dump(place: Path) -> None:
    make_index(place.with_name("source.index"))
    dump_index(place.with_name("source.index"), place)


def make_textness(place: Path) -> None:
    place.mkdir()
    Textness.load(FIRST / "textness.json").save(place / "textness.json")


def make_cache(place: Path) -> None:
    with CacheWriter(place, DESCRIPTION) as writer:
        writer.add(["a.png", "b.png"], ["00" * 32, "11" * 32], np.ones((2, 1, 16), np.float32))


def make_checkpoint(place: Path) -> None:
    import torch

    from mobileclip_kit.distillation.checkpoint import Checkpoint, save_checkpoint

    place.mkdir()
    save_checkpoint(place / "checkpoint.safetensors", Checkpoint({"a": torch.ones(200)}, {"step": 1}))


def make_scenes(place: Path) -> None:
    place.mkdir()
    write_scenes(place, SceneSet(items=2, size=16))


def load_checkpoint(place: Path) -> None:
    from mobileclip_kit.distillation.checkpoint import load_checkpoint as load

    load(place / "checkpoint.safetensors")


def load_model(place: Path) -> None:
    from mobileclip_kit.networks.model import load_model as load

    load(str(place))


def open_image_tower(place: Path) -> None:
    open_export(place).sound_path("image")


def search(place: Path) -> None:
    with IndexReader(place) as index:
        index.names_of(index.nearest(index.vectors([0]), 4)[1][0].tolist())


@dataclass(frozen=True)
class Case:
    """A file, how what it belongs to is made and used.

    Attributes:
        make: Makes a folder.
        file: The file in it whose bit is flipped.
        use: What reads the file.
        where: Share of the file before the bit, or the bytes whose first bit it is.
    """

    make: Callable[[Path], None]
    file: str
    use: Callable[[Path], object]
    where: float | bytes = 0.5


WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
CASES = {
    "weights": Case(copy("first-version/model"), "open_clip_model.safetensors", load_model),
    "provenance": Case(make_model, "model.json", load_model, b"MIT"),
    "what was trained": Case(make_model, "training.json", lambda place: read_json(place / "training.json"), b"42"),
    "ONNX image tower": Case(make_export, "image.onnx", open_image_tower),
    "ONNX text tower": Case(make_export, "text.onnx", lambda place: open_export(place).sound_path("text")),
    "figure of an export": Case(make_export, "export.json", inspect_path, b"99999"),
    "merges": Case(make_export, "merges.txt", open_export),
    "Core ML weights": Case(
        copy("first-version/coreml-fp16"),
        f"image.mlpackage/{WEIGHTS}",
        lambda place: open_export(place).sound_path("image"),
    ),
    "bundled Core ML weights": Case(
        copy("bundle"), f"text.mlpackage/{WEIGHTS}", lambda place: open_bundle(place, check=True)
    ),
    "bundled index": Case(
        copy("bundle"), "library.mckitidx", lambda place: PhoneIndex(place / "library.mckitidx").verify(), 0.9
    ),
    "tower for another program": Case(make_layout, "onnx/vision_model.onnx", use_layout),
    "layout.json": Case(make_layout, "layout.json", use_layout, b"fp32"),
    "vectors": Case(make_index, "vectors.f32", search),
    "item store": Case(make_index, "items.sqlite", search, b"red.png"),
    "index.json": Case(make_index, "index.json", search),
    "dumped vectors": Case(
        make_dump, "img_emb/img_emb_0.npy", lambda place: import_clip_retrieval(place, place.with_name("new.index"))
    ),
    "vectors.json": Case(
        make_dump, "vectors.json", lambda place: import_clip_retrieval(place, place.with_name("new.index"))
    ),
    "background": Case(
        lambda place: make_word_index(place), BACKGROUND_FILE, lambda place: Background.read(place / BACKGROUND_FILE)
    ),
    "textness vector": Case(make_textness, "textness.json", lambda place: Textness.load(place / "textness.json")),
    "cache shard": Case(make_cache, "shards/00000.npy", TeacherCache.open, 0.9),
    "cache keys": Case(make_cache, "shards/00000.jsonl", TeacherCache.open),
    "cache.json": Case(make_cache, "cache.json", TeacherCache.open),
    "checkpoint": Case(make_checkpoint, "checkpoint.safetensors", load_checkpoint, 0.9),
    "truth": Case(make_scenes, "truth.jsonl", read_truth),
    "captions": Case(make_scenes, "captions.csv", read_scenes_file),
    "scenes.json": Case(make_scenes, "scenes.json", read_scenes_file),
}


def run(*arguments: object) -> int:
    with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
        main([str(each) for each in arguments])
    return int(stop.value.code or 0)


def flip(path: Path, where: float | bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(where) if isinstance(where, bytes) else int(where * len(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", CASES)
def test_a_flipped_bit_is_told_by_check_and_by_use(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, place = CASES[name], tmp_path / "made"
    case.make(place)
    file = place / case.file
    assert run("check", place) == 0, capsys.readouterr().out
    case.use(place)
    shutil.rmtree(tmp_path / "new.index", ignore_errors=True)
    flip(file, case.where)
    capsys.readouterr()
    assert run("check", place, "--json") == 1
    rows = json.loads(capsys.readouterr().out)["files"]
    bad = [row for row in rows if not row["ok"]]
    named = next(part for part in Path(case.file).parts if "." in part)  # a package is one file
    assert any(named in row["problem"] or "weights" in row["problem"].lower() for row in bad)
    assert all(row["hint"] for row in bad)
    with pytest.raises(MckitError) as told:
        case.use(place)
    assert named in told.value.message or str(place) in told.value.message
    assert told.value.hint


def test_a_layout_of_an_older_mckit_has_no_checksums(tmp_path: Path) -> None:
    model = {"name": "tiny", "model_hash": "ff"}
    (tmp_path / LAYOUT_FILE).write_text(json.dumps({"layout": "immich", "precision": "fp32", "model": model}))
    (checked,) = check_path(tmp_path)
    assert checked.problem is None and "no checksums" in checked.how


def test_nothing_to_check_is_told(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "does not exist"), (tmp_path, "nothing that mckit checks")):
        with pytest.raises(DataError, match=message):
            check_path(path)


def test_a_folder_of_several_things_is_checked_as_a_whole(tmp_path: Path) -> None:
    for name in ("cache", "caches/00", "caches/01"):
        make_cache(tmp_path / name)
    make_textness(tmp_path / "textness")
    (tmp_path / "x.mckitidx").write_bytes((GOLDEN / "index" / "int8-24.mckitidx").read_bytes())
    checked = check_path(tmp_path)
    assert {file.path.name for file in checked} >= {"cache.json", "textness.json"}
    assert {file.path.parent.name for file in checked} >= {"cache", "00", "01"}
    assert all(file.problem is None for file in checked)
    assert read_json(tmp_path / "textness" / "textness.json")


@pytest.mark.parametrize(("name", "source"), [("a.mckitidx", "bundle/library.mckitidx"), ("mine.json", None)])
def test_files_beside_folders_are_checked_too(tmp_path: Path, name: str, source: str | None) -> None:
    """A phone's index or a textness vector of any name, in a folder with other things."""
    make_cache(tmp_path / "cache")
    if source is None:
        Textness.load(FIRST / "textness.json").save(tmp_path / name)
    else:
        shutil.copy(GOLDEN / source, tmp_path / name)
    (tmp_path / "others.json").write_text("of another program")
    assert {file.problem for file in check_path(tmp_path)} == {None}
    flip(tmp_path / name, 0.5)
    assert [file.path.name for file in check_path(tmp_path) if file.problem is not None] == [name]
