"""Caption words as labels."""

import math

import pytest
import torch

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.losses.caption_words import caption_words_loss, inverse_document_frequency


def test_flat_logits_cost_the_logarithm_of_the_vocabulary():
    ids, is_word = torch.tensor([[1, 2, 3]]), torch.tensor([[True, True, False]])
    assert caption_words_loss(torch.zeros(1, 8), ids, is_word, torch.ones(8)).item() == pytest.approx(math.log(8))


def test_importance_shares_the_label_by_hand():
    """Pieces of weight 3 and 1: the cross-entropy is ¾ and ¼ of theirs."""
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.3]]))
    ids, is_word = torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool)
    loss = caption_words_loss(logits, ids, is_word, torch.tensor([3.0, 1.0, 9.0]))
    assert loss.item() == pytest.approx(-0.75 * math.log(0.5) - 0.25 * math.log(0.2))


def test_order_and_repetition_do_not_matter():
    logits, importance = torch.randn(1, 9), torch.rand(9)
    words = torch.ones(1, 4, dtype=torch.bool)
    one = caption_words_loss(logits, torch.tensor([[1, 2, 3, 3]]), words, importance)
    torch.testing.assert_close(one, caption_words_loss(logits, torch.tensor([[3, 1, 2, 1]]), words, importance))


def test_captions_without_important_pieces_do_not_count():
    logits, importance = torch.randn(2, 5), torch.tensor([0.0, 1, 1, 1, 1])
    ids, words = torch.tensor([[1, 2], [0, 0]]), torch.ones(2, 2, dtype=torch.bool)
    alone = caption_words_loss(logits[:1], ids[:1], words[:1], importance)
    torch.testing.assert_close(caption_words_loss(logits, ids, words, importance), alone)
    assert caption_words_loss(logits[1:], ids[1:], words[1:], importance).item() == 0


def test_rare_pieces_are_important_and_pieces_of_every_caption_are_not():
    rows = torch.tensor([[0, 1, 9], [0, 2, 9], [0, 1, 9], [0, 3, 9]])
    importance = inverse_document_frequency(rows, 10)
    assert importance[0] == importance[9] == 0
    assert importance[2] == pytest.approx(math.log(4 / 2))
    assert importance[2] > importance[1] > 0
    assert importance[7] == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError):
        caption_words_loss(torch.zeros(2, 5), torch.zeros(1, 3).long(), torch.ones(1, 3).bool(), torch.ones(5))
