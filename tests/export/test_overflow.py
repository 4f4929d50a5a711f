"""float16 that overflows: found by executing the program, cured by float32 where it is needed, and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mobileclip_kit.export.exporter import export_model
from mobileclip_kit.export.overflow import find_overflows
from mobileclip_kit.export.samples import draw_pictures
from mobileclip_kit.networks.model import Model, load_model
from tests.exports import IMAGE


@pytest.fixture(scope="module")
def loud(tiny_model_folder: Path) -> Model:
    """The tiny image tower with hidden activations beyond 65,504 that the next layer scales back."""
    model = load_model(tiny_model_folder)
    block = model.network.visual.transformer.resblocks[0].mlp
    with torch.no_grad():
        block.c_fc.weight *= 1e6
        block.c_proj.weight /= 1e6
    model.spec = replace(model.spec, text=None)
    return model


def test_operators_beyond_float16_stay_in_float32(loud: Model, tmp_path: Path) -> None:
    export = export_model(loud, tmp_path / "out", format="coreml", precision="fp16")
    tower = export.towers["image"]
    assert export.rows()[0]["cosine_min"] > 0.999
    assert 2 <= len(tower.kept_in_float) <= 6
    assert any("linear" in name for name in tower.kept_in_float)
    assert any("gelu" in name for name in tower.kept_in_float)
    assert tower.notes["float_costs_bytes"] > 0


def test_a_program_within_range_has_none(coreml_export: object) -> None:
    path = coreml_export.tower_path("image")  # type: ignore[attr-defined]
    assert find_overflows(path, [{"image": draw_pictures(IMAGE, count=1).pixels}]) == frozenset()
