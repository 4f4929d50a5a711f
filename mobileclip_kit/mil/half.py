"""Rounding float32 values to what float16 can hold, without leaving float32.

The same numbers as ``astype(float16).astype(float32)``, several times faster where numpy converts float16 one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT16_MAX = 65504.0
# float16 keeps 10 of float32's 23 fraction bits …
_DROPPED_BITS = 13
_HALF_STEP = np.uint32((1 << (_DROPPED_BITS - 1)) - 1)
_KEPT = np.uint32(0xFFFFFFFF ^ ((1 << _DROPPED_BITS) - 1))
# … and below 2⁻¹⁴ it counts in steps of 2⁻²⁴, which are float32's steps between 0.5 and 1.
_SMALLEST_NORMAL = np.float32(2**-14)
_LIFT = np.float32(0.75)
# Elements at a time: all passes over them stay in the processor's cache.
_CHUNK = 1 << 14


def round_to_half(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest float16 numbers (ties to even) as float32.

    Args:
        values: Any shape; no NaN and no magnitude beyond :data:`FLOAT16_MAX`. A negative zero may lose its sign.

    Returns:
        A new array of the same shape.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    rounded = np.empty_like(flat)
    lifted: NDArray[Any] = np.empty(min(_CHUNK, flat.size), np.float32)
    for start in range(0, flat.size, _CHUNK):
        part, out = flat[start : start + _CHUNK], rounded[start : start + _CHUNK]
        bits, out_bits, scratch = part.view(np.uint32), out.view(np.uint32), lifted[: part.size]
        # Half a step is added, and a little more when the last kept bit is odd; then the dropped bits are cleared.
        np.right_shift(bits, _DROPPED_BITS, out=out_bits)
        np.bitwise_and(out_bits, np.uint32(1), out=out_bits)
        np.add(out_bits, _HALF_STEP, out=out_bits)
        np.add(out_bits, bits, out=out_bits)
        np.bitwise_and(out_bits, _KEPT, out=out_bits)
        np.abs(part, out=scratch)
        small = scratch < _SMALLEST_NORMAL
        np.add(part, _LIFT, out=scratch)
        np.subtract(scratch, _LIFT, out=scratch)
        np.copyto(out, scratch, where=small)
    return rounded.reshape(values.shape)
