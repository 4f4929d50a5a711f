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
