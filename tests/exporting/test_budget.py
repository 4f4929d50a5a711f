"""Mean recall by hand, and a budget that refuses what costs too much."""

from __future__ import annotations

import numpy as np
import pytest

from mobileclip_kit.exporting.budget import RecallBudget, RecallJudge, mean_recall
from mobileclip_kit.exporting.samples import Captioned

IMAGES = np.eye(12, dtype=np.float32)
OWN = np.arange(12)


def test_mean_recall_by_hand() -> None:
    """Texts 0…10 find their own image first; text 11 prefers seven others: recall 11/12, 11/12 and 12/12."""
    texts = IMAGES.copy()
    texts[11, :7] = 2.0
    assert mean_recall(IMAGES, texts, OWN) == pytest.approx((11 / 12 + 11 / 12 + 1) / 3)


def test_collapsed_vectors_find_nothing() -> None:
    assert mean_recall(np.ones((12, 4), np.float32), np.ones((12, 4), np.float32), OWN) == 0.0


def test_two_captions_of_one_image_both_count() -> None:
    assert mean_recall(IMAGES, IMAGES[[3, 3]], np.array([3, 3])) == 1.0


def test_the_image_tower_may_use_half_of_the_budget() -> None:
    """A third of the texts find another image first: recall at 1 falls, 5 and 10 stay."""
    captioned = Captioned(np.zeros((12, 1, 1, 3), np.uint8), np.zeros((12, 1), np.int64), OWN, "here")
    worse = IMAGES.copy()
    # Texts 8…11 now find each other's images first: mean recall 1 → 1 − (4/12)/3.
    worse[8:10, 8:10] = worse[10:, 10:] = [[0.6, 0.8], [0.8, 0.6]]
    for max_drop, accepted in ((0.3, True), (0.15, False)):
        judge = RecallJudge(RecallBudget(captioned, max_drop), IMAGES, IMAGES)
        assert judge.accepts("image", worse) is accepted
        assert judge.before == 1.0
        assert judge.measure() == 1.0
        judge.keep("image", worse)
        assert judge.measure() == pytest.approx(1 - 1 / 9)
