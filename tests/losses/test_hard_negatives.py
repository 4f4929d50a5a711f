"""Weighted negatives against InfoNCE and hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.losses.alignment import alignment_loss
from mobileclip_kit.losses.hard_negatives import hard_negative_loss


def unit_rows(seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(5, 7, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_no_hardness_is_infonce() -> None:
    images, texts = unit_rows(0), unit_rows(1)
    torch.testing.assert_close(hard_negative_loss(images, texts, 9.0, 0.0), alignment_loss(images, texts, 9.0))


def test_a_hand_computed_value() -> None:
    # Scaled cosines of the first image: 0 to its own text, 0 and 1 to the two wrong ones; all other rows and columns
    # are computed by the same formula in plain numbers below.
    images = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    texts = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    logits = (images @ texts.T).tolist()

    def row(own: float, wrong: list[float]) -> float:
        weights = [len(wrong) * math.exp(2 * s) / sum(math.exp(2 * other) for other in wrong) for s in wrong]
        below = math.exp(own) + sum(w * math.exp(s) for w, s in zip(weights, wrong, strict=True))
        return -math.log(math.exp(own) / below)

    rows = [row(logits[i][i], [logits[i][j] for j in range(3) if j != i]) for i in range(3)]
    columns = [row(logits[i][i], [logits[j][i] for j in range(3) if j != i]) for i in range(3)]
    expected = (sum(rows) / 3 + sum(columns) / 3) / 2
    assert float(hard_negative_loss(images, texts, 1.0, 2.0)) == pytest.approx(expected, rel=1e-6)


def test_harder_negatives_cost_more() -> None:
    images, texts = unit_rows(0), unit_rows(1)
    values = [float(hard_negative_loss(images, texts, 9.0, beta)) for beta in (0.0, 0.5, 1.0)]
    assert values == sorted(values) and values[0] < values[-1]


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="two or more"):
        hard_negative_loss(torch.ones(1, 3), torch.ones(1, 3), 1.0, 0.5)
    with pytest.raises(UsageError, match="at least 0"):
        hard_negative_loss(torch.ones(2, 3), torch.ones(2, 3), 1.0, -1.0)
