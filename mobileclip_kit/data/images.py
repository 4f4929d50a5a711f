"""The images of a training set: decoded ahead of the model, or kept in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.data.pair import Member, Skipped
from mobileclip_kit.errors import ImageError
from mobileclip_kit.files import read_json, sha256_of_file, write_json
from mobileclip_kit.images import decode_ahead, load_pixels
from mobileclip_kit.progress import Progress
from mobileclip_kit.spec import ImageSpec

Rows = NDArray[np.int64]

# Training sets up to this size when decoded are kept in memory, so that each image is decoded once.
MEMORY_BYTES = 1_500_000_000
_CHUNK = 64


class Images(Protocol):
    """A training set as the trainer sees it.

    Attributes:
        identities: One number per image, the seed of its augmentations, ``(n,)``.
        skipped: The images that could not be decoded so far.
    """

    identities: NDArray[np.uint64]
    skipped: list[Skipped]

    def __len__(self) -> int: ...

    def read(self, batches: Iterator[Rows]) -> Generator[tuple[Rows, Pixels]]:
        """The pixels of each batch of rows, in order, ``(n, height, width, 3)`` uint8; decoded ahead where it helps.

        Rows whose image cannot be decoded are left out of their batch and listed in ``skipped``.
        """
        ...


@dataclass
class MemoryImages:
    """Decoded images in memory, or in a file that is mapped into it.

    Attributes:
        pixels: ``(n, height, width, 3)`` uint8; or what frozen stages have made of them, float32.
        identities: See :class:`Images`.
        skipped: The images that could not be decoded.
    """

    pixels: NDArray[Any]
    identities: NDArray[np.uint64]
    skipped: list[Skipped] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, batches: Iterator[Rows]) -> Generator[tuple[Rows, Pixels]]:
        """See :class:`Images`."""
        for rows in batches:
            yield rows, self.pixels[rows]


@dataclass
class NoImages:
    """Placeholders for images, used when only a text tower is trained.

    Attributes:
        identities: See :class:`Images`.
        skipped: Always empty.
    """

    identities: NDArray[np.uint64]
    skipped: list[Skipped] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.identities)

    def read(self, batches: Iterator[Rows]) -> Generator[tuple[Rows, Pixels]]:
        """Images of 1 × 1 pixels; see :class:`Images`."""
        for rows in batches:
            yield rows, np.zeros((len(rows), 1, 1, 3), np.uint8)


class FileImages:
    """Images that are decoded again in every epoch, ahead of the model.

    Args:
        sources: Files, encoded bytes, or members of archives.
        names: Names of the images, for messages.
        identities: See :class:`Images`.
        spec: The preprocessing.
        draft: Reduced-resolution JPEG decoding, see :func:`mobileclip_kit.images.load_pixels`.
        threads: Number of decoder threads; None for one per core.
    """

    def __init__(
        self,
        sources: Sequence[Path | bytes | Member],
        names: Sequence[str],
        identities: NDArray[np.uint64],
        spec: ImageSpec,
        *,
        draft: bool = False,
        threads: int | None = None,
    ) -> None:
        self._sources, self._names, self._spec, self._draft = sources, names, spec, draft
        self._threads = threads
        self.identities = identities
        self.skipped: list[Skipped] = []

    def __len__(self) -> int:
        return len(self._sources)

    def read(self, batches: Iterator[Rows]) -> Generator[tuple[Rows, Pixels]]:
        """See :class:`Images`."""
        listed: Iterator[list[int]] = (rows.tolist() for rows in batches)
        with closing(decode_ahead(self._decode, listed, threads=self._threads)) as decoded:
            for rows, results in decoded:
                yield self._collect(rows, results)

    def in_memory(self) -> tuple[Rows, MemoryImages]:
        """Decode everything once.

        Returns:
            The rows that could be decoded, and their images in the same order.
        """
        pixels = np.empty((len(self), self._spec.height, self._spec.width, 3), np.uint8)

        def keep(done: int, part: Pixels) -> None:
            pixels[done : done + len(part)] = part

        rows = self._decode_all(keep)
        return rows, MemoryImages(pixels[: len(rows)], self.identities[rows], self.skipped)

    def in_file(self, path: Path) -> tuple[Rows, MemoryImages]:
        """Decode everything once into a file that is mapped into memory, or map one that was made of the same images.

        A JSON file beside it, written last, says what it holds.

        Returns:
            See :meth:`in_memory`.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        note, shape = path.with_suffix(".json"), (self._spec.height, self._spec.width, 3)
        made_of = {"images": identity_of(self.identities.tobytes()), "image": repr(self._spec), "draft": self._draft}
        known = read_json(note) if note.is_file() and path.is_file() else {}
        is_whole = bool(known) and path.stat().st_size == len(known["rows"]) * math.prod(shape)
        if not is_whole or {name: known.get(name) for name in made_of} != made_of:
            note.unlink(missing_ok=True)
            try:
                with path.open("wb") as file:
                    rows = self._decode_all(lambda _, part: file.write(np.ascontiguousarray(part).data))
            except OSError:
                path.unlink(missing_ok=True)  # a full disk is not to stay full
                raise
            known = made_of | {"rows": rows.tolist(), "skipped": [asdict(skip) for skip in self.skipped]}
            write_json(note, known)
        self.skipped = [Skipped(**skip) for skip in known["skipped"]]
        rows = np.array(known["rows"], np.int64)
        pixels = (
            np.memmap(path, np.uint8, "r", shape=(len(rows), *shape)) if len(rows) else np.zeros((0, *shape), np.uint8)
        )
        return rows, MemoryImages(pixels, self.identities[rows], self.skipped)

    def _decode_all(self, keep: Callable[[int, Pixels], object]) -> Rows:
        """Decode every image and hand them on in order, with how many came before; the rows that could be decoded."""
        every = np.arange(len(self), dtype=np.int64)
        kept, done = [np.zeros(0, np.int64)], 0
        with Progress("decode", total=len(self), unit="images") as progress:
            for rows, part in self.read(iter(np.array_split(every, len(self) // _CHUNK + 1))):
                keep(done, part)
                done += len(rows)
                kept.append(rows)
                progress.advance(len(rows))
        return np.concatenate(kept)

    def _decode(self, row: int) -> Pixels | ImageError:
        try:
            source = self._sources[row]
            source = source.read() if isinstance(source, Member) else source
            return load_pixels(source, self._spec, draft=self._draft)
        except ImageError as error:
            return error
        except OSError as error:
            return ImageError(f"{self._names[row]} cannot be read: {error.strerror or error}.")

    def _collect(self, rows: Sequence[int], results: list[Pixels | ImageError]) -> tuple[Rows, Pixels]:
        kept, pixels = [], []
        known = {skip.item for skip in self.skipped}
        for row, result in zip(rows, results, strict=True):
            if not isinstance(result, ImageError):
                kept.append(row)
                pixels.append(result)
            elif self._names[row] not in known:
                self.skipped.append(Skipped(self._names[row], result.message))
        shape = (0, self._spec.height, self._spec.width, 3)
        return np.array(kept, np.int64), np.stack(pixels) if pixels else np.zeros(shape, np.uint8)


def identity_of(name: str | bytes) -> int:
    """A 64-bit number for an image, computed from its content hash or key."""
    data = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def identities_of(names: Iterable[str | bytes]) -> NDArray[np.uint64]:
    """:func:`identity_of` of each name, ``(n,)``."""
    return np.fromiter((identity_of(name) for name in names), np.uint64)


def random_numbers(identities: NDArray[np.uint64], *, seed: int, epoch: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in 0…1 for each image, a pure function of their arguments.

    The counter-based generator SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

    Returns:
        ``(n, count)``.
    """
    start = identities ^ np.uint64(identity_of(f"{seed}/{epoch}"))
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = _mix(start)[:, None] + steps[None, :]  # (n, count)
        return (_mix(z) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def content_hashes(sources: Sequence[Path | bytes | Member], names: Sequence[str]) -> tuple[list[str], list[Skipped]]:
    """The SHA-256 of each image file, "" for those that cannot be read, and the list of those."""
    skipped: list[Skipped] = []
    hashes: list[str] = []
    with ThreadPoolExecutor() as pool:
        for name, result in zip(names, pool.map(_content_hash, sources), strict=True):
            if isinstance(result, OSError):
                skipped.append(Skipped(name, f"The file cannot be read: {result.strerror or result}."))
            hashes.append("" if isinstance(result, OSError) else result)
    return hashes, skipped


def _content_hash(source: Path | bytes | Member) -> str | OSError:
    try:
        source = source.read() if isinstance(source, Member) else source
        return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of_file(source)
    except OSError as error:
        return error
