"""Operators that reduce along axes, and the normalisations built on such reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.mil.ops_elementwise import along

Array = NDArray[Any]
Op = Callable[..., Any]


def _reduce(function: Op) -> Op:
    def apply(*, x: Array, axes: Array | None = None, keep_dims: Array | bool = False) -> Any:
        return function(x, axis=_axes(axes), keepdims=bool(keep_dims))

    return apply


def _reduce_arg(function: Op) -> Op:
    def apply(*, x: Array, axis: Array | int = -1, keep_dims: Array | bool = False, output_dtype: str = "int32") -> Any:
        return function(x, axis=int(axis), keepdims=bool(keep_dims)).astype(output_dtype)

    return apply


def _log_sum_exp(x: Array, axis: tuple[int, ...] | None, keepdims: bool) -> Array:
    peak = x.max(axis=axis, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0)  # −∞ − −∞ is no number
    total: Array = np.log(np.exp(x - peak).sum(axis=axis, keepdims=True)) + peak
    return total if keepdims else np.squeeze(total, axis=axis)


def softmax(*, x: Array, axis: Array | int = -1) -> Array:
    """Exponentials that sum to one along ``axis``."""
    powers: Array = np.exp(x - x.max(axis=int(axis), keepdims=True))
    powers /= powers.sum(axis=int(axis), keepdims=True)
    return powers


def layer_norm(*, x: Array, axes: Array | None = None, gamma: Array | None = None, beta: Array | None = None,
               epsilon: Array | float = 1e-5) -> Array:  # fmt: skip
    """Zero mean and unit variance over ``axes`` (arXiv 1607.06450); gamma and beta have the shape of these axes."""
    over = tuple(range(x.ndim)) if axes is None else tuple(sorted(int(axis) % x.ndim for axis in axes))
    centred: Array = x - x.mean(axis=over, keepdims=True)
    variance = np.square(centred).mean(axis=over, keepdims=True)
    centred /= np.sqrt(variance + np.float32(epsilon))
    shape = [x.shape[axis] if axis in over else 1 for axis in range(x.ndim)]
    if gamma is not None:
        centred *= gamma.reshape(shape)
    return centred if beta is None else centred + beta.reshape(shape)


def batch_norm(*, x: Array, mean: Array, variance: Array, gamma: Array | None = None, beta: Array | None = None,
               epsilon: Array | float = 1e-5) -> Array:  # fmt: skip
    """Normalise each channel (axis 1) by stored statistics (arXiv 1502.03167)."""
    factor = (1 if gamma is None else gamma) / np.sqrt(variance + np.float32(epsilon))
    shift = (0 if beta is None else beta) - mean * factor
    return x * along(factor, x, 1) + along(shift, x, 1)


def instance_norm(*, x: Array, gamma: Array | None = None, beta: Array | None = None,
                  epsilon: Array | float = 1e-5) -> Array:  # fmt: skip
    """Normalise each channel (axis 1) of each example over its positions."""
    spatial = np.arange(2, x.ndim)
    normal = layer_norm(x=x, axes=spatial, epsilon=epsilon)
    if gamma is not None:
        normal = normal * along(gamma, x, 1)
    return normal if beta is None else normal + along(beta, x, 1)


def l2_norm(*, x: Array, epsilon: Array | float = 1e-6) -> Array:
    """Divide by the Euclidean length over the last three axes."""
    squares = np.square(x).sum(axis=(-3, -2, -1), keepdims=True)
    return np.asarray(x / np.sqrt(squares + np.float32(epsilon)))


def local_response_norm(*, x: Array, size: Array, alpha: Array | float = 1e-4, beta: Array | float = 0.75,
                        k: Array | float = 1.0) -> Array:  # fmt: skip
    """Divide by the strength of ``size`` neighbouring channels (AlexNet, section 3.3)."""
    width = int(size)
    padded = np.pad(np.square(x), [(0, 0), (width // 2, (width - 1) // 2)] + [(0, 0)] * (x.ndim - 2))
    sums = sum(padded[:, i : i + x.shape[1]] for i in range(width))
    return np.asarray(x / np.power(np.float32(k) + np.float32(alpha) * sums / width, np.float32(beta)))


def cumsum(*, x: Array, axis: Array | int = 0, exclusive: Array | bool = False, reverse: Array | bool = False) -> Array:
    """Running sums along ``axis``; ``exclusive`` leaves the element itself out, ``reverse`` runs backwards."""
    forward = np.flip(x, int(axis)) if reverse else x
    sums = np.cumsum(forward, axis=int(axis), dtype=x.dtype)
    if exclusive:
        sums = sums - forward
    return np.flip(sums, int(axis)) if reverse else sums


def argsort(*, x: Array, axis: Array | int = -1, ascending: Array | bool = False) -> Array:
    """Positions in sorted order; equal elements keep their order."""
    # Unsigned numbers have no negative.
    falling = x if ascending else -x.astype(np.int64) if x.dtype.kind in "bu" else -x
    return np.argsort(falling, axis=int(axis), kind="stable").astype(np.int32)


def topk(*, x: Array, k: Array | int = 1, axis: Array | int = -1, ascending: Array | bool = False,
         sort: Array | bool = True, return_indices: Array | bool = True,
         output_indices_dtype: str = "int32") -> tuple[Array, ...]:  # fmt: skip
    """The ``k`` largest (or smallest) elements, and where they stand. Always sorted: unsorted allows any order."""
    count = x.shape[int(axis)] if int(k) == -1 else int(k)
    indices = np.take(argsort(x=x, axis=axis, ascending=ascending), np.arange(count), axis=int(axis))
    values = np.take_along_axis(x, indices, axis=int(axis))
    return (values, indices.astype(output_indices_dtype)) if return_indices else (values,)


def _axes(axes: Array | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(int(axis) for axis in np.atleast_1d(axes))


REDUCTIONS: dict[str, Op] = {
    "argsort": argsort,
    "batch_norm": batch_norm,
    "cumsum": cumsum,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
    "local_response_norm": local_response_norm,
    "reduce_argmax": _reduce_arg(np.argmax),
    "reduce_argmin": _reduce_arg(np.argmin),
    "reduce_l1_norm": _reduce(lambda x, **how: np.abs(x).sum(**how)),
    "reduce_l2_norm": _reduce(lambda x, **how: np.sqrt(np.square(x).sum(**how))),
    "reduce_log_sum": _reduce(lambda x, **how: np.log(x.sum(**how))),
    "reduce_log_sum_exp": _reduce(_log_sum_exp),
    "reduce_max": _reduce(np.max),
    "reduce_mean": _reduce(np.mean),
    "reduce_min": _reduce(np.min),
    "reduce_prod": _reduce(np.prod),
    "reduce_sum": _reduce(np.sum),
    "reduce_sum_square": _reduce(lambda x, **how: np.square(x).sum(**how)),
    "softmax": softmax,
    "topk": topk,
}
