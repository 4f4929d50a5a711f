"""Whole towers: a small open_clip model, converted as an export converts it, against torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobileclip_kit.mil.interpreter import Arithmetic, Interpreter, divergences
from mobileclip_kit.mil.program import Program, read_program

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
# float16 rounds every result to 11 bits; float32 mode starts from weights that were rounded so once.
TOLERANCES: dict[Arithmetic, float] = {"float32": 0.02, "float16": 0.05}


class ImageTower(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.network.encode_image((image - self.mean) / self.std), dim=-1)


class TextTower(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.network.encode_text(text), dim=-1)


def _network(vision: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    text = {"context_length": 16, "vocab_size": 64, "width": 64, "heads": 2, "layers": 2}
    network = open_clip.model.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text).eval()
    for parameter in network.parameters():  # fresh weights are too small to tell images apart
        nn.init.normal_(parameter, std=0.15) if parameter.ndim > 1 else None
    return network


VIT = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32}
RESNET = {"image_size": 64, "layers": (1, 1, 1, 1), "width": 16}
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
TOKENS = np.array([[62, 5, 9, 63] + [0] * 12, [62, *range(1, 14), 63, 0], [62, 63] + [0] * 14], np.int32)


@pytest.fixture(autouse=True)
def slow_attention() -> Iterator[None]:
    """The fused attention of torch cannot be traced."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


def _trace(tower: nn.Module, example: torch.Tensor) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit.trace itself
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # shapes become constants, as wanted
        return torch.jit.trace(tower, example, check_trace=False)


def _image_program(ct: Any, convert: Any, tower: nn.Module, size: int, **how: Any) -> Program:
    shape = (1, 3, size, size)
    image = ct.ImageType(name="image", shape=shape, scale=1 / 255, color_layout=ct.colorlayout.RGB)
    return read_program(
        convert(_trace(tower, torch.rand(shape)), inputs=[image], outputs=[ct.TensorType(name="embedding")],
                precision="FLOAT16", optimize=True, **how)
    )  # fmt: skip


def _compare(program: Program, name: str, inputs: list[Any], expected: Any) -> None:
    for arithmetic, tolerance in TOLERANCES.items():
        interpreter = Interpreter(program, arithmetic=arithmetic)
        rows = np.concatenate([interpreter.run({name: value})["embedding"] for value in inputs])
        # Fresh networks give all images nearly the same vector: what counts is the error beside their differences.
        differences = np.linalg.norm(expected - expected.mean(0))
        assert np.linalg.norm(rows - expected) / differences < tolerance
        assert interpreter.problems == ()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("vision", "size", "target"), [(VIT, 32, "iOS16"), (VIT, 32, "iOS18"), (RESNET, 64, "iOS16")])
def test_image_tower_equals_torch(ct: Any, convert: Any, vision: Any, size: int, target: str) -> None:
    tower = ImageTower(_network(vision)).eval()
    pixels = np.ascontiguousarray(PIXELS[:, :size, :size])
    with torch.no_grad():
        expected = tower(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).numpy()
    program = _image_program(ct, convert, tower, size, target=target)
    _compare(program, "image", list(pixels), expected)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_text_tower_equals_torch(ct: Any, convert: Any) -> None:
    tower = TextTower(_network(VIT)).eval()
    with torch.no_grad():
        expected = tower(torch.from_numpy(TOKENS).long()).numpy()
    source = _trace(tower, torch.from_numpy(TOKENS[:1]))
    tokens = ct.TensorType(name="text", shape=(1, 16), dtype=np.int32)
    path: Path = convert(source, inputs=[tokens], outputs=[ct.TensorType(name="embedding")], precision="FLOAT16",
                         optimize=True)  # fmt: skip
    _compare(read_program(path), "text", [row[None] for row in TOKENS], expected)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exploding_layer_is_found_by_name(ct: Any, convert: Any) -> None:
    """A multilayer perceptron whose first matrix is scaled up leaves float16; that very linear is named."""
    network = _network(VIT)
    with torch.no_grad():
        network.visual.transformer.resblocks[1].mlp.c_fc.weight *= 1e5
    program = _image_program(ct, convert, ImageTower(network).eval(), 32)
    interpreter = Interpreter(program)
    interpreter.run({"image": PIXELS[0, :32, :32]})
    first = interpreter.problems[0]
    assert (first.type, first.problem) == ("linear", "overflow") and first.largest > 65504
    found = divergences(program, {"image": PIXELS[0, :32, :32]})
    assert next(each.operation for each in found if each.relative_error > 0.5) == first.operation
