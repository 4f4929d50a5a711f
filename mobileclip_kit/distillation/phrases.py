"""Two-word phrases of captions: "red star" says what "red" and "star" do not, which thing has which colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from string import punctuation

import torch
from torch import Tensor

Phrase = tuple[str, str]


def phrases(captions: Iterable[str]) -> frozenset[Phrase]:
    """Every two neighbouring words of some texts, without letters' case and the punctuation around them."""
    return frozenset(pair for caption in captions for pair in pairwise(_words(caption)))


def _words(caption: str) -> list[str]:
    return [word for each in caption.lower().split() if (word := each.strip(punctuation))]


class PhraseTable:
    """The most common phrases of captions, numbered.

    Args:
        captions: Of the training set.
        count: How many phrases at most. Equally common ones are taken in alphabetical order.
    """

    def __init__(self, captions: Iterable[str], count: int) -> None:
        found = Counter(phrase for caption in captions for phrase in phrases([caption]))
        ordered = sorted(found, key=lambda phrase: (-found[phrase], phrase))
        self.numbers = {phrase: number for number, phrase in enumerate(ordered[:count])}

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The numbers of each caption's phrases, ``(n, most)`` int64, and which of them count, ``(n, most)`` bool."""
        found = [sorted(self.numbers[each] for each in phrases([text]) if each in self.numbers) for text in captions]
        most = max((len(row) for row in found), default=0)
        numbers = torch.zeros(len(found), most, dtype=torch.int64)
        for row, members in zip(numbers, found, strict=True):
            row[: len(members)] = torch.tensor(members, dtype=torch.int64)
        lengths = torch.tensor([len(row) for row in found], dtype=torch.int64)
        return numbers, torch.arange(most) < lengths[:, None]
