"""The index as the page sees it: opened, brought up to date when another process has written to it, and counted.

Readers of an index see the state of the moment at which they opened it. The page lives for days, so it looks at the
files' times before it answers and opens the index again when they have changed. One thread may search and
:meth:`Library.refresh`; any thread may ask for single items.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError, MckitError
from mobileclip_kit.index.folder import INDEX_FILE, ITEMS_FILE, IndexReader
from mobileclip_kit.index.store import Item
from mobileclip_kit.web.names import image_id, row_of, shown

MAX_FOLDERS = 1000
_LEAST_PATIENCE_S = 1.0
_PATIENCE = 10  # an index that takes a second to open is not looked at again for ten
_NO_TIME = -np.iinfo(np.int64).max  # its negative is the greatest: without a time comes last
_LAST_MOMENT_S = 253_370_764_800  # the year 9999, where Python's dates end

Rows = NDArray[np.int64]
# The files that say what counts, as they were: inode, size, modification time.
_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Folder:
    """A folder below the indexed one.

    Attributes:
        path: Its name in the index.
        images: How many lie in it or below.
    """

    path: str
    images: int


@dataclass(frozen=True)
class Facets:
    """What can be said about all images at once.

    Attributes:
        images: Images that can be found.
        failures: Images without a vector.
        folders: In the order of their paths; the deepest ones are left out when there are very many.
        left_out: Folders that were left out.
        newest: The rows of all images, the last changed one first; those without a time by name, at the end.
        days: Of the first and the last change; None when no image has a time.
    """

    images: int
    failures: int
    folders: tuple[Folder, ...]
    left_out: int
    newest: Rows
    days: tuple[date, date] | None


class Library:
    """An index that stays open.

    Args:
        path: The index.
        images: Where the images are now; None for where they were when they were indexed.

    Attributes:
        index: As it was last opened.
        facets: Of that state.
        generation: Counts the states, from 1 on.
        trouble: Why the newest state cannot be shown, or None.

    Raises:
        IndexFormatError: The index is missing, damaged or of another version.
        DataError: ``images`` is not a folder.
    """

    def __init__(self, path: Path, *, images: Path | None = None) -> None:
        if images is not None and not images.is_dir():
            raise DataError(f"{images} is not a folder." if images.exists() else f"{images} does not exist.")
        self.path, self._images = path, images
        self._lock = threading.Lock()
        self.generation = 0
        self.trouble: str | None = None
        self._look_again = 0.0
        self.index, self.facets, self._signature = self._load(_signature(path))

    def refresh(self) -> None:
        """Open the index again if its files have changed since.

        What cannot be opened now, because it is being replaced for example, leaves the last state in place, and
        :attr:`trouble` says so.
        """
        if time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + _LEAST_PATIENCE_S
        try:
            signature = _signature(self.path)
            if signature != self._signature:
                state = self._load(signature)
                with self._lock:
                    self.index.close()
                    self.index, self.facets, self._signature = state
            self.trouble = None
        except MckitError as error:
            self.trouble = shown(f"The index has changed and cannot be opened again: {error.message}")

    def _load(self, signature: _Signature) -> tuple[IndexReader, Facets, _Signature]:
        started = time.monotonic()
        index = IndexReader(self.path)
        try:
            facets = _count(index)
        except BaseException:
            index.close()
            raise
        now = time.monotonic()
        self._look_again = now + max(_LEAST_PATIENCE_S, _PATIENCE * (now - started))
        self.generation += 1
        return index, facets, signature

    def find(self, address: str) -> Item | None:
        """The item of an image's id, or None when the index has no such image (any more)."""
        row = row_of(address)
        if row is None:
            return None
        with self._lock:
            item = self.index.store.item_in_row(row)
        return item if item is not None and image_id(row, item.name) == address else None

    def names_of(self, rows: list[int]) -> dict[int, str]:
        """The names of the items in these rows."""
        with self._lock:
            return self.index.store.names_of(rows)

    def folder_named(self, label: str) -> str:
        """The folder that the page shows under this label.

        Raises:
            DataError: There is none.
        """
        for folder in self.facets.folders:
            if shown(folder.path) == label:
                return folder.path
        raise DataError(f"The index has no folder {label!r}.", hint="Choose another one, or none.")

    @property
    def images_folder(self) -> Path | None:
        """Where the images lie; None for an index of vectors alone."""
        named = self.index.header.images
        return self._images or (None if named is None else Path(named))

    def file_of(self, item: Item) -> Path:
        """Where an item's file should lie.

        Raises:
            DataError: The index does not say, or the name leads out of the indexed folder.
        """
        folder = self.images_folder
        if folder is None:
            raise DataError(
                "This index was made of vectors and does not say where its images lie.",
                hint="Start mckit serve with --images FOLDER.",
            )
        path = Path(os.path.normpath(folder / item.name))
        if not path.is_relative_to(os.path.normpath(folder)):
            raise DataError(f"{shown(item.name)} lies outside the indexed folder and is not shown.")
        return path

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            self.index.close()


def regular_file(path: Path) -> os.stat_result | None:
    """The state of a file that can be read as an image; None when it is gone or something else, a pipe for example."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _signature(path: Path) -> _Signature:
    found = []
    for name in (INDEX_FILE, ITEMS_FILE):
        try:
            status = (path / name).stat()
        except OSError:
            # Opening the index says what is wrong with it.
            found.append((0, 0, 0))
            continue
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _count(index: IndexReader) -> Facets:
    rows, times, parents = [], [], Counter[str]()
    for row, name, mtime_ns in index.store.listing():
        if row < len(index.matrix):  # a writer may have counted more since the index was opened
            rows.append(row)
            times.append(_NO_TIME if mtime_ns is None else mtime_ns)
            parents[name.rpartition("/")[0]] += 1
    folders, left_out = _folders(parents)
    # Stable, so that images of one moment, or without one, stay in the order of their names.
    order = np.argsort(-np.array(times, np.int64), kind="stable")
    known = [moment for moment in times if moment != _NO_TIME]
    return Facets(
        images=len(rows),
        failures=len(index.store.failures()),
        folders=folders,
        left_out=left_out,
        newest=np.array(rows, np.int64)[order],
        days=(_day(min(known)), _day(max(known))) if known else None,
    )


def _folders(parents: Counter[str]) -> tuple[tuple[Folder, ...], int]:
    """Folders with what lies in them or below, and how many were left out for there being too many."""
    totals = Counter[str]()
    for parent, count in parents.items():
        while parent:
            totals[parent] += count
            parent = parent.rpartition("/")[0]
    paths = sorted(totals, key=lambda path: (path.count("/"), path))[:MAX_FOLDERS]
    kept = sorted(paths, key=lambda path: path.split("/"))
    return tuple(Folder(path, totals[path]) for path in kept), len(totals) - len(kept)


def _day(moment_ns: int) -> date:
    return datetime.fromtimestamp(min(max(moment_ns // 1_000_000_000, 0), _LAST_MOMENT_S)).date()
