"""Names for the arrays that pass between packages, and their consecutive parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

# Embeddings, (n, d); unit rows unless a docstring says otherwise.
Vectors = NDArray[np.float32]
# RGB images, (n, height, width, 3) or one (height, width, 3), 0…255.
Pixels = NDArray[np.uint8]
# Token ids, (n, context_length): start, text, end, padding.
Ids = NDArray[np.int64]


class Sliceable(Protocol):
    """A sequence, an array, a range, bytes."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> Any: ...


Items = TypeVar("Items", bound=Sliceable)


def parts_of(items: Items, size: int) -> Iterator[Items]:
    """Consecutive parts of ``size`` items, or rows; the last one may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
