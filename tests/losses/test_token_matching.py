"""Token-level alignment by bipartite matching."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.losses.token_matching import match_tokens, matching_cost, token_matching_loss
from mobileclip_kit.networks.fusion import TokenProjection


def tokens(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_tokens_in_any_order_cost_nothing():
    patches = tokens(0, 2, 5, 8)
    words = patches[:, [3, 0, 4]] * 7  # lengths do not matter
    loss = matching_cost(patches, words, torch.ones(2, 3, dtype=torch.bool))
    torch.testing.assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)


def test_orthogonal_and_opposite_tokens_by_hand():
    """One word at right angles costs 1, one that points away costs 2: the mean of the two pairs is 1.5."""
    patches = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    words = torch.tensor([[[0.0, 1.0]], [[-1.0, 0.0]]])
    assert matching_cost(patches, words, torch.ones(2, 1, dtype=torch.bool)).item() == pytest.approx(1.5)


def test_matching_is_as_good_as_trying_all():
    patches, words = tokens(1, 1, 6, 4), tokens(2, 1, 4, 4)
    costs = (1 - F.normalize(words[0], dim=-1) @ F.normalize(patches[0], dim=-1).T).numpy()
    best = min(
        np.mean([costs[word, patch] for word, patch in enumerate(chosen)])
        for chosen in itertools.permutations(range(6), 4)
    )
    loss = matching_cost(patches, words, torch.ones(1, 4, dtype=torch.bool))
    assert loss.item() == pytest.approx(best, abs=1e-6)


def test_each_word_gets_its_own_patch():
    costs = np.random.default_rng(0).random((1, 5, 9), np.float32)
    matches = match_tokens(costs, np.ones((1, 5), bool))
    assert sorted(matches[:, 1]) == [0, 1, 2, 3, 4]
    assert len(set(matches[:, 2])) == 5


def test_padding_changes_nothing():
    patches, words = tokens(3, 2, 6, 4), tokens(4, 2, 3, 4)
    padded = torch.cat([words, tokens(5, 2, 2, 4)], dim=1)
    is_word = torch.tensor([[True, True, True, False, False]] * 2)
    torch.testing.assert_close(matching_cost(patches, padded, is_word), matching_cost(patches, words, is_word[:, :3]))


def test_a_pair_without_words_does_not_count():
    patches, words = tokens(6, 2, 4, 3), tokens(7, 2, 2, 3)
    is_word = torch.tensor([[True, True], [False, False]])
    alone = matching_cost(patches[:1], words[:1], is_word[:1])
    torch.testing.assert_close(matching_cost(patches, words, is_word), alone)
    assert matching_cost(patches, words, torch.zeros(2, 2, dtype=torch.bool)).item() == 0


def test_more_words_than_patches_match_as_many_as_there_are_patches():
    matches = match_tokens(np.ones((1, 5, 2), np.float32), np.ones((1, 5), bool))
    assert len(matches) == 2
    assert matches[:, 3].sum() == pytest.approx(1)


def test_gradient_reaches_matched_tokens_alone():
    patches = tokens(8, 1, 3, 4).requires_grad_()
    words = patches.detach()[:, :1] + 0.1
    matching_cost(patches, words, torch.ones(1, 1, dtype=torch.bool)).backward()
    assert patches.grad[0, 0].abs().sum() > 0
    assert patches.grad[0, 1:].abs().sum() == 0


@pytest.mark.parametrize(("words", "mask"), [((2, 3, 5), (2, 3)), ((1, 3, 4), (1, 3)), ((2, 3, 4), (2, 2))])
def test_shapes_that_do_not_fit_are_refused(words, mask):
    with pytest.raises(ShapeError):
        matching_cost(torch.ones(2, 6, 4), torch.ones(words), torch.ones(mask, dtype=torch.bool))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tokens_that_are_no_numbers_give_a_loss_that_is_none(value):
    """The trainer then says so and keeps its checkpoint; the Hungarian algorithm would raise an error of its own."""
    patches, words = tokens(1, 2, 6, 4), tokens(2, 2, 4, 4)
    patches[1, 2, 3] = value
    assert not matching_cost(patches, words, torch.ones(2, 4, dtype=torch.bool)).isfinite()


@pytest.mark.parametrize("shuffled", [False, True])
def test_noise_and_shuffled_pairs_do_not_satisfy_the_loss(shuffled):
    """Frozen towers whose patches say nothing about the captions: projections alone must not meet the loss."""
    generator = torch.Generator().manual_seed(0)
    patches, words = torch.randn(256, 64, 4, 4, generator=generator), 1.0 + torch.randn(256, 8, 64, generator=generator)
    projection, losses = TokenProjection(64, 64), []
    optimizer = torch.optim.AdamW(projection.parameters(), lr=1e-2)
    for _ in range(100):
        rows = torch.randperm(256, generator=generator)[:32]
        captions = rows[torch.randperm(32, generator=generator)] if shuffled else rows
        loss = token_matching_loss(projection(patches[rows]), words[captions], torch.ones(32, 8, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) >= 0.8 * losses[0]


def test_patches_that_name_their_words_satisfy_the_loss():
    words = F.normalize(tokens(0, 8, 3, 64), dim=-1)
    assert token_matching_loss(words, words, torch.ones(8, 3, dtype=torch.bool)).item() < 0.3


def test_one_pair_alone_is_refused():
    with pytest.raises(ShapeError, match="batch of at least two"):
        token_matching_loss(tokens(0, 1, 3, 4), tokens(1, 1, 2, 4), torch.ones(1, 2, dtype=torch.bool))
