"""KLD + L1: values by hand, torch's own divergence as the reference, its limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.losses.feature import cosine_loss, kld_l1_loss, mse_loss


def test_value_by_hand() -> None:
    """Teacher (ln 3, 0) at T = 1 is the distribution (¾, ¼), s = (0, 0) is (½, ½)."""
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    expected = divergence + math.log(3) / 2
    assert float(kld_l1_loss(student, teacher, 1.0)) == pytest.approx(expected, abs=1e-6)


def test_value_by_hand_at_temperature_two() -> None:
    """Teacher (2 ln 3, 0) at T = 2 is (¾, ¼) again; T² = 4."""
    teacher, student = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(kld_l1_loss(student, teacher, 2.0)) == pytest.approx(4 * divergence + math.log(3), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_equals_torchs_divergence(temperature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 7, 33, generator=generator, dtype=torch.float64) * 3
    reference = temperature**2 * F.kl_div(
        (student / temperature).log_softmax(1), (teacher / temperature).softmax(1), reduction="batchmean"
    ) + F.l1_loss(student, teacher)
    assert float(kld_l1_loss(student, teacher, temperature)) == pytest.approx(float(reference), rel=1e-12)


def test_is_zero_for_equal_vectors_only() -> None:
    vectors = torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
    assert float(kld_l1_loss(vectors, vectors, 2.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(kld_l1_loss(vectors + 0.1, vectors, 2.0)) == pytest.approx(0.1, abs=1e-5)


def test_divergence_vanishes_on_unit_vectors() -> None:
    """Why unit vectors are scaled first: at T = 4 their distributions are all but uniform."""
    one, other = F.normalize(torch.randn(2, 64, 512, generator=torch.Generator().manual_seed(3)), dim=-1)
    flat = kld_l1_loss(one, other, 4.0) - (one - other).abs().mean()
    scaled = kld_l1_loss(10 * one, 10 * other, 4.0) - (10 * one - 10 * other).abs().mean()
    assert float(flat) < 3e-3
    assert float(scaled) > 50 * float(flat)


def test_teacher_gets_no_gradient() -> None:
    student, teacher = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(4)).unbind()
    student.requires_grad_()
    teacher.requires_grad_()
    kld_l1_loss(student, teacher, 2.0).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_wrong_shapes_and_temperatures_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(2, 4\)"):
        kld_l1_loss(torch.zeros(2, 3), torch.zeros(2, 4), 1.0)
    with pytest.raises(UsageError, match="temperature is 0"):
        kld_l1_loss(torch.zeros(2, 3), torch.zeros(2, 3), 0.0)


def test_mean_squared_difference_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])
    assert float(mse_loss(student, teacher)) == 2.0


def test_cosine_distance_by_hand_whatever_the_lengths() -> None:
    student, teacher = torch.tensor([[5.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    assert float(cosine_loss(student, teacher)) == pytest.approx(0.5)


@pytest.mark.parametrize("loss", [mse_loss, cosine_loss])
def test_vectors_of_other_shapes_are_refused(loss: Any) -> None:
    with pytest.raises(ShapeError, match="both must be"):
        loss(torch.ones(2, 3), torch.ones(3, 3))
