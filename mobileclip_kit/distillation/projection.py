"""The projection of a trained backbone at the start: ridge regression from its features to the teacher's vectors.

A backbone that was trained on something else already tells images apart; only its projection is random. The least
squares solution is found in closed form from one pass over the images. Features of several stages are brought to one
total variance each, or those with large values would alone decide. The outputs of the backbone's former classifier are
sums of its features: they add nothing that a projection could not find, but give weight to the directions that tell
things apart, twice that of the other parts. They are folded into the projection, which remains linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

# Strengths of the penalty that are tried, as shares of the features' mean variance.
_STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-8, 5))
# Every image is held out once where there are few; of many, one fifth is enough to choose the strength.
_FOLDS, _FEW = 5, 2000
# Fewer held-out images say nothing about which of them are alike; the penalty is then this.
_LEAST_HELD_OUT, _USUAL = 4, 1.0
# A correlation over the pairs of fewer images is not worth telling.
_LEAST_TOLD = 10
# The classifier's outputs are this much longer than the other parts. Held-out photos of three splits of 441: overlap@10
# with the teacher between images 0.412 (1), 0.414 (√2), 0.418 (2), 0.418 (2.4), 0.416 (3.2); for texts 0.353 to 0.356.
_CLASSIFIER_LENGTH = 2.0


@dataclass(frozen=True)
class LinearFit:
    """A linear map with its intercept.

    Attributes:
        weight: ``(d, p)``.
        bias: ``(d,)``.
        cosine: Mean cosine to the targets of held-out images.
        likeness: Correlation of the cosines between held-out images with those between their targets, both centred;
            None where fewer than ten images were held out at once.
    """

    weight: Tensor
    bias: Tensor
    cosine: float
    likeness: float | None


def ridge_regression(features: Tensor, targets: Tensor) -> LinearFit:
    """The ridge regression whose predictions of held-out images are alike as the targets are.

    A penalty draws predictions towards the mean, and the less an image differs from the mean, the less its cosines to
    others and to texts say. Half of that loss (in logarithms) is given back: where all of it was, noise grew too.

    Args:
        features: ``(n, p)``, n at least 2.
        targets: ``(n, d)``.
    """
    features, targets = features.double(), targets.double()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(features)))
    parts = order.tensor_split(min(_FOLDS, len(features)))
    held: dict[float, list[tuple[float, float, float]]] = {strength: [] for strength in _STRENGTHS}
    for number in range(len(parts) if len(features) <= _FEW else 1):
        train, test = torch.cat([*parts[:number], *parts[number + 1 :]]), parts[number]
        for strength, (weight, bias) in _solutions(features[train], targets[train], _STRENGTHS):
            held[strength].append(_compare(features[test] @ weight.T + bias, targets[test], targets[train].mean(0)))
    means = {strength: torch.tensor(rows).mean(0).tolist() for strength, rows in held.items()}
    told = len(parts[0]) >= _LEAST_HELD_OUT
    best = max(means, key=lambda strength: means[strength][1]) if told else _USUAL
    cosine, likeness, spread = means[best]
    [(_, (weight, bias))] = _solutions(features, targets, (best,))
    stretch = spread**0.5 if told else 1.0
    middle = targets.mean(0)
    return LinearFit((stretch * weight).float(), (middle + stretch * (bias - middle)).float(), cosine,
                     likeness if len(parts[0]) >= _LEAST_TOLD else None)  # fmt: skip


def _compare(found: Tensor, wanted: Tensor, mean: Tensor) -> tuple[float, float, float]:
    """Mean cosine, correlation of the centred cosines between images, and how much wider the targets are spread."""
    cosine = float(F.cosine_similarity(found, wanted).mean())
    pairs = torch.triu_indices(len(found), len(found), 1)
    ours, theirs = (F.normalize(each - mean, dim=1) for each in (found, wanted))
    alike = torch.stack([(each @ each.T)[pairs[0], pairs[1]] for each in (ours, theirs)])
    likeness = float(torch.corrcoef(alike)[0, 1]) if alike.shape[1] > 1 else 0.0
    spread = float(((wanted - mean).square().sum() / (found - mean).square().sum().clamp(min=1e-12)).sqrt())
    return cosine, likeness, max(spread, 1.0)


def _solutions(features: Tensor, targets: Tensor,
               strengths: tuple[float, ...]) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:  # fmt: skip
    mean, middle = features.mean(0), targets.mean(0)
    centred, wanted = features - mean, targets - middle
    few = len(centred) <= centred.shape[1]  # the smaller of the two square matrices
    square = centred @ centred.T if few else centred.T @ centred
    values, vectors = torch.linalg.eigh(square)
    right = vectors.T @ (wanted if few else centred.T @ wanted)
    unit = float(centred.square().sum()) / min(centred.shape)
    for strength in strengths:
        inner = vectors @ (right / (values.clamp(min=0.0) + strength * unit + 1e-12)[:, None])
        weight = (centred.T @ inner if few else inner).T
        yield strength, (weight, middle - weight @ mean)


@torch.no_grad()
def start_projection(projection: nn.Linear, features: Tensor, targets: Tensor, *, widths: Sequence[int] = (),
                     classifier: Tensor | None = None) -> LinearFit:  # fmt: skip
    """Set a projection to the ridge regression from its inputs to a teacher's vectors.

    Args:
        projection: The last layer of an image tower, changed in place; without a bias the mean is not reached.
        features: Its inputs, ``(n, p)``.
        targets: The teacher's raw vectors, ``(n, d)``.
        widths: Of the parts of the inputs that stand side by side; empty means one part.
        classifier: Weights ``(classes, width of the first part)`` of the backbone's former classifier, or None.

    Returns:
        The regression, of the projection's inputs.
    """
    parts = list(torch.split(features, list(widths) or [features.shape[1]], dim=1))
    if classifier is not None and classifier.shape[1] == parts[0].shape[1]:
        parts.append(parts[0] @ classifier.T)
    else:
        classifier = None
    scales = [part.var(0, correction=0).sum().clamp(min=1e-12).rsqrt() for part in parts]
    if classifier is not None:
        scales[-1] = scales[-1] * _CLASSIFIER_LENGTH
    fit = ridge_regression(torch.cat([part * scale for part, scale in zip(parts, scales, strict=True)], dim=1), targets)
    pieces = torch.split(fit.weight, [part.shape[1] for part in parts], dim=1)
    scaled = [piece * scale for piece, scale in zip(pieces, scales, strict=True)]
    if classifier is not None:
        scaled[0] = scaled[0] + scaled.pop() @ classifier
    projection.weight.copy_(torch.cat(scaled, dim=1))
    if projection.bias is not None:
        projection.bias.copy_(fit.bias)
    return fit
