"""Exports for Transformers.js and Immich, read back as these programs read them.

The reading here follows the programs' own code: Immich's encoders of images and texts, and the classes for CLIP of
Transformers.js. Neither program is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tokenizers
from PIL import Image

from mobileclip_kit.checking import check_path
from mobileclip_kit.errors import ExportError, UsageError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.layouts import TowerFile, write_layout
from mobileclip_kit.exporting.request import ExportRequest
from mobileclip_kit.inspection import inspect_path
from mobileclip_kit.runtime.onnx import OnnxEncoder
from tests.exports import WORDS

TEXTS = [*WORDS, "dog"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    pixels = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(pixels).resize((90, 60), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def wanted(onnx_export: Export, photo: Path) -> tuple[np.ndarray, np.ndarray]:
    encoder = OnnxEncoder(onnx_export)
    return encoder.encode_images([photo])[0], encoder.encode_texts(TEXTS)


def lay_out(layout: Any, export: Export, place: Path) -> Path:
    """As ``mckit export --layout`` does, with the fixture's export in place of a new one."""
    import shutil
    from dataclasses import replace

    def make(folder: Path) -> Export:
        shutil.copytree(export.path, folder)
        return replace(export, path=folder)

    made = write_layout(layout, place, make, force=False)
    assert {place / tower.file for tower in made.towers.values()} <= set(place.rglob("*.onnx"))
    described = inspect_path(place)
    assert described.kind == "export for another program"
    told = {"layout": layout, "model_hash": export.spec.model_hash, "image_file": made.towers["image"].file}
    assert told.items() <= described.facts.items()
    assert {file.path for file in check_path(place)} == {path for path in place.rglob("*") if path.is_file()}
    assert all(file.problem is None for file in check_path(place))
    return place


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def squared(path: Path, side: int, resampling: int) -> np.ndarray:
    """The shorter side resized to ``side``, the middle cut out, RGB in 0…1, ``(3, side, side)``."""
    with Image.open(path) as image:
        scale = side / min(image.size)
        size = [round(edge * scale) for edge in image.size]
        left, top = ((edge - side) // 2 for edge in size)
        resized = image.convert("RGB").resize(tuple(size), resampling).crop((left, top, left + side, top + side))
    return (np.asarray(resized, np.float32) / 255).transpose(2, 0, 1)


def test_immich_finds_what_mckit_finds(
    onnx_export: Export, photo: Path, wanted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    folder = lay_out("immich", onnx_export, tmp_path / "immich")
    settings = read(folder / "visual" / "preprocess_cfg.json")
    pixels = squared(photo, settings["size"][0], Image.Resampling[settings["interpolation"].upper()])
    mean, std = (np.array(settings[name], np.float32)[:, None, None] for name in ("mean", "std"))
    visual = onnxruntime.InferenceSession(folder / "visual" / "model.onnx")
    image = visual.run(None, {"image": ((pixels - mean) / std)[None]})[0][0]
    assert np.dot(image, wanted[0]) > 0.9999

    context = read(folder / "config.json")["text_cfg"].get("context_length", 77)
    pad_token = read(folder / "textual" / "tokenizer_config.json")["pad_token"]
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "textual" / "tokenizer.json"))
    tokenizer.enable_padding(length=context, pad_token=pad_token, pad_id=tokenizer.token_to_id(pad_token))
    tokenizer.enable_truncation(max_length=context)
    textual = onnxruntime.InferenceSession(folder / "textual" / "model.onnx")
    for text, vector in zip(TEXTS, wanted[1], strict=True):
        found = textual.run(None, {"text": np.array([tokenizer.encode(text).ids], np.int32)})[0][0]
        assert np.dot(found, vector) > 0.9999


def test_transformersjs_finds_what_mckit_finds(
    onnx_export: Export, photo: Path, wanted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    folder = lay_out("transformersjs", onnx_export, tmp_path / "web")
    assert read(folder / "config.json")["model_type"] == "clip"
    processor = read(folder / "preprocessor_config.json")
    assert processor["do_rescale"] and not processor["do_normalize"] and processor["do_center_crop"]
    assert processor["crop_size"] == {"height": processor["size"]["shortest_edge"]} | {"width": 32}
    pixels = squared(photo, processor["size"]["shortest_edge"], processor["resample"])
    vision = onnxruntime.InferenceSession(folder / "onnx" / "vision_model.onnx")
    image = vision.run(["image_embeds"], {"pixel_values": pixels[None]})[0][0]
    assert np.dot(image, wanted[0]) > 0.9999

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()  # `padding: true` pads to the longest text only
    tokenizer.enable_truncation(max_length=read(folder / "tokenizer_config.json")["model_max_length"])
    rows = [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)]
    pad = tokenizer.token_to_id(read(folder / "tokenizer_config.json")["pad_token"])
    longest = max(map(len, rows))
    assert longest < onnx_export.spec.require_text().context_length
    ids = np.array([[*row, *[pad] * (longest - len(row))] for row in rows], np.int64)
    text = onnxruntime.InferenceSession(folder / "onnx" / "text_model.onnx")
    found = text.run(["text_embeds"], {"input_ids": ids})[0]
    assert (np.sum(found * wanted[1], axis=1) > 0.9999).all()


def test_reduced_precisions_have_the_names_that_dtype_asks_for(int8_export: Export, tmp_path: Path) -> None:
    folder = lay_out("transformersjs", int8_export, tmp_path / "web")
    assert {path.name for path in folder.rglob("*.onnx")} == {
        "vision_model_quantized.onnx",
        "text_model_quantized.onnx",
    }


def test_a_layout_is_for_onnx_alone() -> None:
    for options in ({"format": "coreml"}, {"format": "onnx", "compare": True}):
        with pytest.raises(UsageError, match="layout needs"):
            ExportRequest(model="student", layout="immich", **options).check()
    assert (
        ExportRequest(model="student", format="onnx", layout="immich").destination().name == "student-onnx-fp32-immich"
    )


def test_a_model_that_the_program_cannot_use_leaves_nothing(onnx_export: Export, tmp_path: Path) -> None:
    from dataclasses import replace

    spec = replace(onnx_export.spec, image=replace(onnx_export.spec.require_image(), resize_mode="squash"))
    with pytest.raises(ExportError, match="Immich crops images to squares"):
        lay_out("immich", replace(onnx_export, spec=spec), tmp_path / "immich")
    assert list(tmp_path.iterdir()) == []
    assert TowerFile("a", "b", "c").ids is None
