"""Weights that are stored compressed: palettes, scaled integers, sparse ones (``constexpr_*``).

iOS 16 packs indices and masks into bytes and states the dense shape; iOS 18 gives them element types of their own and
adds blocks and vectors. Both carry the same operator names, so the parameters tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.mil.ops_elementwise import along
from mobileclip_kit.mil.values import unpack_bits

Array = NDArray[Any]
Op = Callable[..., Any]


def affine_dequantize(*, quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """``scale · (data − zero_point)``, one scale in all or one along ``axis``."""
    shifted = quantized_data.astype(np.float32) - along(zero_point, quantized_data, axis)
    return shifted * along(scale, quantized_data, axis)


def blockwise_shift_scale(*, data: Array, scale: Array, offset: Array | None = None) -> Array:
    """``scale · (data − offset)`` with one scale for each block; block sizes follow from the shapes."""
    shifted = data.astype(np.float32)
    if offset is not None:
        shifted = shifted - _spread(offset.astype(np.float32), data.shape)
    return shifted * _spread(scale.astype(np.float32), data.shape)


def lut_to_dense(*, indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None) -> Array:
    """Replace indices by entries of a palette.

    Args:
        indices: iOS 16: packed bytes. iOS 18: one index an element.
        lut: iOS 16: ``(entries,)``. iOS 18: ``(*groups, entries, vector)``, one palette for each block of ``indices``.
        shape: iOS 16: the dense shape.
        vector_axis: iOS 18: the axis along which an entry's vector is laid out.
    """
    if shape is not None:
        sizes = tuple(int(size) for size in shape)
        bits = int(lut.size).bit_length() - 1
        return np.asarray(lut[unpack_bits(indices, bits, int(np.prod(sizes)))]).reshape(sizes)
    groups, (entries, vector) = lut.shape[:-2], lut.shape[-2:]
    number = np.arange(int(np.prod(groups))).reshape(groups)
    palettes = lut.reshape(-1, entries, vector)
    dense = palettes[_spread(number, indices.shape), indices]  # (*indices.shape, vector)
    if vector == 1:
        return dense[..., 0]
    if vector_axis is None:
        raise ValueError("a palette of vectors needs vector_axis")
    place = int(vector_axis) % indices.ndim
    shape_out = [size * vector if axis == place else size for axis, size in enumerate(indices.shape)]
    return np.moveaxis(dense, -1, place + 1).reshape(shape_out)


def sparse_to_dense(*, nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """Put the stored values where the mask is set, zeros elsewhere; iOS 16 packs the mask and states ``shape``."""
    if shape is not None:
        sizes = tuple(int(size) for size in shape)
        mask = unpack_bits(mask, 1, int(np.prod(sizes))).reshape(sizes)
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


def lut_to_sparse(*, indices_mask: Array, indices_nonzero_data: Array, lut: Array,
                  vector_axis: Array | None = None) -> tuple[Array, Array]:  # fmt: skip
    """The mask and the values of a sparse tensor whose values are palette indices."""
    indices = sparse_to_dense(nonzero_data=indices_nonzero_data, mask=indices_mask)
    dense = lut_to_dense(indices=indices, lut=lut, vector_axis=vector_axis)
    mask = indices_mask if vector_axis is None else np.repeat(indices_mask, lut.shape[-1], axis=int(vector_axis))
    return mask, dense[mask != 0]


def sparse_blockwise_shift_scale(*, data_mask: Array, nonzero_data: Array, scale: Array,
                                 offset: Array | None = None) -> tuple[Array, Array]:  # fmt: skip
    """The mask and the values of a sparse tensor whose values are scaled integers."""
    data = sparse_to_dense(nonzero_data=nonzero_data, mask=data_mask)
    return data_mask, blockwise_shift_scale(data=data, scale=scale, offset=offset)[data_mask != 0]


def _spread(values: Array, shape: tuple[int, ...]) -> Array:
    """Repeat along each axis until ``shape`` is reached."""
    for axis, (have, want) in enumerate(zip(values.shape, shape, strict=True)):
        if have not in (1, want):
            values = np.repeat(values, want // have, axis=axis)
    return np.broadcast_to(values, shape)


COMPRESSED: dict[str, Op] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_cast": lambda *, source_val, output_dtype: source_val.astype(np.float32),
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_lut_to_sparse": lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": sparse_to_dense,
}
