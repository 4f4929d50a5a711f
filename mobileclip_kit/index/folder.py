"""An index folder: ``index.json``, ``items.sqlite``, ``vectors.f32`` and the faiss index derived from them.

Any number of processes may read while one writes, which holds the lock of :mod:`mobileclip_kit.locks`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.errors import IndexFormatError, MckitError, OutputError
from mobileclip_kit.files import (
    atomic_file,
    atomic_folder,
    check_can_write,
    nothing_at,
    read_json,
    recover,
    remove_staged,
    seal,
)
from mobileclip_kit.formats import from_document, to_document
from mobileclip_kit.index.ann_index import Derived, DerivedIndex
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.index.selection import EVERYTHING, Selection
from mobileclip_kit.index.store import Store
from mobileclip_kit.index.vectors import BlockSum, MatrixWriter, bad_rows, changed_block, map_matrix, rows_in_block
from mobileclip_kit.locks import writer_lock
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.urls import as_place

FORMAT_VERSION = 1
INDEX_FILE = "index.json"
ITEMS_FILE = "items.sqlite"
VECTORS_FILE = "vectors.f32"
# Of the user: the vector that searches of this index take.
TEXTNESS_FILE = "textness.json"
_ROWS_AT_ONCE = 4096
# Matrices up to this size and their items are compared with their checksums when they are opened, which takes about
# 1 ms a MB and 8 µs an item.
_CHECKED_AT_ONCE_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True)
class IndexHeader:
    """What ``index.json`` says.

    Attributes:
        spec: The model whose vectors the index holds.
        model: Where that model was when the index was built, as it was asked for: a hint, checked by its hash.
        images: The indexed folder, absolute, or its URL; None for vectors without images.
        shard: ``(i, n)`` when the index holds the i-th of n parts of that folder; None for all of it.
        derived: The faiss index that searches use in place of the exact scan; None for the scan. Says nothing about
            what the index holds, so headers that differ in it alone are equal.
        device: Where the model computed the newest vectors; None if that is not known. Not compared either.
    """

    spec: ModelSpec
    model: str | None = None
    images: str | None = None
    shard: tuple[int, int] | None = None
    derived: Derived | None = field(default=None, compare=False)
    device: str | None = field(default=None, compare=False)

    @property
    def place(self) -> Path | str | None:
        """The indexed folder as a path, or its URL."""
        return None if self.images is None else as_place(self.images)

    @property
    def folder(self) -> Path | None:
        """The indexed folder; None also for images at a URL."""
        return self.place if isinstance(self.place, Path) else None

    def to_json(self) -> dict[str, Any]:
        """The document of ``index.json``."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": "flat" if self.derived is None else self.derived.kind,
            "model_path": self.model,
            "images": self.images,
            "shard": None if self.shard is None else list(self.shard),
            "derived": to_document(self.derived),
            "device": self.device,
            "model": self.spec.to_json(),
        }

    def write(self, folder: Path) -> None:
        """Write ``index.json``."""
        with atomic_file(folder / INDEX_FILE) as staging:
            # Paths need not be UTF-8; escaped, any path survives.
            staging.write_text(json.dumps(seal(self.to_json()), indent=2, ensure_ascii=True) + "\n", encoding="ascii")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``index.json``.

        Raises:
            IndexFormatError: The folder is no index, or one of another version.
        """
        path = folder / INDEX_FILE
        if not path.is_file():
            hint = "Build it with `mckit index IMAGES --model M -o INDEX`."
            if folder.exists():
                raise IndexFormatError(f"{folder} is not an index: it has no {INDEX_FILE}.", hint=hint)
            message, hint = nothing_at(folder, hint)
            raise IndexFormatError(message, hint=hint)
        document = read_json(path)
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise IndexFormatError(
                f"{path} has format version {version}; this mckit reads version {FORMAT_VERSION}.",
                hint="Update mckit, or build the index again.",
            )
        if "pictures" in document:  # the first version's name of the key
            document["images"] = document.pop("pictures")
        said = from_document(
            document, _Header, where=str(path), error=IndexFormatError, hint="Build the index again with --force."
        )
        spec = ModelSpec.from_json(said.model, str(path))
        return cls(
            spec=spec, model=said.model_path, images=said.images, shard=said.shard, derived=said.derived,
            device=said.device,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The keys of ``index.json``."""

    format_version: int
    model: Mapping[str, Any]
    kind: str = "flat"
    model_path: str | None = None
    images: str | None = None
    shard: tuple[int, int] | None = None
    derived: Derived | None = None
    device: str | None = None


def vectors_file(generation: int) -> str:
    """The matrix's file: a compacted matrix is another file, so that readers of the old one are not disturbed."""
    return VECTORS_FILE if generation == 0 else f"vectors-{generation}.f32"


def is_index(folder: Path) -> bool:
    """Whether an index lies there."""
    return (folder / INDEX_FILE).is_file()


def index_lock(folder: Path) -> AbstractContextManager[None]:
    """The writer's lock of an index; see :func:`mobileclip_kit.locks.writer_lock`.

    Raises:
        IndexFormatError: Another process is writing it.
    """
    return writer_lock(folder, what="index", busy=IndexFormatError)


def create_index(folder: Path, header: IndexHeader, *, force: bool = False) -> None:
    """Make an empty index; see :func:`staged_index`."""
    with staged_index(folder, header, force=force):
        pass


def check_index_place(folder: Path, *, force: bool = False) -> None:
    """Refuse a place where something else than an index lies, or that cannot be written.

    Raises:
        OutputError: Says which.
    """
    recover(folder)
    if is_index(folder):
        return
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty:
        forced = ", so --force does not replace it" if force else ""
        raise OutputError(f"{folder} exists and is not an index{forced}.", hint="Choose another -o.")
    check_can_write(folder, force=True, kinds=(INDEX_FILE,))


@contextlib.contextmanager
def staged_index(folder: Path, header: IndexHeader, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty index under a temporary name that takes ``folder``'s place when the block ends without an error.

    Args:
        folder: Where the index shall lie.
        header: What ``index.json`` shall say.
        force: Replace an index that lies there.

    Raises:
        OutputError: Something else lies there already, or an index and ``force`` is False.
        IndexFormatError: Another process is writing the index that shall be replaced.
    """
    check_index_place(folder, force=force)
    empty = folder.is_dir() and not any(folder.iterdir())
    with contextlib.ExitStack() as stack:
        if is_index(folder) and force:
            stack.enter_context(index_lock(folder))
            remove_staged(folder)  # of an interrupted rebuild, see mobileclip_kit.index.rebuilding
        staging = stack.enter_context(atomic_folder(folder, force=force or empty, kinds=(INDEX_FILE,)))
        Store.create(staging / ITEMS_FILE)
        (staging / VECTORS_FILE).touch()
        header.write(staging)
        yield staging


class IndexReader:
    """An index as its readers see it: the state of the moment it was opened.

    Attributes:
        path: The folder.
        header: What ``index.json`` says.
        store: The items.
        generation: Of the matrix.
        matrix: ``(rows, d)`` float32, memory-mapped; rows of removed items included.
    """

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            IndexFormatError: It is missing, damaged, or of another version.
        """
        self.path = path
        place = _identity(path)
        try:
            self._open(path)
        except MckitError:
            if _identity(path) == place:
                raise
            self._open(path)
        else:
            if _identity(path) != place:  # another index took its place between two files
                self.store.close()
                self._open(path)
        self._derived: DerivedIndex | None = None

    def _open(self, path: Path) -> None:
        self.header = IndexHeader.read(path)
        self.store = Store.open(path / ITEMS_FILE, writable=False)
        try:
            self.generation, self.matrix = self._map()
            self._checked: set[int] = set()
            self._is_checked = self.matrix.nbytes <= _CHECKED_AT_ONCE_BYTES
            if self._is_checked:
                self.check_matrix()
                self.store.check()  # filters read the items' columns without their checksums
            self._all_living = self.store.vectors == len(self.matrix)
        except BaseException:
            self.store.close()
            raise

    def _map(self) -> tuple[int, Vectors]:
        generation = self.store.generation
        try:
            matrix = map_matrix(self.path / vectors_file(generation), self.spec.embedding_dim, self.store.rows)
        except IndexFormatError:
            if self.store.generation == generation:
                raise
            return self._map()  # compacted between the two looks
        return generation, matrix

    @property
    def spec(self) -> ModelSpec:
        """The model whose vectors these are."""
        return self.header.spec

    @property
    def derived(self) -> DerivedIndex | None:
        """The faiss index that belongs to this matrix, opened when first asked for; None for the exact scan.

        One that is missing or belongs to an older matrix counts as none: searches are exact then, and the next
        ``mckit index`` derives it anew.

        Raises:
            IndexFormatError: Its file is damaged.
        """
        described = self.header.derived
        if self._derived is None and described is not None and described.generation == self.generation:
            path = self.path / described.file
            if path.is_file() and described.rows <= len(self.matrix):
                self._derived = DerivedIndex(path, described)
        return self._derived

    def nearest(
        self, queries: Vectors, k: int, *, allowed: NDArray[np.bool_] | None = None, exact: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The rows with the greatest inner products, by the kind of this index; scores are exact in every kind.

        Args:
            queries: Unit rows, ``(q, d)``.
            k: Rows wanted for each query, at least 1.
            allowed: A mask from :meth:`allowed_rows`; None for every row.
            exact: Scan every vector whatever the kind.

        Returns:
            Scores and rows, each ``(q, at most k)``, best first; row −1 where an approximate kind found fewer.

        Raises:
            IndexFormatError: A row that was found is not of length 1: the matrix is damaged.
            ShapeError: The widths differ.
        """
        derived = None if exact else self.derived
        if derived is None or not derived.suits(allowed, k):
            scores, rows = search_flat(self.matrix, queries, k, allowed=allowed)
        else:
            scores, rows = derived.search(self.matrix, queries, k, allowed=allowed)
        self.vectors(sorted({row for row in rows.ravel().tolist() if row >= 0}))  # np.unique would import numpy.ma
        return scores, rows

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """A copy of some rows, ``(n, d)``, after a look whether they are still what was written.

        Every row was of length 1 when it was written. A damaged one may rank first for every query, and one that is not
        finite is no JSON.

        Raises:
            IndexFormatError: A row is not of length 1, or its block does not have its checksum; names it and the file.
        """
        blocks = set((np.asarray(rows, np.int64) // rows_in_block(self.spec.embedding_dim)).tolist()) - self._checked
        if blocks:
            self._check_blocks(self.store.sums(sorted(blocks)))
            self._checked |= blocks
        vectors = np.array(self.matrix[rows], np.float32).reshape(len(rows), self.spec.embedding_dim)
        bad = bad_rows(vectors)
        if bad.size:
            raise IndexFormatError(
                f"{self.path / vectors_file(self.generation)} is damaged: row {rows[bad[0]]} has length "
                f"{np.linalg.norm(vectors[bad[0]].astype(np.float64)):.6g} instead of 1.",
                hint="Build the index again with --force.",
            )
        return vectors

    def check_matrix(self, sums: Iterable[BlockSum] | None = None, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Compare the whole matrix with its checksums, if the index has any; about 1 ms a MB.

        Args:
            sums: What ``store.sums()`` gave. A thread must be given them: the store's connection is for one thread at a
                time, and may be closed while the thread still reads the matrix.
            stop: Asked between blocks whether to give up.

        Raises:
            IndexFormatError: A block is not what was written; names its rows.
        """
        self._check_blocks(each for each in (self.store.sums() if sums is None else sums) if not stop())
        self._checked.update(range(-(-len(self.matrix) // rows_in_block(self.spec.embedding_dim))))

    def check_items(self, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Compare every item with its checksum, if that was not done when the index was opened; about 8 µs an item.

        Any thread may call it: it opens the store anew.

        Args:
            stop: Asked between items whether to give up.

        Raises:
            IndexFormatError: An item is not what was written.
        """
        if not self._is_checked:
            with contextlib.closing(Store.open(self.path / ITEMS_FILE, writable=False)) as own:
                own.check(stop=stop)

    def check_rows(self) -> None:
        """Look at the length of every row, also in an index without checksums.

        Raises:
            IndexFormatError: A row is not of length 1.
        """
        for rows in parts_of(np.arange(len(self.matrix)), _ROWS_AT_ONCE):
            self.vectors(rows)

    def _check_blocks(self, sums: Iterable[BlockSum]) -> None:
        path, dim = self.path / vectors_file(self.generation), self.spec.embedding_dim
        changed = changed_block(path, dim, len(self.matrix), sums)
        if changed is not None:
            raise damaged_block(path, dim, changed)

    def is_current(self) -> bool:
        """Whether the rows still mean what they meant when the index was opened; after a compaction, open it again."""
        return self.store.generation == self.generation

    def names_of(self, rows: Sequence[int]) -> dict[int, str]:
        """The names of the items in these rows; rows of removed items are left out.

        Raises:
            IndexFormatError: The index was compacted since it was opened.
        """
        names = self.store.names_of(rows)
        if not self.is_current():
            raise IndexFormatError(f"The index {self.path} was compacted by another process.", hint="Open it again.")
        return names

    def allowed_rows(self, selection: Selection = EVERYTHING) -> NDArray[np.bool_] | None:
        """A mask over the matrix, ``(rows,)``: the items that meet the conditions; None when every row may be found.

        Raises:
            IndexFormatError: An item lies in a row that cannot be.
        """
        if self._all_living and selection == EVERYTHING:
            return None
        rows = np.array(self.store.living_rows(selection), np.int64)
        mask = np.zeros(len(self.matrix), np.bool_)
        if rows.size and rows.min() < 0:
            raise IndexFormatError(
                f"{self.path / ITEMS_FILE} is damaged: an item lies in row {rows.min()}.",
                hint="Build the index again with --force.",
            )
        mask[rows[rows < len(mask)]] = True  # a writer may have added some since the index was opened
        return mask

    def close(self) -> None:
        """Close the store; the matrix is unmapped with its last reference."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class IndexWriter:
    """The one writer of an index.

    Attributes:
        path: The folder.
        store: The items.
        matrix: The rows.
    """

    def __init__(self, path: Path, store: Store, matrix: MatrixWriter) -> None:
        self.path, self.store, self.matrix = path, store, matrix

    def commit(self) -> None:
        """Make everything since the last commit count: first the rows reach the disk, then the items that name them."""
        self.matrix.flush()
        self.store.commit(self.matrix.rows, self.matrix.take_sums())

    def compact(self) -> int:
        """Drop the rows that no item names; commits everything before.

        The living rows are copied to a new file, which counts from the moment of one transaction on; a kill before it
        leaves the old matrix as it was. Readers that are open keep the old one until they ask for names.

        Returns:
            How many rows were dropped.
        """
        self.commit()
        living = sorted(self.store.living_rows())
        dead = self.matrix.rows - len(living)
        if not dead:
            return 0
        self.check_matrix()  # the copy's checksums would be those of damaged rows
        path = self.path / vectors_file(self.store.generation + 1)
        copy = self.matrix.copy_rows(living, path)
        self.store.renumber(living, copy.take_sums())
        self.matrix.close()
        self.matrix = copy
        _remove_old_matrices(self.path, path.name)
        return dead

    def check_matrix(self) -> None:
        """Compare the matrix with its checksums.

        Raises:
            IndexFormatError: A block is not what was written; names its rows.
        """
        changed = self.matrix.changed_block()
        if changed is not None:
            raise damaged_block(self.path / vectors_file(self.store.generation), self.matrix.dim, changed)

    def close(self) -> None:
        """Drop what was not committed."""
        self.matrix.close()
        self.store.close()


@contextlib.contextmanager
def open_writer(folder: Path) -> Iterator[IndexWriter]:
    """Open an index for writing; what is not committed when the block ends never happened.

    Raises:
        IndexFormatError: Another process is writing, or the index is damaged.
    """
    header = IndexHeader.read(folder)
    with index_lock(folder), contextlib.ExitStack() as stack:
        store = Store.open(folder / ITEMS_FILE, writable=True)
        stack.callback(store.close)
        file = vectors_file(store.generation)
        matrix = MatrixWriter(folder / file, header.spec.embedding_dim, store.rows, store.sums())
        writer = IndexWriter(folder, store, matrix)
        stack.callback(writer.close)
        _remove_old_matrices(folder, file)
        for leftover in folder.glob(".*.part"):
            leftover.unlink(missing_ok=True)  # of a writer that was killed; nobody else writes now
        yield writer


def damaged_block(path: Path, dim: int, block: BlockSum) -> IndexFormatError:
    """The error for a block of rows that is not what was written."""
    first = block.block * rows_in_block(dim)
    return IndexFormatError(
        f"{path} is damaged: rows {first} to {first + block.rows - 1} are not what was written.",
        hint="Build the index again with --force.",
    )


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_old_matrices(folder: Path, current: str) -> None:
    """Remove the matrices of other generations: compacted ones, and copies that a kill left unfinished."""
    for path in folder.glob("vectors*.f32"):
        if path.name != current:
            path.unlink(missing_ok=True)
