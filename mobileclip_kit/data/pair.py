"""What every data source yields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """An image inside a tar, read where it lies.

    Attributes:
        archive: The tar's path, or an fsspec URL such as ``s3://bucket/shard-000.tar``.
        offset: Where the image's bytes begin.
        size_bytes: How many they are.
    """

    archive: str
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            OSError: The archive cannot be read, or ends before the image does.
        """
        if is_url(self.archive):
            import fsspec

            files, path = fsspec.core.url_to_fs(self.archive)
            data = files.cat_file(path, start=self.offset, end=self.offset + self.size_bytes)
        else:
            with open(self.archive, "rb") as stream:
                stream.seek(self.offset)
                data = stream.read(self.size_bytes)
        if len(data) != self.size_bytes:
            raise OSError(f"{self.archive} ends within an image")
        return bytes(data)


@dataclass(frozen=True)
class Pair:
    """One image and the captions that belong to it.

    Attributes:
        key: The image's name within its source, with ``/`` on every system: stable across runs and machines.
        image: The file, the encoded bytes, or a place in an archive.
        captions: None or more texts; sources of images alone give ``()``.
    """

    key: str
    image: Path | bytes | Member
    captions: tuple[str, ...] = ()

    def source(self) -> Path | bytes:
        """What a decoder takes: the file or the bytes.

        Raises:
            OSError: The archive cannot be read.
        """
        return self.image.read() if isinstance(self.image, Member) else self.image


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why: listed for the user, never silent.

    Attributes:
        item: The image's key, or what its source calls it.
        reason: One sentence.
    """

    item: str
    reason: str


def is_text(caption: str) -> bool:
    """Whether UTF-8 can hold a caption: in JSON, one that was cut inside an emoji ends in half a character."""
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def keep_captions(
    held: list[str], captions: Iterable[str], item: str, where: str, skipped: list[Skipped], *, repeats: bool = False
) -> None:
    """Add an image's captions to those that it has, without spaces around them.

    Args:
        held: The image's captions so far.
        captions: Further ones.
        item: What the source calls the image.
        where: The captions' place, for the reasons.
        skipped: Takes captions that are empty or cut inside a character.
        repeats: Whether it takes captions that the image has already, too.
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


def is_url(place: str) -> bool:
    """Whether a place is an fsspec URL rather than a path."""
    return "://" in place
