"""Caption words as labels: the image vector alone says which pieces its caption has.

SuperClass (arXiv 2411.03313): every piece of the vocabulary is a class, a caption is a set of them, and rare pieces
count more (inverse document frequency). It needs no text tower and almost no time, and gives an image tower the direct
signal that a contrastive loss with small batches is slow to find. Not part of LightCLIP: off unless a recipe wants it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileclip_kit.errors import ShapeError


def caption_words_loss(logits: Tensor, ids: Tensor, is_word: Tensor, importance: Tensor) -> Tensor:
    """Cross-entropy between the predicted pieces and those of the caption, weighted by importance.

    Args:
        logits: ``(n, vocabulary)``.
        ids: The captions' identifiers, ``(n, length)``.
        is_word: ``(n, length)`` bool, False for start, end and padding.
        importance: Weight of each piece, ``(vocabulary,)``, see :func:`inverse_document_frequency`.

    Returns:
        Scalar in nats, mean over the captions that have a piece of some importance; 0 if none has.

    Raises:
        ShapeError: The shapes do not fit together.
    """
    if ids.shape != is_word.shape or len(ids) != len(logits) or logits.shape[1:] != importance.shape:
        raise ShapeError(
            f"Logits {tuple(logits.shape)}, identifiers {tuple(ids.shape)}, word mask {tuple(is_word.shape)} and "
            f"importance {tuple(importance.shape)} do not fit together."
        )
    present = torch.zeros_like(logits).scatter_add_(1, ids, is_word.to(logits.dtype)).clamp_(max=1)
    weights = present * importance  # (n, vocabulary)
    total = weights.sum(dim=1, keepdim=True)
    counted = total.squeeze(1) > 0
    if not bool(counted.any()):
        return logits.sum() * 0
    return F.cross_entropy(logits[counted], (weights / total.clamp(min=1e-12))[counted])


def inverse_document_frequency(rows: Tensor, vocab_size: int) -> Tensor:
    """How much a piece says about a caption: ``ln(captions / (1 + captions with it))``, at least 0.

    Args:
        rows: Identifiers of all captions, ``(captions, length)``.
        vocab_size: Pieces in all.

    Returns:
        ``(vocab_size,)`` float32. Pieces of every caption (start, end, padding) get 0.
    """
    found = torch.zeros(vocab_size)
    for row in rows:
        found[row.unique()] += 1
    return torch.log(len(rows) / (1 + found)).clamp(min=0) * (found > 0)
