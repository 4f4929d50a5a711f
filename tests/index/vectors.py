"""Vectors for the tests of index and search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_rows(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Random rows of length 1, ``(count, dim)``."""
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
