"""Sample inputs with their float32 vectors, in every export."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.folder import EXPORT_FILE, SAMPLES_FILE, Export, open_export
from mobileclip_kit.exporting.verify import verify_export
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.torch import TorchEncoder
from tests.documents import edited


def test_an_export_carries_inputs_and_the_float32_vectors_of_them(onnx_export: Export, tiny_model: Model):
    samples = json.loads((onnx_export.path / SAMPLES_FILE).read_text())
    assert samples["least_cosine"] == 0.999
    shape = (samples["image_height"], samples["image_width"], 3)
    pixels = [
        np.frombuffer(base64.b64decode(each["rgb_base64"]), np.uint8).reshape(shape) for each in samples["images"]
    ]
    encoder = TorchEncoder(tiny_model)
    wanted = (
        encoder.encode_images(np.stack(pixels)),
        encoder.encode_ids(np.array([each["ids"] for each in samples["texts"]], np.int64)),
    )
    for vectors, given in zip(wanted, (samples["images"], samples["texts"]), strict=True):
        assert np.allclose(vectors, [each["vector"] for each in given], atol=1e-6)


@pytest.fixture
def copied(onnx_export: Export, tmp_path: Path) -> Path:
    shutil.copytree(onnx_export.path, tmp_path / "copied")
    return tmp_path / "copied"


def test_samples_that_were_changed_or_lost_are_refused(copied: Path):
    (copied / SAMPLES_FILE).write_text("{}")
    with pytest.raises(ExportError, match="samples.json was changed: its SHA-256"):
        open_export(copied)
    (copied / SAMPLES_FILE).unlink()
    with pytest.raises(ExportError, match="samples.json is missing"):
        open_export(copied)


def test_vectors_of_another_model_are_found_by_verification(copied: Path, tiny_model: Model):
    samples = json.loads((copied / SAMPLES_FILE).read_text())
    samples["texts"][0]["vector"] = samples["texts"][0]["vector"][::-1]
    (copied / SAMPLES_FILE).write_text(json.dumps(samples))
    with edited(copied / EXPORT_FILE) as manifest:
        manifest["samples_sha256"] = sha256_of_file(copied / SAMPLES_FILE)
    with pytest.raises(ExportError, match="not those of tiny"):
        verify_export(open_export(copied), tiny_model)


def test_an_export_of_an_older_mckit_has_none(copied: Path, tiny_model: Model):
    with edited(copied / EXPORT_FILE) as manifest:
        del manifest["samples_sha256"]
    (copied / SAMPLES_FILE).unlink()
    assert open_export(copied).samples_sha256 is None
    assert verify_export(open_export(copied), tiny_model)
