"""Weights in fewer bits: batch norms in convolutions, palettes, integers, and more bits for what is too sensitive."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ExportError, ParityError, UsageError
from mobileclip_kit.exporting.budget import Budget
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export, open_export
from mobileclip_kit.exporting.mixed_bits import MixedTower, choose_kept
from mobileclip_kit.exporting.precisions import Precision, find_precision
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import draw_images
from mobileclip_kit.exporting.sensitivity import (
    Sensitivity,
    read_sensitivities,
    table_path,
    write_sensitivities,
)
from mobileclip_kit.exporting.towers import ImageTower
from mobileclip_kit.exporting.weight_bits import (
    LEAST_ELEMENTS,
    ReducedTower,
    _Calls,
    fold_batch_norms,
    large_weights,
    only_found,
    stored,
)
from mobileclip_kit.mil.program import read_program
from mobileclip_kit.networks.model import Model
from tests.exports import IMAGE

IMAGES = draw_images(IMAGE, count=8)


@pytest.fixture(scope="module")
def uneven(tiny_model: Model) -> Model:
    """The tiny image tower with rows of very different sizes in one weight, which one palette cannot represent.

    The weights that read these channels undo it, so that each row counts as much as before.
    """
    network = copy.deepcopy(tiny_model.network)
    attention = network.visual.transformer.resblocks[0].attn
    sizes = torch.logspace(0, 2.2, 32)
    with torch.no_grad():
        attention.in_proj_weight[64:] *= sizes[:, None]
        attention.out_proj.weight /= sizes
        attention.out_proj.weight *= 6  # so that attention weighs more than what it is added to
    return Model(network, tiny_model.config, replace(tiny_model.spec, text=None))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.example = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.convolution(image)).relu()


def test_batch_norms_move_into_the_convolutions_that_they_read() -> None:
    module = Normed().eval()
    with torch.no_grad():
        for values in (module.norm.running_mean, module.norm.running_var, module.norm.weight, module.norm.bias):
            values.copy_(torch.linspace(0.5, 2, 8))
        wanted = module(module.example)
        fold_batch_norms(module)
        torch.testing.assert_close(module(module.example), wanted)
        given = torch.rand(1, 8, 2, 2)
        torch.testing.assert_close(module.norm(given), given)


class Residual(Normed):
    """A norm beside the branch that it belongs to, as in MobileCLIP's attention blocks."""

    def forward(self, image: Tensor) -> Tensor:
        convolved = self.convolution(image)
        return convolved + self.norm(convolved)


class Twice(Normed):
    """A convolution that is called twice, once for the norm."""

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.convolution(image)) + self.convolution(image.flip(3))


@pytest.mark.parametrize("kind", [Residual, Twice])
def test_a_convolution_that_others_read_as_well_keeps_its_weights(kind: type[Normed]) -> None:
    module = kind().eval()
    with torch.no_grad():
        for values in (module.norm.running_mean, module.norm.running_var, module.norm.weight, module.norm.bias):
            values.copy_(torch.linspace(0.5, 2, 8))
        wanted, before = module(module.example), module.convolution.weight.clone()
        fold_batch_norms(module)
        torch.testing.assert_close(module(module.example), wanted)
    assert torch.equal(module.convolution.weight, before)


PALETTE4, PALETTE8, INT8, INT4 = (
    find_precision(format, name) for format, name in
    (("coreai", "palette4"), ("coreai", "palette8"), ("coreai", "int8"), ("coreai", "int4"))
)  # fmt: skip


def test_readers_of_a_tensor_that_is_gone_are_not_counted() -> None:
    """Its number is given to another; which norms are folded then depended on the memory's state."""
    calls = _Calls()
    with calls:
        for _ in range(50):
            given = torch.ones(3)
            assert calls.readers[id(given)] == 0
            given + 1


def test_channels_have_palettes_of_their_own_where_they_can_be_grouped() -> None:
    weight = torch.randn(32, 40, generator=torch.Generator().manual_seed(0))
    for channels, groups in ((16, 2), (0, 1), (12, 1)):
        made = stored(weight, PALETTE4, 4, channels=channels)
        assert [len(part.unique()) for part in made.chunk(groups)] == [16] * groups
    assert 200 < len(stored(weight, PALETTE8, 8, channels=16).unique()) <= 256  # one for all channels
    assert torch.equal(stored(weight, PALETTE8, 16, channels=16), weight.half().float())


@pytest.mark.parametrize("scale", [1e7, 1e-8])
def test_weights_beyond_float16_keep_their_range(scale: float) -> None:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) * scale
    for row, bits in ((PALETTE4, 4), (PALETTE4, 8), (PALETTE4, 16), (INT8, 8), (INT4, 4)):
        made = stored(weight, row, bits) / scale
        torch.testing.assert_close(made, weight / scale, atol=0.3, rtol=0.1)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("bits", "length"), [(8, 64), (4, 32)])
def test_integers_have_a_step_for_each_channel_or_block(bits: int, length: int, axis: int) -> None:
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-1, 2, 64)[:, None]
    made = stored(weight if axis == 0 else weight.T, INT8 if bits == 8 else INT4, bits, axis=axis)
    made = made if axis == 0 else made.T
    for block, given in zip(made.reshape(-1, length), weight.reshape(-1, length), strict=True):
        step = float(given.abs().max()) / (2 ** (bits - 1) - 1)
        assert float((block / step - (block / step).round()).abs().max()) < 0.25
        assert float((block - given).abs().max()) < 0.6 * step


class Bits:
    """A converter's type of integers."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def get_bitwidth(self) -> int:
        return self.bits


def widened_steps(weight: Any, kind: Bits, scheme: Any, sides: Any) -> Any:
    """Steps as Apple's passes find them."""
    blocks = weight.reshape(len(weight), -1, sides[1] or weight.shape[1])
    steps = ((2 * np.abs(blocks.astype(np.float64)).max(2) + 1e-6) / (2**kind.bits - 2)).astype(weight.dtype)
    return np.zeros(weight.shape, np.int8), steps, None


def weights_of_all_kinds() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    plain = torch.randn(48, 64, generator=random)
    outlier, small, empty = plain.clone(), plain.clone(), plain.clone()
    outlier[:, ::32] = 5000
    small[::4] *= torch.tensor([3e-4, 1e-4, 1e-5]).repeat(4)[:, None]
    empty[5] = 0
    return {"plain": plain, "outlier": outlier, "small": small, "empty": empty, "large": 20_000 * plain.clamp(-3, 3)}


@pytest.mark.parametrize(("row", "sides"), [(INT8, (1, 0)), (INT4, (1, 32))], ids=["int8", "int4"])
@pytest.mark.parametrize("kind", weights_of_all_kinds())
def test_a_converter_finds_weights_of_steps_and_leaves_others(
    kind: str, row: Precision, sides: tuple[int, int]
) -> None:
    weight, bits = weights_of_all_kinds()[kind], row.weight_bits
    made = stored(weight, row, bits).half().numpy()
    found = only_found(widened_steps)(made, Bits(bits), None, sides)
    assert found is not None and found[0].dtype == np.int8 and np.abs(found[0]).max() == 2 ** (bits - 1) - 1
    steps = np.repeat(found[1].astype(np.float64), made.shape[1] // found[1].shape[1], axis=1)
    np.testing.assert_allclose(found[0] * steps, made, rtol=2**-8, atol=0)
    assert only_found(widened_steps)(weight.half().numpy(), Bits(bits), None, sides) is None
    assert only_found(lambda *given: None)(made, Bits(bits), None, sides) is None


def test_positions_are_no_large_weights() -> None:
    module = nn.Module()
    module.layer, module.position_embeddings = nn.Linear(64, 64), nn.Embedding(64, 64)
    module.transposed, module.pos_embed = nn.Linear(64, 64), nn.Parameter(torch.zeros(1, 64, 64))
    assert large_weights(module).keys() == {"layer.weight", "transposed.weight"}


def test_a_form_without_reductions_is_the_tower_and_fewer_bits_are_farther(uneven: Model) -> None:
    tower = ReducedTower(find_precision("coreml", "palette4"), ImageTower(uneven), IMAGES.pixels, 0)
    with torch.no_grad():
        wanted = ImageTower(uneven)(torch.from_numpy(IMAGES.pixels).permute(0, 3, 1, 2) / 255).numpy()
    low, eight = tower.form(()), tower.form(tower.in_eight)
    assert set(low.values()) == {4} and set(eight.values()) == {8}
    assert tower.size(low) < tower.size(eight)
    errors = [np.abs(tower.run(form, IMAGES.pixels) - wanted).max() for form in (low, eight, None)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-6


@pytest.mark.parametrize(
    ("name", "least"), [("coreml palette4", 0.99), ("coreai palette4", 0.99), ("coreai int4", 0.9998)]
)
def test_weights_too_sensitive_for_few_bits_have_more(name: str, least: float, uneven: Model, tmp_path: Path) -> None:
    format, precision = name.split()
    if format == "coreai":
        pytest.importorskip("coreai_torch")
    options = ExportOptions(format=format, precision=precision, images=IMAGES, threshold=least)
    made = export_model(uneven, tmp_path / "out", options)
    tower = made.towers["image"]
    kept = [entry for entry in tower.kept_in_float if entry.endswith(("(8 bits)", "(float16)"))]
    # Weights without whole blocks of integers in 4 bits have 8 in any case, which nothing is told of.
    assert kept and len(kept) <= len(tower.notes["bits"])
    assert table_path(made.path, "image").is_file()
    assert open_export(made.path).passed and made.passed
    if format == "coreml":
        operations = read_program(made.tower_path("image")).main.operations
        palettes = {op.attributes["lut"].size for op in operations if op.type == "constexpr_lut_to_dense"}
        assert {16, 256} <= palettes


EIGHT_BITS = ["onnx int8-weights", "coreml int8", "coreml palette8", "coreai int8", "coreai palette8",
              "litert int8-weights"]  # fmt: skip


def stored_in_half(export: Export) -> int:
    """Elements of large weights that a file holds in float16."""
    path = export.tower_path("image")
    if export.format == "onnx":
        tensors = onnx.load(str(path)).graph.initializer
        return sum(math.prod(each.dims) for each in tensors if each.data_type == onnx.TensorProto.FLOAT16)
    if export.format == "coreml":
        program = read_program(path).main.operations
        shapes = [each.outputs[0].shape for each in program if each.type == "const"]
        return sum(count for count in map(math.prod, shapes) if count > LEAST_ELEMENTS)
    if export.format == "coreai":
        from mobileclip_kit.exporting import coreai

        return coreai._stored_floats(coreai.read_program(path))
    from ai_edge_litert.tools import flatbuffer_utils

    graph = flatbuffer_utils.read_model(str(path))
    tensors = [each for part in graph.subgraphs for each in part.tensors if graph.buffers[each.buffer].data is not None]
    return sum(math.prod(each.shape) for each in tensors if each.type == 1 and len(each.shape) > 1)


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_weights_too_sensitive_for_eight_bits_have_float16(name: str, uneven: Model, tmp_path: Path) -> None:
    format, precision = name.split()
    pytest.importorskip({"coreai": "coreai_torch", "litert": "litert_torch"}.get(format, "torch"))
    options = ExportOptions(format=format, precision=precision, images=IMAGES, threshold=0.5)
    coarse = export_model(uneven, tmp_path / "coarse", options)
    assert not [entry for entry in coarse.towers["image"].kept_in_float if " of " in entry]
    assert stored_in_half(coarse) == 0
    reached = min(row["cosine_min"] for row in coarse.rows())
    made = export_model(uneven, tmp_path / "out", replace(options, threshold=(1 + reached) / 2))
    kept = [entry for entry in made.towers["image"].kept_in_float if " of " in entry]
    assert 0 < len(kept) < 5 and made.passed
    # Core ML has query and key, value apart, which are too small to be reduced here.
    fused = 0 if format == "coreml" else 96 * 32
    sizes = {"conv1": 32 * 3 * 16 * 16, "patches": 32 * 3 * 16 * 16, "out_proj": 32 * 32, "attn": fused}
    expected = sum(next((size for part, size in sizes.items() if part in entry), 0) for entry in kept)
    assert stored_in_half(made) == expected > 0, kept


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_products_that_stay_in_float_have_float16_weights(format: str, uneven: Model, tmp_path: Path) -> None:
    pytest.importorskip({"litert": "litert_torch"}.get(format, "torch"))
    options = ExportOptions(format=format, precision="int8", images=IMAGES, calibration=IMAGES, threshold=0.99995)
    made = export_model(uneven, tmp_path / "out", options)
    kept = [entry for entry in made.towers["image"].kept_in_float if " of " in entry]
    assert kept and made.passed and stored_in_half(made) > 0
    if format == "onnx":
        tensors = onnx.load(str(made.tower_path("image"))).graph.initializer
        large = [each.name for each in tensors if math.prod(each.dims) > LEAST_ELEMENTS and each.data_type == 1]
        assert not large


def test_more_bits_than_eight_need_are_refused_or_kept_for_inspection(uneven: Model, tmp_path: Path) -> None:
    options = ExportOptions(format="coreml", precision="palette4", images=IMAGES, threshold=0.999999)
    with pytest.raises(ExportError, match=r"with 0\.\d+ when all weights have 4 bits.* smaller than one with 8 bits"):
        export_model(uneven, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ParityError, match="least cosine"):
        export_model(uneven, tmp_path / "out", replace(options, keep_failed=True))
    assert not open_export(tmp_path / "out").passed
    wrong = [Sensitivity("elsewhere", "Linear", "elsewhere", 0.1)]
    write_sensitivities(table_path(tmp_path / "out", "image"), wrong, "8 inputs")
    again = replace(options, keep_failed=True, measured=open_export(tmp_path / "out"))
    with pytest.raises(ExportError, match="measured other products than this tower has"):
        export_model(uneven, tmp_path / "again", again)


def test_a_stricter_threshold_measures_what_a_table_lacks(uneven: Model, tmp_path: Path) -> None:
    """8 bits kept the first threshold, so that nothing was known of what they cost."""
    said = list[str]()
    options = ExportOptions(format="coreml", precision="palette6", images=IMAGES, threshold=0.99, report=said.append)
    first = export_model(uneven, tmp_path / "first", options)
    assert not any("would have with 8 bits" in line for line in said)
    again = export_model(uneven, tmp_path / "again", replace(options, threshold=0.9999, measured=first))
    assert any(entry.endswith("(float16)") for entry in again.towers["image"].kept_in_float)
    assert any(re.search(r"image tower as palette6 has 9\d\.\d% of the bytes .* with 8 bits", line) for line in said)
    with pytest.raises(UsageError, match=r"is an export in coreml palette6: .* nothing of coreml int8"):
        export_model(uneven, tmp_path / "other", replace(options, precision="int8", measured=first))


def test_a_table_without_some_products_is_measured_anew(uneven: Model, tmp_path: Path) -> None:
    """Those of LiteRT had no look-ups once, which then could not be chosen."""
    options = ExportOptions(format="coreml", precision="palette4", images=IMAGES, threshold=0.999)
    first = export_model(uneven, tmp_path / "first", options)
    path = table_path(first.path, "image")
    write_sensitivities(path, read_sensitivities(path)[1:], "8 inputs")
    again = export_model(uneven, tmp_path / "again", replace(options, measured=first))
    assert again.towers["image"].kept_in_float == first.towers["image"].kept_in_float


def test_large_weights_have_more_bits_last() -> None:
    """A vocabulary that loses a little more than other weights would need more bytes than all of them."""
    module: Any = nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 8)).eval()
    tower = ReducedTower(find_precision("coreml", "palette6"), module, np.zeros((2, 64), np.float32), 0)
    table, small = (Sensitivity(f"{name}.weight", "Linear", f"{name}.weight", loss, bits=6)
                    for name, loss in (("0", 0.02), ("2", 0.01)))  # fmt: skip
    assert tower.worth(small) > tower.worth(table)
    again = Sensitivity("2.weight", "Linear", "2.weight", 0.01, bits=8)
    assert tower.worth(small) == pytest.approx(4 * tower.worth(again)), "8 more bits, not 2"


class Losses(MixedTower):
    """A tower whose vectors turn by what each product loses in so many bits."""

    kinds = ("8 bits", "float16")
    sizes, losses = {"small": 10, "table": 1000}, {"small": {6: 0.009, 8: 0.0}, "table": {6: 0.02, 8: 0.001}}

    @property
    def products(self) -> dict[str, tuple[str, str]]:
        return {name: ("Linear", name) for name in self.sizes}

    def form(self, kept: Collection[Sensitivity], *, trial: bool = False) -> dict[str, int]:
        return dict.fromkeys(self.sizes, 6) | {entry.node: 8 for entry in kept}

    def run(self, form: dict[str, int] | None, rows: Any) -> Any:
        cosine = 1 - sum(self.losses[name][bits] for name, bits in (form or {}).items())
        return np.tile([[cosine, (1 - cosine**2) ** 0.5]], (len(rows), 1)).astype(np.float32)

    def size(self, form: dict[str, int]) -> int:
        return sum(bits * self.sizes[name] for name, bits in form.items())

    def worth(self, entry: Sensitivity) -> float:
        return entry.loss / self.sizes[entry.node]


def test_what_later_choices_make_needless_is_reduced_after_all() -> None:
    """The small product comes first, but with 8 bits for the table it need not have them."""
    tower = Losses(find_precision("coreml", "palette6"), np.zeros((4, 8), np.int64))
    budget = Budget("text", 0.985, None, tower.run)
    chosen = choose_kept(tower, budget, tower.measure(eight=False))
    assert chosen is not None and [entry.node for entry in chosen] == ["table"]
    assert choose_kept(tower, Budget("text", 0.9999, None, tower.run), tower.measure(eight=False)) is None


class Counting(Losses):
    """Knows how many inputs of which forms it executed."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.executed: list[tuple[tuple[int, ...], int]] = []

    def run(self, form: dict[str, int] | None, rows: Any) -> Any:
        self.executed.append((tuple((form or {}).values()), len(rows)))
        return super().run(form, rows)


def test_no_choice_is_executed_twice_and_one_that_fails_not_to_its_end() -> None:
    tower = Counting(find_precision("coreml", "palette6"), np.zeros((40, 8), np.int64))
    found = tower.measure(eight=False)
    tower.executed.clear()
    assert choose_kept(tower, Budget("text", 0.985, None, tower.run), found) is not None
    assert len(set(tower.executed)) == len(tower.executed)
    inputs = {form: sum(count for each, count in tower.executed if each == form) for form, _ in tower.executed}
    assert inputs == {(8, 8): 32, (8, 6): 8, (6, 8): 32, (6, 6): 8}
