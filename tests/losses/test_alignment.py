"""Progressively softened instance alignment."""

import math

import pytest
import torch
from torch.nn import functional as F

from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.losses.alignment import alignment_loss, alignment_targets, phase_at


def unit_rows(seed, count=6, dim=5):
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1)


def test_orthogonal_pairs_give_the_value_computed_by_hand():
    """Cosines are the identity: each row is −log(e² / (e² + 1))."""
    rows = torch.eye(2)
    assert alignment_loss(rows, rows, 2.0).item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_smoothed_labels_by_hand():
    expected = torch.tensor([[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]])
    torch.testing.assert_close(alignment_targets(torch.randn(3, 3), "smoothed", 0.3), expected)


def test_weighted_labels_by_hand():
    """The row's negatives have similarities ln 1 and ln 3, so they share α = 0.2 as 1 : 3."""
    similarities = torch.tensor([[9.0, 0.0, math.log(3)], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    targets = alignment_targets(similarities, "weighted", 0.2)
    torch.testing.assert_close(targets[0], torch.tensor([0.8, 0.05, 0.15]))


@pytest.mark.parametrize("phase", ["one-hot", "smoothed", "weighted"])
def test_labels_of_a_row_sum_to_one(phase):
    torch.testing.assert_close(alignment_targets(torch.randn(7, 7), phase, 0.2).sum(dim=1), torch.ones(7))


@pytest.mark.parametrize("phase", ["smoothed", "weighted"])
def test_without_alpha_every_phase_is_info_nce(phase):
    images, texts = unit_rows(0), unit_rows(1)
    plain = alignment_loss(images, texts, 14.0)
    torch.testing.assert_close(alignment_loss(images, texts, 14.0, phase=phase, alpha=0.0), plain)


def test_equal_similarities_make_weighting_the_same_as_smoothing():
    images = F.normalize(torch.ones(4, 3), dim=-1)
    weighted, smoothed = (alignment_loss(images, images, 5.0, phase=phase) for phase in ("weighted", "smoothed"))
    torch.testing.assert_close(weighted, smoothed)


@pytest.mark.parametrize("phase", ["one-hot", "smoothed", "weighted"])
def test_both_directions_count_alike(phase):
    images, texts = unit_rows(2), unit_rows(3)
    torch.testing.assert_close(
        alignment_loss(images, texts, 8.0, phase=phase), alignment_loss(texts, images, 8.0, phase=phase)
    )


def test_weights_of_negatives_get_no_gradient():
    """The labels are constant: the loss is linear in them, so its gradient is softmax − labels."""
    similarities = torch.randn(4, 4, requires_grad=True)
    assert not alignment_targets(similarities, "weighted", 0.2).requires_grad


@pytest.mark.parametrize(
    ("done", "phase"), [(0, "one-hot"), (0.32, "one-hot"), (0.33, "smoothed"), (0.65, "smoothed"), (0.66, "weighted")]
)
def test_phases_begin_at_their_shares(done, phase):
    assert phase_at(done) == phase


def test_phases_out_of_order_are_refused():
    with pytest.raises(UsageError, match="0.7 and 0.2"):
        phase_at(0.5, first_share=0.7, second_share=0.2)


def test_a_batch_of_one_is_refused():
    with pytest.raises(ShapeError, match="no negatives"):
        alignment_loss(torch.ones(1, 2), torch.ones(1, 2), 1.0)


def test_different_shapes_are_refused():
    with pytest.raises(ShapeError):
        alignment_loss(torch.ones(3, 2), torch.ones(2, 2), 1.0)


def test_alpha_out_of_range_is_refused():
    with pytest.raises(UsageError, match="1.5"):
        alignment_targets(torch.eye(3), "smoothed", 1.5)


def test_images_with_the_same_caption_share_the_label():
    """Two of three captions are equal: by hand, the targets are ½ ½ 0, ½ ½ 0, 0 0 1."""
    generator = torch.Generator().manual_seed(0)
    images = F.normalize(torch.randn(3, 4, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(2, 4, generator=generator), dim=-1)[[0, 0, 1]]
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    logits = 5.0 * images @ texts.T
    by_image, by_text = logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)
    expected = 0.0
    for scores in (by_image, by_text):
        expected -= float(0.5 * (scores[0, 0] + scores[0, 1] + scores[1, 0] + scores[1, 1]) + scores[2, 2]) / 3
    assert float(alignment_loss(images, texts, 5.0, same=same)) == pytest.approx(expected / 2, abs=1e-6)


def test_different_captions_give_plain_infonce():
    images, texts = torch.eye(3), torch.eye(3)
    same = torch.eye(3, dtype=torch.bool)
    assert float(alignment_loss(images, texts, 2.0, same=same)) == pytest.approx(
        float(alignment_loss(images, texts, 2.0)), abs=1e-6
    )


def test_hard_negatives_stand_among_the_texts_of_their_own_image_only():
    """By hand with two unit axes: an image sees its text (1) and the other's (0), the first one also two negatives."""
    images = torch.eye(2)
    scale = torch.tensor(1.0, requires_grad=True)
    negatives = torch.tensor([[0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, 0])
    first = -torch.tensor([1.0, 0.0, 0.6, 0.0]).log_softmax(dim=0)[0]
    second = by_text = -torch.tensor([1.0, 0.0]).log_softmax(dim=0)[0]
    loss = alignment_loss(images, torch.eye(2), scale, negatives=negatives)
    assert loss.item() == pytest.approx(float((first + second) / 2 + by_text) / 2, abs=1e-6)
    loss.backward()
    assert scale.grad is not None
    assert scale.grad.isfinite()


def test_soft_labels_refuse_equal_captions_and_negatives():
    with pytest.raises(UsageError, match="one-hot"):
        alignment_loss(torch.eye(2), torch.eye(2), 1.0, phase="smoothed", negatives=(torch.eye(2), torch.arange(2)))


def test_weighted_negatives_are_the_hard_ones_at_clips_spread_of_cosines():
    """Cosines of CLIP spread by about 0.05; without the logit scale all 255 negatives would count alike."""
    cosines = 0.25 + 0.05 * torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    targets = alignment_targets(50.0 * cosines, "weighted", 1.0)
    negatives = targets / targets.sum(dim=1, keepdim=True)
    effective = 1.0 / negatives.square().sum(dim=1)
    assert effective.mean() <= 40


def test_loss_weights_negatives_by_scaled_similarity():
    images, texts, scale = unit_rows(4), unit_rows(5), 30.0
    logits = scale * images @ texts.T
    by_image, by_text = (F.cross_entropy(rows, alignment_targets(rows, "weighted", 0.2)) for rows in (logits, logits.T))
    torch.testing.assert_close(alignment_loss(images, texts, scale, phase="weighted"), (by_image + by_text) / 2)
