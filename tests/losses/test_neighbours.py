"""The neighbour loss against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.losses.neighbours import neighbour_loss

AXES = torch.eye(2)


def test_a_hand_computed_value() -> None:
    # The teacher's image lies on the first axis, the student's on the second; scale ln 3: 3/4 against 1/4.
    value = neighbour_loss(AXES[1:], AXES[:1], AXES, math.log(3))
    assert float(value) == pytest.approx(-0.75 * math.log(0.25) - 0.25 * math.log(0.75), rel=1e-6)


def test_an_image_is_not_its_own_neighbour() -> None:
    three = torch.eye(3)
    same = torch.eye(3, dtype=torch.bool)
    # With itself hidden, each image finds the two others equally far.
    assert float(neighbour_loss(three, three, three, 50.0, same)) == pytest.approx(math.log(2), rel=1e-5)


def test_an_image_without_any_other_is_left_out() -> None:
    assert float(neighbour_loss(AXES[:1], AXES[:1], AXES[:1], 50.0, torch.ones(1, 1, dtype=torch.bool))) == 0.0


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    neighbour_loss(student, teacher, teacher, 5.0).backward()
    assert student.grad is not None and teacher.grad is None


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="do not fit together"):
        neighbour_loss(torch.ones(2, 3), torch.ones(3, 3), torch.ones(4, 3), 1.0)
    with pytest.raises(ShapeError, match="do not fit together"):
        neighbour_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(4, 3), 1.0, torch.ones(2, 3, dtype=torch.bool))
