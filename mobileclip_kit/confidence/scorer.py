"""The probability that a hit is right.

A flat threshold fails, since each query has its own scale of scores. A hit is compared with how well the background
texts nearest to the query describe the same image, and with the greatest score that they reach anywhere on the index: a
text without an answer scores best on images that other texts describe better. Texts far from the query are left out of
most comparisons, so that an image of two things is not penalised for its other thing. All numbers are relative to the
spread of the background's scores; one small network, fitted on synthetic scenes with exact truth
(``benchmarks/fit_cutoff.py``), therefore serves every model.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit import formats
from mobileclip_kit.arrays import Vectors
from mobileclip_kit.confidence.background import Background

# The hits that a query's own scale is taken from; a search looks at no fewer.
FIRST_HITS = 10
_FILE = Path(__file__).with_name("scorer.json")
_NEAR = 30
# A background text nearer than this says the same as the query.
_SAME = 0.97
# A query that is further from every background text is no text that this was fitted for.
_FAR = 0.4
_RIDGE = 1e-2
_SHARPNESS = 3.0
_NEARNESS = 10.0
_MOST_DEVIATIONS = 8.0
_MOST_STANDARDISED = 5.0
# After so many uncertain hits in a row, a certain one is an accident.
UNCERTAIN_HITS = 10


@dataclass(frozen=True, kw_only=True)
class _Network:
    """``scorer.json``: one hidden layer of tanh over the standardised features of :func:`features`.

    Attributes:
        mean: Of each feature, ``(f,)``.
        scale: Its standard deviation, ``(f,)``.
        hidden: ``(h, f)``.
        hidden_bias: ``(h,)``.
        output: ``(h,)``.
        output_bias: Of the logit.
        line: The confidence that 95% of the right images among the first ten reached on the scenes it was fitted on.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    hidden: tuple[tuple[float, ...], ...]
    hidden_bias: tuple[float, ...]
    output: tuple[float, ...]
    output_bias: float
    line: float


@functools.cache
def _network() -> tuple[NDArray[np.float64], ...]:
    read = formats.read(_FILE, _Network)
    values = (read.mean, read.scale, read.hidden, read.hidden_bias, read.output, read.output_bias)
    return tuple(np.array(value, np.float64) for value in values)


@functools.cache
def default_line() -> float:
    """The confidence below which the page hides hits; see :class:`_Network`."""
    return formats.read(_FILE, _Network).line


def certain_count(confidences: Vectors, line: float) -> int:
    """Number of hits up to the last one that reaches the line, before many in a row that do not.

    Args:
        confidences: Of hits, best first, ``(k,)``.
        line: The least confidence of a certain hit.
    """
    last = 0
    for place in np.flatnonzero(confidences >= line):
        if place - last >= UNCERTAIN_HITS:
            break
        last = int(place) + 1
    return last


def confidences(background: Background, query: Vectors, hits: Vectors) -> Vectors | None:
    """The probability of each hit of one text query.

    Args:
        background: Of the index.
        query: Unit vector ``(d,)`` of a text: of what is asked for, before negative words and textness move it to where
            no text lies.
        hits: Unit rows ``(k, d)``, the vectors of the best hits from the first one on, best first. The first
            :data:`FIRST_HITS` of them set the scale.

    Returns:
        ``(k,)`` from 0 to 1; None for a query that is far from every background text, such as zero.
    """
    if len(hits) == 0:
        return np.empty(0, np.float32)
    found = features(background, query, hits)
    if found is None:
        return None
    mean, scale, hidden, hidden_bias, output, output_bias = _network()
    inputs = np.clip((found - mean) / scale, -_MOST_STANDARDISED, _MOST_STANDARDISED)
    logits = np.tanh(inputs @ hidden.T + hidden_bias) @ output + output_bias
    probabilities: Vectors = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return probabilities


def features(background: Background, query: Vectors, hits: Vectors) -> NDArray[np.float64] | None:
    """What the network is given, ``(k, 17)``; arguments as for :func:`confidences`.

    Only numbers relative to the background: how near its texts are to the query differs between models.

    Scores are written as s (of the query on a hit), b (of background texts on the same hit) and B (the best of a
    background text anywhere); D is the mean standard deviation of a background text's scores.
    """
    texts = background.texts
    # One product with the texts on the left is twice as quick as two with hits and query there.
    products = texts @ np.concatenate([query[None], hits]).T  # (m, 1 + k)
    similar, on_hits = products[:, 0], np.ascontiguousarray(products[:, 1:].T)  # (m,), (k, m)
    other = similar < _SAME
    if similar.max() < _FAR or np.count_nonzero(other) < _NEAR:
        return None
    near = np.argpartition(np.where(other, -similar, np.inf), _NEAR)[:_NEAR]
    near = near[np.argsort(-similar[near])]
    weights = np.exp(_NEARNESS * (similar[near] - similar[near[0]]))
    weights /= weights.sum()

    spread, level, level_spread = background.scale
    scores = hits @ query  # (k,)
    above = np.minimum((on_hits - scores[:, None]) / spread, _MOST_DEVIATIONS)  # (b − s) / D
    near_above = above[:, near]

    mean, deviation = _moments(background, query)
    standard = (scores - mean) / deviation
    others_standard = (on_hits - background.mean) / background.deviation
    near_best = background.best[near]
    median = np.sort(near_best)[_NEAR // 2 - 1 : _NEAR // 2 + 1].mean()  # np.median would import numpy.ma

    # What the nearest background texts do not explain of the query, by ridge regression among the texts.
    inner = texts[near] @ texts[near].T + _RIDGE * np.eye(_NEAR)
    explained = np.linalg.solve(inner, similar[near]).astype(np.float32)
    rest = query - explained @ texts[near]
    rest_mean, rest_deviation = _moments(background, rest)

    one = np.ones(len(hits))
    columns = [
        (scores - level) / level_spread,
        standard,
        -_log_sum(near_above),
        -near_above.max(axis=1),
        (near_above > 0).sum(axis=1),
        (scores - weights @ near_best) / spread,
        (scores - median) / spread,
        (hits @ rest - rest_mean) / rest_deviation,
        (scores[0] - scores) / spread,
        near_above @ weights,
        (scores[0] - weights @ near_best) / spread * one,
        (scores[:3].mean() - scores) / spread,
        standard - others_standard[:, near].max(axis=1),
        (others_standard[:, near] > standard[:, None]).sum(axis=1),
        np.log1p(np.count_nonzero((above > 0) & other, axis=1)),
        np.log1p(np.count_nonzero((others_standard > standard[:, None]) & other, axis=1)),
        -np.log(np.exp(_SHARPNESS * above) @ other.astype(np.float32)),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _moments(background: Background, vector: Vectors) -> tuple[float, float]:
    """Mean and standard deviation of the inner products of all images with a vector."""
    variance = float(vector @ background.image_covariance @ vector)
    return float(vector @ background.image_mean), float(np.sqrt(max(variance, 1e-12)))


def _log_sum(above: NDArray[np.floating]) -> NDArray[np.floating]:
    summed: NDArray[np.floating] = np.log(np.exp(_SHARPNESS * above).sum(axis=1))
    return summed
