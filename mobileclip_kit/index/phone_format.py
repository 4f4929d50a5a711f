"""The byte-level format of the phone's index file: header, batches, how numbers are stored.

docs/phone-index-format.md is the specification; the Swift package reads and writes the same file. Readers are in
``phone``, writers in ``phone_writer``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, IndexFormatError, ShapeError

Numbers = Literal["int8", "float16"]

FORMAT_VERSION = 1
MAX_DIM = 4096
MAX_BATCH_ROWS = 1024
MAX_KEY_BYTES = 65_535
BLOCK_BYTES = 64

STORED_TYPES: dict[Numbers, np.dtype[np.generic]] = {"float16": np.dtype("<f2"), "int8": np.dtype("i1")}
BATCH_MAGIC = b"mckitbat"
_BATCH = struct.Struct("<8sIIQQI24x")
_CODES: dict[Numbers, int] = {"float16": 1, "int8": 2}
_HEADER_MAGIC = b"mckitidx"
_HEADER = struct.Struct("<8s4I32sI")


@dataclass(frozen=True)
class PhoneHeader:
    """What the first 64 bytes say.

    Attributes:
        dim: Numbers of a vector.
        numbers: How they are stored.
        model_hash: 64 hex digits: whose vectors they are.
    """

    dim: int
    numbers: Numbers
    model_hash: str

    def to_bytes(self) -> bytes:
        """The 64 bytes."""
        if not 1 <= self.dim <= MAX_DIM:
            raise ShapeError(f"A phone index holds vectors of 1 to {MAX_DIM} numbers, not {self.dim}.")
        code, model = _CODES[self.numbers], bytes.fromhex(self.model_hash)
        return sealed(_HEADER.pack(_HEADER_MAGIC, FORMAT_VERSION, self.dim, code, 0, model, 0))

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> Self:
        """Read the 64 bytes.

        Raises:
            IndexFormatError: They are not a header, or one of another version.
        """
        if len(data) < BLOCK_BYTES or not data.startswith(_HEADER_MAGIC):
            raise IndexFormatError(f"{path} is not a phone index.")
        _, version, dim, code, _, model, _ = _HEADER.unpack(data[: _HEADER.size])
        if version != FORMAT_VERSION:
            raise IndexFormatError(
                f"{path} has format version {version}; this mckit reads version {FORMAT_VERSION}.", hint="Update mckit."
            )
        names = {value: name for name, value in _CODES.items()}
        if not is_sealed(data[:BLOCK_BYTES]) or code not in names or not 1 <= dim <= MAX_DIM:
            raise IndexFormatError(f"The header of {path} is damaged.", hint="Make the index again.")
        return cls(dim, names[code], model.hex())


@dataclass(frozen=True)
class PhoneBatch:
    """Where a batch lies and what it holds.

    Attributes:
        start: Its first byte in the file.
        body_bytes: Of what follows its 64 bytes.
        first_row: Rows in all earlier batches.
        added: Rows that it adds.
        removed: Earlier rows that it removes.
        checksum: CRC-32 of the body.
    """

    start: int
    body_bytes: int
    first_row: int
    added: int
    removed: int
    checksum: int

    @property
    def body(self) -> slice:
        """Its bytes in the file."""
        return slice(self.start + BLOCK_BYTES, self.start + BLOCK_BYTES + self.body_bytes)


def quantize_rows(vectors: Vectors) -> tuple[NDArray[np.int8], Vectors]:
    """int8 rows ``(n, d)`` and a scale for each, ``(n,)``."""
    vectors = vectors.astype(np.float32)
    scales = np.abs(vectors).max(axis=1) / np.float32(127)
    return np.clip(np.rint(vectors / scales[:, None]), -127, 127).astype(np.int8), scales


def joined_body(
    vectors: bytes, scales: bytes, keys: Sequence[str], stamps: NDArray[np.int64], removed: NDArray[np.uint32]
) -> bytes:
    """A batch's body from its parts.

    Raises:
        DataError: A key is empty, too long or not UTF-8.
    """
    names = [_key_bytes(key) for key in keys]
    ends = np.cumsum([len(name) for name in names], dtype=np.int64).astype("<u4") if names else np.zeros(0, "<u4")
    parts = [padded(vectors, 8), stamps.tobytes(), scales, removed.tobytes(), ends.tobytes(), *names]
    return padded(b"".join(parts), BLOCK_BYTES)


def _key_bytes(key: str) -> bytes:
    try:
        name = key.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"The name {key!r} cannot be written as UTF-8.", hint="Rename the image.") from error
    if not 0 < len(name) <= MAX_KEY_BYTES:
        raise DataError(f"A name of {len(name)} bytes is not between 1 and {MAX_KEY_BYTES}: {key[:80]!r}.")
    return name


def sealed(block: bytes) -> bytes:
    """A block of 60 bytes and its CRC."""
    return block + struct.pack("<I", zlib.crc32(block))


def sealed_batch(body: bytes, *, first_row: int, added: int, removed: int = 0) -> bytes:
    """A whole batch: its 64 bytes and its body."""
    head = _BATCH.pack(BATCH_MAGIC, added, removed, len(body), first_row, zlib.crc32(body))
    return sealed(head) + body


def batch_at(block: bytes, start: int, header: PhoneHeader) -> PhoneBatch | None:
    """The batch whose 64 bytes these are; None when they are no sound batch header.

    Args:
        block: 64 bytes of the file, fewer at its end.
        start: Where in the file they begin.
        header: Of the file.
    """
    if len(block) < BLOCK_BYTES or not block.startswith(BATCH_MAGIC) or not is_sealed(block):
        return None
    _, added, removed, body_bytes, first_row, checksum = _BATCH.unpack(block[: _BATCH.size])
    least_bytes = fixed_bytes(header, added, removed)
    if added > MAX_BATCH_ROWS or body_bytes % BLOCK_BYTES or body_bytes < least_bytes:
        return None
    return PhoneBatch(start, body_bytes, first_row, added, removed, checksum)


def is_sealed(block: bytes) -> bool:
    """Whether the last 4 of 64 bytes are the CRC of the others."""
    return block[60:] == struct.pack("<I", zlib.crc32(block[:60]))


def fixed_bytes(header: PhoneHeader, added: int, removed: int) -> int:
    """A body without its keys and padding."""
    per_row = 8 + 4 + (4 if header.numbers == "int8" else 0)
    return round_up(added * header.dim * STORED_TYPES[header.numbers].itemsize, 8) + added * per_row + 4 * removed


def padded(data: bytes, multiple: int) -> bytes:
    """With zeros up to a multiple."""
    return data + bytes(round_up(len(data), multiple) - len(data))


def round_up(size: int, multiple: int) -> int:
    """The next multiple, or ``size`` itself when it is one."""
    return -(-size // multiple) * multiple
