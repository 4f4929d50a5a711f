from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError, ShapeError
from mobileclip_kit.explain.grad_cam import grad_cam
from mobileclip_kit.images import normalize
from mobileclip_kit.networks.model import Model, describe
from mobileclip_kit.networks.students import build_student, student_config
from mobileclip_kit.spec import ImageSpec, ModelSpec

# Sums of a few thousand float32 products.
TOLERANCE = 1e-4
# A student for each kind of tower: class token, Swin, ConvTower, HybridTower, CLIP's ResNet, timm's convolutional ones.
KINDS = ("vit-t4-64", "swin-nano-64", "conv-s", "hybrid-s", "resnet-w8", "mobilenetv2")


def random_model(name: str, dim: int = 16) -> Model:
    config = student_config(name, embedding_dim=dim, image=ImageSpec())
    network = build_student(config, seed=0)
    with torch.no_grad():
        for parameter in network.visual.parameters():
            # CLIP's ResNet starts with residual branches that give nothing.
            if parameter.ndim == 1 and not parameter.any():
                parameter.uniform_(0.2, 1.0, generator=torch.Generator().manual_seed(1))
    return Model(network, config, describe(name, network, config))


def noise(model: Model, count: int) -> np.ndarray:
    spec = model.spec.require_image()
    return np.random.default_rng(0).integers(0, 256, (count, spec.height, spec.width, 3), dtype=np.uint8)


class AveragingTrunk(nn.Module):
    """The grid is the image's colours in blocks of 4 × 4 pixels; the head averages it."""

    def forward_features(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, 4)

    def forward_head(self, grid: Tensor) -> Tensor:
        return grid.mean(dim=(2, 3))


class AveragingTower(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.trunk = AveragingTrunk()
        self.head = nn.Linear(3, len(weight), bias=False)
        self.head.weight = nn.Parameter(weight)


class OneTower(CustomTextCLIP):
    """A network of open_clip's class without parts; tests give it an image tower."""

    def __init__(self) -> None:
        nn.Module.__init__(self)


def averaging_model(weight: np.ndarray) -> Model:
    network = OneTower()
    network.visual = AveragingTower(torch.from_numpy(weight).float())
    image = ImageSpec(height=16, width=16, mean=(0, 0, 0), std=(1, 1, 1))
    return Model(network, {}, ModelSpec(name="averaging", embedding_dim=len(weight), image=image, text=None))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_tower_gives_heat_from_0_to_1(name: str) -> None:
    model = random_model(name)
    maps = grad_cam(model, noise(model, 2), np.random.default_rng(1).standard_normal((3, 16)))
    side = model.spec.require_image().height
    assert maps.heat.shape == (2, 3, side, side) and maps.cosines.shape == (2, 3)
    assert maps.heat.min() >= 0
    peaks = maps.heat.max(axis=(2, 3))
    assert np.all(np.isclose(peaks, 1, atol=TOLERANCE) | (peaks == 0)) and peaks.any()


@pytest.mark.parametrize("name", KINDS)
def test_cosines_are_those_of_the_plain_model(name: str) -> None:
    """The tower is cut open, but computes what it always does."""
    model = random_model(name)
    pixels, texts = noise(model, 2), np.eye(16, dtype=np.float32)[:2]
    with torch.no_grad():
        vectors = model.network.encode_image(torch.from_numpy(normalize(pixels, model.spec.require_image())))
    expected = nn.functional.normalize(vectors, dim=-1)[:, :2].numpy()
    np.testing.assert_allclose(grad_cam(model, pixels, 3 * texts).cosines, expected, atol=TOLERANCE)


def test_heat_equals_the_formula_worked_out_by_hand() -> None:
    """For an averaging head: d cos / d channel = W' (t - cos v) / |Wm|, the same at every place."""
    rng = np.random.default_rng(0)
    weight, text = rng.standard_normal((5, 3)), rng.standard_normal(5)
    model = averaging_model(weight)
    pixels = rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    grid = pixels[0].reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)) / 255
    vector = weight @ grid.mean(axis=(0, 1))
    length = np.linalg.norm(vector)
    text = text / np.linalg.norm(text)
    cosine = text @ vector / length
    channels = weight.T @ (text - cosine * vector / length) / length
    coarse = np.maximum(grid @ channels, 0)
    found = grad_cam(model, pixels, text[None])
    assert found.cosines[0, 0] == pytest.approx(cosine, abs=TOLERANCE)
    # Bilinear interpolation by four: a block's two middle pixels lie an eighth of a block beside its centre.
    middles = found.heat[0, 0].reshape(4, 4, 4, 4)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    inner = middles[1:3, 1:3] / middles[1, 1]
    kernel = np.array([1, 14, 1]) / 16
    padded = np.pad(coarse, 1, mode="edge")
    smooth = np.array([[kernel @ padded[y : y + 3, x : x + 3] @ kernel for x in range(4)] for y in range(4)])
    np.testing.assert_allclose(inner, smooth[1:3, 1:3] / smooth[1, 1], rtol=1e-3)


def test_heat_lies_where_the_colour_is_that_the_text_asks_for() -> None:
    model = averaging_model(np.eye(3))
    pixels = np.full((1, 16, 16, 3), 40, dtype=np.uint8)
    pixels[0, :4, :4] = (255, 0, 0)
    pixels[0, 12:, 12:] = (0, 0, 255)
    heat = grad_cam(model, pixels, np.eye(3)).heat[0]
    assert np.unravel_index(heat[0].argmax(), (16, 16))[0] < 4
    assert np.unravel_index(heat[2].argmax(), (16, 16))[0] >= 12
    assert heat[0, 12:, 12:].max() < 0.1


def test_an_image_has_the_same_heat_alone_and_among_others() -> None:
    model = random_model("conv-s")
    pixels, texts = noise(model, 20), np.random.default_rng(2).standard_normal((2, 16))
    together = grad_cam(model, pixels, texts)
    np.testing.assert_allclose(together.heat[17:18], grad_cam(model, pixels[17:18], texts).heat, atol=1e-3)


def test_the_model_stays_as_it_was() -> None:
    model = random_model("vit-t4-64")
    before = [parameter.clone() for parameter in model.network.parameters()]
    grad_cam(model, noise(model, 1), np.eye(16)[:1])
    assert all(parameter.grad is None for parameter in model.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.network.parameters(), strict=True))
    assert not any(module._forward_hooks for module in model.network.modules())


def test_no_image_gives_no_map() -> None:
    model = random_model("conv-s")
    assert grad_cam(model, noise(model, 0), np.eye(16)[:2]).heat.shape == (0, 2, 64, 64)


@pytest.mark.parametrize(("shape", "width"), [((1, 32, 32, 3), 16), ((1, 64, 64, 3), 8)])
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, ...], width: int) -> None:
    with pytest.raises(ShapeError):
        grad_cam(random_model("conv-s"), np.zeros(shape, np.uint8), np.eye(width)[:1])


def test_an_unknown_tower_is_named() -> None:
    network: Any = OneTower()
    network.visual = nn.Flatten()
    spec = ModelSpec(name="odd", embedding_dim=4, image=ImageSpec(height=8, width=8), text=None)
    with pytest.raises(ModelError, match="odd has an image tower of the kind Flatten"):
        grad_cam(Model(network, {}, spec), np.zeros((1, 8, 8, 3), np.uint8), np.eye(4))
