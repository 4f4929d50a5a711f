"""Palettes: 2ⁿ values that a weight consists of, for Core ML and Core AI.

A palette is found by Lloyd's algorithm in one dimension. Weights are float16, so at most 65,536 different values have
to be grouped, however large the tensor is: the exact grouping that coremltools' own k-means looks for costs minutes a
model, this one a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LLOYD_ROUNDS = 100


def find_palette(weight: NDArray[Any], bits: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """The 2ⁿ values that a tensor is replaced by, and which of them each element takes.

    Lloyd's algorithm (1957) on the sorted distinct values and their counts; starts from equal shares of the elements.

    Args:
        weight: Any shape, float16 or float32.
        bits: n, 1…8.

    Returns:
        The palette, ``(2ⁿ,)`` ascending, and the flat indices into it, ``(weight.size,)`` uint8.
    """
    values, inverse, counts = np.unique(weight.astype(np.float64), return_inverse=True, return_counts=True)
    total = np.concatenate([[0.0], np.cumsum(values * counts)])
    count = np.concatenate([[0], np.cumsum(counts)])
    size = 1 << bits
    middles = (np.arange(size) + 0.5) / size * count[-1]
    palette = values[np.searchsorted(count[1:], middles, side="left").clip(max=len(values) - 1)]
    # Equal shares put most entries at the centre; the range's ends are what large weights need.
    palette = np.unique(np.concatenate([palette, np.linspace(values[0], values[-1], size)]))
    palette = palette[np.linspace(0, len(palette) - 1, size).round().astype(int)]
    for _ in range(_LLOYD_ROUNDS):
        borders = np.concatenate([[0], np.searchsorted(values, (palette[1:] + palette[:-1]) / 2), [len(values)]])
        members = count[borders[1:]] - count[borders[:-1]]
        sums = total[borders[1:]] - total[borders[:-1]]
        moved = np.where(members > 0, sums / np.maximum(members, 1), palette)
        if np.allclose(moved, palette, rtol=1e-6, atol=0):
            break
        palette = np.sort(moved)
    nearest = np.searchsorted((palette[1:] + palette[:-1]) / 2, values)
    return palette.astype(weight.dtype), nearest[inverse.ravel()].astype(np.uint8)


def palettized(weight: NDArray[Any], bits: int, channels: int) -> NDArray[Any]:
    """A weight whose elements are replaced by the nearest values of its palettes.

    Args:
        weight: Output channels first.
        bits: n, 1…8.
        channels: See :func:`palette_count`.
    """
    found = []
    for group in np.split(weight, palette_count(len(weight), bits, channels)):
        palette, indices = find_palette(group, bits)
        found.append(palette[indices].reshape(group.shape))
    return np.concatenate(found)


def palette_count(own: int, bits: int, channels: int) -> int:
    """How many palettes a weight has.

    Args:
        own: Its output channels.
        bits: n, 1…8.
        channels: So many have a palette of their own, where they divide the weight's and it has fewer than 8 bits; 256
            values for each group would be as large as the weights of 16 depthwise channels. 0 for one in all.
    """
    return own // channels if channels and bits < 8 and own % channels == 0 else 1
