"""The index behind the page: open, reopened when another process has changed it, and summarised.

A reader of an index sees the state at the time it was opened. The page stays open for days, so the index files are
checked before each response, and the index is reopened when they have changed. One thread may search and call
:meth:`Library.refresh`; any thread may look up single items.

An image's id is the row of its vector and a hash of its name, such as ``12-9f3a0c1e``. It is never a path. Because of
the hash, an id from before a rebuild finds nothing instead of another image.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.confidence.background import BACKGROUND_FILE
from mobileclip_kit.duplicates import find_duplicates
from mobileclip_kit.errors import DataError, MckitError
from mobileclip_kit.files import one_line
from mobileclip_kit.index.folder import INDEX_FILE, ITEMS_FILE, IndexReader
from mobileclip_kit.index.store import Item
from mobileclip_kit.index.tags import TAGS_FILE, Tags
from mobileclip_kit.index.vectors import BlockSum
from mobileclip_kit.photo_facts import local_us
from mobileclip_kit.progress import show_progress

MAX_FOLDERS = 1000
# Comparing more images with each other takes minutes of all cores; `mckit duplicates` does it once.
MAX_COMPARED = 100_000
_CHECK_EVERY_S = 1.0
_CHECK_FACTOR = 10  # an index that takes one second to open is checked again after ten
_NO_TIME = -np.iinfo(np.int64).max  # sorts after every real time when negated

ID_PATTERN = "([0-9]{1,18})-([0-9a-f]{8})"
_ID = re.compile(ID_PATTERN)

Rows = NDArray[np.int64]
# Inode, size and modification time of the files that define the state.
_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Folder:
    """A subfolder of the indexed folder.

    Attributes:
        path: Its name in the index.
        images: Number of images in it and below.
    """

    path: str
    images: int


@dataclass(frozen=True)
class Summary:
    """Facts about all images of an index.

    Attributes:
        images: Images with a vector.
        failures: Images without one.
        folders: Sorted by path; the deepest ones are omitted when there are more than :data:`MAX_FOLDERS`.
        folders_omitted: Number of omitted folders.
        newest: Rows of all images, most recently taken first; images without a time last, by name. Where the camera
            wrote no time, that of the file counts.
        days: The first and the last day on which images were taken; None when no image has a time.
        months: Number of images taken in each month, such as ``"2024-07"``; months without images are omitted.
    """

    images: int
    failures: int
    folders: tuple[Folder, ...]
    folders_omitted: int
    newest: Rows
    days: tuple[date, date] | None
    months: dict[str, int]


class Library:
    """An index that stays open.

    Args:
        path: The index folder.
        images: Folder of the images; None for the folder recorded in the index.

    Attributes:
        index: The index as it was last opened.
        summary: Facts about that state.
        generation: Number of the state, starting at 1.
        tags: Those of `mckit tag`, or None.
        problem: Why the newest state cannot be opened, or None.
        copies: For each row the number of its group of copies, and −1 for images without copies, ``(rows,)``; None
            until a thread has compared the images with each other, and for more than :data:`MAX_COMPARED`.
        contents: For each row a number of its file's content, equal among the copies that are the same byte for byte,
            ``(rows,)``; as old as ``copies``.
        damage: What is damaged, once a thread has compared vectors and items with their checksums, or None.

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
        self.problem: str | None = None
        self.damage: str | None = None
        self.copies: Rows | None = None
        self.contents: Rows | None = None
        self._next_check = 0.0
        self.index, self.summary, self.tags, self._signature = self._load(_signature(path))
        self._check()
        self._find_copies()

    def refresh(self) -> None:
        """Reopen the index if its files have changed.

        If it cannot be opened, for example while it is being replaced, the last state stays in use and
        :attr:`problem` says so.
        """
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + _CHECK_EVERY_S
        try:
            signature = _signature(self.path)
            if signature != self._signature:
                state = self._load(signature)
                with self._lock:
                    self.index.close()
                    self.index, self.summary, self.tags, self._signature = state
                self._check()
                self._find_copies()
            self.problem = None
        except MckitError as error:
            self.problem = one_line(f"The index has changed and cannot be opened again: {error.message}")

    def _check(self) -> None:
        """Compare vectors and items with their checksums in a thread."""
        self.damage = None
        with self._lock:
            arguments = [self.index, self.index.store.sums()]
        threading.Thread(target=self._find_damage, args=arguments, name="check", daemon=True).start()

    def _find_damage(self, index: IndexReader, sums: list[BlockSum]) -> None:
        def is_over() -> bool:
            return self.index is not index

        try:
            index.check_matrix(sums, stop=is_over)
            index.check_items(stop=is_over)  # a filter would pass over those whose columns are damaged
        except MckitError as error:
            if self.index is index:
                self.damage = one_line(f"{error.message} {error.hint or ''}".strip())

    def _find_copies(self) -> None:
        """Find copies of the same photo in a thread."""
        self.copies = None
        if self.summary.images <= MAX_COMPARED:
            threading.Thread(target=self._compare, args=[self.index], name="copies", daemon=True).start()

    def _compare(self, index: IndexReader) -> None:
        with contextlib.suppress(MckitError), IndexReader(self.path) as own:  # a store is for one thread at a time
            with show_progress(False):
                groups = find_duplicates(own, stop=lambda: self.index is not index)
            copies, contents = np.full(len(index.matrix), -1, np.int64), np.arange(len(index.matrix))
            for number, group in enumerate(groups):
                first: dict[str, int] = {}
                for item in group:
                    if item.row is not None and item.row < len(copies):
                        copies[item.row] = number
                        if item.sha256 is not None:
                            contents[item.row] = first.setdefault(item.sha256, item.row)
            if self.index is index and own.generation == index.generation:
                self.contents, self.copies = contents, copies

    def _load(self, signature: _Signature) -> tuple[IndexReader, Summary, Tags | None, _Signature]:
        started = time.monotonic()
        index = IndexReader(self.path)
        try:
            summary, tags = _summarise(index), Tags.read(self.path)
            tags = None if tags is None else tags.living(index.store)
        except BaseException:
            index.close()
            raise
        now = time.monotonic()
        self._next_check = now + max(_CHECK_EVERY_S, _CHECK_FACTOR * (now - started))
        self.generation += 1
        return index, summary, tags, signature

    def find(self, image_id: str) -> Item | None:
        """The item with this id, or None when the index does not have it."""
        row = row_of(image_id)
        if row is None:
            return None
        with self._lock:
            item = self.index.store.item_in_row(row)
        return item if item is not None and id_of(row, item.name) == image_id else None

    def names_of(self, rows: list[int]) -> dict[int, str]:
        """The names of the items in these rows."""
        with self._lock:
            return self.index.store.names_of(rows)

    def folder_named(self, label: str) -> str:
        """The folder whose printable name is ``label``.

        Raises:
            DataError: There is none.
        """
        for folder in self.summary.folders:
            if one_line(folder.path) == label:
                return folder.path
        raise DataError(f"The index has no folder {label!r}.", hint="Choose another folder, or none.")

    def tag_counts(self) -> list[tuple[str, int]]:
        """The labels of the tags, and how many images have each."""
        return [] if self.tags is None else self.tags.counts()

    def tags_of(self, item: Item) -> tuple[str, ...]:
        """The tags of an item, the surest first; none if its file has changed since."""
        tagged = None if self.tags is None else self.tags.items.get(item.name)
        if tagged is None or tagged.sha256 != item.sha256:
            return ()
        return tuple(sorted(tagged.tags, key=lambda label: -tagged.tags[label]))

    @property
    def images_folder(self) -> Path | None:
        """Folder of the images; None for an index of imported vectors or of images at a URL."""
        return self._images or self.index.header.folder

    def without_folder(self) -> str:
        """Why there is no folder of images."""
        url = self.index.header.images
        return f"The images of this index lie at {url}" if url else "This index was made from vectors"

    def file_of(self, item: Item) -> Path:
        """The path that an item's file should have.

        Raises:
            DataError: The index records no folder, or the item's name or a link leads out of it.
        """
        folder = self.images_folder
        if folder is None:
            raise DataError(f"{self.without_folder()}.", hint="Start mckit serve with --images FOLDER.")
        path = Path(os.path.normpath(folder / item.name))
        if not path.is_relative_to(os.path.normpath(folder)) or not _leads_to(path, folder):
            raise DataError(f"{one_line(item.name)} is outside the indexed folder and is not shown.")
        return path

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            self.index.close()


def id_of(row: int, name: str) -> str:
    """The id of the image ``name`` whose vector is in ``row``."""
    return f"{row}-{hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()}"


def row_of(image_id: str) -> int | None:
    """The row in an image's id, or None when the id is malformed."""
    found = _ID.fullmatch(image_id)
    return None if found is None else int(found.group(1))


def regular_file(path: Path) -> os.stat_result | None:
    """The status of a regular file; None when it is missing or something else, such as a pipe."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _leads_to(path: Path, folder: Path) -> bool:
    """Whether a path, with its links followed, lies below a folder, with its links followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _signature(path: Path) -> _Signature:
    found = []
    # The background is written after the last images are committed.
    for name in (INDEX_FILE, ITEMS_FILE, TAGS_FILE, BACKGROUND_FILE):
        try:
            status = (path / name).stat()
        except OSError:
            found.append((0, 0, 0))  # opening the index reports what is wrong
            continue
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _summarise(index: IndexReader) -> Summary:
    rows, times, rests_ns, parents = [], [], [], Counter[str]()
    for row, name, mtime_ns, taken_us in index.store.dated_listing():
        if row < len(index.matrix):  # a writer may have committed more since the index was opened
            rows.append(row)
            times.append(_local_us(mtime_ns) if taken_us is None else taken_us)
            rests_ns.append((mtime_ns or 0) % 1000 if taken_us is None else 0)
            parents[name.rpartition("/")[0]] += 1
    folders, omitted = _folders(parents)
    # Stable, so that images with equal times, or without one, stay in the order of their names.
    order = np.lexsort((-np.array(rests_ns, np.int64), -np.array(times, np.int64)))
    moments = np.array([moment for moment in times if moment != _NO_TIME], "datetime64[us]")
    months, counts = np.unique(moments.astype("datetime64[M]"), return_counts=True)
    return Summary(
        images=len(rows),
        failures=len(index.store.failures()),
        folders=folders,
        folders_omitted=omitted,
        newest=np.array(rows, np.int64)[order],
        days=(moments.min().astype(object).date(), moments.max().astype(object).date()) if moments.size else None,
        months=dict(zip(map(str, months), counts.tolist(), strict=True)),
    )


def _folders(parents: Counter[str]) -> tuple[tuple[Folder, ...], int]:
    """Folders with the number of images in and below them, and how many folders were omitted."""
    totals = Counter[str]()
    for parent, count in parents.items():
        while parent:
            totals[parent] += count
            parent = parent.rpartition("/")[0]
    paths = sorted(totals, key=lambda path: (path.count("/"), path))[:MAX_FOLDERS]
    kept = sorted(paths, key=lambda path: path.split("/"))
    return tuple(Folder(path, totals[path]) for path in kept), len(totals) - len(kept)


def _local_us(mtime_ns: int | None) -> int:
    """A file's time by this machine's clock, as cameras write it: microseconds since 1970, local time."""
    if mtime_ns is None:
        return _NO_TIME
    seconds, rest_ns = divmod(mtime_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds)
    except OSError:  # Windows knows no local time before 1970
        moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return local_us(moment) + rest_ns // 1000
