"""What ``--data`` may be: the table of sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit.data.captions import read_jsonl, read_table
from mobileclip_kit.data.folder import read_folder
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.errors import DataError

CAPTIONS_FILE = "captions.csv"


@dataclass(frozen=True)
class Source:
    """One kind of source.

    Attributes:
        title: For messages.
        fits: Whether a path is of this kind.
        read: Yields its pairs, and appends to the list what it leaves out.
    """

    title: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, list[Skipped]], Iterator[Pair]]


# The first one that fits reads the path.
SOURCES = (
    Source(
        f"a folder with {CAPTIONS_FILE}",
        lambda path: (path / CAPTIONS_FILE).is_file(),
        lambda path, skipped: read_table(path / CAPTIONS_FILE, skipped),
    ),
    Source("a folder of pictures", lambda path: path.is_dir(), read_folder),
    Source("a CSV or TSV file", lambda path: path.suffix.lower() in (".csv", ".tsv"), read_table),
    Source("a JSONL file", lambda path: path.suffix.lower() in (".jsonl", ".ndjson"), read_jsonl),
)


def open_source(path: Path, skipped: list[Skipped] | None = None) -> Iterator[Pair]:
    """The pairs of a folder or captions file.

    Args:
        path: See :data:`SOURCES`.
        skipped: Takes what is left out, with reasons.

    Yields:
        At least one pair; keys are unique.

    Raises:
        DataError: The path does not exist, is of no known kind, cannot be read, or holds no usable picture.
    """
    skipped = [] if skipped is None else skipped
    if not path.exists():
        raise DataError(f"{path} does not exist.", hint="Pass a folder of pictures or a captions file.")
    for source in SOURCES:
        if source.fits(path):
            empty = True
            for pair in source.read(path, skipped):
                empty = False
                yield pair
            if empty:
                first = f" ({len(skipped)} skipped; the first: {skipped[0].reason})" if skipped else ""
                raise DataError(f"{path} holds no usable picture{first}.")
            return
    kinds = ", ".join(source.title for source in SOURCES)
    raise DataError(f"{path} is none of: {kinds}.")
