"""Matrix products and attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.mil.ops_reductions import softmax

Array = NDArray[Any]
Op = Callable[..., Any]


def linear(*, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``x @ weight.T + bias`` with ``weight`` ``(out, in)`` and ``bias`` ``(out,)``."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    product: Array = rows @ weight.T
    if bias is not None:
        product += bias
    return product.reshape(*x.shape[:-1], weight.shape[0])


def matmul(*, x: Array, y: Array, transpose_x: Array | bool = False, transpose_y: Array | bool = False) -> Array:
    """Matrix product over the last two axes, the others broadcast."""
    left = np.swapaxes(x, -1, -2) if transpose_x and x.ndim > 1 else x
    right = np.swapaxes(y, -1, -2) if transpose_y and y.ndim > 1 else y
    return np.asarray(_for_blas(left) @ _for_blas(right))


def einsum(*, values: tuple[Array, ...], equation: str) -> Array:
    """Einstein summation."""
    return np.asarray(np.einsum(equation, *values, optimize=True))


def scaled_dot_product_attention(*, query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Array:
    """``softmax(query keyᵀ / √d + mask) value`` (arXiv 1706.03762); a bool mask says what may be looked at."""
    scores = matmul(x=query, y=key, transpose_y=True) / np.float32(np.sqrt(query.shape[-1]))
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    return matmul(x=softmax(x=scores.astype(np.float32)), y=value)


def _for_blas(matrices: Array) -> Array:
    """Copied when neither of the last two axes is contiguous: BLAS refuses such arrays and numpy's own loop crawls."""
    if matrices.ndim < 2 or matrices.itemsize in matrices.strides[-2:]:
        return matrices
    return np.ascontiguousarray(matrices)


MATRIX: dict[str, Op] = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
