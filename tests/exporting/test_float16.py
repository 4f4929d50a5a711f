"""float16 that overflows: found by executing the program, cured by float32 where it is needed, and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting import float16
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.float16 import find_imprecise, find_overflows, probe
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.samples import draw_images
from mobileclip_kit.mil.graph import Feature, Function, Operation, Program, Ref, Tensor
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
    export = export_model(loud, tmp_path / "out", ExportOptions(format="coreml", precision="fp16"))
    tower = export.towers["image"]
    assert export.rows()[0]["cosine_min"] > 0.999
    assert 2 <= len(tower.kept_in_float) <= 6
    assert any("linear" in name for name in tower.kept_in_float)
    assert any("gelu" in name for name in tower.kept_in_float)
    assert tower.notes["float_costs_bytes"] > 0


def test_a_program_within_range_has_none(coreml_export: object) -> None:
    path = coreml_export.tower_path("image")  # type: ignore[attr-defined]
    assert find_overflows(probe(path, [{"image": draw_images(IMAGE, count=1).pixels}])) == frozenset()


def far_away() -> Program:
    """``(2x + 3000) − 3000``, then a scale: the sum keeps three digits in float16, the others all of theirs."""

    def operation(kind: str, name: str, x: str, y: float) -> Operation:
        return Operation(kind, name, {"x": Ref(x), "y": np.float16(y)}, (Tensor(name, "fp16", (1, 8)),), {})

    operations = (
        operation("mul", "scaled_cast_fp16", "x", 2.0),
        operation("add", "shifted_cast_fp16", "scaled_cast_fp16", 3000.0),
        operation("sub", "back_cast_fp16", "shifted_cast_fp16", 3000.0),
        operation("mul", "embedding", "back_cast_fp16", 0.5),
    )
    main = Function((Tensor("x", "fp16", (1, 8)),), operations, ("embedding",), "CoreML7")
    return Program(Path("far.mlpackage"), {"main": main}, "main", (Feature("x"),), (Feature("embedding"),), 7, {})


def test_the_rounding_that_costs_the_cosine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float16, "read_program", lambda path: far_away())
    rows = [{"x": np.random.default_rng(0).standard_normal((1, 8)).astype(np.float32)}]
    probed = probe(Path("far.mlpackage"), rows)
    assert find_imprecise(probed, least_cosine=0.9999) == {"shifted"}
    assert find_imprecise(probed, least_cosine=0.5) == frozenset()


def test_a_cosine_beyond_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float16, "read_program", lambda path: far_away())
    rows = [{"x": np.full((1, 8), 1e-3, np.float32)}]
    with pytest.raises(ExportError, match="No choice of float32 operators brings far.mlpackage"):
        find_imprecise(probe(Path("far.mlpackage"), rows), least_cosine=1.1)
