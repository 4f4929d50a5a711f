"""What every data source yields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobileclip_kit.urls import is_url, read_bytes

# What is read of a file with several splits.
Split = Literal["test", "train", "all"]


@dataclass(frozen=True)
class Member:
    """An image inside a tar, read without extracting the tar; or one that is a file at a URL.

    Attributes:
        archive: The path of the tar, or an fsspec URL such as ``s3://bucket/shard-000.tar``.
        offset: Position of the first byte of the image in the tar; 0 for a file.
        size_bytes: Size of the image.
    """

    archive: str
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            DataError: The archive's server cannot be reached.
            OSError: The archive cannot be read, or ends before the image does.
        """
        if is_url(self.archive):
            return read_bytes(self.archive, self.offset, self.size_bytes)
        with open(self.archive, "rb") as stream:
            stream.seek(self.offset)
            data = stream.read(self.size_bytes)
        if len(data) != self.size_bytes:
            raise OSError(f"{self.archive} ends within an image")
        return data


@dataclass(frozen=True)
class StoredVectors:
    """Vectors of teachers that a shard holds beside an image, as DataCompDR's do.

    Attributes:
        file: The ``.npz``.
        texts: What its text vectors belong to, row by row: the real caption, then the synthetic ones; "" where one
            could not be read.
    """

    file: Member
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One image and the captions that belong to it.

    Attributes:
        key: Name of the image within its source, with ``/`` on every system: the same on every machine.
        image: The file, the encoded bytes, or a member of an archive.
        captions: Any number of texts; ``()`` from sources without captions.
        stored: Vectors that came with the image; :mod:`mobileclip_kit.cache.reinforced` reads them.
        only_synthetic: Whether it has captions and none of them is real: a shard has only a ``.syn.json`` of it.
    """

    key: str
    image: Path | bytes | Member
    captions: tuple[str, ...] = ()
    stored: StoredVectors | None = None
    only_synthetic: bool = False

    def source(self) -> Path | bytes:
        """The input of a decoder: the file or the encoded bytes.

        Raises:
            OSError: The archive cannot be read.
        """
        return self.image.read() if isinstance(self.image, Member) else self.image


@dataclass(frozen=True)
class Skipped:
    """An item that was left out and the reason; it is always reported to the user.

    Attributes:
        item: The key of the image, or its name in the source.
        reason: One sentence.
    """

    item: str
    reason: str


def first_reason(items: Sequence[Skipped], what: str) -> str:
    """`` (3 failed; the first, 01.png: REASON)``, for the end of an error; empty where there are none."""
    return f" ({len(items)} {what}; the first, {items[0].item}: {items[0].reason})" if items else ""


def is_text(caption: str) -> bool:
    """Whether a caption can be encoded in UTF-8. In JSON, a caption cut inside an emoji ends in half a character."""
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def keep_captions(
    held: list[str], captions: Iterable[str], item: str, where: str, skipped: list[Skipped], *, repeats: bool = False
) -> None:
    """Add captions to those of an image, without surrounding spaces.

    Args:
        held: The captions of the image so far; extended in place.
        captions: The captions to add.
        item: Name of the image in its source.
        where: Where the captions were read, for the reasons.
        skipped: Receives the captions that are empty or cut inside a character.
        repeats: Whether captions that the image already has are reported in ``skipped`` as well.
    """
    for caption in map(str.strip, captions):
        reason = None
        if not caption:
            reason = "the caption is empty"
        elif not is_text(caption):
            reason = "the caption holds half a character"
        elif caption not in held:
            held.append(caption)
        elif repeats:
            reason = "the image is listed again with the same caption"
        if reason is not None:
            skipped.append(Skipped(item, f"{where}: {reason}."))
