"""A perceptual hash: images that look alike differ in few of its 64 bits.

The DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010): the 8×8 lowest
frequencies of a 32×32 grey image without the constant ones, each compared with their median. Here the image is the
square that the model sees, since that is decoded anyway: resized and recompressed copies have the same one.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Pixels

BITS = 64
# The hash of an image without structure, such as a black frame; it says nothing.
FLAT = 0
# Grey values that differ by less than about two levels.
_LEAST_STRUCTURE = 32.0
_SIDE, _FREQUENCIES = 32, 8


def perceptual_hash(pixels: Pixels) -> int:
    """The hash of an RGB image, ``(height, width, 3)`` uint8, as a signed number of 64 bits, or :data:`FLAT`."""
    from PIL import Image  # a search in words needs none

    grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    cosines = _cosines()
    lowest = cosines @ np.asarray(grey, np.float64) @ cosines.T  # (8, 8)
    # Ties are decided by rounding, so that the same image has the same hash on every machine.
    values = np.round(lowest, 3).ravel()
    if np.abs(values).max() < _LEAST_STRUCTURE:
        return FLAT
    return int(np.packbits(values > np.median(values)).view(">i8")[0])


def differing_bits(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.uint8]:
    """In how many of 64 bits each pair of hashes differs."""
    return np.bitwise_count((first ^ second).view(np.uint64))


@functools.cache
def _cosines() -> NDArray[np.float64]:
    """Frequencies 1 to 8 of the DCT-II over 32 samples, ``(8, 32)``."""
    frequencies, samples = np.arange(1, _FREQUENCIES + 1), np.arange(_SIDE)
    rows: NDArray[np.float64] = np.cos(np.pi / _SIDE * (samples + 0.5) * frequencies[:, None])
    return rows
