"""The table of data sources: what ``--data`` accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit.data.captions import is_flickr, read_flickr, read_jsonl, read_table
from mobileclip_kit.data.coco import read_coco
from mobileclip_kit.data.pair import Member, Pair, Skipped, Split
from mobileclip_kit.data.shards import are_shards, read_shards
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import nothing_at
from mobileclip_kit.images import image_suffixes, list_images
from mobileclip_kit.urls import is_url, list_files

CAPTIONS_FILE = "captions.csv"


@dataclass(frozen=True)
class Source:
    """One kind of source.

    Attributes:
        title: Name of the kind, for messages.
        fits: Whether a path is of this kind.
        read: Yields the pairs of a path and appends the items that it leaves out to the list.
        has_splits: Whether ``read`` takes a split as well.
    """

    title: str
    fits: Callable[[Path], bool]
    read: Callable[..., Iterator[Pair]]
    has_splits: bool = False


def read_folder(folder: Path, skipped: list[Skipped]) -> Iterator[Pair]:
    """All images below a folder, sorted by path.

    Args:
        folder: The folder, searched recursively; hidden files and folders are ignored.
        skipped: Receives empty files and broken links.

    Yields:
        Pairs whose key is the path relative to the folder.
    """
    for path in list_images(folder):
        key = path.relative_to(folder).as_posix()
        try:
            size = path.stat().st_size
        except OSError as error:
            skipped.append(Skipped(key, f"The file cannot be read: {error.strerror}."))
            continue
        if size == 0:
            skipped.append(Skipped(key, "The file is empty."))
        else:
            yield Pair(key, path)


def read_url(url: str, skipped: list[Skipped]) -> Iterator[Pair]:
    """All images below a URL, sorted by name; keys are relative to it.

    Args:
        url: An fsspec URL such as ``s3://bucket/photos``.
        skipped: Receives empty files, and those whose size the server does not say.

    Raises:
        DataError: There are none.
    """
    files = list(list_files(url, image_suffixes()))
    if not files:
        raise DataError(f"{url} holds no images.", hint=f"Shards are named one by one or as {url}/*.tar.")
    for file in files:
        if file.size_bytes:
            yield Pair(file.name, Member(file.url, 0, file.size_bytes))
        else:
            skipped.append(Skipped(file.name, "The file is empty, or the server does not say its size."))


# The first source whose ``fits`` is true reads the path.
SOURCES = (
    Source(
        f"a folder with {CAPTIONS_FILE}",
        lambda path: (path / CAPTIONS_FILE).is_file(),
        lambda path, skipped: read_table(path / CAPTIONS_FILE, skipped),
    ),
    Source(
        "webdataset shards (.tar)",
        lambda path: are_shards(str(path)),
        lambda path, skipped: read_shards(str(path), skipped),
    ),
    Source("a folder of images", lambda path: path.is_dir(), read_folder),
    Source("a CSV or TSV file", lambda path: path.suffix.lower() in (".csv", ".tsv"), read_table),
    Source("a JSONL file", lambda path: path.suffix.lower() in (".jsonl", ".ndjson"), read_jsonl),
    Source("a text file of CLIP_benchmark", is_flickr, read_flickr),
    Source("a COCO JSON file", lambda path: path.suffix.lower() == ".json", read_coco, has_splits=True),
)


def open_source(path: Path | str, skipped: list[Skipped] | None = None, *, split: Split = "test") -> Iterator[Pair]:
    """The pairs of a folder, a captions file or shards.

    Args:
        path: See :data:`SOURCES`; shards may be a pattern (``shard-{000..127}.tar``). A URL (a str) is one of shards,
            ending in .tar, or of a folder of images.
        skipped: Receives the items that are left out, with the reasons.
        split: What is read of a file that has several: ``test`` to measure on, ``train`` or ``all``.

    Yields:
        At least one pair; keys are unique.

    Raises:
        DataError: The path does not exist, is of no known kind, cannot be read, or holds no usable image.
    """
    skipped = [] if skipped is None else skipped
    empty = True
    for pair in _read(path, skipped, split=split):
        empty = False
        yield pair
    if empty:
        first = f" ({len(skipped)} skipped; the first: {skipped[0].reason})" if skipped else ""
        raise DataError(f"{path} holds no usable image{first}.")


def check_source(path: Path | str) -> None:
    """Refuse a path that :func:`open_source` cannot read, as far as that is known without reading captions or shards.

    Raises:
        DataError: The path does not exist, is of no known kind, or is a folder without a usable image.
    """
    _read(path, [])
    if not is_url(str(path)) and Path(path).is_dir():
        next(open_source(path))


def _read(path: Path | str, skipped: list[Skipped], *, split: Split = "test") -> Iterator[Pair]:
    kinds = ", ".join(source.title for source in SOURCES)
    if is_url(str(path)):
        return (read_shards if are_shards(str(path)) else read_url)(str(path), skipped)
    path = Path(path)
    if not path.exists() and not are_shards(str(path)):
        message, hint = nothing_at(path, "Pass a folder of images or a captions file.")
        raise DataError(message, hint=hint)
    for source in SOURCES:
        if source.fits(path):
            return source.read(path, skipped, **({"split": split} if source.has_splits else {}))
    raise DataError(f"{path} is none of: {kinds}.")
