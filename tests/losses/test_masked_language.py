"""Masked language modelling helped by the image."""

import math

import pytest
import torch

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.losses.masked_language import IGNORED, mask_tokens, masked_language_loss

VOCABULARY, MASK = 50, 50


def masked(ids, is_word, seed=0, share=0.15):
    generator = torch.Generator().manual_seed(seed)
    return mask_tokens(ids, is_word, vocab_size=VOCABULARY, mask_id=MASK, generator=generator, share=share)


def test_flat_logits_cost_the_logarithm_of_the_vocabulary():
    labels = torch.tensor([[IGNORED, 3, IGNORED]])
    flat = torch.zeros(1, 3, 8)
    assert masked_language_loss(flat, flat, labels).item() == pytest.approx(math.log(8))


def test_both_streams_count_half():
    labels = torch.tensor([[2]])
    flat, sure = torch.zeros(1, 1, 4), torch.tensor([[[0.0, 0.0, 100.0, 0.0]]])
    assert masked_language_loss(flat, sure, labels).item() == pytest.approx(math.log(4) / 2)
    assert masked_language_loss(sure, flat, labels).item() == pytest.approx(math.log(4) / 2)


def test_tokens_that_are_not_to_be_predicted_do_not_count():
    labels = torch.tensor([[1, IGNORED]])
    logits = torch.randn(1, 2, 4)
    other = logits.clone()
    other[0, 1] += 9
    torch.testing.assert_close(masked_language_loss(logits, logits, labels), masked_language_loss(other, other, labels))


def test_nothing_to_predict_costs_nothing():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    assert masked_language_loss(logits, logits, torch.full((2, 3), IGNORED)).item() == 0


def test_only_words_are_chosen_and_labels_hold_the_originals():
    ids = torch.randint(0, VOCABULARY, (200, 12))
    is_word = torch.zeros(200, 12, dtype=torch.bool)
    is_word[:, 1:7] = True
    changed, labels = masked(ids, is_word)
    chosen = labels != IGNORED
    assert not (chosen & ~is_word).any()
    assert (labels[chosen] == ids[chosen]).all()
    assert (changed[~chosen] == ids[~chosen]).all()


def test_shares_are_berts():
    ids = torch.randint(0, VOCABULARY, (400, 100))
    changed, labels = masked(ids, torch.ones_like(ids, dtype=torch.bool))
    chosen = labels != IGNORED
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (changed[chosen] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.02)
    kept = (changed[chosen] == ids[chosen]).float().mean().item()
    # A random token is the original one time in the vocabulary's size.
    assert kept == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.02)


def test_every_caption_with_words_has_one_masked():
    ids = torch.randint(0, VOCABULARY, (300, 5))
    is_word = torch.zeros(300, 5, dtype=torch.bool)
    is_word[:200, 1] = True
    _, labels = masked(ids, is_word)
    assert (labels[:200, 1] != IGNORED).all()
    assert (labels[200:] == IGNORED).all()


def test_equal_seeds_mask_alike():
    ids = torch.randint(0, VOCABULARY, (20, 9))
    words = torch.ones_like(ids, dtype=torch.bool)
    for first, second in zip(masked(ids, words, seed=3), masked(ids, words, seed=3), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(masked(ids, words, seed=3)[0], masked(ids, words, seed=4)[0])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError):
        masked_language_loss(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ShapeError):
        masked(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))
