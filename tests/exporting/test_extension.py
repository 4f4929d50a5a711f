"""The examples of docs/architecture.md for a new precision, encoder family and operator, carried out as they stand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from mobileclip_kit.cli.export import precision_options
from mobileclip_kit.comparison import compare_precisions
from mobileclip_kit.exporting import onnx_weights, precisions
from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.folder import Export, open_export
from mobileclip_kit.exporting.request import ExportOptions, ExportRequest
from mobileclip_kit.exporting.towers import TextTower
from mobileclip_kit.exporting.verify import verify_export
from mobileclip_kit.mil import ops_shapes, plan
from mobileclip_kit.mil.interpreter import Interpreter
from mobileclip_kit.networks import families
from mobileclip_kit.networks.model import Model, build_network, describe
from tests.distillation.test_extension import example
from tests.exports import VISION
from tests.mil.test_interpreter import op, program


@pytest.fixture
def new_precision(monkeypatch: pytest.MonkeyPatch) -> str:
    """The example's functions in their module, and its row in the table; the precision's name."""
    functions, row = example("Adding a precision", "python")
    assert len(functions.splitlines()) + len(row.splitlines()) <= 30
    scope = dict(vars(onnx_weights))
    exec(functions, scope)
    for name in scope.keys() - vars(onnx_weights).keys():
        monkeypatch.setattr(onnx_weights, name, scope[name], raising=False)
    made = eval(row, dict(vars(precisions)))
    monkeypatch.setattr(precisions, "PRECISIONS", [*precisions.PRECISIONS, made])
    return str(made.name)


def test_a_new_precision_is_written_verified_and_read(
    new_precision: str, tiny_model: Model, onnx_export: Export, tmp_path: Path
) -> None:
    ExportRequest(model="student", format="onnx", precision=new_precision).check()
    options = ExportOptions(format="onnx", precision=new_precision, base=onnx_export)
    export_model(tiny_model, tmp_path / "out", options)
    export = open_export(tmp_path / "out", check_hashes=True)
    assert (export.precision, export.towers["image"].notes["weight_bits"]) == ("bf16", 16)
    results = verify_export(export, tiny_model)
    assert all(result.passed and result.threshold == 0.99 for result in results)
    assert any(0.99 < result.cosine_min < 0.999999 for result in results)


def test_a_new_precision_has_its_flag_and_its_row_in_a_comparison(
    new_precision: str, tiny_model: Model, onnx_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = click.command()(precision_options(lambda precisions: click.echo(precisions)))
    assert command.make_context("export", ["--bf16"]).params["bf16"] is True
    wanted = [row for row in precisions.PRECISIONS if row.name in ("fp32", new_precision) and row.format == "onnx"]
    monkeypatch.setattr(precisions, "PRECISIONS", wanted)
    rows = compare_precisions(tiny_model, tmp_path / "all", ExportOptions(), formats=["onnx"], seconds=0)["rows"]
    assert {row["name"] for row in rows if row["passed"]} == {"onnx-fp32", "onnx-bf16"}


class TableOfOutputs(nn.Module):
    """A text tower that returns its vectors by name."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        return {"text_embeds": self.tower(ids)}


class NamedOutputs(CustomTextCLIP):
    """A network whose text tower returns a table."""

    def encode_text(self, ids: Tensor, normalize: bool = False) -> Tensor:
        vectors: Tensor = self.text(ids)["text_embeds"]
        return nn.functional.normalize(vectors, dim=-1) if normalize else vectors


def test_a_new_family_is_exported_like_the_others(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = example("Adding an encoder family", "python")
    made = eval(row, {**vars(families), "NamedOutputs": NamedOutputs})
    monkeypatch.setattr(families, "FAMILIES", [*families.FAMILIES, made])
    text = {"context_length": 12, "vocab_size": tiny_model.spec.require_text().vocab_size, "width": 32, "heads": 2,
            "layers": 1}  # fmt: skip
    plain: Any = build_network({"embed_dim": 16, "custom_text": True, "vision_cfg": dict(VISION), "text_cfg": text})
    network = NamedOutputs(16, dict(VISION), dict(text)).eval()
    network.load_state_dict(plain.state_dict())
    network.text = TableOfOutputs(network.text)
    config = {"model_cfg": {"embed_dim": 16, "text_cfg": text}, "preprocess_cfg": {"size": 32}}
    spec = replace(describe("named", network, config), text=tiny_model.spec.text)
    ids = torch.randint(1, 500, (3, 12))
    ids[:, -1] = spec.require_text().vocab_size - 1
    with torch.no_grad():
        found = TextTower(Model(network, config, spec, tiny_model.tokenizer_file))(ids)
        torch.testing.assert_close(found, network.encode_text(ids, normalize=True), atol=2e-6, rtol=0)


def test_a_new_operator_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    function, row, _ = example("Adding a MIL operator", "python")
    scope = dict(vars(ops_shapes))
    exec(function, scope)
    for name, added in eval(row, scope).items():
        monkeypatch.setitem(plan.OPS, name, added)
        monkeypatch.setitem(ops_shapes.SHAPES, name, added)
    image = np.random.default_rng(0).random((1, 2, 5, 6)).astype(np.float32)
    cut = op(
        "crop", "cut", (1, 2, 2, 3), "fp32", x=plan.Ref("x"), crop_height=np.array([1, 2]), crop_width=np.array([0, 3])
    )
    found = Interpreter(program(cut, shape=image.shape)).run({"x": image})["cut"]
    assert np.array_equal(found, image[..., 1:-2, :-3])
