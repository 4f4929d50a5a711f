"""An ONNX file whose weights are mapped into memory instead of copied, which is most of what loading costs.

A runtime that reads ``text.onnx`` copies every weight twice: out of the file, and out of the message that the file
is. ONNX also allows weights to lie in another file, at a given offset, and runtimes map those. Here the file's own
bytes are given out as that other file: a copy of the message without its large weights points at the places where they
lie in the file itself. The encoding is protobuf's; the field numbers are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# Smaller weights stay in the message: a map of its own costs more than they do.
_LEAST_BYTES = 4096
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_RAW_DATA, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 9, 13, 14
_EXTERNAL = 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5

Buffer = mmap.mmap | bytes
Span = tuple[int, int]


def without_weights(path: Path) -> bytes | None:
    """The model's message with its large weights named by their place in the file.

    Args:
        path: An ONNX file.

    Returns:
        A message that a runtime opens together with the folder of ``path``; None when the bytes are no such message:
        then the runtime, given the file itself, says what is wrong with it.
    """
    with path.open("rb") as stream:
        if path.stat().st_size == 0:
            return None
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                parts = []
                for number, outer, inner in _fields(data, (0, len(data))):
                    if number == _MODEL_GRAPH and inner is not None:
                        parts.append(_field(_MODEL_GRAPH, _graph(data, inner, path.name)))
                    else:
                        parts.append(data[slice(*outer)])
                return b"".join(parts)
            except (IndexError, ValueError):
                return None


def _graph(data: Buffer, span: Span, file: str) -> bytes:
    parts = []
    for number, outer, inner in _fields(data, span):
        if number == _GRAPH_INITIALIZER and inner is not None:
            parts.append(_field(_GRAPH_INITIALIZER, _tensor(data, inner, file)))
        else:
            parts.append(data[slice(*outer)])
    return b"".join(parts)


def _tensor(data: Buffer, span: Span, file: str) -> bytes:
    parts, raw = [], None
    for number, outer, inner in _fields(data, span):
        if number == _TENSOR_RAW_DATA and inner is not None and inner[1] - inner[0] >= _LEAST_BYTES:
            raw = inner
        else:
            parts.append(data[slice(*outer)])
    if raw is not None:
        place = {"location": file, "offset": str(raw[0]), "length": str(raw[1] - raw[0])}
        for key, value in place.items():
            entry = _field(_ENTRY_KEY, key.encode()) + _field(_ENTRY_VALUE, value.encode())
            parts.append(_field(_TENSOR_EXTERNAL_DATA, entry))
        parts.append(_number(_TENSOR_DATA_LOCATION << 3 | _VARINT) + _number(_EXTERNAL))
    return b"".join(parts)


def _fields(data: Buffer, span: Span) -> Iterator[tuple[int, Span, Span | None]]:
    """Each field of a message: its number, where it lies, key included, and where what it encloses lies.

    Raises:
        IndexError: The data end within a field.
        ValueError: No such kind of field.
    """
    place, end = span
    while place < end:
        start = place
        key, place = _read_number(data, place)
        kind, inner = key & 7, None
        if kind == _VARINT:
            _, place = _read_number(data, place)
        elif kind == _LENGTH:
            length, place = _read_number(data, place)
            inner = (place, place + length)
            place += length
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            place += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field of kind {kind}")
        if place > end:
            raise IndexError(place)
        yield key >> 3, (start, place), inner


def _read_number(data: Buffer, place: int) -> tuple[int, int]:
    """A base-128 number and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | _LENGTH) + _number(len(content)) + content
