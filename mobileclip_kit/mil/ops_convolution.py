"""Convolution, pooling and resampling over one to three spatial axes, channels first: ``(n, c, *space)``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Op = Callable[..., Any]
Pads = list[tuple[int, int]]
Index = tuple[Any, ...]  # what numpy takes between brackets: slices, integers, ..., None

# Elements of a depthwise result that are computed together, so that they stay in the processor's cache.
_BLOCK = 1 << 16


def conv(*, x: Array, weight: Array, bias: Array | None = None, strides: Array | None = None, pad_type: str = "valid",
         pad: Array | None = None, dilations: Array | None = None, groups: Array | int = 1) -> Array:  # fmt: skip
    """Cross-correlation.

    Args:
        x: ``(n, c_in, *space)``.
        weight: ``(c_out, c_in / groups, *kernel)``.
        bias: ``(c_out,)``.
        strides: One for each spatial axis.
        pad_type: ``valid``, ``custom`` (as ``pad`` says), ``same`` or ``same_lower``.
        pad: Before and after each spatial axis.
        dilations: Distance of the kernel's taps on each axis.
        groups: Into how many separate parts the channels are cut.
    """
    kernel = weight.shape[2:]
    step, spread = _per_axis(strides, len(kernel)), _per_axis(dilations, len(kernel))
    reach = [(size - 1) * gap + 1 for size, gap in zip(kernel, spread, strict=True)]
    pads = _pads(pad_type, pad, x.shape[2:], reach, step)
    padded = np.pad(x, [(0, 0), (0, 0), *pads]) if any(map(any, pads)) else x
    if int(groups) == x.shape[1] and weight.shape[1] == 1:
        result = _depthwise(padded, weight, step, spread, reach)
    else:
        result = _grouped(padded, weight, step, spread, reach, int(groups))
    return result if bias is None else result + bias.reshape(-1, *[1] * len(kernel))


def _depthwise(x: Array, weight: Array, step: Sequence[int], spread: Sequence[int], reach: Sequence[int]) -> Array:
    # One multiplication for each tap: a matrix product would have rows of a handful of elements.
    n, channels = x.shape[:2]
    times = weight.shape[0] // channels
    out = [(size - far) // stride + 1 for size, far, stride in zip(x.shape[2:], reach, step, strict=True)]
    taps = weight.reshape(channels, times, *weight.shape[2:])
    total = np.zeros((n, channels, times, *out), np.float32)
    block = max(1, _BLOCK // (n * times * math.prod(out)))
    for first in range(0, channels, block):
        some = slice(first, first + block)
        inputs, sums = x[:, some, None], total[:, some]
        product = np.empty_like(sums)
        for tap in itertools.product(*map(range, weight.shape[2:])):
            window: Index = (..., *(
                slice(at * gap, at * gap + (count - 1) * stride + 1, stride)
                for at, gap, count, stride in zip(tap, spread, out, step, strict=True)
            ))  # fmt: skip
            at_tap: Index = (some, slice(None), *tap)
            np.multiply(inputs[window], taps[at_tap].reshape(-1, times, *[1] * len(out)), out=product)
            sums += product
    return total.reshape(n, channels * times, *out)


def _grouped(x: Array, weight: Array, step: Sequence[int], spread: Sequence[int], reach: Sequence[int],
             groups: int) -> Array:  # fmt: skip
    n, axes = x.shape[0], len(step)
    every: Index = (..., *(slice(None, None, gap) for gap in spread))
    windows = _windows(x, reach, step)[every]  # (n, c, *out, *kernel)
    out = windows.shape[2 : 2 + axes]
    order = (0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    columns = windows.transpose(order).reshape(n, groups, -1, math.prod(out))  # (n, g, c/g · kernel, positions)
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    return (matrix @ columns).reshape(n, weight.shape[0], *out)


def conv_transpose(*, x: Array, weight: Array, bias: Array | None = None, pad: Array | None = None,
                   output_shape: Array | None = None, pad_type: str = "valid", strides: Array | None = None,
                   dilations: Array | None = None, groups: Array | int = 1) -> Array:  # fmt: skip
    """The transpose of :func:`conv`; ``weight`` is ``(c_in, c_out / groups, *kernel)``."""
    if pad_type not in ("valid", "custom"):
        raise ValueError(f"conv_transpose with pad_type {pad_type!r} is not supported")
    kernel, space = weight.shape[2:], x.shape[2:]
    step, spread, parts = _per_axis(strides, len(kernel)), _per_axis(dilations, len(kernel)), int(groups)
    full = [(size - 1) * stride + (k - 1) * gap + 1
            for size, stride, k, gap in zip(space, step, kernel, spread, strict=True)]  # fmt: skip
    pads = [(0, 0)] * len(kernel) if pad_type == "valid" or pad is None else _pairs(pad)
    out = [size - sum(pair) for size, pair in zip(full, pads, strict=True)]
    if output_shape is not None:
        out = [int(size) for size in output_shape[-len(kernel) :]]
        full = [max(size, pair[0] + wanted) for size, pair, wanted in zip(full, pads, out, strict=True)]
    values = x.reshape(x.shape[0], parts, x.shape[1] // parts, -1)  # (n, g, c_in/g, positions)
    taps = weight.reshape(parts, weight.shape[0] // parts, weight.shape[1], *kernel)
    total = np.zeros((x.shape[0], parts * weight.shape[1], *full), np.float32)
    for tap in itertools.product(*map(range, kernel)):
        window = tuple(slice(at * gap, at * gap + (size - 1) * stride + 1, stride)
                       for at, gap, size, stride in zip(tap, spread, space, step, strict=True))  # fmt: skip
        at_tap: Index = (..., *tap)
        matrix = taps[at_tap].transpose(0, 2, 1)  # (g, c_out/g, c_in/g)
        total[(slice(None), slice(None), *window)] += (matrix @ values).reshape(x.shape[0], -1, *space)
    inside: Index = (..., *(slice(pair[0], pair[0] + size) for pair, size in zip(pads, out, strict=True)))
    cropped = total[inside]
    return cropped if bias is None else cropped + bias.reshape(-1, *[1] * len(kernel))


def avg_pool(*, x: Array, kernel_sizes: Array, strides: Array | None = None, pad_type: str = "valid",
             pad: Array | None = None, exclude_padding_from_average: Array | bool = False,
             ceil_mode: Array | bool = False) -> Array:  # fmt: skip
    """Mean of each window; padding counts as zeros, or not at all."""
    sums, pads = _pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode, 0, np.sum)
    space = x.shape[2:]
    if not exclude_padding_from_average:
        # What the rounding up of ceil_mode adds beyond the padding never counts, as in torch.
        declared = [(0, 0)] * len(space) if pad is None or pad_type != "custom" else _pairs(pad)
        ones = np.pad(np.ones(space, np.float32), pads if pad_type.startswith("same") else declared, constant_values=1)
        extra = [(0, size + sum(pair) - have) for size, pair, have in zip(space, pads, ones.shape, strict=True)]
        ones = np.pad(ones, extra)
    else:
        ones = np.pad(np.ones(space, np.float32), pads)
    step = _per_axis(strides, len(space))
    counts = _windows(ones[None, None], [int(k) for k in kernel_sizes], step).sum(axis=tuple(range(-len(space), 0)))
    return np.asarray(sums / counts)


def max_pool(*, x: Array, kernel_sizes: Array, strides: Array | None = None, pad_type: str = "valid",
             pad: Array | None = None, ceil_mode: Array | bool = False) -> Array:  # fmt: skip
    """Largest element of each window; padding never wins."""
    return _pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode, -np.inf, np.max)[0]


def l2_pool(*, x: Array, kernel_sizes: Array, strides: Array | None = None, pad_type: str = "valid",
            pad: Array | None = None, ceil_mode: Array | bool = False) -> Array:  # fmt: skip
    """Euclidean length of each window."""
    return np.sqrt(_pool(np.square(x), kernel_sizes, strides, pad_type, pad, ceil_mode, 0, np.sum)[0])


def _pool(x: Array, kernel_sizes: Array, strides: Array | None, pad_type: str, pad: Array | None,
          ceil_mode: Array | bool, padding: float, reduce: Op) -> tuple[Array, Pads]:  # fmt: skip
    kernel = [int(size) for size in kernel_sizes]
    step = _per_axis(strides, len(kernel))
    pads = _pads(pad_type, pad, x.shape[2:], kernel, step)
    if ceil_mode:
        pads = [_round_up(*all_of) for all_of in zip(pads, x.shape[2:], kernel, step, strict=True)]
    windows = _windows(np.pad(x, [(0, 0), (0, 0), *pads], constant_values=padding), kernel, step)
    return reduce(windows, axis=tuple(range(-len(kernel), 0))), pads


def _round_up(pads: tuple[int, int], size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding with which the last, incomplete window counts too, unless it would begin in the padding."""
    before, after = pads
    count = -(-(size + before + after - kernel) // stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return before, max(after, (count - 1) * stride + kernel - size - before)


def upsample_nearest_neighbor(*, x: Array, scale_factor_height: Array | float = 1,
                              scale_factor_width: Array | float = 1) -> Array:  # fmt: skip
    """Repeat the nearest pixel; each output pixel takes the input pixel at ``floor(i / scale)``."""
    for axis, scale in ((-2, float(scale_factor_height)), (-1, float(scale_factor_width))):
        size = x.shape[axis]
        places = np.floor(np.arange(math.floor(size * scale)) / scale).astype(int)
        x = np.take(x, np.minimum(places, size - 1), axis=axis)
    return x


def upsample_bilinear(*, x: Array, scale_factor_height: Array | float = 1, scale_factor_width: Array | float = 1,
                      align_corners: Array | bool = True,
                      half_pixel_centers: Array | bool | None = None) -> Array:  # fmt: skip
    """Linear interpolation along both axes, with torch's meaning of ``align_corners``."""
    centred = (not align_corners) if half_pixel_centers is None else bool(half_pixel_centers)
    for axis, scale in ((-2, float(scale_factor_height)), (-1, float(scale_factor_width))):
        size = x.shape[axis]
        count = math.floor(size * scale)
        places = np.arange(count, dtype=np.float64)
        if align_corners:
            places *= (size - 1) / max(count - 1, 1)
        elif centred:
            places = (places + 0.5) / scale - 0.5
        else:
            places /= scale
        places = places.clip(0, size - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, size - 1)
        share = (places - low).astype(np.float32).reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])
        x = np.take(x, low, axis=axis) * (1 - share) + np.take(x, high, axis=axis) * share
    return x


def _windows(x: Array, reach: Sequence[int], step: Sequence[int]) -> Array:
    """Every window as trailing axes: ``(n, c, *out, *reach)``, a view."""
    axes = tuple(range(2, x.ndim))
    every: Index = (slice(None), slice(None), *(slice(None, None, stride) for stride in step))
    return np.asarray(sliding_window_view(x, tuple(reach), axis=axes)[every])  # type: ignore[call-overload]


def _per_axis(values: Array | None, axes: int) -> list[int]:
    return [1] * axes if values is None else [int(value) for value in values]


def _pairs(pad: Array) -> Pads:
    return [(int(before), int(after)) for before, after in np.reshape(pad, (-1, 2))]


def _pads(pad_type: str, pad: Array | None, space: Sequence[int], reach: Sequence[int], step: Sequence[int]) -> Pads:
    if pad_type == "valid" or (pad_type == "custom" and pad is None):
        return [(0, 0)] * len(space)
    if pad_type == "custom" and pad is not None:
        return _pairs(pad)
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {pad_type!r}")
    pads = []
    for size, far, stride in zip(space, reach, step, strict=True):
        total = max((-(-size // stride) - 1) * stride + far - size, 0)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if pad_type == "same" else (more, less))
    return pads


CONVOLUTION: dict[str, Op] = {
    "avg_pool": avg_pool,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "l2_pool": l2_pool,
    "max_pool": max_pool,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
