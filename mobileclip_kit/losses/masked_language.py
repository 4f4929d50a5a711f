"""Masked language modelling of captions, with and without the image's help.

LightCLIP (arXiv 2312.00674), section 3.3; the masking is BERT's (arXiv 1810.04805). Our reading: every caption that has
words has at least one of them masked, since 15 % of a short caption would often be none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileclip_kit.errors import ShapeError

IGNORED = -100
"""Label of a token that is not to be predicted."""


def mask_tokens(
    ids: Tensor, is_word: Tensor, *, vocab_size: int, mask_id: int, generator: torch.Generator, share: float = 0.15
) -> tuple[Tensor, Tensor]:
    """Choose tokens to be predicted: 80 % become the mask token, 10 % a random one, 10 % stay.

    Args:
        ids: Token identifiers, ``(n, length)`` int64.
        is_word: ``(n, length)`` bool; start, end and padding are never chosen.
        vocab_size: Random tokens come from below this.
        mask_id: Identifier of the mask token.
        generator: Random number generator, on the CPU.
        share: How many of the words are chosen.

    Returns:
        The masked identifiers, and the labels: the original where it is to be predicted, else :data:`IGNORED`. Both are
        shaped like ``ids``.
    """
    if is_word.shape != ids.shape:
        raise ShapeError(f"The word mask {tuple(is_word.shape)} does not fit the identifiers {tuple(ids.shape)}.")
    draws = torch.rand(ids.shape, generator=generator).to(ids.device).masked_fill(~is_word, 2.0)
    # The least likely word of each caption goes along in any case.
    chosen = is_word & ((draws < share) | (draws == draws.min(dim=1, keepdim=True).values))
    fate = torch.rand(ids.shape, generator=generator).to(ids.device)
    random_ids = torch.randint(0, vocab_size, ids.shape, generator=generator).to(ids.device)
    masked = torch.where(chosen & (fate < 0.8), mask_id, ids)
    masked = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), random_ids, masked)
    return masked, torch.where(chosen, ids, IGNORED)


def masked_language_loss(text_logits: Tensor, fused_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of two cross-entropies: from the masked text alone, and from the text fused with its image.

    Args:
        text_logits: ``(..., vocabulary)``, from the masked text alone.
        fused_logits: Same shape, from the fused stream.
        labels: ``(...)``: the original identifiers, :data:`IGNORED` where nothing is to be predicted.

    Returns:
        Scalar in nats, mean over the tokens to be predicted; 0 if there are none.

    Raises:
        ShapeError: The shapes do not fit together.
    """
    if text_logits.shape != fused_logits.shape or text_logits.shape[:-1] != labels.shape:
        raise ShapeError(
            f"Logits {tuple(text_logits.shape)} and {tuple(fused_logits.shape)} do not fit the labels "
            f"{tuple(labels.shape)}."
        )
    wanted = labels != IGNORED
    if not bool(wanted.any()):
        return (text_logits.sum() + fused_logits.sum()) * 0
    losses = [F.cross_entropy(logits[wanted], labels[wanted]) for logits in (text_logits, fused_logits)]
    return (losses[0] + losses[1]) / 2
