"""What a search asks for: the filters of every search, and the options of ``mckit search``."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.selection import Selection
from mobileclip_kit.index.tags import Tags
from mobileclip_kit.model_names import DeviceOption
from mobileclip_kit.options import Option
from mobileclip_kit.search.spans import parse_near, parse_taken


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Among which images a search looks; a new filter is a field here and a condition in ``selection``.

    The fields are keyword arguments of :meth:`Index.search` and :meth:`Index.search_vectors` and options of
    ``mckit search``.

    Raises:
        UsageError: A day, a span or a place is none, or nothing lies between two days.
    """

    folder: Annotated[str | None, Option("Only images below this folder of the index.")] = None
    since: Annotated[date | str | None, Option("Only images changed on this day or later.", metavar="DAY")] = None
    until: Annotated[date | str | None, Option("Only images changed before this day.", metavar="DAY")] = None

    taken: Annotated[
        str | None,
        Option(
            "Only images taken in this year, month or day, or from one to another, both included: 2024-07..2024-08. "
            "The camera's date counts, or the file's where there is none.",
            metavar="WHEN",
        ),
    ] = None
    near: Annotated[
        str | tuple[float, ...] | None,
        Option("Only images taken within KM kilometres of a place: 48.858,2.294,5.", metavar="LAT,LON,KM"),
    ] = None
    camera: Annotated[
        str | None, Option("Only images of a camera whose make and model contain this.", metavar="TEXT")
    ] = None
    tags: Annotated[
        tuple[str, ...],
        Option(
            "Only images with this tag of `mckit tag`; several for images with all.", names=("--tag",), metavar="NAME"
        ),
    ] = ()  # fmt: skip

    def __post_init__(self) -> None:
        asked = self.selection()
        if asked.since_ns is not None and asked.until_ns is not None and asked.since_ns >= asked.until_ns:
            raise UsageError(
                f"No moment lies between since {str(self.since)[:10]} and until {str(self.until)[:10]}: swap them?"
            )

    def allowed_rows(self, index: IndexReader) -> NDArray[np.bool_] | None:
        """A mask over the index's matrix, ``(rows,)``; None when every row may be found.

        Raises:
            DataError: The index has no such folder, or no image was tagged with this label.
            UsageError: An older mckit wrote the index, without places and cameras.
        """
        folder = _below(index, self.folder)
        allowed = index.allowed_rows(self.selection(folder))
        # Asked only where nothing is left: a folder that exists may hold nothing of these days.
        is_empty = allowed is not None and not allowed.any()
        if folder and is_empty and not index.store.living_rows(Selection(folder=folder)):
            raise DataError(f"The index {index.path} holds no images below a folder {folder!r}.")
        return with_tags(index, allowed, self.tags)

    def selection(self, folder: str | None = None) -> Selection:
        """The filters as conditions on items.

        Args:
            folder: The folder as names in the index begin with it.
        """
        near = self.near if isinstance(self.near, str | None) else ",".join(map(str, self.near))
        return Selection(
            folder=folder,
            since_ns=_ns(self.since),
            until_ns=_ns(self.until),
            taken=None if self.taken is None else parse_taken(self.taken),
            near=None if near is None else parse_near(near),
            camera=self.camera,
        )

    def filters(self) -> dict[str, Any]:
        """The filters alone, as keyword arguments of :meth:`Index.search_vectors`."""
        return {field.name: getattr(self, field.name) for field in fields(Filters)}


@dataclass(frozen=True, kw_only=True)
class SearchRequest(Filters):
    """What ``mckit search`` looks for beside words, and among which images; see :meth:`Index.search`."""

    images: Annotated[tuple[Path, ...], Option("An image to look for.", names=("--image",))] = ()
    items: Annotated[
        tuple[str, ...], Option("An item of the index: find images like it.", names=("--like",), metavar="ITEM")
    ] = ()
    query_vectors: Annotated[Path | None, Option("A .npy matrix, a row for each query.")] = None
    query_names: Annotated[Path | None, Option("Names of those rows, a line each.")] = None
    k: Annotated[int, Option("Hits for each query.", names=("-k", "--top"), at_least=1)] = 10
    model: Annotated[
        str | None,
        Option("The index's model, if it is no longer where it was when the index was built.", names=("-m", "--model")),
    ] = None
    templates: Annotated[
        tuple[str, ...], Option('Such as "a photo of {}"; several are averaged.', names=("--template",))
    ] = ()
    textness: Annotated[float | None, Option("From −1 (avoid written words) to 1 (prefer them).")] = None
    textness_vector: Annotated[Path | None, Option("From `mckit textness fit`.")] = None
    min_confidence: Annotated[
        float | None,
        Option("Only hits that are right with this probability.", metavar="P", at_least=0, at_most=1),
    ] = None
    copies: Annotated[bool, Option("List files of the same content each as a hit.")] = False
    threads: Annotated[int | None, Option("Threads of the model's runtime.", at_least=1)] = None
    device: DeviceOption = None


def with_tags(
    index: IndexReader, allowed: NDArray[np.bool_] | None, names: Sequence[str], known: Tags | None = None
) -> NDArray[np.bool_] | None:
    """A mask without the images that lack one of these tags.

    Args:
        index: Opened.
        allowed: A mask over its matrix; None for all rows.
        names: The tags.
        known: Those of the index, if they have been read.

    Raises:
        DataError: The index has no tags, or no image was tagged with this label.
    """
    if not names:
        return allowed
    known = known or Tags.read(index.path)
    if known is None:
        raise DataError(f"The index {index.path} has no tags.", hint="Make them with `mckit tag`.")
    rows = np.array(known.rows(index.store, names), np.int64)
    mask = np.zeros(len(index.matrix), np.bool_)
    mask[rows[rows < len(mask)]] = True
    return mask if allowed is None else mask & allowed


def _below(index: IndexReader, folder: str | None) -> str | None:
    """A folder of the library as names in the index begin with it; None for the whole library."""
    if folder is None:
        return None
    name = posixpath.normpath(folder)
    if name.startswith("/") and index.header.images is not None:
        name = posixpath.relpath(name, index.header.images)
    return None if name == "." else name


def _ns(moment: datetime | date | str | None) -> int | None:
    if moment is None:
        return None
    try:
        if not isinstance(moment, date):
            moment = datetime.fromisoformat(moment)
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)
        return int(moment.timestamp()) * 1_000_000_000
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{moment} is no day that can be searched for.", hint="Write it as 2024-05-31.") from error
