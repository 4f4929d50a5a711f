"""Operators that work element by element: arithmetic, comparisons, activations, casts.

Every function is called with the program's own parameter names. Floating-point arrays arrive and leave as float32; the
interpreter rounds them to float16 where the program says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

Array = NDArray[Any]
Op = Callable[..., Any]

# ``cast`` writes these names; both float types are held as float32.
_CASTS: dict[str, Any] = {
    "fp16": np.float32,
    "fp32": np.float32,
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "uint16": np.uint16,
    "int32": np.int32,
    "uint32": np.uint32,
    "int64": np.int64,
    "bool": np.bool_,
}
_SQRT_HALF = np.float32(np.sqrt(0.5))
_SQRT_2_OVER_PI = np.float32(np.sqrt(2 / np.pi))


def _binary(function: Op) -> Op:
    def apply(*, x: Array, y: Array) -> Any:
        return function(x, y)

    return apply


def _unary(function: Op) -> Op:
    def apply(*, x: Array) -> Any:
        return function(x)

    return apply


def gelu(*, x: Array, mode: str = "EXACT") -> Array:
    """Gaussian error linear unit (arXiv 1606.08415), exact or in one of its two approximations."""
    if mode == "EXACT":
        return np.asarray(x * (0.5 + 0.5 * erf(x * _SQRT_HALF)))
    if mode == "TANH_APPROXIMATION":
        return np.asarray(x * (0.5 + 0.5 * np.tanh(_SQRT_2_OVER_PI * (x + np.float32(0.044715) * x * x * x))))
    if mode == "SIGMOID_APPROXIMATION":
        return np.asarray(x * expit(np.float32(1.702) * x))
    raise ValueError(f"unknown gelu mode {mode!r}")


def prelu(*, x: Array, alpha: Array) -> Array:
    """``alpha`` has one slope for each channel (axis 1)."""
    return np.where(x > 0, x, x * _by_channel(alpha, x))


def softplus(*, x: Array) -> Array:
    """``log(1 + exp(x))`` without overflow."""
    return np.logaddexp(np.float32(0), x)


def softplus_parametric(*, x: Array, alpha: Array, beta: Array) -> Array:
    """``alpha · log(1 + exp(beta · x))`` with one alpha and beta for each channel (axis 1)."""
    return np.asarray(_by_channel(alpha, x) * np.logaddexp(np.float32(0), _by_channel(beta, x) * x))


def sigmoid_hard(*, x: Array, alpha: Array, beta: Array) -> Array:
    """``clip(alpha · x + beta, 0, 1)``."""
    return np.clip(alpha * x + beta, 0, 1)


def cast(*, x: Array, dtype: str) -> Array:
    """To another element type; towards zero for integers, ``x != 0`` for bool."""
    if dtype not in _CASTS:
        raise ValueError(f"unknown type {dtype!r}")
    return np.asarray(x).astype(_CASTS[dtype])


def log(*, x: Array, epsilon: Array | float = 1e-45) -> Array:
    """``log(x + epsilon)``."""
    return np.log(x + np.float32(epsilon))


def rsqrt(*, x: Array, epsilon: Array | float = 1e-12) -> Array:
    """``1 / sqrt(x + epsilon)``."""
    return 1 / np.sqrt(x + np.float32(epsilon))


def inverse(*, x: Array, epsilon: Array | float = 1e-4) -> Array:
    """``1 / (x + epsilon)``."""
    return 1 / (x + np.float32(epsilon))


def select(*, cond: Array, a: Array, b: Array) -> Array:
    """``a`` where ``cond``, else ``b``."""
    return np.where(np.asarray(cond).astype(bool), a, b)


def quantize(*, input: Array, scale: Array, output_dtype: str, zero_point: Array | int = 0,
             axis: Array | int = 0) -> Array:  # fmt: skip
    """``round(input / scale) + zero_point``, clipped to the range of ``output_dtype``."""
    limits = np.iinfo(_CASTS[output_dtype])
    shifted = np.rint(input / along(scale, input, axis)) + along(zero_point, input, axis)
    return np.clip(shifted, limits.min, limits.max).astype(_CASTS[output_dtype])


def dequantize(*, input: Array, scale: Array, zero_point: Array | int = 0, axis: Array | int = 0) -> Array:
    """``(input − zero_point) · scale`` in float32."""
    return (input.astype(np.float32) - along(zero_point, input, axis)) * along(scale, input, axis)


def along(vector: Array | float, like: Array, axis: Array | int) -> Array:
    """A scalar or a vector along ``axis`` as float32, shaped to broadcast against ``like``."""
    vector = np.asarray(vector, np.float32)
    shape = [1] * like.ndim
    shape[int(axis)] = -1
    return vector if vector.ndim == 0 else vector.reshape(shape)


def _by_channel(vector: Array, like: Array) -> Array:
    return along(vector, like, 1)


ELEMENTWISE: dict[str, Op] = {
    "abs": _unary(np.abs),
    "acos": _unary(np.arccos),
    "add": _binary(np.add),
    "asin": _unary(np.arcsin),
    "atan": _unary(np.arctan),
    "atanh": _unary(np.arctanh),
    "cast": cast,
    "ceil": _unary(np.ceil),
    "clamped_relu": lambda *, x, alpha, beta: np.minimum(np.where(x >= 0, x, alpha * x), beta),
    "clip": lambda *, x, alpha, beta: np.clip(x, alpha, beta),
    "cos": _unary(np.cos),
    "cosh": _unary(np.cosh),
    "dequantize": dequantize,
    "elu": lambda *, x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "equal": _binary(np.equal),
    "erf": _unary(erf),
    "exp": _unary(np.exp),
    "exp2": _unary(np.exp2),
    "floor": _unary(np.floor),
    "floor_div": _binary(np.floor_divide),
    "gelu": gelu,
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "identity": _unary(lambda x: x),
    "inverse": inverse,
    "leaky_relu": lambda *, x, alpha: np.where(x >= 0, x, alpha * x),
    "less": _binary(np.less),
    "less_equal": _binary(np.less_equal),
    "linear_activation": lambda *, x, alpha, beta: alpha * x + beta,
    "log": log,
    "logical_and": _binary(np.logical_and),
    "logical_not": _unary(np.logical_not),
    "logical_or": _binary(np.logical_or),
    "logical_xor": _binary(np.logical_xor),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mod": _binary(np.mod),
    "mul": _binary(np.multiply),
    "not_equal": _binary(np.not_equal),
    "pow": _binary(np.power),
    "prelu": prelu,
    "quantize": quantize,
    "real_div": _binary(np.true_divide),
    "relu": _unary(lambda x: np.maximum(x, 0)),
    "relu6": _unary(lambda x: np.clip(x, 0, 6)),
    "round": _unary(np.rint),
    "rsqrt": rsqrt,
    "scaled_tanh": lambda *, x, alpha, beta: alpha * np.tanh(beta * x),
    "select": select,
    "sigmoid": _unary(expit),
    "sigmoid_hard": sigmoid_hard,
    "sign": _unary(np.sign),
    "silu": _unary(lambda x: x * expit(x)),
    "sin": _unary(np.sin),
    "sinh": _unary(np.sinh),
    "softplus": softplus,
    "softplus_parametric": softplus_parametric,
    "softsign": _unary(lambda x: x / (1 + np.abs(x))),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "sub": _binary(np.subtract),
    "tan": _unary(np.tan),
    "tanh": _unary(np.tanh),
    "threshold": lambda *, x, alpha: np.maximum(x, alpha),
    "thresholded_relu": lambda *, x, alpha: np.where(x >= alpha, x, 0),
}
