"""Layers of a convolutional student fitted to what its teacher's layers compute, in closed form.

A student that inherits some channels lacks what the others gave to every sum. Least squares find the filters that bring
its sums nearest to the teacher's, layer by layer from the first one that is narrower, each from the student's own
inputs, so that a layer also makes up for the errors of those before it. Nothing is trained, and it takes seconds.
Channel pruning has done so since He, Zhang and Sun (arXiv 1707.06168); the head is fitted to the teacher's vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.inherit.tower_axes import stage_group
from mobileclip_kit.networks.conv_tower import ConvTower

# Penalties as shares of the inputs' mean variance: a little for filters, whose equations are many.
_FILTER_PENALTY = 1e-4
_HEAD_PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# Of the images, what a head's penalty is chosen on.
_HELD_OUT = 5


def can_be_fitted(student: Any, teacher: Any) -> bool:
    """Whether two image towers are convolutional ones of ours, of as many layers in each stage."""
    trunks = [getattr(each, "trunk", None) for each in (student, teacher)]
    if not all(isinstance(each, ConvTower) for each in trunks):
        return False
    ours, theirs = ([len(stage) for stage in each.stages] for each in trunks)  # type: ignore[union-attr]
    return ours == theirs


@torch.no_grad()
def fit_layers(student: ConvTower, teacher: ConvTower, kept: Mapping[str, Tensor], images: Sequence[Tensor]) -> None:
    """Fit the filters behind the first stage that is narrower than the teacher's.

    Args:
        student: Starts from the teacher's channels; changed in place.
        teacher: In eval mode.
        kept: Group of :func:`~mobileclip_kit.inherit.tower_axes.image_axes` → the teacher's channels that the student
            has.
        images: Batches as the towers see them.
    """
    grids = _Grids(images)
    for number in range(len(student.stages)):
        channels = kept[stage_group(number)].to(images[0].device)
        ours: Any = student.stages[number]
        theirs: Any = teacher.stages[number]
        for small, large in zip(ours, theirs, strict=True):
            grids.fit(small.conv, large.conv, channels)
            grids.exact &= len(channels) == large.conv.out_channels
            grids.pass_on(small, large)
    if student.products and student.products == teacher.products:
        places = channels[:, None] * teacher.products + torch.arange(teacher.products, device=channels.device)
        grids.fit(student.mix.conv, teacher.mix.conv, places.flatten())


class _Grids:
    """What both towers have made of the same images so far.

    Attributes:
        exact: Whether the student's grids are the teacher's, so that there is nothing to make up for.
    """

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.exact = True
        self._ours, self._theirs = list(images), list(images)

    def fit(self, small: nn.Conv2d, large: nn.Conv2d, channels: Tensor) -> None:
        """Set filters to the ridge regression from the student's grids to some channels of the teacher's sums."""
        if self.exact:
            return
        size = small.weight[0].numel()
        square = torch.zeros(size, size, dtype=torch.float64)  # on the CPU: not every device has float64
        product = torch.zeros(size, len(small.weight), dtype=torch.float64)
        padding: Any = small.padding
        unfold = nn.Unfold(small.kernel_size, padding=padding, stride=small.stride)
        for ours, theirs in zip(self._ours, self._theirs, strict=True):
            patches = unfold(ours).transpose(1, 2)
            rows, sums = patches.flatten(0, 1), large(theirs)[:, channels].flatten(2).transpose(1, 2).flatten(0, 1)
            square += (rows.T @ rows).cpu().double()
            product += (rows.T @ sums).cpu().double()
        square.diagonal().add_(_FILTER_PENALTY * square.diagonal().mean())
        small.weight.copy_(torch.linalg.solve(square, product).T.reshape(small.weight.shape).float())

    def pass_on(self, small: nn.Module, large: nn.Module) -> None:
        """The grids after one more layer of each tower."""
        self._theirs = [large(grid) for grid in self._theirs]
        self._ours = self._theirs if self.exact else [small(grid) for grid in self._ours]


@torch.no_grad()
def fit_head(visual: Any, images: Sequence[Tensor], targets: Tensor, *, length: float = 1.0) -> float:
    """Fit the last matrices of a tower to a teacher's vectors: what they lack, by ridge regression.

    Args:
        visual: An image tower with a :class:`~mobileclip_kit.networks.conv_tower.ConvTower` in eval mode. Its head, or
            the two matrices whose product it is, is changed in place.
        images: Batches as the tower sees them, ``(n, 3, height, width)`` in all.
        targets: The teacher's vectors, ``(n, d)``; their directions count.
        length: Of the predictions, as a share of the vectors' mean length. An optimizer's steps turn a short head
            farther than a long one.

    Returns:
        Mean cosine to the targets on the fifth of the images that the penalty was chosen on.
    """
    trunk, projection = visual.trunk, visual.head.proj
    matrices = [trunk.reduce, projection] if trunk.rank else [projection]
    rows = [trunk.head_inputs(trunk.forward_features(batch)).cpu() for batch in images]
    features, targets = torch.cat(rows).double(), targets.double()
    targets = F.normalize(targets, dim=1) * targets.norm(dim=1).mean() * length
    bias = (
        torch.zeros(targets.shape[1], dtype=torch.float64)
        if projection.bias is None
        else projection.bias.cpu().double()
    )
    targets = targets - bias
    start = torch.eye(features.shape[1], dtype=torch.float64)
    for matrix in matrices:
        start = matrix.weight.cpu().double() @ start
    found = features @ start.T
    start = start * ((found * targets).sum() / found.square().sum().clamp_min(1e-12))
    train = torch.arange(len(features)) % _HELD_OUT > 0
    rank = matrices[0].out_features if len(matrices) > 1 else min(start.shape)
    scored, seen = [], features[train]
    for penalty, found in zip(_HEAD_PENALTIES, _corrected(start, seen, targets[train], _HEAD_PENALTIES), strict=True):
        basis = _directions(found, seen, rank)
        weight = basis @ (basis.T @ found)  # the matrix of this rank whose predictions are nearest
        cosine = F.cosine_similarity(features[~train] @ weight.T + bias, targets[~train] + bias).mean()
        scored.append((float(cosine), penalty))
    best, penalty = max(scored)
    [weight] = _corrected(start, features, targets, [penalty])
    if len(matrices) == 1:
        matrices[0].weight.copy_(weight.float())
        return best
    basis = _directions(weight, features, rank)
    # What a larger rank has beside these directions is multiplied by 0.
    matrices[0].weight[: basis.shape[1]] = (basis.T @ weight).float().to(matrices[0].weight)
    matrices[1].weight.zero_()[:, : basis.shape[1]] = basis.float().to(matrices[1].weight)
    return best


def _corrected(start: Tensor, features: Tensor, targets: Tensor, penalties: Sequence[float]) -> Iterator[Tensor]:
    """A matrix ``(d, p)`` plus the ridge regression to what its predictions lack, for each penalty."""
    square, product = features.T @ features, features.T @ (targets - features @ start.T)
    for penalty in penalties:
        penalised = square + torch.diag(penalty * square.diagonal().mean().expand(len(square)))
        yield start + torch.linalg.solve(penalised, product).T


def _directions(weight: Tensor, features: Tensor, rank: int) -> Tensor:
    """The principal directions of a matrix's predictions, ``(d, rank)``."""
    predicted = features @ weight.T
    directions: Tensor = torch.linalg.eigh(predicted.T @ predicted).eigenvectors
    return directions[:, -rank:]
