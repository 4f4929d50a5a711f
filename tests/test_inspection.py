"""`mckit inspect` recognises what mckit makes and what it is fed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.cli import main
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError, ExportError, ImageError
from mobileclip_kit.inspection import Inspection, inspect_path
from mobileclip_kit.networks.model import Model, save_model
from mobileclip_kit.spec import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE
from tests.cache.test_cache import draw, tiny_teacher
from tests.data.test_shards import image, write

FIRST_VERSION = Path(__file__).parent / "golden" / "first-version"


def facts(path: Path, kind: str) -> dict[str, Any]:
    found = inspect_path(path)
    assert isinstance(found, Inspection)
    assert found.kind == kind
    assert found.facts["size_bytes"] > 0
    return found.facts


def test_model_folder(tmp_path: Path) -> None:
    model = tiny_teacher()
    spec = save_model(tmp_path, model.network, model.config, model.spec)
    found = facts(tmp_path, "model folder")
    assert found["model_hash"] == spec.model_hash
    assert found["towers"] == ["image", "text"]
    assert found["image_parameters"] == sum(p.numel() for p in model.network.visual.parameters())  # type: ignore
    assert found["types"] == ["F32"]
    assert facts(tmp_path / WEIGHTS_FILE, "weights")["tensors"] == len(model.network.state_dict())
    (tmp_path / MODEL_FILE).unlink()
    assert facts(tmp_path, "open_clip model folder")["embedding_dim"] == 16
    (tmp_path / WEIGHTS_FILE).write_bytes(b"short")
    with pytest.raises(DataError, match="not a readable safetensors"):
        inspect_path(tmp_path / WEIGHTS_FILE)
    (tmp_path / CONFIG_FILE).write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        inspect_path(tmp_path)


def test_cache_and_images(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", 3)
    assert facts(images, "folder of images")["images"] == 3
    build_cache(tiny_teacher(), open_source(images), tmp_path / "cache")
    found = facts(tmp_path / "cache", "teacher cache")
    assert (found["items"], found["views"], found["normalized"], found["teacher"]) == (3, 1, False, "tiny")
    drawn = facts(images / "00.png", "image")
    assert (drawn["width"], drawn["height"]) == (50, 40)


def test_a_folder_of_caches_names_their_teachers(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", 3)
    for number in ("00", "01"):
        build_cache(tiny_teacher(), open_source(images), tmp_path / "caches" / number)
    found = facts(tmp_path / "caches", "folder of teacher caches")
    one = {"teacher": "tiny", "items": 3, "embedding_dim": 16}
    assert (found["caches"], found["held"]) == (2, {"00": one, "01": one})


def test_shards_and_a_retrieval_set_of_clip_benchmark(tmp_path: Path) -> None:
    write(tmp_path / "test" / "0.tar", {"0.png": image(0), "0.txt": b"a dog\nits ball"})
    assert facts(tmp_path / "test", "webdataset shards")["captions"] == 1
    (tmp_path / "dataset_type.txt").write_text("retrieval")
    assert facts(tmp_path, "retrieval data of CLIP_benchmark")["captions"] == 2


def test_captions(tmp_path: Path) -> None:
    draw(tmp_path / "images", 2)
    (tmp_path / "captions.csv").write_text("image,caption\n00.png,a\n00.png,b\n01.png,c\ngone.png,d\n")
    expected = {"images": 2, "captions": 3, "skipped": 1}
    for path, kind in ((tmp_path, "images with captions"), (tmp_path / "captions.csv", "captions file")):
        assert expected.items() <= facts(path, kind).items()


def test_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32) * 2)
    found = facts(tmp_path / "v.npy", "vectors")
    assert (found["shape"], found["type"], found["norm_max"]) == ([3, 3], "float32", 2.0)


def test_onnx_file(tmp_path: Path) -> None:
    import onnx

    side = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", side[:1], side[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "m.onnx")
    found = facts(tmp_path / "m.onnx", "ONNX model")
    assert (found["inputs"], found["opset"], found["operators"]) == ({"x": ["n", 3]}, 18, {"Relu": 1})


def test_image_is_recognised_by_its_content(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "no-suffix", format="PNG")
    assert facts(tmp_path / "no-suffix", "image")["width"] == 3


def test_a_truncated_image_is_called_so(tmp_path: Path) -> None:
    Image.effect_noise((64, 48), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(ImageError, match="torn.jpg.*truncated"):
        inspect_path(tmp_path / "torn.jpg")


def test_unknown_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "notes.txt", "of a kind that mckit does not know"),
        (tmp_path, "folder without images"),
    ):
        with pytest.raises(DataError, match=message):
            inspect_path(path)


@pytest.mark.parametrize("kind", ["onnx_export", "coreml_export"])
def test_an_exported_file_alone_says_where_it_comes_from(
    request: pytest.FixtureRequest, tiny_model: Model, kind: str
) -> None:
    """Model, preprocessing, tokenizer, licence, origin and version; the folder's export.json says the same."""
    export = request.getfixturevalue(kind)
    found = inspect_path(export.tower_path("image")).facts
    assert found["model_hash"] == tiny_model.spec.model_hash
    assert found["image"] == "32×32 bicubic shortest"
    assert found["normalisation"] == "mean 0.4 0.45 0.5, std 0.2 0.25 0.3"
    assert found["tokenizer"] == "clip-bpe"
    assert found["made_licence"] == "MIT" == found["metadata"]["licence"]
    assert found["made_mckit"] == found["metadata"]["mckit_version"]
    folder = inspect_path(export.path).facts
    same = ("model_hash", "image", "normalisation", "tokenizer", "text", "made_licence", "made_mckit")
    assert {name: folder[name] for name in same} == {name: found[name] for name in same}
    assert folder["mckit_version"] == found["metadata"]["mckit_version"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("export.json", '{"towers": ["image"]}'),
        ("export.json", '{"model": "student", "towers": {}}'),
        ("export.json", '{"model": {"image": {"mean": ["a"]}}}'),
        ("comparison.json", "{}"),
        ("Manifest.json", '{"itemInfoEntries": []}'),
        ("m.onnx", ""),
        ("m.onnx", "hello, this is text"),
    ],
)
def test_what_is_marked_and_damaged_is_refused_in_one_sentence(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises((DataError, ExportError), match=r"damaged|ONNX|does not name a model"):
        inspect_path(tmp_path / file if file.endswith(".onnx") else tmp_path)


def test_names_of_facts_have_no_spaces(tmp_path: Path) -> None:
    verification = [{"runtime": "coreai in float32", "cosine_min": 0.9995}]
    towers = {"image": {"file": "image.aimodel", "verification": verification}}
    (tmp_path / "export.json").write_text(json.dumps({"model": {}, "towers": towers}), encoding="utf-8")
    found = inspect_path(tmp_path).facts
    assert found["image_cosine_min_coreai_in_float32"] == 0.9995
    assert not any(" " in name for name in found)


def test_a_comparison_says_what_passed(tmp_path: Path) -> None:
    rows = [{"name": "onnx-fp32", "passed": True}, {"name": "onnx-int8", "passed": True},
            {"name": "onnx-int8", "passed": False}, {"name": "coreml-palette4", "reason": "why"}]  # fmt: skip
    (tmp_path / "comparison.json").write_text(json.dumps({"model": "student", "model_hash": "ab", "rows": rows}))
    found = facts(tmp_path, "comparison of exports")
    assert (found["passed"], found["failed"]) == (["onnx-fp32"], ["onnx-int8", "coreml-palette4"])


def test_vectors_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    """What the command prints is JSON, which knows no NaN."""
    np.save(tmp_path / "v.npy", np.array([[1, 0], [np.nan, 0], [np.inf, 1]], np.float32))
    found = facts(tmp_path / "v.npy", "vectors")
    assert (found["norm_min"], found["norm_max"], found["rows_not_finite"]) == (1.0, 1.0, 2)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("bundle", "bundle", {"name": "tiny", "precision": "fp16", "made_licence": "MIT"}),
        ("bundle/library.mckitidx", "index file of a phone", {"items": 4, "embedding_dim": 8, "numbers": "int8"}),
        ("bundle/merges.txt", "tokenizer merges", {"merges": 11}),
        ("bench-world.json", "bench report", {"device": "cpu", "rows": ["onnx-fp32"], "gates": 2}),
        ("phone-bench.json", "bench report of a phone", {"compute_units": ["all", "neural_engine", "cpu"]}),
        (
            "gates.toml",
            "gates of a bench",
            {"gates": ["onnx-fp32: metrics.world_right_first", "onnx-fp32: pictures_per_s"]},
        ),
        ("recipes/views.toml", "training recipe", {"objective": "mixture"}),
        ("textness.json", "textness vector", {"method": "probe"}),
    ],
)
def test_what_mckit_writes_is_identified(name: str, kind: str, expected: dict[str, Any]) -> None:
    assert expected.items() <= facts(FIRST_VERSION / name, kind).items()


def test_an_index_of_a_phone_says_that_its_last_batch_is_damaged(tmp_path: Path) -> None:
    """Its readers leave such a batch out, so that the number of items alone would look right."""
    data = bytearray((FIRST_VERSION / "bundle" / "library.mckitidx").read_bytes())
    data[-8] ^= 1
    (tmp_path / "a.mckitidx").write_bytes(data)
    assert facts(tmp_path / "a.mckitidx", "index file of a phone")["damaged_bytes"] == len(data) - 64


def test_a_bundle_lists_its_files_and_model(tmp_path: Path) -> None:
    found = facts(FIRST_VERSION / "bundle", "bundle")
    assert len(found["model_hash"]) == 64
    assert found["file_bytes"]["merges"] == 103


def test_folders_with_images_are_called_by_their_marker(tmp_path: Path) -> None:
    """A quickstart folder and a bench report contain images, and are not folders of images."""
    draw(tmp_path, 1)
    (tmp_path / "report.json").write_text((FIRST_VERSION / "bench-images.json").read_text())
    assert facts(tmp_path, "bench report")["rows"]
    state = {"finished": True, "plan": {}, "figures": {"teacher": {"precision_at_1": 0.9}}, "seconds": {"teacher": 2}}
    (tmp_path / "quickstart.json").write_text(json.dumps(state))
    found = facts(tmp_path, "quickstart folder")
    assert (found["finished"], found["teacher_precision_at_1"], found["stages"]) == (True, 0.9, ["teacher"])


def test_defaults_of_a_project_and_int8_sensitivities_are_identified(tmp_path: Path) -> None:
    (tmp_path / "mckit.toml").write_text('[project]\ndata = "photos"\n[distill]\nsteps = 20\n')
    found = facts(tmp_path / "mckit.toml", "project defaults")
    assert (found["project"], found["distill"]) == ({"data": "photos"}, {"steps": 20})
    (tmp_path / "int8-sensitivity-image.json").write_text('{"measured_on": "photos", "products": [{}, {}]}')
    assert facts(tmp_path / "int8-sensitivity-image.json", "int8 sensitivity")["products"] == 2


def test_nested_facts_are_printed_readably(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tower = {"layers": 12, "width": 384, "name": "x" * 90}
    config = {"model_cfg": {"embed_dim": 512, "vision_cfg": tower, "text_cfg": {"layers": 1}}}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:6] == [
        "  embedding_dim  512", "  vision", "    layers  12", "    width   384", f"    name    {'x' * 90}",
    ]  # fmt: skip
    assert printed[6] == "  text           layers: 1"


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"kind": "textness", "model": "\x1b]0;title\x07\x9b2J\u202e\n"}
    (tmp_path / "a.json").write_text(json.dumps(document))
    for arguments in ([], ["--json"]):
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
            main(["inspect", str(tmp_path / "a.json"), *arguments])
        out = capsys.readouterr().out
        assert stop.value.code == 0 and "\\u001b]0;title" in out
        assert not set("\x1b\x07\x9b\u202e") & set(out)
    assert json.loads(out)["model"] == document["model"]
