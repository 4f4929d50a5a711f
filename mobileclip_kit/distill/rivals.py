"""Pictures that share words but not phrases: rivals, for batches in which telling them apart is what is to be learned.

In a batch drawn at random hardly two pictures differ only in which thing has which colour, so nothing teaches a model
that "a blue house" is not a black house beside a blue car. NegCLIP (arXiv 2210.01936, section 4) puts look-alike
pictures into one batch. Our reading needs no model to find them: a rival of a picture has many of its captions' words,
the rarer the better, and few of the pairs of words that stand side by side. A picture of which the captions would be
true has those pairs too, so it is not chosen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from mobileclip_kit.data.pictures import Rows

# So many pictures, drawn anew now and then, are looked through for rivals: the best of them are hard enough.
_CANDIDATES = 8192
_BLOCK, _BLOCKS = 1024, 16
# What a shared pair of words costs, in worths of its commoner word: more than both are worth for "blue house", next to
# nothing for "a blue".
_PAIR_COST = 3.0


def find_rivals(captions: Sequence[Sequence[str]], *, count: int, seed: int) -> Rows:
    """Rivals of every picture.

    Args:
        captions: The captions of each picture.
        count: Rivals of each; fewer pictures than that give every picture all others.
        seed: Of the candidates.

    Returns:
        Rows of pictures, ``(n, count)``, the hardest first; none is its own.
    """
    wanted, given = _features(captions)
    pictures = len(captions)
    pool = min(_CANDIDATES, pictures)
    count = min(count, pool - 1)
    found = np.empty((pictures, count), np.int64)
    rng = np.random.Generator(np.random.Philox(key=[seed, 0x72697661]))
    for start in range(0, pictures, _BLOCK):
        if start % (_BLOCKS * _BLOCK) == 0:
            candidates = rng.permutation(pictures)[:pool].astype(np.int64)
            offered = given.index_select(1, torch.from_numpy(candidates)).to_dense()  # (parts, candidates)
        rows = np.arange(start, min(start + _BLOCK, pictures))
        likeness = torch.sparse.mm(wanted.index_select(0, torch.from_numpy(rows)), offered)  # (rows, candidates)
        likeness[torch.from_numpy(rows[:, None] == candidates[None])] = -math.inf
        found[rows] = candidates[likeness.topk(count, dim=1).indices.numpy()]
    return found


def _features(captions: Sequence[Sequence[str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sparse matrices, ``(n, parts)`` and ``(parts, n)``: their product is how hard one picture is for another."""
    sets = [_parts(texts) for texts in captions]
    frequency = Counter(part for parts in sets for part in parts)
    place = {part: number for number, part in enumerate(frequency)}
    size = (len(captions), len(place))
    rows = torch.tensor([row for row, parts in enumerate(sets) for _ in parts])
    columns = torch.tensor([place[part] for parts in sets for part in parts])
    worth = {part: math.log(len(captions) / many) for part, many in frequency.items()}
    for pair in frequency:
        if isinstance(pair, tuple):
            worth[pair] = -_PAIR_COST * min(worth[pair[0]], worth[pair[1]])
    values = torch.tensor([worth[part] for parts in sets for part in parts])
    ones = torch.ones_like(values)
    return (
        torch.sparse_coo_tensor(torch.stack([rows, columns]), values, size, check_invariants=True).coalesce(),
        torch.sparse_coo_tensor(torch.stack([columns, rows]), ones, size[::-1], check_invariants=True).coalesce(),
    )


def _parts(texts: Iterable[str]) -> list[str | tuple[str, str]]:
    """Words and neighbouring pairs, each once, in a fixed order."""
    parts: dict[str | tuple[str, str], None] = {}
    for text in texts:
        words = text.lower().split()
        parts |= dict.fromkeys(words)
        parts |= dict.fromkeys(zip(words, words[1:], strict=False))
    return list(parts)
