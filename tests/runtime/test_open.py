"""Every runtime gives the same vectors and takes the same inputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.errors import ExportError, ImageError, ModelError, ShapeError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.images import load_pixels
from mobileclip_kit.model_names import architectures
from mobileclip_kit.runtime.coreml import CoreMLEncoder, has_core_ml
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder

PIXELS = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)
WORDS = ["a photo of a dog", "a red house by the lake"]


@pytest.fixture
def encoders(tiny_model_folder: Path, onnx_export: Export, coreml_export: Export) -> list[Encoder]:
    return [open_encoder(path, threads=1) for path in (tiny_model_folder, onnx_export.path, coreml_export.path)]


def test_each_runtime_gives_the_same_unit_vectors(encoders: list[Encoder]) -> None:
    assert [encoder.runtime for encoder in encoders] == ["torch", "onnxruntime", "coreml" if has_core_ml() else "mil"]
    images = [encoder.encode_images(PIXELS) for encoder in encoders]
    texts = [encoder.encode_texts(WORDS) for encoder in encoders]
    for group in (images, texts):
        for vectors in group:
            assert vectors.dtype == np.float32
            # float16 keeps three digits of a length.
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
            assert (vectors * group[0]).sum(axis=1).min() > 0.999


def test_an_encoder_for_a_few_inputs_gives_the_same_vectors(onnx_export: Export) -> None:
    for_many, for_few = (open_encoder(onnx_export.path, threads=1, brief=brief) for brief in (False, True))
    np.testing.assert_allclose(for_few.encode_texts(WORDS), for_many.encode_texts(WORDS), atol=1e-5)
    np.testing.assert_allclose(for_few.encode_images(PIXELS), for_many.encode_images(PIXELS), atol=1e-5)


def test_nothing_in_nothing_out(encoders: list[Encoder]) -> None:
    for encoder in encoders:
        assert encoder.encode_images(PIXELS[:0]).shape == (0, 16)
        assert encoder.encode_texts([]).shape == (0, 16)


@pytest.mark.parametrize("pixels", [PIXELS[:, :16], PIXELS.astype(np.float32), PIXELS[None], PIXELS[0, 0]])
def test_other_pixels_are_refused(encoders: list[Encoder], pixels: np.ndarray) -> None:
    for encoder in encoders:
        with pytest.raises(ShapeError, match=r"Pixels must be \(n, 32, 32, 3\) uint8"):
            encoder.encode_images(pixels)


def test_paths_pillow_images_and_arrays_are_images(onnx_export: Export, tmp_path: Path) -> None:
    """The same image in every form gives the same vector, alone and mixed; a batch is not one image."""
    encoder = open_encoder(onnx_export.path, threads=1)
    array = np.random.default_rng(2).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    with Image.open(path) as opened:
        forms = [path, str(path), opened, array]
        wanted = encoder.encode_images(load_pixels(path, encoder.spec.require_image())[None])
        assert wanted.shape == (1, 16)
        for form in forms:
            np.testing.assert_array_equal(encoder.encode_images(form), wanted)
        encoder.batch_size = 3
        mixed = encoder.encode_images(iter([*forms, PIXELS[0]]))
    np.testing.assert_allclose(mixed[:4], np.repeat(wanted, 4, axis=0), atol=1e-6)
    np.testing.assert_allclose(mixed[4:], encoder.encode_images(PIXELS[:1]), atol=1e-6)


def test_a_pillow_image_is_turned_upright_like_its_file(onnx_export: Export, tmp_path: Path) -> None:
    encoder, exif = open_encoder(onnx_export.path, threads=1), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[0]).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        np.testing.assert_array_equal(encoder.encode_images(opened), encoder.encode_images(tmp_path / "turned.png"))


def test_what_is_no_image_is_refused(onnx_export: Export, tmp_path: Path) -> None:
    encoder = open_encoder(onnx_export.path, threads=1)
    with pytest.raises(ImageError, match="gone.jpg does not exist"):
        encoder.encode_images([PIXELS[0], tmp_path / "gone.jpg"])
    with pytest.raises(ShapeError, match=r"An image is \(height, width, 3\) uint8, not \(5, 5\) uint8"):
        encoder.encode_images([PIXELS[0], np.zeros((5, 5), np.uint8)])
    with pytest.raises(ShapeError, match="not an int"):
        encoder.encode_images([3])  # type: ignore[list-item]


def test_a_single_text_is_one_text(encoders: list[Encoder]) -> None:
    for encoder in encoders:
        np.testing.assert_array_equal(encoder.encode_texts(WORDS[1]), encoder.encode_texts([WORDS[1]]))


def test_threads_of_their_own_unless_the_number_was_given(tiny_model_folder: Path, onnx_export: Export) -> None:
    """One encoder a core is the library's choice; ``threads`` says otherwise, and torch gets its threads back."""
    import torch

    before = torch.get_num_threads()
    for place in (tiny_model_folder, onnx_export.path):
        with open_encoder(place).in_parallel() as (encoder, count):
            assert count == os.cpu_count()
            assert encoder.encode_texts(WORDS).shape == (2, 16)
        with open_encoder(place, threads=before).in_parallel() as (_, count):
            assert count == 1
    assert torch.get_num_threads() == before


def test_onnx_export_never_imports_torch(onnx_export: Export) -> None:
    code = (
        "import sys, numpy as np\n"
        "from mobileclip_kit.runtime.open import open_encoder\n"
        f"encoder = open_encoder({str(onnx_export.path)!r}, threads=1)\n"
        "encoder.encode_images(np.zeros((2, 32, 32, 3), np.uint8))\n"
        "encoder.encode_texts(['a dog'])\n"
        "print(sorted({'torch', 'open_clip', 'timm', 'coremltools', 'faiss', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_towers_file_alone_is_refused(onnx_export: Export) -> None:
    with pytest.raises(ExportError, match="without its preprocessing"):
        open_encoder(onnx_export.tower_path("image"))


def test_a_file_that_is_no_model_is_named(onnx_export: Export, tmp_path: Path) -> None:
    import shutil

    from mobileclip_kit.runtime.onnx import open_session

    (tmp_path / "image.onnx").write_bytes(b"\x00not a protobuf")
    with pytest.raises(ExportError, match="cannot load"):
        open_session(tmp_path / "image.onnx")
    shutil.copyfile(onnx_export.tower_path("text"), tmp_path / "cut.onnx")
    with (tmp_path / "cut.onnx").open("r+b") as stream:
        stream.truncate(5000)
    with pytest.raises(ExportError, match="cannot load"):
        open_session(tmp_path / "cut.onnx")


def test_an_operator_set_too_new_is_one_sentence(tmp_path: Path) -> None:
    """Without the code, the file and the function of ONNX Runtime's own source that its message begins with."""
    from onnx import TensorProto, helper, save

    from mobileclip_kit.runtime.onnx import open_session

    face = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "one", face[:1], face[1:])
    for name, sets, version in (("sets", 99, 9), ("ir", 18, 999)):
        save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", sets)], ir_version=version),
            tmp_path / f"{name}.onnx",
        )
        with pytest.raises(ExportError, match=r"cannot load .*: .*9") as refused:
            open_session(tmp_path / f"{name}.onnx")
        assert not any(part in refused.value.message for part in ("ONNXRuntimeError", "::", ".cc:", ".h:"))
        assert refused.value.message.endswith(".")
        assert "newer onnxruntime" in (refused.value.hint or "")


def test_an_unknown_name_is_refused_before_torch_is_imported() -> None:
    code = (
        "import sys\n"
        "from mobileclip_kit.errors import ModelError\n"
        "from mobileclip_kit.runtime.open import open_encoder\n"
        "try:\n    open_encoder('ViT-B-33')\n"
        "except ModelError as error:\n    print(error)\n"
        "print('torch' in sys.modules, 'open_clip' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    refused, imported = done.stdout.splitlines()
    assert refused.startswith("No model is called 'ViT-B-33'") and "Did you mean ViT-B-32" in refused
    assert imported == "False False"


def test_open_clips_names_are_the_ones_that_are_checked() -> None:
    import open_clip

    assert list(architectures()) == sorted(open_clip.list_models())


def test_a_missing_folder_and_a_file_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="There is no model folder"):
        open_encoder(tmp_path / "absent")
    with pytest.raises(ModelError, match="is a file, not a model folder"):
        open_encoder(tmp_path / "model.bin")


@pytest.mark.skipif(has_core_ml(), reason="says what machines without Core ML say")
def test_core_ml_elsewhere_is_refused(coreml_export: Export) -> None:
    with pytest.raises(ExportError, match="macOS only"):
        CoreMLEncoder(coreml_export)
