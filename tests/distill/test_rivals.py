"""Pictures that share words but not phrases."""

from __future__ import annotations

import numpy as np
import pytest

from mobileclip_kit.distill import rivals as module
from mobileclip_kit.distill.order import batch_rows
from mobileclip_kit.distill.rivals import find_rivals

CAPTIONS = [
    ("a blue house beside a red car", "a red car"),
    ("a red house beside a blue car", "a blue car"),
    ("a blue house on grass",),
    ("a green tree",),
    ("the word tree",),
    ("a yellow moon",),
]


def test_the_hardest_rival_has_the_words_but_not_the_pairs_of_words():
    rivals = find_rivals(CAPTIONS, count=2, seed=0)
    assert rivals[0, 0] == 1  # the colours exchanged, and not the other blue house
    assert rivals[1, 0] == 0
    assert rivals[3, 0] == 4


def test_no_picture_is_its_own_rival_and_few_pictures_give_all_others():
    rivals = find_rivals(CAPTIONS, count=50, seed=0)
    assert rivals.shape == (6, 5)
    assert [sorted({*row, place}) for place, row in enumerate(rivals.tolist())] == [list(range(6))] * 6


def test_blocks_and_candidates_cover_every_picture(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_CANDIDATES", 4)
    monkeypatch.setattr(module, "_BLOCK", 2)
    monkeypatch.setattr(module, "_BLOCKS", 2)
    rivals = find_rivals(CAPTIONS, count=3, seed=1)
    assert rivals.shape == (6, 3)
    assert not (rivals == np.arange(6)[:, None]).any()
    np.testing.assert_array_equal(rivals, find_rivals(CAPTIONS, count=3, seed=1))


def test_a_quarter_of_each_batch_is_rivals_of_its_first_quarter():
    rivals = (np.arange(400)[:, None] + [1, 2]) % 400
    plain = list(batch_rows(400, batch_size=40, seed=3, first_step=0, steps=12))
    hard = list(batch_rows(400, batch_size=40, seed=3, first_step=0, steps=12, rivals=rivals))
    for rows, harder in zip(plain, hard, strict=True):
        assert len(harder) == 40 == len(set(harder.tolist()))
        np.testing.assert_array_equal(harder[:30], rows[:30])
        # A rival that the batch has already does not come twice.
        waiting = [set(rivals[row].tolist()) for row in rows[:10]]
        fresh = set(harder[30:].tolist()) - set(rows.tolist())
        assert fresh <= set.union(*waiting)
        assert len(fresh) >= sum(not (of & set(rows.tolist())) for of in waiting) - 1


def test_any_step_can_be_the_first():
    rivals = np.random.default_rng(0).integers(50, size=(50, 4))
    whole = list(batch_rows(50, batch_size=8, seed=5, first_step=0, steps=20, rivals=rivals))
    rest = list(batch_rows(50, batch_size=8, seed=5, first_step=13, steps=20, rivals=rivals))
    for left, right in zip(whole[13:], rest, strict=True):
        np.testing.assert_array_equal(left, right)
