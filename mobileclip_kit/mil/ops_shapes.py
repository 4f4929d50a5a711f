"""Operators that move, cut, join or index values without computing with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Op = Callable[..., Any]
Arrays = Array | tuple[Array, ...]


def reshape(*, x: Array, shape: Array) -> Array:
    """New shape; −1 is what remains, 0 keeps the dimension that stands there."""
    sizes = [x.shape[axis] if size == 0 and axis < x.ndim else int(size) for axis, size in enumerate(shape)]
    return x.reshape(sizes)


def squeeze(*, x: Array, axes: Array | None = None) -> Array:
    """Drop dimensions of size 1."""
    return np.squeeze(x, axis=None if axes is None else _ints(axes))


def expand_dims(*, x: Array, axes: Array) -> Array:
    """Insert dimensions of size 1 at these places of the result."""
    return np.expand_dims(x, _ints(axes))


def flatten2d(*, x: Array, axis: Array | int = 1) -> Array:
    """Two dimensions: everything before ``axis`` and everything from it on."""
    return x.reshape(int(np.prod(x.shape[: int(axis)])), -1)


def concat(*, values: Arrays, axis: Array, interleave: Array | bool = False) -> Array:
    """Join along ``axis``; interleaved, the parts take turns."""
    parts = _parts(values)
    if not interleave:
        return np.concatenate(parts, axis=int(axis))
    stacked = np.stack(parts, axis=int(axis) % parts[0].ndim + 1)
    shape = list(parts[0].shape)
    shape[int(axis)] *= len(parts)
    return stacked.reshape(shape)


def stack(*, values: Arrays, axis: Array) -> Array:
    """Join along a new dimension."""
    return np.stack(_parts(values), axis=int(axis))


def split(*, x: Array, axis: Array, num_splits: Array | None = None,
          split_sizes: Array | None = None) -> tuple[Array, ...]:  # fmt: skip
    """Cut along ``axis`` into equal parts or parts of these sizes."""
    if split_sizes is None:
        if num_splits is None:
            raise ValueError("split needs num_splits or split_sizes")
        return tuple(np.split(x, int(num_splits), axis=int(axis)))
    return tuple(np.split(x, np.cumsum(split_sizes)[:-1], axis=int(axis)))


def slice_by_index(*, x: Array, begin: Array, end: Array, stride: Array | None = None,
                   begin_mask: Array | None = None, end_mask: Array | None = None,
                   squeeze_mask: Array | None = None) -> Array:  # fmt: skip
    """``x[begin:end:stride]`` on every axis.

    A mask entry leaves begin or end open; ``squeeze_mask`` takes the single element at ``begin`` and drops the axis.
    """
    return x[slices(begin, end, stride, begin_mask, end_mask, squeeze_mask)]


def slice_update(*, x: Array, update: Array, begin: Array, end: Array, stride: Array | None = None,
                 begin_mask: Array | None = None, end_mask: Array | None = None,
                 squeeze_mask: Array | None = None) -> Array:  # fmt: skip
    """A copy of ``x`` in which the part that :func:`slice_by_index` would give is replaced."""
    changed = x.copy()
    changed[slices(begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update
    return changed


def slices(begin: Array, end: Array, stride: Array | None, begin_mask: Array | None, end_mask: Array | None,
           squeeze_mask: Array | None) -> tuple[slice | int, ...]:  # fmt: skip
    """The numpy index for the parameters of ``slice_by_index``."""
    closed = [False] * len(begin)
    index: list[slice | int] = []
    for start, stop, step, no_start, no_stop, single in zip(
        begin,
        end,
        [1] * len(begin) if stride is None else stride,
        closed if begin_mask is None else begin_mask,
        closed if end_mask is None else end_mask,
        closed if squeeze_mask is None else squeeze_mask,
        strict=True,
    ):
        if single:
            index.append(int(start))
        else:
            index.append(slice(None if no_start else int(start), None if no_stop else int(stop), int(step)))
    return tuple(index)


def slice_by_size(*, x: Array, begin: Array, size: Array) -> Array:
    """``size`` elements from ``begin`` on; size −1 takes all that follow."""
    starts = [int(start) % extent if start < 0 else int(start) for start, extent in zip(begin, x.shape, strict=True)]
    return x[
        tuple(
            slice(start, None if count == -1 else start + int(count)) for start, count in zip(starts, size, strict=True)
        )
    ]


def gather(*, x: Array, indices: Array, axis: Array | int = 0, batch_dims: Array | int = 0,
           validate_indices: Array | bool = False) -> Array:  # fmt: skip
    """Entries of ``x`` along ``axis``, for each of the first ``batch_dims`` dimensions separately."""
    place, batch = int(axis) % x.ndim, int(batch_dims)
    if batch == 0:
        return np.take(x, indices, axis=place)
    picked = np.moveaxis(x, place, batch)[(*_batch_grid(indices, batch), indices)]
    # The dimensions that the indices bring stand before those between batch_dims and axis; they belong behind them.
    brought = range(batch, indices.ndim)
    return np.moveaxis(picked, list(brought), [axis + place - batch for axis in brought])


def gather_nd(*, x: Array, indices: Array, batch_dims: Array | int = 0,
              validate_indices: Array | bool = False) -> Array:  # fmt: skip
    """Entries of ``x`` at index vectors, which lie along the last dimension of ``indices``."""
    batch = int(batch_dims)
    vectors = tuple(np.moveaxis(indices, -1, 0))
    return np.asarray(x[(*_batch_grid(indices[..., 0], batch), *vectors)])


def gather_along_axis(*, x: Array, indices: Array, axis: Array | int = 0,
                      validate_indices: Array | bool = False) -> Array:  # fmt: skip
    """For each place of ``indices``, the entry of the same row of ``x`` along ``axis``."""
    return np.take_along_axis(x, indices, axis=int(axis))


def pad(*, x: Array, pad: Array, mode: str = "constant", constant_val: Array | float = 0.0) -> Array:
    """Add elements before and after: two numbers for each of the last ``len(pad) / 2`` axes."""
    pairs = [(int(before), int(after)) for before, after in np.reshape(pad, (-1, 2))]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    if mode == "constant":
        return np.pad(x, widths, constant_values=np.asarray(constant_val).astype(x.dtype))
    if mode == "replicate":
        return np.pad(x, widths, mode="edge")
    if mode == "reflect":
        return np.pad(x, widths, mode="reflect")
    raise ValueError(f"unknown pad mode {mode!r}")


def reverse(*, x: Array, axes: Array | None = None) -> Array:
    """Turn around along these axes, or along all."""
    return np.flip(x, None if axes is None else _ints(axes))


def fill(*, shape: Array, value: Array | float = 0.0) -> Array:
    """An array of one value."""
    return np.full(_ints(shape), value, dtype=_value_type(value))


def fill_like(*, ref_tensor: Array, value: Array | float = 0.0) -> Array:
    """An array of one value, shaped like another."""
    return np.full(ref_tensor.shape, value, dtype=_value_type(value))


def one_hot(*, indices: Array, one_hot_vector_size: Array, axis: Array | int = -1, on_value: Array | float = 1,
            off_value: Array | float = 0) -> Array:  # fmt: skip
    """``on_value`` at each index along a new axis, ``off_value`` elsewhere."""
    hot = np.asarray(indices)[..., None] == np.arange(int(one_hot_vector_size))
    return np.moveaxis(np.where(hot, on_value, off_value), -1, int(axis))


def range_1d(*, end: Array, start: Array, step: Array) -> Array:
    """``start, start + step, …`` up to but without ``end``."""
    return np.arange(start, end, step, dtype=np.asarray(start).dtype)


def band_part(*, x: Array, lower: Array | int = -1, upper: Array | int = -1) -> Array:
    """Keep ``lower`` diagonals below and ``upper`` above the main one (−1: all), zero the rest."""
    distance = np.arange(x.shape[-1]) - np.arange(x.shape[-2])[:, None]
    keep = (distance >= -int(lower) if int(lower) >= 0 else True) & (
        distance <= int(upper) if int(upper) >= 0 else True
    )
    return np.where(keep, x, np.zeros((), x.dtype))


def pixel_shuffle(*, x: Array, upscale_factor: Array) -> Array:
    """``(n, c·f², h, w)`` to ``(n, c, h·f, w·f)`` (arXiv 1609.05158)."""
    n, channels, height, width = x.shape
    f = int(upscale_factor)
    blocks = x.reshape(n, channels // f**2, f, f, height, width)  # (n, c, f, f, h, w)
    return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(n, channels // f**2, height * f, width * f)


def pixel_unshuffle(*, x: Array, downscale_factor: Array) -> Array:
    """The inverse of :func:`pixel_shuffle`."""
    n, channels, height, width = x.shape
    f = int(downscale_factor)
    blocks = x.reshape(n, channels, height // f, f, width // f, f)  # (n, c, h, f, w, f)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(n, channels * f**2, height // f, width // f)


def sliding_windows(*, x: Array, axis: Array, size: Array, stride: Array | int = 1) -> Array:
    """Overlapping pieces of ``size`` along ``axis``; their elements become the axis behind it."""
    place = int(axis) % x.ndim
    windows = np.lib.stride_tricks.sliding_window_view(x, int(size), axis=place)  # the new axis is last
    every = windows[(slice(None),) * place + (slice(None, None, int(stride)),)]
    return np.moveaxis(every, -1, place + 1)


def _ints(values: Array) -> tuple[int, ...]:
    return tuple(int(value) for value in np.atleast_1d(values))


def _parts(values: Arrays) -> Sequence[Array]:
    return values if isinstance(values, tuple) else (values,)


def _value_type(value: Array | float) -> np.dtype[Any]:
    kind = np.asarray(value).dtype
    return np.dtype(np.float32) if kind.kind == "f" else kind


def _batch_grid(indices: Array, batch: int) -> tuple[Array, ...]:
    """Index arrays that walk the first ``batch`` dimensions in step with ``indices``."""
    return tuple(
        np.arange(size).reshape([-1 if axis == place else 1 for axis in range(indices.ndim)])
        for place, size in enumerate(indices.shape[:batch])
    )


SHAPES: dict[str, Op] = {
    "band_part": band_part,
    "concat": concat,
    "expand_dims": expand_dims,
    "fill": fill,
    "fill_like": fill_like,
    "flatten2d": flatten2d,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "non_zero": lambda *, x: np.argwhere(x).astype(np.int32),
    "one_hot": one_hot,
    "pad": pad,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "range_1d": range_1d,
    "reshape": reshape,
    "reverse": reverse,
    "shape": lambda *, x: np.array(x.shape, np.int32),
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "sliding_windows": sliding_windows,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": lambda *, x, reps: np.tile(x, _ints(reps)),
    "transpose": lambda *, x, perm: np.transpose(x, _ints(perm)),
}
