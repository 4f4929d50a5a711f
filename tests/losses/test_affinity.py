"""Affinity mimicking against hand-computed values and its own relations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.losses.affinity import (
    affinity_cross_entropy,
    affinity_logits,
    affinity_loss,
    sigmoid_affinity_loss,
    teacher_affinities,
)

EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def rows(*vectors: tuple[float, ...]) -> Tensor:
    return torch.tensor(vectors)


def random_rows(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_a_hand_computed_value() -> None:
    # Two images and two texts along the axes. Student scale ln 3: each right answer has probability 3/4. Teacher
    # scale ln 9: 9/10. Both directions are alike.
    value = affinity_loss(rows(EAST, NORTH), rows(EAST, NORTH), rows(EAST, NORTH), rows(EAST, NORTH),
                          math.log(3), math.log(9))  # fmt: skip
    assert float(value) == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25), rel=1e-6)


def test_a_hand_computed_value_with_more_texts_than_images() -> None:
    # One image, two texts: over the images there is nothing to choose, so that direction costs nothing.
    value = affinity_loss(rows(EAST), rows(EAST, NORTH), rows(NORTH), rows(EAST, NORTH), math.log(3), math.log(9))
    assert float(value) == pytest.approx((-0.1 * math.log(0.75) - 0.9 * math.log(0.25)) / 2, rel=1e-6)


def test_the_least_value_is_the_teachers_entropy() -> None:
    vectors = rows(EAST, NORTH)
    value = affinity_loss(vectors, vectors, vectors, vectors, math.log(9), math.log(9))
    assert float(value) == pytest.approx(entropy(0.9), rel=1e-6)


def test_lengths_of_vectors_do_not_matter() -> None:
    images, texts = random_rows(5, 8, 0), random_rows(7, 8, 1)
    plain = affinity_loss(images, texts, texts[:5] + images, texts, 20.0, 50.0)
    longer = affinity_loss(3 * images, 0.5 * texts, 7 * (texts[:5] + images), texts, 20.0, 50.0)
    torch.testing.assert_close(plain, longer)


def test_a_teacher_may_be_wider_and_gets_no_gradient() -> None:
    student, texts = random_rows(4, 6, 0).requires_grad_(), random_rows(3, 6, 1).requires_grad_()
    teacher, teacher_texts = random_rows(4, 10, 2).requires_grad_(), random_rows(3, 10, 3).requires_grad_()
    affinity_loss(student, texts, teacher, teacher_texts, 10.0, 30.0).backward()
    assert student.grad is not None and float(student.grad.abs().sum()) > 0
    assert texts.grad is not None and float(texts.grad.abs().sum()) > 0
    assert teacher.grad is None and teacher_texts.grad is None


def test_the_scale_is_learned() -> None:
    scale = torch.tensor(10.0, requires_grad=True)
    vectors = rows(EAST, NORTH)
    affinity_loss(vectors, vectors, vectors, vectors, scale, 3.0).backward()
    assert scale.grad is not None and float(scale.grad) > 0  # the student is surer than its teacher


def test_several_teachers_are_averaged_after_the_softmax() -> None:
    axes = rows(EAST, NORTH)
    sure, unsure = (axes, axes, math.log(9)), (random_rows(1, 5, 0).expand(2, 5), random_rows(2, 5, 1), 0.0)
    mean = teacher_affinities([sure, unsure])
    expected = torch.tensor([[0.7, 0.3], [0.3, 0.7]])  # halfway between 9/10 and 1/2, not softmax of half the logits
    torch.testing.assert_close(mean.image_to_text, expected)
    torch.testing.assert_close(mean.text_to_image, expected)


def test_one_teacher_twice_is_one_teacher() -> None:
    teacher = (random_rows(4, 6, 2), random_rows(5, 6, 3), 25.0)
    logits = affinity_logits(random_rows(4, 8, 0), random_rows(5, 8, 1), 12.0)
    once = affinity_cross_entropy(logits, teacher_affinities([teacher]))
    twice = affinity_cross_entropy(logits, teacher_affinities([teacher, teacher]))
    torch.testing.assert_close(once, twice)


def test_permuting_texts_changes_nothing() -> None:
    images, texts, teacher, teacher_texts = (random_rows(n, 6, n) for n in (4, 9, 4, 9))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    value = affinity_loss(images, texts, teacher, teacher_texts, 10.0, 20.0)
    torch.testing.assert_close(value, affinity_loss(images, texts[order], teacher, teacher_texts[order], 10.0, 20.0))


@pytest.mark.parametrize(
    ("image", "text", "said"),
    [((2, 3), (2, 4), "must be"), ((2, 3, 1), (2, 3), "must be"), ((2, 3), (0, 3), "at least one")],
)
def test_vectors_that_do_not_fit_are_refused(image: tuple[int, ...], text: tuple[int, ...], said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        affinity_logits(torch.ones(image), torch.ones(text), 1.0)


def test_teachers_of_other_images_are_refused() -> None:
    with pytest.raises(ShapeError, match="same images and texts"):
        teacher_affinities([(torch.ones(2, 3), torch.ones(2, 3), 1.0), (torch.ones(3, 3), torch.ones(2, 3), 1.0)])
    with pytest.raises(ShapeError, match="The student compares"):
        affinity_cross_entropy(torch.ones(3, 2), teacher_affinities([(torch.ones(2, 3), torch.ones(2, 3), 1.0)]))


def test_sigmoid_affinity_by_hand() -> None:
    """One image, two texts: the teacher finds them true with 3/4 and 1/4, the student with 1/2 each."""
    loss = sigmoid_affinity_loss(torch.zeros(1, 2), rows((0.75, 0.25)))
    assert float(loss) == pytest.approx(2 * math.log(2))


def test_sigmoid_affinity_is_least_for_the_teachers_own_logits() -> None:
    logits = random_rows(4, 6, seed=3)
    least = sigmoid_affinity_loss(logits, logits.sigmoid())
    assert all(
        sigmoid_affinity_loss(logits + 0.1 * random_rows(4, 6, seed), logits.sigmoid()) > least for seed in (4, 5)
    )
    with pytest.raises(ShapeError, match="The student compares"):
        sigmoid_affinity_loss(logits, logits.T)
