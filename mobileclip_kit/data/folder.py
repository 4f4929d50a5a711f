"""A folder of images without captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.images import list_images


def read_folder(folder: Path, skipped: list[Skipped]) -> Iterator[Pair]:
    """Every image below a folder, in the order of its path.

    Args:
        folder: Searched to any depth; hidden files and folders are passed over.
        skipped: Takes empty files, and links that lead nowhere.

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
