"""The bundle: what is in it, what is refused, and that Swift opens what Python makes."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bundle import FILE_NAMES, MANIFEST_FILE, make_bundle, open_bundle
from mobileclip_kit.cli.entry import main
from mobileclip_kit.confidence.background import BACKGROUND_FILE, Background
from mobileclip_kit.errors import ExportError, ModelMismatchError, OutputError
from mobileclip_kit.exporting.folder import Export, ExportedTower
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.folder import IndexHeader, create_index, open_writer
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.store import Item
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness.vector import Textness
from mobileclip_kit.tokenizer import Tokenizer
from tests.documents import edited
from tests.golden.make_golden import GOLDEN, MODEL_HASH
from tests.swift import ask_swift, needs_swift, swift_refusal

SPEC = open_bundle(GOLDEN / "bundle").spec


def make_export(folder: Path, spec: ModelSpec = SPEC, towers: tuple[str, ...] = ("image", "text")) -> Path:
    """An export folder with the packages of the golden bundle, which come from a real conversion."""
    folder.mkdir()
    for tower in towers:
        shutil.copytree(GOLDEN / "bundle" / FILE_NAMES[tower], folder / FILE_NAMES[tower])
    shutil.copy(GOLDEN / "bundle" / "merges.txt", folder)
    described = {tower: ExportedTower.from_file(tower, folder / FILE_NAMES[tower]) for tower in towers}
    Export(path=folder, spec=spec, format="coreml", precision="fp16", towers=described).write()
    return folder


def make_textness(path: Path, model_hash: str = SPEC.model_hash) -> Path:
    direction = np.eye(SPEC.embedding_dim, dtype=np.float32)[3]
    Textness(model="tiny", model_hash=model_hash, directions={"probe": direction}).save(path)
    return path


def make_library(folder: Path, count: int) -> Path:
    create_index(folder, IndexHeader(spec=SPEC))
    with open_writer(folder) as writer:
        for number in range(count):
            row = writer.matrix.append(np.eye(SPEC.embedding_dim, dtype=np.float32)[number % 16][None])
            writer.store.put(Item(name=f"{number:04d}.jpg", mtime_ns=number * 10**9, row=row))
        writer.store.put(Item(name="broken.jpg", reason="It cannot be decoded."))
        writer.commit()
    return folder


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return make_export(tmp_path / "export")


def test_a_bundle_holds_what_was_given(export, tmp_path):
    textness, index = make_textness(tmp_path / "t.json"), make_library(tmp_path / "index", 1500)
    bundle = make_bundle(tmp_path / "bundle", export, textness=textness, index=index)
    assert {path.name for path in bundle.path.iterdir()} == {
        *(FILE_NAMES[part] for part in ("image", "text", "merges", "textness", "index")),
        MANIFEST_FILE,
    }
    assert open_bundle(bundle.path, check=True) == bundle
    library = PhoneIndex(bundle.path / FILE_NAMES["index"], model_hash=SPEC.model_hash)
    assert list(library.keys()) == [f"{number:04d}.jpg" for number in range(1500)]
    assert library.stamps()[3] == 3000
    assert [row for row, _ in library.search(np.eye(16, dtype=np.float32)[5], 2)] == [5, 21]


def test_a_bundle_needs_neither_textness_nor_index(export, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", export)
    assert set(bundle.files) == {"image", "text", "merges"}
    with pytest.raises(OutputError):
        make_bundle(tmp_path / "bundle", export)
    assert make_bundle(tmp_path / "bundle", export, force=True) == bundle


def test_an_image_only_student_takes_its_teachers_text_tower(tmp_path):
    text = make_export(tmp_path / "teacher")
    own = replace(SPEC, text=None, model_hash="ab" * 32)
    student = make_export(tmp_path / "student", own.with_provenance(teacher_hash=SPEC.model_hash), ("image",))
    with pytest.raises(ExportError, match="text tower"):
        make_bundle(tmp_path / "bundle", student)
    bundle = make_bundle(tmp_path / "bundle", student, text=text)
    assert (bundle.spec.model_hash, bundle.spec.text) == ("ab" * 32, SPEC.text)
    stranger = make_export(tmp_path / "stranger", own, ("image",))
    with pytest.raises(ModelMismatchError, match="nor its teacher"):
        make_bundle(tmp_path / "other", stranger, text=text)


def test_parts_of_another_model_are_refused_and_nothing_is_left(export, tmp_path):
    with pytest.raises(ModelMismatchError):
        make_bundle(tmp_path / "bundle", export, textness=make_textness(tmp_path / "t.json", "0" * 64))
    other = make_export(tmp_path / "other", replace(SPEC, model_hash="0" * 64))
    with pytest.raises(ModelMismatchError):
        make_bundle(tmp_path / "bundle", other, index=make_library(tmp_path / "index", 2))
    assert not (tmp_path / "bundle").exists()


def test_core_ai_towers_and_samples_travel_along(export, tmp_path):
    """What the app prefers on iOS 27, and what it compares it with before it is used."""
    core_ai = tmp_path / "core-ai"
    (core_ai / "image.aimodel").mkdir(parents=True)
    (core_ai / "image.aimodel" / "main.mlirb").write_bytes(b"a program")
    towers = {"image": ExportedTower.from_file("image", core_ai / "image.aimodel")}
    Export(path=core_ai, spec=SPEC, format="coreai", precision="fp16", towers=towers).write()
    samples = {"least_cosine": 0.999, "image_height": 16, "image_width": 16, "images": [], "texts": []}
    less = samples | {"least_cosine": 0.97}  # palettes of 4 bits
    for folder, document in ((export, samples), (core_ai, less)):
        (folder / "samples.json").write_text(json.dumps(document))
        with edited(folder / "export.json") as manifest:
            manifest["samples_sha256"] = sha256_of_file(folder / "samples.json")
    made = make_bundle(tmp_path / "bundle", export, core_ai=core_ai)
    assert {"image", "text", "merges", "samples", "image_ai"} == made.files.keys()
    assert made.files["image_ai"].sha256 == towers["image"].sha256
    assert json.loads((made.path / "samples.json").read_text()) == less  # the app would never use the assets otherwise
    assert open_bundle(made.path, check=True).files == made.files
    with pytest.raises(ExportError, match="is a Core ML export, not one for Core AI"):
        make_bundle(tmp_path / "other", export, core_ai=export)
    assert not (tmp_path / "other").exists()


def test_an_onnx_export_is_refused(export, tmp_path):
    with edited(export / "export.json") as manifest:
        manifest["format"] = "onnx"
    with pytest.raises(ExportError, match="needs Core ML"):
        make_bundle(tmp_path / "bundle", export)


def break_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "merges.txt").unlink(), "is missing"),
        (lambda folder: (folder / "merges.txt").write_bytes(b"short"), "bytes, but"),
        (lambda folder: break_byte(folder / "merges.txt"), "was changed"),
        (lambda folder: break_byte(next((folder / "image.mlpackage").rglob("weight.bin"))), "was changed"),
        (lambda folder: (folder / "image.mlpackage" / "more").write_bytes(b"x"), "bytes, but"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "is not a bundle"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), "is damaged"),
        (lambda folder: edit(folder, "format_version", 2), "format version 2"),
        (lambda folder: edit(folder, "files", {}), "lacks its image part"),
        (lambda folder: edit(folder, "files", {"audio": {}}), "files has the unknown key 'audio'"),
        (lambda folder: edit(folder, "later", 1), r"manifest\.json has the unknown key 'later'"),
        (lambda folder: edit(folder, "precision", 16), "precision is 16; it must be a text"),
        (
            lambda folder: edit_image(folder, "resize_mode", None),
            "image.resize_mode is null; it must be one of shortest",
        ),
        (lambda folder: edit_image(folder, "resize_mode"), "model.image has no resize_mode"),
        (lambda folder: edit(folder, "files", {"image": {"file": "../x", "size_bytes": 1, "sha256": ""}}), "lacks"),
    ],
)
def test_what_is_wrong_with_a_bundle_is_said(harm, message, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(GOLDEN / "bundle", folder)
    harm(folder)
    with pytest.raises(ExportError, match=message):
        open_bundle(folder, check=True)


def edit_image(folder: Path, key: str, *value: object) -> None:
    """Change a setting of the model's image, or remove it; as an older mckit wrote it, without a digest."""
    model = json.loads((folder / MANIFEST_FILE).read_text())["model"]
    del model["image"][key]
    model["image"] |= dict.fromkeys([key], *value) if value else {}
    edit(folder, "model", {name: entry for name, entry in model.items() if name != "settings_sha256"})


def edit(folder: Path, key: str, value: object) -> None:
    document = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**document, key: value}))


def test_a_file_outside_the_bundle_is_refused(tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(GOLDEN / "bundle", folder)
    shutil.copy(folder / "merges.txt", tmp_path)
    manifest = folder / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"merges.txt"', '"../merges.txt"'))
    with pytest.raises(ExportError, match="outside its folder"):
        open_bundle(folder)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def test_the_command_makes_and_checks(export, tmp_path, capsys):
    code, made = run(["bundle", str(export), "-o", str(tmp_path / "bundle")], capsys)
    assert code == 0
    assert set(made["files"]) == {"image", "text", "merges"}
    code, checked = run(["bundle", "--check", str(tmp_path / "bundle")], capsys)
    assert (code, checked["files"]) == (0, made["files"])
    break_byte(tmp_path / "bundle" / "merges.txt")
    code, failed = run(["bundle", "--check", str(tmp_path / "bundle")], capsys)
    assert (code, failed["error"]["kind"]) == (1, "ExportError")


@pytest.mark.parametrize("arguments", [[], ["export"], ["export", "--check", "b"], ["--check", "b", "-o", "c"]])
def test_contradicting_arguments_are_refused(arguments, capsys):
    code, document = run(["bundle", *arguments], capsys)
    assert (code, document["error"]["kind"]) == (2, "UsageError")


@needs_swift
def test_swift_opens_a_bundle_that_python_has_just_made(export, tmp_path):
    textness, index = make_textness(tmp_path / "t.json"), make_library(tmp_path / "index", 3)
    bundle = make_bundle(tmp_path / "bundle", export, textness=textness, index=index)
    seen = ask_swift("bundle", bundle.path)
    tokens = Tokenizer.for_spec(SPEC.require_text(), bundle.path / "merges.txt")("a photo of a dog")[0].tolist()
    assert seen == {
        "name": "tiny",
        "parts": sorted(bundle.files),
        "items": ["0000.jpg", "0001.jpg", "0002.jpg"],
        "tokens": [tokens],
        "hits": [],
        "certain": [],
        "textness_dim": 16,
    }


@needs_swift
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: break_byte(folder / "library.mckitidx"), 'altered(name: "library.mckitidx")'),
        (lambda folder: break_byte(next((folder / "text.mlpackage").rglob("weight.bin"))), "altered"),
        (lambda folder: (folder / "merges.txt").unlink(), 'fileMissing(name: "merges.txt")'),
        (lambda folder: (folder / "textness.json").write_bytes(b"{"), "wrongSize"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "missing"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), "damaged"),
        (lambda folder: edit(folder, "format_version", 2), "otherVersion(2)"),
        (lambda folder: edit(folder, "files", {}), "partMissing"),
        (lambda folder: edit_model(folder, "ab" * 32), "otherModel"),
    ],
)
def test_swift_says_what_is_wrong_with_a_bundle(harm, said, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(GOLDEN / "bundle", folder)
    harm(folder)
    assert said in swift_refusal("bundle", folder)


def edit_model(folder: Path, model_hash: str) -> None:
    document = json.loads((folder / MANIFEST_FILE).read_text())
    edit(folder, "model", {**document["model"], "model_hash": model_hash})


def test_a_full_disk_leaves_no_bundle(export, tmp_path):
    """The command, where no file may become larger than the smallest package's weights."""
    weights = min(path.stat().st_size for path in export.rglob("weight.bin"))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (weights - 1, weights - 1))

    code = "import sys; from mobileclip_kit.cli.entry import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "bundle", str(export), "-o", str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"error: A file has become larger than this place allows .*nothing half-written.*\n", done.stderr
    )
    assert [path for path in tmp_path.iterdir() if path != export] == []


@needs_swift
def test_an_index_written_by_swift_is_read_by_python(tmp_path):
    ask_swift("index", tmp_path / "index")
    index = PhoneIndex(tmp_path / "index", model_hash=MODEL_HASH)
    index.verify()
    assert index.keys() == {"third": 2, "second": 3}
    assert index.stamps().tolist() == [1, 1, 1, 2]
    np.testing.assert_allclose(index.vectors()[3], [1, 0, 0, 0])


def test_a_bundle_carries_the_background_of_its_index(export, tmp_path):
    index = make_library(tmp_path / "index", 5)
    about = {"bank": "b", "images": 5, "generation": 0, "rows": 5}
    texts, vectors = np.eye(16, dtype=np.float32)[:3], np.eye(16, dtype=np.float32)
    Background.measure(texts, vectors, model_hash=SPEC.model_hash, **about).write(index / BACKGROUND_FILE)
    bundle = make_bundle(tmp_path / "bundle", export, index=index)
    assert "background" in open_bundle(bundle.path, check=True).files
    Background.measure(texts, vectors, model_hash="another", **about).write(index / BACKGROUND_FILE)
    with pytest.raises(ModelMismatchError, match="The background"):
        make_bundle(tmp_path / "other", export, index=index)


@pytest.mark.parametrize(
    ("place", "step"), [("MobileCLIPDemo/Bundles/mine", "Build the app again."), ("mine", "add_bundle.sh")]
)
def test_a_bundle_that_is_in_the_app_need_not_be_put_there(tmp_path, capsys, place, step):
    export = GOLDEN / "first-version" / "coreml-fp16"
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(SystemExit):
        main(["bundle", str(export), "-o", str(tmp_path / place)])
    assert step in capsys.readouterr().out.splitlines()[-1]
