"""What a ranking says about its hits."""

from __future__ import annotations

import numpy as np

from mobileclip_kit.confidence.scorer import default_line
from mobileclip_kit.web.ranking import Ranking


def test_uncertain_hits_between_likely_ones_are_listed_but_not_counted_as_likely() -> None:
    line = default_line()
    sure = np.array([1.0, line, 0.0, 1.0] + [0.0] * 12 + [1.0], np.float32)
    ranking = Ranking(np.arange(len(sure)), sure, len(sure), complete=True, confidences=sure)
    assert (ranking.certain, ranking.likely) == (4, 3)
    assert Ranking(np.arange(3), None, 3, complete=True).likely is None


def test_folding_keeps_the_first_of_each_group_and_counts_the_others() -> None:
    copies = np.array([-1, 0, 1, 0, -1, 0, 1], np.int64)
    ranking = Ranking(np.array([5, 4, 2, 1, 0, 6]), np.arange(6, 0, -1, np.float32), 6, complete=True)
    folded = ranking.fold(copies, np.array([0, 1, 2, 1, 4, 5, 6]))
    assert folded.rows.tolist() == [5, 4, 2, 0]
    assert folded.folded is not None and folded.folded.tolist() == [1, 0, 1, 0]
    assert folded.same is not None and folded.same.tolist() == [0, 0, 0, 0]
    equal = ranking.fold(copies, np.array([0, 1, 2, 1, 4, 1, 2]))
    assert equal.same is not None and equal.same.tolist() == [1, 0, 1, 0]
    assert (folded.candidates, folded.scores.tolist()) == (4, [6, 5, 4, 2])
    assert ranking.only_copies(copies, 1).rows.tolist() == [5, 1]
    assert ranking.only_copies(copies, 4).rows.tolist() == [4]
    assert ranking.only_copies(copies, 99).rows.tolist() == ranking.only_copies(copies, None).rows.tolist() == []
