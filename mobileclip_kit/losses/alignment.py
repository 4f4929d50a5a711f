"""Instance alignment of images and texts: InfoNCE whose labels soften during training.

LightCLIP (arXiv 2312.00674), section 3.1. Captions of other images in the batch are often right too ("a red star"
twice); during training, the labels stop treating them as entirely wrong:

- *one-hot* first: InfoNCE as in CLIP;
- then *smoothed*: the positive gets ``1 − α`` and the negatives share ``α`` evenly;
- at last *weighted*: the negatives share ``α`` by importance, ``exp(s_ij) / Σ_{k≠i} exp(s_ik)``.

Our reading: ``s`` is the cosine similarity times the logit scale. Cosines alone differ by so little (a standard
deviation of about 0.05) that their softmax is nearly uniform, and the third phase would repeat the second. The phase
follows the share of the training that is done, so that runs counted in steps and in epochs behave alike.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.losses.hard_negatives import hard_negative_loss

Phase = Literal["one-hot", "smoothed", "weighted"]


def alignment_loss(
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor | float,
    *,
    phase: Phase = "one-hot",
    alpha: float = 0.2,
    same: Tensor | None = None,
    negatives: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Contrastive loss of pairs, mean of both directions; in the phase ``one-hot`` it is InfoNCE.

    LightCLIP (arXiv 2312.00674), eq. 1-4.

    Args:
        images: Unit vectors, ``(n, d)``.
        texts: Unit vectors of the images' captions, same shape and order.
        logit_scale: Factor on the cosines before the softmax.
        phase: Which labels; see the module's text.
        alpha: What the negatives get together, 0…1.
        same: ``(n, n)`` bool, symmetric, true on the diagonal: which images have the same caption. All of them are
            right for it, in equal shares (UniCL, arXiv 2204.03610); in the phase ``one-hot`` only.
        negatives: Further texts, each wrong for one image, such as its caption with exchanged words (NegCLIP, arXiv
            2210.01936): their unit vectors, ``(m, d)``, and the row of each one's image, ``(m,)`` of integers.
            NegCLIP shows them to the whole batch; a text made wrong for one image may be true of another, so here the
            others do not see it.

    Returns:
        Scalar in nats, mean over the rows.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two pairs: one pair has no negatives.
        UsageError: ``same`` or ``negatives`` come with a phase of soft labels.
    """
    if phase != "one-hot" and (same is not None or negatives is not None):
        raise UsageError(f"Equal captions and hard negatives go with one-hot labels, not with {phase} ones.")
    if images.shape != texts.shape or images.ndim != 2:
        raise ShapeError(f"Images {tuple(images.shape)} and texts {tuple(texts.shape)} must both be (n, d).")
    if len(images) < 2:
        raise ShapeError("A batch of one pair has no negatives to be told apart from; take a batch of at least two.")
    cosines = images @ texts.T  # (n, n)
    if same is not None or negatives is not None:
        targets = torch.eye(len(images), device=images.device) if same is None else same.to(cosines.dtype)
        targets = targets / targets.sum(dim=1, keepdim=True)
        by_text = F.cross_entropy(cosines.T * logit_scale, targets)
        rivals = cosines * logit_scale
        if negatives is not None:
            wrong, rows = negatives
            others = rows != torch.arange(len(images), device=rows.device)[:, None]  # (n, m)
            rivals = torch.cat((rivals, (images @ wrong.T * logit_scale).masked_fill(others, float("-inf"))), dim=1)
        # Not cross_entropy: a target of 0 times a masked logit is no number.
        right = (targets * cosines).sum(dim=1) * logit_scale
        by_image = (rivals.logsumexp(dim=1) - right).mean()
        return (by_image + by_text) / 2
    by_image = _soft_cross_entropy(cosines, logit_scale, phase, alpha)
    by_text = _soft_cross_entropy(cosines.T, logit_scale, phase, alpha)
    return (by_image + by_text) / 2


def contrastive_loss(
    images: Tensor, texts: Tensor, logit_scale: Tensor | float, *, phase: Phase, alpha: float, beta: float
) -> Tensor:
    """:func:`alignment_loss` of vectors of any length or, with a ``beta`` above 0, ``hard_negative_loss``.

    Args:
        images: ``(n, d)``.
        texts: Vectors of the images' captions, same shape and order.
        logit_scale: Factor on the cosines before the softmax.
        phase: Which labels; see the module's text.
        alpha: What the negatives get together, 0…1.
        beta: How much more harder negatives count.

    Returns:
        Scalar in nats, mean over the rows.
    """
    if beta:
        return hard_negative_loss(images, texts, logit_scale, beta)
    images, texts = F.normalize(images, dim=1), F.normalize(texts, dim=1)
    return alignment_loss(images, texts, logit_scale, phase=phase, alpha=alpha)


def alignment_targets(similarities: Tensor, phase: Phase, alpha: float) -> Tensor:
    """The labels of a batch: for each row, how right each column is.

    Args:
        similarities: Scaled cosines, ``(n, n)``, the positives on the diagonal; taken as constant.
        phase: Which labels; see the module's text.
        alpha: What the negatives get together, 0…1.

    Returns:
        ``(n, n)``, rows that sum to 1.

    Raises:
        UsageError: ``alpha`` is outside 0…1.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is {alpha}; the share of the negatives must lie in 0…1.")
    count = len(similarities)
    positive = torch.eye(count, dtype=similarities.dtype, device=similarities.device)
    if phase == "one-hot":
        return positive
    if phase == "smoothed":
        negatives = (1 - positive) / (count - 1)
    else:
        hidden = positive.bool()
        negatives = similarities.detach().masked_fill(hidden, float("-inf")).softmax(dim=-1)
    return (1 - alpha) * positive + alpha * negatives


def phase_at(done: float, *, first_share: float = 0.33, second_share: float = 0.66) -> Phase:
    """Which labels are used at a point of the training.

    Args:
        done: Share of the training that is done, 0…1 (the paper's ``e/E``).
        first_share: Where smoothing begins (the paper's ``r₁``).
        second_share: Where weighting begins (the paper's ``r₂``).

    Raises:
        UsageError: The shares are not in order within 0…1.
    """
    if not 0 <= first_share <= second_share <= 1:
        raise UsageError(f"The phases begin at {first_share} and {second_share}; they must be in order within 0…1.")
    if done < first_share:
        return "one-hot"
    return "smoothed" if done < second_share else "weighted"


def _soft_cross_entropy(cosines: Tensor, logit_scale: Tensor | float, phase: Phase, alpha: float) -> Tensor:
    if phase == "one-hot":
        # The same number as with the identity matrix as target, without making it.
        return F.cross_entropy(cosines * logit_scale, torch.arange(len(cosines), device=cosines.device))
    logits = cosines * logit_scale
    return F.cross_entropy(logits, alignment_targets(logits, phase, alpha))
