"""The names of constants in MLIR bytecode, the form of Core AI's programs.

Core AI names them by hashes that are others in each process. They are numbered instead, so that the same model gives
the same bytes. A file is a header and sections, one of which has all strings; see
https://mlir.llvm.org/docs/BytecodeFormat/.
"""

from __future__ import annotations

import itertools
import re

_MAGIC = b"ML\xefR"
_STRINGS, _ALIGNED = 0, 0x80
_RESOURCE = re.compile(rb"resource_[0-9_]+\0")


def number_resources(bytecode: bytes) -> bytes:
    """A program whose constants are called ``resource_0``, ``resource_1`` and so on.

    Args:
        bytecode: Of MLIR.

    Raises:
        ValueError: It has another form.
    """
    if not bytecode.startswith(_MAGIC):
        raise ValueError("this is no MLIR bytecode")
    _, place = _read_number(bytecode, len(_MAGIC))  # the version
    place = bytecode.index(b"\0", place) + 1  # the producer
    parts: list[bytes] = []
    done = 0
    while place < len(bytecode):
        start, kind = place, bytecode[place]
        length, place = _read_number(bytecode, place + 1)
        if kind & _ALIGNED:
            alignment, place = _read_number(bytecode, place)
            place += -place % alignment
            if parts:  # it would have to be aligned again
                raise ValueError("an aligned section follows the strings")
        if kind == _STRINGS:
            strings = _numbered(bytecode[place : place + length])
            parts += [bytecode[done:start], bytes([kind]), _number(len(strings)), strings]
            done = place + length
        place += length
    return b"".join([*parts, bytecode[done:]])


def _numbered(section: bytes) -> bytes:
    """The section of strings: their count, their lengths from the last to the first, the strings with a zero each."""
    count, place = _read_number(section, 0)
    lengths = []
    for _ in range(count):
        length, place = _read_number(section, place)
        lengths.append(length)
    numbers = itertools.count()
    strings = []
    for length in reversed(lengths):
        text = section[place : place + length]
        strings.append(b"resource_%d\0" % next(numbers) if _RESOURCE.fullmatch(text) else text)
        place += length
    return b"".join([_number(count), *(_number(len(text)) for text in reversed(strings)), *strings])


def _read_number(data: bytes, place: int) -> tuple[int, int]:
    """A number and the place behind it: the zeros at the low end of the first byte count the bytes that follow it."""
    first = data[place]
    more = (first & -first).bit_length() - 1 if first else 8
    end = place + more + 1
    if not first:
        return int.from_bytes(data[place + 1 : end], "little"), end
    return int.from_bytes(data[place:end], "little") >> (more + 1), end


def _number(value: int) -> bytes:
    more = max(0, value.bit_length() - 1) // 7
    if more > 7:
        return b"\0" + value.to_bytes(8, "little")
    return ((value << 1 | 1) << more).to_bytes(more + 1, "little")
