"""Augmentation: identity by default, a pure function of (seed, epoch, image), exact where it can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobileclip_kit.data.images import identities_of, random_numbers
from mobileclip_kit.distillation.augment import augment
from mobileclip_kit.distillation.randaugment import OPERATIONS
from mobileclip_kit.distillation.tables import Augmentation
from mobileclip_kit.errors import UsageError

NAMES = identities_of(f"image {number}" for number in range(6))
STRONG = Augmentation(
    crop_scale=(0.3, 0.9), crop_ratio=(0.75, 1.33), flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, grey=0.2,
    hue=0.1, blur=0.5, operations=2,
)  # fmt: skip


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_default_changes_nothing() -> None:
    given = images()
    assert augment(given, NAMES, Augmentation(), seed=1, epoch=2) is given
    assert Augmentation().changes_nothing
    assert not STRONG.changes_nothing


def test_same_arguments_give_the_same_images() -> None:
    one = augment(images(), NAMES, STRONG, seed=1, epoch=2)
    assert torch.equal(one, augment(images(), NAMES, STRONG, seed=1, epoch=2))
    assert not torch.equal(one, augment(images(), NAMES, STRONG, seed=1, epoch=3))
    assert not torch.equal(one, augment(images(), NAMES, STRONG, seed=2, epoch=2))


def test_an_image_does_not_depend_on_its_batch() -> None:
    whole = augment(images(), NAMES, STRONG, seed=1, epoch=2)
    order = [4, 1, 5]
    part = augment(images()[order], NAMES[order], STRONG, seed=1, epoch=2)
    torch.testing.assert_close(part, whole[order], rtol=0, atol=1e-6)


def test_result_stays_in_range() -> None:
    varied = augment(images(), NAMES, STRONG, seed=1, epoch=2)
    assert varied.shape == (6, 3, 16, 16)
    assert 0.0 <= float(varied.min()) and float(varied.max()) <= 1.0


def test_certain_flip_mirrors_exactly() -> None:
    flipped = augment(images(), NAMES, Augmentation(flip=1.0), seed=0, epoch=0)
    torch.testing.assert_close(flipped, images().flip(3), rtol=0, atol=1e-5)


def test_certain_grey_equals_the_weighted_sum() -> None:
    grey = augment(images(), NAMES, Augmentation(grey=1.0), seed=0, epoch=0)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close(grey, (images() * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1))


def test_crops_keep_a_linear_ramp_linear() -> None:
    """A crop of a ramp is a ramp whose slope is the crop's width, within the crop_scale asked for."""
    ramp = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(6, 3, 64, 64).contiguous()
    cropped = augment(ramp, NAMES, Augmentation(crop_scale=(0.25, 0.49)), seed=3, epoch=0)
    slopes = (cropped[:, 0, 32, 1:] - cropped[:, 0, 32, :-1]) * 63
    inner = slopes[:, 1:-1]
    torch.testing.assert_close(inner, inner.mean(1, keepdim=True).expand_as(inner), rtol=0, atol=1e-3)
    assert 0.5 - 1e-3 <= float(inner.min()) and float(inner.max()) <= 0.7 + 1e-3


def test_turned_colours_keep_their_brightness_and_leave_greys_alone() -> None:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    given = 0.45 + 0.1 * images()  # far from the ends of the range
    turned = augment(given, NAMES, Augmentation(hue=0.5), seed=0, epoch=0)
    assert (turned - given).abs().amax(dim=(1, 2, 3)).min() > 0.01
    torch.testing.assert_close((turned * weights).sum(1), (given * weights).sum(1), rtol=0, atol=1e-5)
    grey = given[:, :1].expand(-1, 3, -1, -1).contiguous()
    torch.testing.assert_close(augment(grey, NAMES, Augmentation(hue=0.5), seed=0, epoch=0), grey, rtol=0, atol=1e-5)


def test_blur_is_a_gaussian_of_the_width_that_simclr_has() -> None:
    """A point becomes a bell whose variance is the square of 0.1…2 pixels, and whose sum stays."""
    names = identities_of(map(str, range(30)))
    point = torch.zeros(30, 3, 224, 224)
    point[:, :, 100, 120] = 1.0
    bells = augment(point, names, Augmentation(blur=1.0), seed=0, epoch=0)[:, 0]
    torch.testing.assert_close(bells.sum((1, 2)), torch.ones(30), rtol=0, atol=1e-4)
    columns, rows = bells.sum(1), bells.sum(2)
    across = (columns * (torch.arange(224) - 120) ** 2).sum(1).sqrt()
    torch.testing.assert_close(across, (rows * (torch.arange(224) - 100) ** 2).sum(1).sqrt(), rtol=0, atol=1e-3)
    assert 1.6 < across.max() < 2.0 and across.min() < 0.4


def test_blur_takes_its_share_of_the_images_and_leaves_the_others_as_they_are() -> None:
    names = identities_of(map(str, range(200)))
    given = torch.rand(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    changed = (augment(given, names, Augmentation(blur=0.3), seed=0, epoch=0) - given).abs().amax(dim=(1, 2, 3)) > 1e-4
    # Three standard errors of 0.3 in 200 are 0.1; the least blurs of so small an image change nothing.
    assert 0.1 < changed.float().mean() < 0.4


@pytest.mark.parametrize("wrong", [{"hue": 0.6}, {"blur": 1.5}, {"hue": float("nan")}, {"flip": -0.1}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Augmentation(**wrong)


FULL = torch.ones(1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("identity", [[0.2, 0.4], [0.6, 0.8]]), ("brightness", [[0.38, 0.76], [1.14, 1.52]]),
     ("contrast", [[-0.07, 0.31], [0.69, 1.07]]), ("solarize", [[0.8, 0.6], [0.4, 0.2]]),
     ("posterize", [[48 / 255, 96 / 255], [144 / 255, 192 / 255]]), ("autocontrast", [[0.0, 1 / 3], [2 / 3, 1.0]]),
     ("equalize", [[0.0, 1 / 3], [2 / 3, 1.0]])],
)  # fmt: skip
def test_operations_of_randaugment_by_hand(name: str, expected: list[list[float]]) -> None:
    given = torch.tensor([[0.2, 0.4], [0.6, 0.8]]).expand(1, 3, 2, 2)
    found = OPERATIONS[name](given, FULL)
    torch.testing.assert_close(found[0, 0], torch.tensor(expected), atol=1e-5, rtol=0)


def test_geometry_of_randaugment() -> None:
    """A cross in the middle: turned by 30° and back, moved by its share of the width, sheared along one axis only."""
    given = torch.zeros(1, 3, 41, 41)
    given[..., 18:23, :] = given[..., :, 18:23] = 1.0
    turned = OPERATIONS["rotate"](OPERATIONS["rotate"](given, FULL), -FULL)
    assert (turned - given)[..., 14:27, 14:27].abs().mean() < 0.15
    moved = OPERATIONS["translate x"](given, 0.5 * FULL)[0, 0, 0]
    assert abs(float(moved.argmax()) - (18 - 0.5 * 0.453 * 41)) <= 1.0
    sheared = OPERATIONS["shear x"](given, FULL)
    torch.testing.assert_close(sheared[..., 20, :], given[..., 20, :], atol=1e-4, rtol=0)
    assert not torch.allclose(sheared[..., 0, :], given[..., 0, :])


def test_an_image_keeps_its_first_numbers_when_more_are_drawn() -> None:
    """Stored views stay valid when another kind of augmentation is added."""
    np.testing.assert_array_equal(
        random_numbers(NAMES, seed=1, epoch=2, count=10)[:, :8], random_numbers(NAMES, seed=1, epoch=2, count=8)
    )


def test_random_numbers_are_uniform_and_independent() -> None:
    numbers = random_numbers(identities_of(map(str, range(20_000))), seed=0, epoch=0, count=8)
    assert numbers.shape == (20_000, 8)
    assert 0.0 <= numbers.min() and numbers.max() < 1.0
    # Standard errors: mean 0.0020, variance 0.0005, correlation 0.0071; five of each.
    assert np.abs(numbers.mean(0) - 0.5).max() < 0.0102
    assert np.abs(numbers.var(0) - 1 / 12).max() < 0.0027
    correlation = np.corrcoef(numbers.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.036


@pytest.mark.parametrize("column", range(8))
def test_epochs_and_seeds_are_unrelated(column: int) -> None:
    names = identities_of(map(str, range(5_000)))
    base = random_numbers(names, seed=0, epoch=0, count=8)[:, column]
    for seed, epoch in ((0, 1), (1, 0), (1, 1)):
        other = random_numbers(names, seed=seed, epoch=epoch, count=8)[:, column]
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.071  # five standard errors
