"""InfoNCE whose negatives count by how hard they are (HN-NCE of DiHT, arXiv 2301.02280, after arXiv 2010.04592).

A negative that the model finds similar teaches more than one that it tells apart already. In each row the terms of the
negatives get the weights `w_j = (n − 1) · exp(β s_j) / Σ exp(β s_k)`, which average 1; `s` is the scaled cosine, and
β = 0 is plain InfoNCE. The weights are constants to the gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ShapeError, UsageError


def hard_negative_loss(images: Tensor, texts: Tensor, logit_scale: Tensor | float, beta: float) -> Tensor:
    """Contrastive loss of pairs with weighted negatives, mean of both directions.

    Args:
        images: ``(n, d)``, of any length.
        texts: Vectors of the images' captions, same shape and order.
        logit_scale: Factor on the cosines.
        beta: How much harder negatives count more; 0 for all alike.

    Returns:
        Scalar in nats, mean over the rows.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two pairs.
        UsageError: ``beta`` is negative.
    """
    if images.shape != texts.shape or images.ndim != 2 or len(images) < 2:
        raise ShapeError(f"Images {tuple(images.shape)} and texts {tuple(texts.shape)} must be two or more (n, d).")
    if beta < 0.0:
        raise UsageError(f"beta is {beta}; it must be at least 0.")
    logits = logit_scale * (F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T)  # (n, n)
    return (_rows(logits, beta) + _rows(logits.T, beta)) / 2


def _rows(logits: Tensor, beta: float) -> Tensor:
    right = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    with torch.no_grad():
        # ln w: added to a negative's logit it multiplies its term.
        weights = (beta * logits).masked_fill(right, -math.inf).log_softmax(dim=1) + math.log(len(logits) - 1)
        weights = weights.masked_fill(right, 0.0)
    return F.cross_entropy(logits + weights, torch.arange(len(logits), device=logits.device))
