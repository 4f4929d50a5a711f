"""The kinds of search that an index can offer, and which one suits its size.

Words find images across the gap between the two modalities: text vectors lie far from every image vector, which is
where approximate indexes lose most (clip-retrieval's users measured it). So the exact scan is the rule up to the
size at which it is felt, and what replaces it is measured with texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

IndexKind = Literal["flat", "flat-float16", "flat-int8", "hnsw", "ivf-pq"]
KINDS: tuple[IndexKind, ...] = get_args(IndexKind)

# One core scans about 10 GB a second: up to here a query is answered in some 40 ms.
_FLAT_BYTES = 400_000_000


@dataclass(frozen=True)
class Choice:
    """A kind and the reason for it, one sentence."""

    kind: IndexKind
    reason: str


def choose_kind(rows: int, dim: int) -> Choice:
    """The kind for so many vectors.

    A graph (``hnsw``) is never chosen: text queries make it visit so much of itself that it hardly beats the scan;
    compressed lists find as much in a fraction of its time, memory and building (``benchmarks/index_kinds.py``).

    Args:
        rows: Vectors.
        dim: Their width.
    """
    matrix = 4 * rows * dim
    size = f"{rows:,} vectors of {dim} numbers are {_amount(matrix)}"
    if matrix <= _FLAT_BYTES:
        return Choice("flat", f"{size}: scanning them all is exact and quick.")
    return Choice("ivf-pq", f"{size}, too many to scan for each query; a part of their compressed lists is enough.")


def _amount(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
