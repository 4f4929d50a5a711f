"""Element types and stored values of a Core ML program, and the ``weight.bin`` file that large ones lie in.

``weight.bin`` (blob storage, version 2) is little-endian. A 64-byte header holds a uint32 count and a uint32 version.
Each blob is a 64-byte record, to which the program's references point, and the data somewhere behind it::

    record  uint32 0xDEADBEEF | uint32 element type | uint64 bytes | uint64 offset of the data | zeros
    data    row-major; elements narrower than a byte are packed from the lowest bit up, across byte borders
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import ExportError

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

_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQ")
_RECORD_BYTES = 64
_SENTINEL = 0xDEADBEEF
_STORAGE_VERSION = 2


@dataclass(frozen=True)
class ElementType:
    """One element type.

    Attributes:
        name: As Core ML's ``cast`` spells it: ``fp16``, ``int32``, ``uint4``.
        dtype: The numpy type that holds it in memory; a narrow integer is widened to a byte.
        bits: Width in a file.
        storage_code: Its number in ``weight.bin``, or None when it is never stored there.
    """

    name: str
    dtype: np.dtype[Any]
    bits: int
    storage_code: int | None = None

    @property
    def signed(self) -> bool:
        """Whether a narrow integer's highest bit is its sign."""
        return self.dtype.kind == "i"


def _element(name: str, dtype: str, bits: int, storage_code: int | None = None) -> ElementType:
    return ElementType(name, np.dtype(dtype), bits, storage_code)


# By their number in MIL.proto. bfloat16 and the float8 types have no numpy type and no place in models for phones.
ELEMENT_TYPES: dict[int, ElementType] = {
    1: _element("bool", "?", 8),
    2: _element("string", "O", 0),
    10: _element("fp16", "<f2", 16, 1),
    11: _element("fp32", "<f4", 32, 2),
    12: _element("fp64", "<f8", 64),
    21: _element("int8", "i1", 8, 4),
    22: _element("int16", "<i2", 16, 6),
    23: _element("int32", "<i4", 32, 14),
    24: _element("int64", "<i8", 64),
    25: _element("int4", "i1", 4, 8),
    31: _element("uint8", "u1", 8, 3),
    32: _element("uint16", "<u2", 16, 7),
    33: _element("uint32", "<u4", 32, 15),
    34: _element("uint64", "<u8", 64),
    35: _element("uint4", "u1", 4, 11),
    36: _element("uint2", "u1", 2, 10),
    37: _element("uint1", "u1", 1, 9),
    38: _element("uint6", "u1", 6, 13),
    39: _element("uint3", "u1", 3, 12),
}


def unpack_bits(packed: NDArray[np.uint8], bits: int, count: int, *, signed: bool = False) -> NDArray[Any]:
    """Integers narrower than a byte, packed from the lowest bit up.

    Args:
        packed: Bytes, ``ceil(bits × count / 8)`` or more.
        bits: 1 … 8.
        count: How many integers.
        signed: Read the highest bit as the sign.

    Returns:
        ``(count,)`` uint8 or int8.
    """
    if bits == 8:
        return packed[:count].view(np.int8 if signed else np.uint8)
    # Eight integers fill exactly ``bits`` bytes: one word each, from which they are shifted out.
    groups = -(-count // 8)
    padded = np.zeros(groups * bits, np.uint8)
    used = packed[: padded.size]
    padded[: used.size] = used
    words = np.zeros(groups, np.uint64)
    for place, column in enumerate(padded.reshape(groups, bits).T):
        words |= column.astype(np.uint64) << np.uint64(8 * place)
    integers = np.empty((groups, 8), np.uint8)
    for place in range(8):
        integers[:, place] = (words >> np.uint64(bits * place)) & np.uint64((1 << bits) - 1)
    flat = integers.reshape(-1)[:count]
    if not signed:
        return flat
    sign = np.uint8(1 << (bits - 1))
    return ((flat ^ sign) - sign).view(np.int8)


def decode(data: bytes | NDArray[np.uint8], element: ElementType, shape: Sequence[int], source: str) -> NDArray[Any]:
    """An array from its stored bytes.

    Raises:
        ExportError: There are fewer bytes than the shape needs.
    """
    raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    count = math.prod(shape)
    needed = (element.bits * count + 7) // 8
    if raw.size < needed:
        raise ExportError(f"{source} holds {raw.size} bytes where {element.name} {tuple(shape)} needs {needed}.")
    if element.bits < 8:
        return unpack_bits(raw, element.bits, count, signed=element.signed).reshape(shape)
    return raw[:needed].view(element.dtype).reshape(shape)


class WeightFile:
    """``weight.bin``, mapped into memory: nothing is read before it is used.

    Args:
        path: The file.

    Raises:
        ExportError: It is missing, or its header is not blob storage version 2.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            self._data: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r") if size else np.empty(0, np.uint8)
        except OSError as error:
            raise ExportError(
                f"The weights {path} cannot be read: {error.strerror}.", hint="The package is incomplete; export again."
            ) from error
        version = _HEADER.unpack(self._bytes(0, _HEADER.size).tobytes())[1]
        if version != _STORAGE_VERSION:
            raise ExportError(f"{path} has storage version {version}; this mckit reads version {_STORAGE_VERSION}.")

    def read(self, offset: int, element: ElementType, shape: Sequence[int]) -> NDArray[Any]:
        """The blob whose record starts at ``offset``; wide elements come as a read-only view of the file.

        Raises:
            ExportError: The file is too short, or no record of this element type lies there.
        """
        sentinel, code, size, start = _RECORD.unpack(self._bytes(offset, _RECORD_BYTES)[: _RECORD.size].tobytes())
        if sentinel != _SENTINEL:
            raise ExportError(
                f"{self.path} has no weight record at byte {offset}.", hint="The file is damaged; export again."
            )
        if code != element.storage_code:
            raise ExportError(
                f"{self.path} stores type {code} at byte {offset}, but the program expects {element.name}."
            )
        return decode(self._bytes(start, size), element, shape, f"{self.path} at byte {start}")

    def _bytes(self, start: int, count: int) -> NDArray[np.uint8]:
        part = self._data[start : start + count]
        if part.size < count:
            raise ExportError(
                f"{self.path} ends at byte {self._data.size}; the program needs {count} bytes at {start}.",
                hint="The file was cut off; copy or export the package again.",
            )
        return part


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
