"""A tiny dual encoder and its exports, each made once for all tests: conversion is what costs seconds.

Torch and the converters are imported by the fixtures, not here, since every test run reads this file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mobileclip_kit.spec import MERGES_FILE, ImageSpec

if TYPE_CHECKING:
    from mobileclip_kit.exporting.folder import Export
    from mobileclip_kit.networks.model import Model

WORDS = ("a photo of a dog", "two cats on a table", "the word bicycle on a street sign", "a red house by the lake")
IMAGE = ImageSpec(height=32, width=32, mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3))
VISION: dict[str, Any] = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}


def tiny_config(vocab_size: int) -> dict[str, Any]:
    """A ViT of one layer and a causal text tower of one."""
    text = {"context_length": 12, "vocab_size": vocab_size, "width": 32, "heads": 2, "layers": 1}
    return {"model_cfg": {"embed_dim": 16, "vision_cfg": dict(VISION), "text_cfg": text},
            "preprocess_cfg": IMAGE.to_open_clip()}  # fmt: skip


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk, with a vocabulary trimmed to WORDS."""
    import torch

    from mobileclip_kit.networks.model import build_network, describe, save_model
    from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    merges, rows = trim_merges(WORDS, Tokenizer(standard_merges()))
    config = tiny_config(len(rows))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_network(config["model_cfg"])
    write_merges(folder / MERGES_FILE, merges)
    save_model(folder, network, config, describe("tiny", network, config, licence="MIT"), None)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_model_folder: Path) -> Model:
    """The tiny model in memory; tests leave it as it is."""
    from mobileclip_kit.networks.model import load_model

    return load_model(tiny_model_folder)


@pytest.fixture(scope="session")
def onnx_export(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """float32 ONNX."""
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.request import ExportOptions

    return _once(
        tmp_path_factory,
        "onnx",
        lambda place: export_model(tiny_model, place, ExportOptions(format="onnx", precision="fp32")),
    )


@pytest.fixture(scope="session")
def coreml_export(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """float16 Core ML."""
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.request import ExportOptions

    return _once(
        tmp_path_factory,
        "coreml",
        lambda place: export_model(tiny_model, place, ExportOptions(format="coreml", precision="fp16")),
    )


@pytest.fixture(scope="session")
def int8_export(tiny_model: Model, onnx_export: Export, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """int8 ONNX, quantised from the float32 one."""
    from mobileclip_kit.exporting.samples import draw_images

    def make(place: Path) -> None:
        from mobileclip_kit.exporting.exporter import export_model
        from mobileclip_kit.exporting.request import ExportOptions

        calibration = draw_images(IMAGE, count=32, seed=7)
        export_model(
            tiny_model, place, ExportOptions(format="onnx", precision="int8", calibration=calibration, base=onnx_export)
        )

    return _once(tmp_path_factory, "int8", make)


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Export:
    """Make an export in the first process that wants it; the test run's other processes wait and open it."""
    from mobileclip_kit.exporting.folder import open_export

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / f"{name}-export.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / f"{name}-export").exists():
            make(shared / f"{name}-export")
    return open_export(shared / f"{name}-export")
