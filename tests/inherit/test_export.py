"""Pruned models leave for the phone like any other: uneven heads and widths in ONNX and in Core ML, verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mobileclip_kit.exporting.exporter import export_model
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.inherit.layout import layout_of
from mobileclip_kit.inherit.prune import prune
from mobileclip_kit.networks.model import Model, build_network, describe
from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges
from tests.exports import WORDS, tiny_config
from tests.inherit.networks import uneven_choice


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A ViT and a text transformer of two layers, each layer with its own number of heads and neurons."""
    merges, rows = trim_merges(WORDS, Tokenizer(standard_merges()))
    config = tiny_config(len(rows))
    config["model_cfg"]["vision_cfg"] |= {"layers": 2, "head_width": 8}
    config["model_cfg"]["text_cfg"] |= {"layers": 2, "heads": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network: Any = build_network(config["model_cfg"])
    layout = layout_of(network)
    small, smaller = prune(network, config, layout, uneven_choice(layout, seed=1))
    assert len(set(smaller["model_cfg"]["vision_cfg"]["kept"]["heads"])) == 2
    path = tmp_path_factory.mktemp("merges") / "merges.txt"
    write_merges(path, merges)
    return Model(small, smaller, describe("pruned", small, smaller), path)


@pytest.mark.parametrize(("format", "precision"), [("onnx", "fp32"), ("coreml", "fp16")])
def test_pruned_model_is_exported_and_verified(pruned: Model, tmp_path: Path, format: Any, precision: Any) -> None:
    export = export_model(pruned, tmp_path / "export", ExportOptions(format=format, precision=precision))
    assert set(export.towers) == {"image", "text"}
    for tower in export.towers.values():
        assert tower.verification
        assert all(result.passed and result.cosine_min > 0.999 for result in tower.verification)
