"""The projection of a trained backbone at the start: ridge regression from its features to the teacher's vectors.

A backbone that was trained on something else already tells images apart; only its projection is random. The least
squares solution is found in one pass over the images, in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

# Strengths of the penalty that are tried, as shares of the features' mean variance, and the images held out for it.
_STRENGTHS = tuple(10.0**power for power in range(-4, 3))
_TESTED = 0.2


def ridge_regression(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """A linear map and its intercept from features to targets, with the penalty that suits images held out.

    Args:
        features: ``(n, p)``, n at least 2.
        targets: ``(n, d)``.

    Returns:
        Weight ``(d, p)``, bias ``(d,)``, and the mean cosine on the held-out fifth.
    """
    features, targets = features.double(), targets.double()
    tested = max(1, round(_TESTED * len(features)))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(features)))
    train, test = order[tested:], order[:tested]
    cosines = {}
    for strength, (weight, bias) in _solutions(features[train], targets[train], _STRENGTHS):
        predicted = features[test] @ weight.T + bias
        cosines[strength] = float(F.cosine_similarity(predicted, targets[test]).mean())
    best = max(cosines, key=lambda strength: cosines[strength])
    [(_, (weight, bias))] = _solutions(features, targets, (best,))
    return weight.float(), bias.float(), cosines[best]


def _solutions(features: Tensor, targets: Tensor,
               strengths: tuple[float, ...]) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:  # fmt: skip
    mean, middle = features.mean(0), targets.mean(0)
    centred, wanted = features - mean, targets - middle
    few = len(centred) <= centred.shape[1]  # the smaller of the two square matrices
    square = centred @ centred.T if few else centred.T @ centred
    values, vectors = torch.linalg.eigh(square)
    right = vectors.T @ (wanted if few else centred.T @ wanted)
    unit = float(centred.square().sum()) / centred.shape[1]
    for strength in strengths:
        inner = vectors @ (right / (values.clamp(min=0.0) + strength * unit + 1e-12)[:, None])
        weight = (centred.T @ inner if few else inner).T
        yield strength, (weight, middle - weight @ mean)


@torch.no_grad()
def start_projection(projection: nn.Linear, features: Tensor, targets: Tensor) -> float:
    """Set a projection to the ridge regression from its inputs to a teacher's vectors.

    Args:
        projection: The last layer of an image tower, changed in place; without a bias the mean is not reached.
        features: Its inputs, ``(n, p)``.
        targets: The teacher's raw vectors, ``(n, d)``.

    Returns:
        The mean cosine on held-out images.
    """
    weight, bias, cosine = ridge_regression(features, targets)
    projection.weight.copy_(weight)
    if projection.bias is not None:
        projection.bias.copy_(bias)
    return cosine
