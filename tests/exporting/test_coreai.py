"""Towers to Core AI: what Apple's runtime computes, the same bytes, what float16 cannot hold, damaged assets."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("coreai_torch")
from coreai_torch import get_decomp_table

from mobileclip_kit.errors import ExportError, UsageError
from mobileclip_kit.exporting.coreai import (
    _drop_restrides,
    compress,
    convert,
    execute_twins,
    read_program,
    save_asset,
    write_program,
)
from mobileclip_kit.exporting.decomposition import average_pool, decompose
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export, open_export
from mobileclip_kit.exporting.precisions import find_precision
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.rounding import RoundedProgram, choose_float32
from mobileclip_kit.exporting.samples import draw_images
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.files import size_bytes
from mobileclip_kit.inspection import inspect_path
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.coreai import CoreAIEncoder, CoreAIFunction, as_float_images
from mobileclip_kit.runtime.open import open_encoder
from tests.exports import WORDS


@pytest.fixture(scope="module")
def half(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Export:
    place = tmp_path_factory.mktemp("coreai") / "fp16"
    return export_model(tiny_model, place, ExportOptions(format="coreai"))


def test_float16_is_verified_by_apples_runtime_and_by_both_twins(half: Export):
    for tower in half.towers.values():
        found = {result.runtime: result for result in tower.verification}
        assert list(found) == ["coreai", "coreai in float32", "torch in float16"]
        assert all(result.cosine_min > 0.9999 and result.images == 48 for result in found.values())


def test_torch_in_float16_predicts_what_apples_runtime_computes(half: Export, tiny_model: Model):
    pixels = draw_images(tiny_model.spec.require_image(), count=4).pixels
    predicted = dict(execute_twins(half, tiny_model, "image", pixels))["torch in float16"]
    actual = CoreAIEncoder(half).encode_images(pixels)
    assert np.abs(predicted - actual).max() < 3e-3


def test_the_ends_are_float32_and_the_metadata_says_whose_it_is(half: Export):
    document = json.loads((half.tower_path("image") / "metadata.json").read_text())
    assert document["author"] == "mckit"
    custom = document["creatorDefinedMetadata"]
    assert custom["model_hash"] == half.spec.model_hash and json.loads(custom["model_spec"])["name"] == "tiny"
    encoder = open_encoder(half.path)
    assert encoder.runtime == "coreai"
    assert encoder.encode_texts(list(WORDS)).dtype == np.float32


def test_the_same_model_gives_the_same_bytes(half: Export, tiny_model: Model, tmp_path: Path):
    job = TowerJob(tiny_model, "image", tmp_path / "image.aimodel", ExportOptions(format="coreai"))
    assert write_program(job).sha256 == half.towers["image"].sha256
    # Core AI's own names are others in each process.
    names = re.findall(rb"resource_(\d+)\0", (job.path / "main.mlirb").read_bytes())
    assert names == [b"%d" % number for number in range(len(names))] != []


def test_compressed_weights_are_smaller_and_near(half: Export, tiny_model: Model, tmp_path: Path):
    made = export_model(tiny_model, tmp_path / "int8", ExportOptions(format="coreai", precision="int8", base=half))
    assert made.passed
    assert made.towers["image"].notes["compressed_share"] > 0.8
    assert made.towers["image"].size_bytes < half.towers["image"].size_bytes


@pytest.mark.parametrize(
    ("precision", "least"), [("palette8", 0.999), ("palette6", 0.99), ("palette4", 0.9), ("int4", 0.9)]
)
def test_every_compressed_form_is_executed(precision: str, least: float, half: Export, tmp_path: Path):
    source = half.tower_path("image")
    path = tmp_path / "image.aimodel"
    save_asset(compress(read_program(source), find_precision("coreai", precision)), "image", half.spec, path)
    given = np.full((1, 3, 32, 32), 0.3, np.float32)
    given[:, 1, 8:] = 0.8
    assert float(row_cosines(CoreAIFunction(path).run(given), CoreAIFunction(source).run(given))[0]) > least
    assert size_bytes(path) < size_bytes(source)


@pytest.mark.parametrize("precision", ["palette6", "palette4"])
def test_channels_of_different_sizes_have_palettes_of_their_own(precision: str, half: Export, tmp_path: Path):
    random = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(64, 64, 1, bias=False)
    sizes = torch.logspace(0, 3, 4).repeat_interleave(16)  # a size for each 16 channels
    with torch.no_grad():
        layer.weight.copy_(torch.randn(64, 64, 1, 1, generator=random) * sizes[:, None, None, None])
    given = torch.randn(1, 64, 1, 1, generator=random)
    whole = convert(decompose(torch.export.export(layer, (given,)), get_decomp_table()), "image")
    save_asset(compress(whole, find_precision("coreai", precision)), "image", half.spec, tmp_path / "a.aimodel")
    found = CoreAIFunction(tmp_path / "a.aimodel").run(given.numpy()).ravel()
    wanted = layer(given).detach().numpy().ravel()
    for rows in (slice(first, first + 16) for first in range(0, 64, 16)):
        error = np.linalg.norm(found[rows] - wanted[rows]) / np.linalg.norm(wanted[rows])
        assert error < (0.05 if precision == "palette6" else 0.2)


def test_an_asset_that_was_changed_is_refused(half: Export, tmp_path: Path):
    copied = tmp_path / "copied"
    shutil.copytree(half.path, copied)
    program = copied / "image.aimodel" / "main.mlirb"
    data = bytearray(program.read_bytes())
    data[-100] ^= 1
    program.write_bytes(data)
    with pytest.raises(ExportError, match="was changed: its SHA-256"):
        open_encoder(copied).encode_images(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_damaged_asset_and_one_of_another_version_are_refused(half: Export, tmp_path: Path):
    for name, version in (("damaged", "2.0"), ("newer", "3.0")):
        shutil.copytree(half.tower_path("image"), tmp_path / f"{name}.aimodel")
        file = tmp_path / f"{name}.aimodel" / "metadata.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"assetVersion": version}))
    (tmp_path / "damaged.aimodel" / "main.mlirb").write_bytes(b"ML\xefR and nothing else")
    with pytest.raises(ExportError, match="main.mlirb was changed: its SHA-256 is not the one in main.hash"):
        CoreAIFunction(tmp_path / "damaged.aimodel")
    with pytest.raises(ExportError, match="asset version 3.0; this mckit reads version 2.0"):
        CoreAIFunction(tmp_path / "newer.aimodel")


def test_a_full_disk_is_told_before_apples_library_ends_the_process(
    half: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = read_program(half.tower_path("image"))
    free = half.towers["image"].size_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(OSError, match="No space left on device"):
        save_asset(program, "image", half.spec, tmp_path / "image.aimodel")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free + (1 << 20)))
    save_asset(program, "image", half.spec, tmp_path / "image.aimodel")


def test_a_program_that_was_cut_off_with_its_hash_is_not_described(half: Export, tmp_path: Path):
    shutil.copytree(half.tower_path("image"), tmp_path / "cut.aimodel")
    program = tmp_path / "cut.aimodel" / "main.mlirb"
    program.write_bytes(program.read_bytes()[: size_bytes(program) // 2])
    (tmp_path / "cut.aimodel" / "main.hash").write_bytes(hashlib.sha256(program.read_bytes()).digest())
    with pytest.raises(ExportError, match=r"cannot read .*cut\.aimodel: it has no program that this version reads"):
        inspect_path(tmp_path / "cut.aimodel")


def test_a_folder_that_is_no_asset_is_refused(tmp_path: Path):
    (tmp_path / "foreign.aimodel").mkdir()
    with pytest.raises(ExportError, match=r"foreign\.aimodel is not a Core AI asset: metadata\.json cannot be read"):
        CoreAIFunction(tmp_path / "foreign.aimodel")
    (tmp_path / "foreign.aimodel" / "metadata.json").write_text('{"assetVersion": "2.0"}')
    with pytest.raises(ExportError, match=r"is not a Core AI asset: it has no main\.mlirb or no main\.hash"):
        CoreAIFunction(tmp_path / "foreign.aimodel")


class Large(nn.Module):
    """A product past float16's range, scaled back; and a product that is harmless."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 3000.0) * 0.001 + x.sin()


def test_operators_that_overflow_float16_stay_in_float32():
    program = torch.export.export(Large(), (torch.full((1, 4), 40.0),))
    rounded = RoundedProgram(program)
    rows = [np.full((1, 4), 40.0, np.float32)]
    assert np.isinf(rounded.run(rows, ())).all()
    kept = choose_float32(rounded, rows, least_cosine=0.999)
    assert rounded.kinds(kept) == ["mul mul", "mul mul_1"]
    assert np.allclose(rounded.run(rows, kept), rounded.run(rows), rtol=1e-3)


def test_weights_beyond_float16_and_the_results_of_their_products_stay_in_float32(tiny_model: Model, tmp_path: Path):
    """The second product's weights are too small for float16; they stay in float32 with it."""
    network = copy.deepcopy(tiny_model.network)
    products = network.visual.transformer.resblocks[0].mlp
    with torch.no_grad():
        for weight, factor in ((products.c_fc.weight, 1e7), (products.c_fc.bias, 1e7), (products.c_proj.weight, 1e-7)):
            weight *= factor
    model = Model(network, tiny_model.config, replace(tiny_model.spec, text=None))
    images = draw_images(model.spec.require_image(), count=4)
    made = export_model(model, tmp_path / "out", ExportOptions(format="coreai", images=images))
    assert [entry.partition(" ")[0] for entry in made.towers["image"].kept_in_float] == [
        "convolution",
        "gelu",
        "convolution",
    ]
    assert all(result.cosine_min > 0.9999 for result in made.towers["image"].verification)
    palettes = compress(read_program(made.tower_path("image")), find_precision("coreai", "palette6"))
    save_asset(palettes, "image", model.spec, tmp_path / "palettes.aimodel")
    vector = CoreAIFunction(tmp_path / "palettes.aimodel").run(as_float_images(images.pixels[:1]))
    wanted = CoreAIFunction(made.tower_path("image")).run(as_float_images(images.pixels[:1]))
    assert float(row_cosines(vector, wanted)[0]) > 0.97


def test_a_dynamic_batch_is_executed_with_one_and_several(tiny_model: Model, tmp_path: Path):
    model = Model(tiny_model.network, tiny_model.config, replace(tiny_model.spec, text=None))
    images = draw_images(model.spec.require_image(), count=6)
    made = export_model(model, tmp_path / "out", ExportOptions(format="coreai", images=images, dynamic_batch=True))
    assert made.towers["image"].notes["largest_batch"] == 64
    function = CoreAIFunction(made.tower_path("image"))
    given = as_float_images(images.pixels)
    assert np.allclose(function.run(given), np.concatenate([function.run(row[None]) for row in given]), atol=1e-3)
    with pytest.raises(UsageError, match="dynamic_batch is for Core AI; LiteRT always takes one input"):
        export_model(model, tmp_path / "litert", ExportOptions(format="litert", dynamic_batch=True))


class Unlowered(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_without_a_lowering_is_named():
    program = torch.export.export(Unlowered(), (torch.ones(1, 4),))
    with pytest.raises(ExportError, match=r"cannot convert the image tower: .*aten\.special_bessel_j0"):
        convert(program, "image")


class Repeated(nn.Module):
    """Kinds of calls that come twice, several results of one call, a constant, a call that gives its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        for _ in range(2):
            first, second = x.chunk(2, dim=1)
            x = torch.cat(
                [nn.functional.layer_norm(first, (4,)), torch.einsum("nij,nkj->nik", second, second) @ second], dim=1
            )
        return x.flatten(1).contiguous() + torch.arange(16)


def test_decompositions_are_those_of_torch():
    given, module = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0)), Repeated().eval()
    with torch.no_grad():
        programs = [torch.export.export(module, (given,)) for _ in range(2)]
        wanted = programs[0].run_decompositions(get_decomp_table())
        found = decompose(programs[1], get_decomp_table())
    assert Counter(str(node.target) for node in found.graph.nodes) == Counter(
        str(node.target) for node in wanted.graph.nodes
    )
    assert torch.equal(found.module()(given), wanted.module()(given))


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 2).relu_()


def test_programs_that_write_into_tensors_are_decomposed_by_torch():
    program = decompose(torch.export.export(InPlace(), (torch.ones(1, 4),)), get_decomp_table())
    assert "relu_" not in str(program.graph)


def test_average_pooling_with_rare_options_is_padded_and_scaled_as_torch_does():
    images = torch.rand(2, 3, 7, 10, generator=torch.Generator().manual_seed(0))
    for kernel, stride, padding, ceil, counted, divisor in itertools.product(
        (2, 3), (1, 2, 3), (0, 1), (False, True), (False, True), (None, 3)
    ):
        given = (images, [kernel], [stride], [padding], ceil, counted, divisor)
        pooled = average_pool(*given)
        plain = not ceil and (counted or not padding)
        assert (pooled is NotImplemented) == plain
        if not plain:
            torch.testing.assert_close(pooled, torch.ops.aten.avg_pool2d.default(*given), atol=1e-6, rtol=0)


def test_apples_runtime_does_not_count_the_padding(tiny_model: Model, tmp_path: Path):
    network = copy.deepcopy(tiny_model.network)
    network.visual = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), nn.Flatten()
    )
    export = export_model(
        replace(tiny_model, network=network, spec=replace(tiny_model.spec, embedding_dim=128)), tmp_path / "pooled",
        ExportOptions(format="coreai", precision="fp32"),
    )  # fmt: skip
    assert all(result.cosine_min > 0.999999 for result in export.towers["image"].verification)


class Restrided(nn.Module):
    def __init__(self, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_strided(x * 2, (1, 4, 1, 1), self.stride) + 1


def test_as_strided_is_dropped_where_it_moves_nothing():
    program = torch.export.export(Restrided((4, 1, 7, 9)), (torch.ones(1, 4, 1, 1),))
    _drop_restrides(program)
    assert "as_strided" not in str(program.graph)
    assert program.module()(torch.ones(1, 4, 1, 1)).flatten().tolist() == [3.0] * 4
    with pytest.raises(ExportError, match=r"no operator for as_strided \(aten.as_strided\), which moves elements"):
        _drop_restrides(torch.export.export(Restrided((4, 0, 7, 9)), (torch.ones(1, 4, 1, 1),)))


class PooledLast(nn.Module):
    """As ConvNeXt ends: the mean over places of a tensor with its channels last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1).flatten(1)


def test_the_restride_behind_a_pooling_with_channels_last_is_dropped():
    given = torch.rand(1, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    program = decompose(torch.export.export(PooledLast(), (given,)), get_decomp_table())
    assert "as_strided_" in str(program.graph)
    _drop_restrides(program)
    assert "as_strided" not in str(program.graph)
    torch.testing.assert_close(program.module()(given), given.mean((1, 2)), atol=1e-6, rtol=0)


def test_an_older_verification_is_read_back(half: Export):
    assert open_export(half.path, check_hashes=True).passed
