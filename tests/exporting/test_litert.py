"""Towers to LiteRT: what Google's runtime computes, names and metadata, what stays in float, damaged files."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("litert_torch")
from ai_edge_litert.tools import flatbuffer_utils

from mobileclip_kit.errors import ExportError, UsageError
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.litert import (
    calibrate,
    convert,
    product_scopes,
    products_recipe,
    quantize,
    save_model,
    short_name,
)
from mobileclip_kit.exporting.litert_int8 import IntegerTower
from mobileclip_kit.exporting.precisions import find_precision
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import draw_images
from mobileclip_kit.exporting.sensitivity import table_path
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.inspection import inspect_path
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.networks.model import Model, tower_parameters
from mobileclip_kit.runtime.litert import LiteRTEncoder, SignatureRunner, as_signature_input, describe_file
from mobileclip_kit.runtime.open import open_encoder
from tests.exports import IMAGE, WORDS


@pytest.fixture(scope="module")
def full(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Export:
    place = tmp_path_factory.mktemp("litert") / "fp32"
    return export_model(tiny_model, place, ExportOptions(format="litert"))


def test_float32_is_verified_by_googles_runtime(full: Export):
    for tower in full.towers.values():
        (result,) = tower.verification
        assert (result.runtime, result.images) == ("litert", 48)
        assert result.cosine_min > 0.99999


def test_signatures_inputs_and_origin_can_be_read_from_the_file(full: Export):
    found = inspect_path(full.tower_path("image"))
    assert found.kind == "LiteRT model"
    assert found.facts["signatures"] == ["image"]
    assert found.facts["inputs"] == {"image": [1, 32, 32, 3]}
    assert list(found.facts["outputs"]) == ["embedding"]
    assert (found.facts["name"], found.facts["model_hash"]) == ("tiny", full.spec.model_hash)
    assert found.facts["operators"]["CONV_2D"] == 1


def test_products_are_told_by_short_names(full: Export):
    for tower, last in (("image", "visual"), ("text", "tower")):
        weights = [weight for _, weight in product_scopes(full.tower_path(tower).read_bytes()).values()]
        assert weights[-1] == last and not any("/" in weight for weight in weights)


def test_nothing_is_said_on_stderr(full: Export, tmp_path: Path):
    """By a process of its own: the delegate announces itself once a process."""
    lines = (
        "import numpy as np; from pathlib import Path; from mobileclip_kit.runtime.litert import SignatureRunner\n"
        f"SignatureRunner(Path({str(full.tower_path('text'))!r}), 'text')({{'ids': np.zeros((1, 12), np.int32)}})"
    )
    assert subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stderr == ""


def test_threads_have_an_interpreter_each(full: Export):
    encoder = open_encoder(full.path)
    assert isinstance(encoder, LiteRTEncoder)
    wanted = encoder.encode_texts(list(WORDS))
    with encoder.in_parallel() as (shared, _):
        assert np.allclose(shared.encode_texts(list(WORDS)), wanted, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "int8-weights", "int8-dynamic"])
def test_smaller_weights_keep_unit_vectors(precision: str, full: Export, tiny_model: Model, tmp_path: Path):
    made = export_model(tiny_model, tmp_path / "out", ExportOptions(format="litert", precision=precision, base=full))
    assert made.passed
    for name, tower in made.towers.items():
        assert tower.size_bytes < full.towers[name].size_bytes
    vectors = open_encoder(made.path).encode_images(draw_images(IMAGE, count=3).pixels)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_static_int8_keeps_the_most_sensitive_products_in_float(full: Export, tiny_model: Model, tmp_path: Path):
    options = ExportOptions(
        format="litert", precision="int8", base=full, threshold=0.9999, calibration=draw_images(IMAGE, count=12)
    )
    made = export_model(tiny_model, tmp_path / "out", options)
    kept = made.towers["image"].kept_in_float
    products = product_scopes(full.tower_path("image").read_bytes())
    assert 0 < len(kept) <= len(products)
    assert table_path(made.path, "image").is_file()
    again = export_model(tiny_model, tmp_path / "again", replace(options, measured=made))
    assert again.towers["image"].sha256 == made.towers["image"].sha256


def test_ranges_leave_room_for_other_inputs(full: Export):
    model = full.tower_path("image").read_bytes()
    given = draw_images(IMAGE, count=2).pixels
    rows = [as_signature_input("image", row[None]) for row in given]
    found = calibrate(model, products_recipe(find_precision("litert", "int8"), ()), "image", rows)
    (ends,) = [ends for name, ends in found.items() if name.startswith("image")]
    assert float(ends["max"].max()) == pytest.approx(1.2 * given.max() / 255)


def test_static_int8_needs_calibration(full: Export, tiny_model: Model, tmp_path: Path):
    options = ExportOptions(format="litert", precision="int8", base=full)
    with pytest.raises(UsageError, match="int8 needs images of the kind"):
        export_model(tiny_model, tmp_path / "out", options)
    with pytest.raises(UsageError, match=r"calibrated with 1 image\(s\)"):
        export_model(tiny_model, tmp_path / "out", replace(options, calibration=draw_images(IMAGE, count=1)))
    assert not (tmp_path / "out").exists()


def test_four_bits_that_miss_the_threshold_are_refused(full: Export, tiny_model: Model, tmp_path: Path):
    options = ExportOptions(format="litert", precision="int4", base=full, threshold=0.9999999)
    with pytest.raises(ExportError, match=r"with 0\.\d+ when all weights have 4 bits.* smaller than one with 8 bits"):
        export_model(tiny_model, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_products_too_sensitive_for_four_bits_have_eight_and_then_float16(full: Export, tiny_model: Model):
    options = ExportOptions(format="litert", precision="int4", base=full, images=draw_images(IMAGE, count=4))
    job = TowerJob(tiny_model, "image", full.path / "unused.tflite", options)
    tower = IntegerTower(job, full.tower_path("image").read_bytes(), options.images.pixels)
    found = tower.measure(eight=True)
    assert {entry.bits for entry in found} == {4, 8}
    first = found[0]
    assert first.bits == 4
    sizes = [len(tower.form(kept)) for kept in ((), [first], [first, replace(first, bits=8)])]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3
    assert tower.least_cosine(tower.form(())) < tower.least_cosine(tower.form(found)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("precision", ["int4", "int8", "int8-dynamic", "int8-weights"])
def test_a_vocabulary_that_is_too_sensitive_for_eight_bits_has_float16(
    precision: str, tiny_model: Model, tmp_path: Path
):
    """A few channels are much larger than the rest, as in trained residual streams; rows take their steps from them."""
    network = copy.deepcopy(tiny_model.network)
    with torch.no_grad():
        network.token_embedding.weight[:, :2] = 200 * network.token_embedding.weight.std()
        for norm in (part for name, part in network.named_modules() if "ln_" in name and "visual" not in name):
            norm.weight[:2], norm.weight[2:] = 0, 50
    model = replace(tiny_model, network=network, spec=replace(tiny_model.spec, image=None))
    options = ExportOptions(format="litert", precision=precision)
    whole = export_model(model, tmp_path / "whole", replace(options, threshold=0.0))
    assert min(row["cosine_min"] for row in whole.rows()) < 0.97
    made = export_model(model, tmp_path / "made", replace(options, threshold=0.985))
    kept = made.towers["text"].kept_in_float
    assert any("EMBEDDING_LOOKUP of token_embedding" in entry and "int8" not in entry for entry in kept)
    assert made.passed and made.towers["text"].size_bytes < 0.6 * 4 * tower_parameters(network)["text"]


def test_mixed_bits_reach_what_four_bits_miss(full: Export, tiny_model: Model, tmp_path: Path):
    """The text tower keeps its default; the threshold lies between those of 4 bits and of a mixture."""
    options = ExportOptions(format="litert", precision="int4", base=full, images=draw_images(IMAGE, count=4))
    whole = export_model(tiny_model, tmp_path / "whole", replace(options, threshold=0.5))
    least = min(row.cosine_min for tower in whole.towers.values() for row in tower.verification)
    mixed = export_model(tiny_model, tmp_path / "mixed", replace(options, threshold=least + 0.2 * (1 - least)))
    kept = [entry for tower in mixed.towers.values() for entry in tower.kept_in_float]
    assert kept and all(entry.endswith(" (int8)") for entry in kept)
    assert mixed.passed


def test_damaged_and_foreign_files_are_refused(full: Export, tmp_path: Path):
    damaged = tmp_path / "image.tflite"
    damaged.write_bytes(b"TFL3 and nothing else")
    with pytest.raises(ExportError, match="LiteRT cannot load"):
        SignatureRunner(damaged, "image")
    with pytest.raises(ExportError, match="has no signature 'text', only image"):
        SignatureRunner(full.tower_path("image"), "text")


def test_a_file_with_another_output_is_refused(full: Export, tmp_path: Path):
    data = full.tower_path("image").read_bytes()
    assert data.count(b"embedding\0") >= 1
    (tmp_path / "other.tflite").write_bytes(data.replace(b"embedding\0", b"embeddinh\0"))
    runner = SignatureRunner(tmp_path / "other.tflite", "image", threads=1)
    with pytest.raises(ExportError, match="other.tflite gives embeddinh, no embedding"):
        runner(as_signature_input("image", np.zeros((1, 32, 32, 3), np.uint8)))


def test_saving_keeps_what_the_model_computes(full: Export, tmp_path: Path):
    source = full.tower_path("text").read_bytes()
    save_model(source, "text", full.spec, tmp_path / "text.tflite")
    given = {"ids": np.zeros((1, 12), np.int32)}
    assert np.array_equal(
        SignatureRunner(tmp_path / "text.tflite", "text")(given), SignatureRunner(source, "text")(given)
    )
    # Names of inner tensors are left out, and the file is smaller for it.
    assert (tmp_path / "text.tflite").stat().st_size < len(source)
    assert describe_file(tmp_path / "text.tflite")[0]["inputs"] == describe_file(full.tower_path("text"))[0]["inputs"]


def test_a_convolution_of_more_than_32_mib_can_be_quantised():
    class Wide(nn.Module):
        example = torch.rand(1, 2048, 1, 1)

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2048, 4200, 1)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.conv(pixels).mean((2, 3))

    tower = Wide()
    model = convert(SimpleNamespace(module=tower, tower="image"))
    smaller = quantize(model, products_recipe(find_precision("litert", "int8-dynamic"), ()))
    given = {"image": tower.example.permute(0, 2, 3, 1).numpy()}
    vectors = [SignatureRunner(form, "image")(given) for form in (model, smaller)]
    assert len(smaller) < len(model) / 3.9
    assert float(row_cosines(*vectors)[0]) > 0.9999


def test_short_names_of_weights():
    weight = "a.b._ImageSignature/a.b.ImageTower_tower/open_clip.VisionTransformer_visual/torch.nn.Conv2d_conv1;1"
    assert short_name(weight) == "visual.conv1"
    assert short_name("a.b._TextSignature/a.b.TextTower_tower;") == "tower"
    assert short_name("arith.constant3") == "arith.constant3"


class Inverse(nn.Module):
    def __init__(self, *, head: nn.Module) -> None:
        super().__init__()
        self.head, self.example = head, torch.rand(1, 3, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(image[:, 0])


class Head(nn.Module):
    def forward(self, matrices: Tensor) -> Tensor:
        return torch.linalg.inv(matrices + 9 * torch.eye(2)).flatten(1)


def test_an_operator_without_a_lowering_is_named_with_its_module():
    """The converter's own error for an operator with effects names none."""
    job = SimpleNamespace(tower="image", module=Inverse(head=Head()))
    with pytest.raises(ExportError, match=r"it has no lowering for aten\.linalg_inv_ex\.default \(in head\)"):
        convert(job)


def test_a_file_of_a_newer_version_is_refused(full: Export, tmp_path: Path):
    graph = flatbuffer_utils.read_model(str(full.tower_path("image")))
    for code in graph.operatorCodes:
        code.version = 99
    (tmp_path / "newer.tflite").write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(graph)))
    with pytest.raises(ExportError, match=r"LiteRT cannot load .*newer\.tflite: .*opcode 'CONV_2D' version '99'"):
        SignatureRunner(tmp_path / "newer.tflite", "image")
