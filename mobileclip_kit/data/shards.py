"""webdataset shards: uncompressed tars, local or at an fsspec URL, in which members with the same name belong together.

``000042.jpg``, ``000042.txt`` and ``000042.json`` are one image with its caption; the name ends at the first dot. A
``.txt`` is a caption, a ``.json`` may hold ``caption`` or ``captions`` (the format of img2dataset), and a ``.syn.json``
holds ``syn_text``, the synthetic captions of DataCompDR (arXiv 2311.17049), which follow the real one; its vectors
(``.npz``) become a cache (:mod:`mobileclip_kit.cache.reinforced`). In a data set of CLIP_benchmark whose
``dataset_type.txt`` says ``retrieval``, each line of a ``.txt`` is a caption, and the shards of ``test/`` are read.
Listing a shard reads only its headers and texts. Each image is read from the tar when it is needed, so training can
read images in any order and resume at any step. fsspec can cache a remote shard that is read repeatedly
(``simplecache::s3://…``).
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mobileclip_kit.data.pair import Member, Pair, Skipped, StoredVectors, is_text
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import parse_json
from mobileclip_kit.images import image_suffixes
from mobileclip_kit.urls import file_system, is_url, open_url

TAR_SUFFIX = ".tar"
# LAION-5B has 231,349.
_MAX_SHARDS = 1_000_000
# Without these limits, Python would allocate as much memory as the header of a member says.
_MAX_TEXT_BYTES, _MAX_IMAGE_BYTES = 16 << 20, 1 << 30
# tarfile validates few numbers.
_TAR_ERRORS = (tarfile.TarError, OverflowError, ValueError)
# CLIP_benchmark's: a file with the kind of a data set, and the folder of the shards that are measured on.
_KIND_FILE, _RETRIEVAL, _SPLIT = "dataset_type.txt", "retrieval", "test"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def are_shards(place: str) -> bool:
    """Whether a place names shards: a tar, a pattern of tars, or a folder of tars without images of its own."""
    if place.endswith(TAR_SUFFIX):
        return is_url(place) or bool(_RANGE.search(place)) or "*" in place or Path(place).is_file()
    folder = Path(place)
    if is_url(place) or not folder.is_dir():
        return False
    if is_retrieval(folder):
        return are_shards(str(folder / _SPLIT))
    names = [entry.suffix.lower() for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    return TAR_SUFFIX in names and not image_suffixes() & set(names)


def read_shards(place: str, skipped: list[Skipped]) -> Iterator[Pair]:
    """The images of shards, in the order of shards and members.

    Args:
        place: See :func:`are_shards`; ``{000..127}`` is a range of numbers, ``*`` matches any characters.
        skipped: Receives the shards that are cut off (the part before the cut is used), and texts without an image.

    Yields:
        Pairs whose key is ``SHARD.tar/MEMBER``.

    Raises:
        DataError: There is no such shard, or the URL's protocol is not installed.
    """
    if not is_url(place) and is_retrieval(Path(place)):
        others = sorted(folder.name for folder in Path(place).iterdir() if folder.is_dir() and folder.name != _SPLIT)
        skipped += [Skipped(name, f"Only {_SPLIT} is read, the split for retrieval.") for name in others]
    for shard in _expand(place):
        yield from _read_shard(shard, skipped)


def _expand(place: str) -> list[str]:
    if not is_url(place) and is_retrieval(Path(place)):
        return _expand(str(Path(place) / _SPLIT))
    if not is_url(place) and Path(place).is_dir():
        return sorted(str(path) for path in Path(place).iterdir() if path.suffix.lower() == TAR_SUFFIX)
    if found := _RANGE.search(place):
        first, last = int(found[1]), int(found[2])
        if last - first >= _MAX_SHARDS:
            raise DataError(f"{place} stands for {last - first + 1:,} shards; {_MAX_SHARDS:,} are the most.")
        numbers = (f"{number:0{len(found[1])}d}" for number in range(first, last + 1))
        return [shard for number in numbers for shard in _expand(_RANGE.sub(number, place, count=1))]
    if "*" not in place:
        return [place]
    if not is_url(place):
        shards = sorted(str(path) for path in Path(place).parent.glob(Path(place).name))
    else:
        files, path = file_system(place)
        shards = sorted(files.unstrip_protocol(name) for name in files.glob(path))
    if not shards:
        raise DataError(f"{place} matches no shard.")
    return shards


@dataclass
class _Group:
    """The members of one name, so far."""

    name: str = ""
    image: tuple[Member, str] | None = None
    real: list[str] = field(default_factory=list)
    synthetic: list[str] = field(default_factory=list)
    vectors: Member | None = None

    def add(self, kind: str, texts: list[str], *, lines: bool) -> None:
        """Take over the texts of a member; those of a .txt stand before those of a .json."""
        if kind == "syn.json":
            self.synthetic += texts
        elif kind == "json":
            self.real += texts
        else:
            self.real[:0] = [line.strip() for text in texts for line in text.splitlines()] if lines else texts


def is_retrieval(folder: Path) -> bool:
    """Whether a folder is one of CLIP_benchmark's data sets of images with captions."""
    file = folder / _KIND_FILE
    return file.is_file() and file.read_text(encoding="utf-8", errors="replace").strip() == _RETRIEVAL


def _read_shard(shard: str, skipped: list[Skipped]) -> Iterator[Pair]:
    name = posixpath.basename(shard) if is_url(shard) else Path(shard).name
    lines = not is_url(shard) and is_retrieval(Path(shard).absolute().parent.parent)
    group = _Group()
    try:
        with _open(shard) as stream, tarfile.open(fileobj=stream, mode="r:", errors="surrogateescape") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # otherwise the list of members grows with the shard
                folder, _, file = member.name.removeprefix("./").rpartition("/")
                stem, _, suffix = file.partition(".")
                if not member.isfile() or not stem:
                    continue
                if (belongs := posixpath.join(folder, stem)) != group.name:
                    yield from _pair(name, group, skipped)
                    group = _Group(belongs)
                kind, place = "." + suffix.lower().rpartition(".")[2], Member(shard, member.offset_data, member.size)
                if kind in image_suffixes() and group.image is None:
                    group.image = (place, member.name.removeprefix("./"))
                elif suffix.lower() == "npz":
                    group.vectors = place
                elif suffix.lower() in ("txt", "json", "syn.json"):
                    found = _captions(tar, member, suffix.lower(), f"{name}/{member.name}", skipped)
                    group.add(suffix.lower(), found, lines=lines)
            # tarfile treats a missing, truncated or damaged header as the end; the real end is a block of zeros.
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"it ends at byte {tar.offset} without the mark of its end")
    except FileNotFoundError as error:
        raise DataError(f"The shard {shard} does not exist.") from error
    except (OSError, *_TAR_ERRORS) as error:
        reason = f"The shard {shard} is cut off or no plain tar: {error}. Copy or make it again."
        skipped.append(Skipped(name, reason))
    yield from _pair(name, group, skipped)


def _pair(shard: str, group: _Group, skipped: list[Skipped]) -> Iterator[Pair]:
    image, texts = group.image, [*group.real, *group.synthetic]
    if image is not None and image[0].size_bytes == 0:
        skipped.append(Skipped(f"{shard}/{image[1]}", "The file is empty."))
    elif image is not None and image[0].size_bytes > _MAX_IMAGE_BYTES:
        reason = f"The file has {image[0].size_bytes:,} bytes; {_MAX_IMAGE_BYTES:,} are the most."
        skipped.append(Skipped(f"{shard}/{image[1]}", reason))
    elif image is not None:
        stored = None
        if group.vectors is not None:
            stored = StoredVectors(group.vectors, ((group.real or [""])[0], *group.synthetic))
        captions = tuple(dict.fromkeys(text for text in texts if text))
        yield Pair(f"{shard}/{image[1]}", image[0], captions, stored, bool(captions) and not any(group.real))
    elif any(texts):
        skipped.append(Skipped(f"{shard}/{group.name}", "There is a caption, but no image."))


def _captions(tar: tarfile.TarFile, member: tarfile.TarInfo, kind: str, name: str,
              skipped: list[Skipped]) -> list[str]:  # fmt: skip
    if member.size > _MAX_TEXT_BYTES:
        skipped.append(Skipped(name, f"The caption has {member.size:,} bytes; {_MAX_TEXT_BYTES:,} are the most."))
        return []
    stream = tar.extractfile(member)
    assert stream is not None  # it is a file
    try:
        text = stream.read().decode("utf-8-sig")
        document: Any = {"caption": text} if kind == "txt" else parse_json(text)
    except ValueError as error:
        skipped.append(Skipped(name, f"The caption cannot be read: {error}."))
        return []
    names = ("syn_text",) if kind == "syn.json" else ("captions", "caption")
    held = document if isinstance(document, dict) else {}
    found = next((held[name] for name in names if name in held), None)
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    captions = [caption.strip() if isinstance(caption, str) else "" for caption in listed]
    if not all(is_text(caption) for caption in captions):
        skipped.append(Skipped(name, "The caption holds half a character."))
    return [caption if is_text(caption) else "" for caption in captions]  # places count: vectors are stored in order


def _open(shard: str) -> AbstractContextManager[IO[bytes]]:
    return open_url(shard, passing=_TAR_ERRORS) if is_url(shard) else Path(shard).open("rb")
