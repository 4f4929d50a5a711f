"""Hashing and decoding in threads, ahead of the model that takes the pixels."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mobileclip_kit import images
from mobileclip_kit.arrays import Pixels
from mobileclip_kit.errors import ImageError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.indexing.listing import Found
from mobileclip_kit.indexing.scan import FileToEncode
from mobileclip_kit.phash import perceptual_hash
from mobileclip_kit.photo_facts import PhotoFacts, read_facts
from mobileclip_kit.spec import ImageSpec

_READ_AT_ONCE_BYTES = 64_000_000


@dataclass(frozen=True)
class Decoded:
    """What became of a file.

    Attributes:
        file: The file.
        sha256: Of its bytes; None when they cannot be read.
        pixels: For the encoder; None when the content is known already, or cannot be decoded.
        reason: Why it cannot be decoded.
        facts: What its header says, and its perceptual hash; None when it was not decoded.
    """

    file: FileToEncode
    sha256: str | None
    pixels: Pixels | None = None
    reason: str | None = None
    facts: PhotoFacts | None = None


def decode_ahead(
    files: Iterable[FileToEncode],
    spec: ImageSpec,
    *,
    is_known: Callable[[str], bool],
    workers: int | None,
    ahead: int,
    draft: bool,
) -> Iterator[Decoded]:
    """Decode files in order, at most ``ahead`` of them before they are asked for.

    Args:
        files: The files.
        spec: What the model is fed.
        is_known: Whether content of this hash has a vector already and need not be decoded.
        workers: Threads; None for one a core.
        ahead: Decoded images held in memory.
        draft: See :func:`mobileclip_kit.images.load_pixels`.
    """

    def decode(file: FileToEncode) -> Decoded:
        found, sha256 = file.found, None
        if found.reason is not None:
            return Decoded(file, None, reason=_legible(found.reason))
        source: Path | bytes = b""
        try:
            source = _read(found)
            sha256 = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of_file(source)
            if is_known(sha256):
                return Decoded(file, sha256)
            pixels = images.load_pixels(source, spec, draft=draft)
            facts = replace(read_facts(source) or PhotoFacts(), phash=perceptual_hash(pixels))
            return Decoded(file, sha256, pixels=pixels, facts=facts)
        except ImageError as error:
            # Read at once, an image has no path: its message speaks of bytes.
            nameless = f"An image of {len(source)} bytes" if isinstance(source, bytes) else str(source)
            message = error.message.replace(nameless, found.name)
            return Decoded(file, sha256, reason=_legible(message))
        except OSError as error:
            return Decoded(file, sha256, reason=_legible(f"{found.name} cannot be read: {error.strerror or error}."))

    one_by_one = ([file] for file in files)
    with contextlib.closing(images.decode_ahead(decode, one_by_one, ahead=ahead, threads=workers)) as batches:
        for _, (decoded,) in batches:
            yield decoded


def read_headers(found: Iterable[Found], *, workers: int | None) -> Iterator[tuple[Found, PhotoFacts | None]]:
    """The facts of images that have a vector already, in order; no pixel is decoded.

    Args:
        found: The images.
        workers: Threads; None for one a core.
    """

    def read(one: Found) -> PhotoFacts | None:
        try:
            return read_facts(one.source())
        except OSError:
            return None

    one_by_one = ([each] for each in found)
    with contextlib.closing(images.decode_ahead(read, one_by_one, ahead=256, threads=workers)) as batches:
        for (one,), (facts,) in batches:
            yield one, facts


def _read(found: Found) -> Path | bytes:
    """The image's bytes, read once for hash and decoder, so that both see the same; a huge file stays one."""
    source = found.source()
    if isinstance(source, Path) and found.size_bytes <= _READ_AT_ONCE_BYTES:
        return source.read_bytes()
    return source


def _legible(text: str) -> str:
    # Reasons are stored as text; names with other bytes than UTF-8 are legible in them, not exact.
    return text.encode("utf-8", "backslashreplace").decode()
