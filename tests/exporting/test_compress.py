"""Compressed Core ML weights: palettes near the optimum, files smaller, vectors near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mobileclip_kit.exporting.coreml import compress_weights
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.metadata import quiet_converters
from mobileclip_kit.exporting.palettes import find_palette
from mobileclip_kit.exporting.precisions import find_precision
from mobileclip_kit.files import size_bytes
from mobileclip_kit.mil.interpreter import Interpreter
from mobileclip_kit.mil.program import read_program


def test_few_values_are_kept_exactly() -> None:
    weight = np.array([[0.5, -1.0], [2.0, 0.5]], np.float16)
    palette, indices = find_palette(weight, 2)
    assert np.array_equal(palette[indices], weight.ravel())


@pytest.mark.parametrize(("bits", "optimum"), [(2, 0.3428), (3, 0.1859), (4, 0.0975)])
def test_palette_is_near_the_optimum_of_a_normal_distribution(bits: int, optimum: float) -> None:
    """Root mean square errors of the Lloyd-Max quantiser (Max 1960, table I: distortions 0.1175, 0.03454, 0.009497)."""
    weight = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    palette, indices = find_palette(weight, bits)
    error = float(np.sqrt(((palette[indices] - weight) ** 2).mean()))
    assert palette.shape == (1 << bits,)
    assert optimum * 0.99 < error < optimum * 1.03


def test_each_element_takes_its_nearest_value() -> None:
    weight = np.random.default_rng(1).standard_normal(500).astype(np.float32)
    palette, indices = find_palette(weight, 3)
    assert np.array_equal(indices, np.abs(weight[:, None] - palette[None]).argmin(axis=1))


def test_compressed_programs_are_smaller_and_compute_nearly_the_same(coreml_export: Export, tmp_path: Path) -> None:
    import coremltools

    source = coreml_export.tower_path("text")
    model = coremltools.models.MLModel(str(source), skip_model_load=True)
    ids = np.zeros((1, 12), np.int32)
    ids[0, :3] = [5, 300, 557]
    wanted = Interpreter(read_program(source)).run({"ids": ids})["embedding"]
    for name, least in (("palette8", 0.999), ("int8", 0.999), ("palette4", 0.9)):
        target = tmp_path / f"{name}.mlpackage"
        compress_weights(model, find_precision("coreml", name)).save(str(target))
        vector = Interpreter(read_program(target)).run({"ids": ids})["embedding"]
        assert float((vector * wanted).sum()) > least
        assert size_bytes(target) < size_bytes(source)


class Positions(nn.Module):
    """A table that is added to tokens, and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Parameter(torch.randn(1, 64, 64)), nn.Linear(64, 64)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(tokens + self.table)


@pytest.mark.parametrize("precision", ["int8", "palette8", "palette4"])
def test_a_table_of_positions_stays_in_float16(precision: str, tmp_path: Path) -> None:
    import coremltools as ct

    with quiet_converters():
        module = torch.export.export(Positions().eval(), (torch.zeros(1, 64, 64),)).run_decompositions({})
        given = [ct.TensorType(name="tokens", shape=(1, 64, 64))]
        model = ct.convert(module, inputs=given, minimum_deployment_target=ct.target.iOS16, skip_model_load=True)
    compress_weights(model, find_precision("coreml", precision)).save(str(tmp_path / "out.mlpackage"))
    operations = read_program(tmp_path / "out.mlpackage").main.operations
    reduced = [operation for operation in operations if operation.type.startswith("constexpr")]
    assert len(reduced) == 1
    table = next(operation for operation in operations if "table" in operation.name)
    assert table.type == "const"
