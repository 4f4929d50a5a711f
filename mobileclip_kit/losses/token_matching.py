"""Token-level alignment: each word of a caption finds its own patch of the image.

LightCLIP (arXiv 2312.00674), section 3.2. Between the patches and the words of one *pair*, the Hungarian algorithm
finds the one-to-one matching of least cost ``1 − cos``. Our reading: a pair's cost is the mean of its matched tokens';
start, end and padding are no words. It exists in training only and costs nothing later.

The paper's loss is this cost alone. A projection that brings all tokens to one direction makes it 0 for any image and
any caption, noise included. Here each caption is matched with another image's patches, too, and the loss is
``1 + cost of the pair − cost with the other image``: 1 as long as the patches say nothing about the caption.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from mobileclip_kit.errors import ShapeError


def token_matching_loss(patches: Tensor, words: Tensor, is_word: Tensor) -> Tensor:
    """How much better words match the patches of their own image than those of the next image in the batch.

    Args:
        patches: Patch tokens of each image, ``(n, patches, d)``, of any length, n at least 2.
        words: Word tokens of its caption, ``(n, words, d)``.
        is_word: ``(n, words)`` bool; False for start, end and padding.

    Returns:
        Scalar, ``1 + matching_cost(own) − matching_cost(next image)``; 1 where patches tell nothing.

    Raises:
        ShapeError: The shapes do not fit together, or there is one pair only.
    """
    if len(patches) < 2:
        raise ShapeError("A batch of one pair has no other image to compare with; take a batch of at least two.")
    return 1.0 + matching_cost(patches, words, is_word) - matching_cost(patches.roll(1, 0), words, is_word)


def matching_cost(patches: Tensor, words: Tensor, is_word: Tensor) -> Tensor:
    """Mean cost of the best one-to-one matching of words and patches.

    Args:
        patches: Patch tokens of each image, ``(n, patches, d)``, of any length.
        words: Word tokens of its caption, ``(n, words, d)``.
        is_word: ``(n, words)`` bool; False for start, end and padding.

    Returns:
        Scalar in 0…2: mean of ``1 − cos`` over a pair's matches, then over the pairs that have words; 0 if none has.
        Not finite where a token is not.

    Raises:
        ShapeError: The shapes do not fit together.
    """
    if patches.ndim != 3 or words.ndim != 3 or (patches.shape[0], patches.shape[2]) != (words.shape[0], words.shape[2]):
        raise ShapeError(
            f"Patches {tuple(patches.shape)} and words {tuple(words.shape)} must be (n, patches, d) and (n, words, d)."
        )
    if is_word.shape != words.shape[:2]:
        raise ShapeError(f"The word mask {tuple(is_word.shape)} does not fit words {tuple(words.shape)}.")
    cosines = F.normalize(words, dim=-1) @ F.normalize(patches, dim=-1).transpose(1, 2)  # (n, words, patches)
    costs = 1 - cosines.float()
    if not bool(costs.isfinite().all()):
        return costs.mean()  # no matching is the least of such costs; the trainer stops at a loss that is not finite
    pairs = match_tokens(costs.detach().cpu().numpy(), is_word.cpu().numpy())
    if not len(pairs):
        return costs.sum() * 0
    pair, word, patch, weight = (torch.from_numpy(column).to(costs.device) for column in pairs.T)
    matched = costs[pair.long(), word.long(), patch.long()]
    return (matched * weight.to(matched.dtype)).sum() / weight.sum().to(matched.dtype)


def match_tokens(costs: NDArray[np.float32], is_word: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The matchings of least cost, by the Hungarian algorithm.

    Args:
        costs: ``(n, words, patches)``.
        is_word: ``(n, words)``; other rows are left out.

    Returns:
        ``(matches, 4)``: pair, word, patch, and the match's weight, which is 1 over the number of its pair's matches. A
        caption with more words than the image has patches leaves the worst fitting words unmatched.
    """
    rows = []
    for index, (cost, mask) in enumerate(zip(costs, is_word, strict=True)):
        words = np.flatnonzero(mask)
        if not len(words):
            continue
        chosen, patches = linear_sum_assignment(cost[words])
        rows.append(
            np.stack([np.full(len(chosen), index), words[chosen], patches, np.full(len(chosen), 1 / len(chosen))])
        )
    return np.concatenate(rows, axis=1).T if rows else np.empty((0, 4))
