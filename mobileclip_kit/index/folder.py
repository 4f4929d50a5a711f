"""An index folder: ``index.json``, ``items.sqlite`` and ``vectors.f32`` under one roof.

Any number of processes may read while one writes. The writer's lock is an exclusive SQLite transaction on a file of its
own: the system releases it when the process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import IndexFormatError, OutputError
from mobileclip_kit.files import atomic_file, atomic_folder, read_json
from mobileclip_kit.index.store import Store
from mobileclip_kit.index.vectors import MatrixWriter, Vectors, map_matrix
from mobileclip_kit.spec import ModelSpec

FORMAT_VERSION = 1
INDEX_FILE = "index.json"
ITEMS_FILE = "items.sqlite"
VECTORS_FILE = "vectors.f32"
LOCK_FILE = "writer.lock"


@dataclass(frozen=True, kw_only=True)
class IndexHeader:
    """What ``index.json`` says.

    Attributes:
        spec: The model whose vectors the index holds.
        model: Where that model was when the index was built, as it was asked for: a hint, checked by its hash.
        pictures: The indexed folder, absolute; None for vectors without pictures.
    """

    spec: ModelSpec
    model: str | None = None
    pictures: str | None = None

    def write(self, folder: Path) -> None:
        """Write ``index.json``."""
        document = {
            "format_version": FORMAT_VERSION,
            "kind": "flat",
            "model_path": self.model,
            "pictures": self.pictures,
            "model": self.spec.to_json(),
        }
        with atomic_file(folder / INDEX_FILE) as staging:
            # Paths need not be UTF-8; escaped, any path survives.
            staging.write_text(json.dumps(document, indent=2, ensure_ascii=True) + "\n", encoding="ascii")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``index.json``.

        Raises:
            IndexFormatError: The folder is no index, or one of another version.
        """
        path = folder / INDEX_FILE
        if not path.is_file():
            raise IndexFormatError(
                f"{folder} is not an index: it has no {INDEX_FILE}."
                if folder.exists()
                else f"{folder} does not exist.",
                hint="Build it with `mckit index PICTURES --model M -o INDEX`.",
            )
        document = read_json(path)
        version = document.get("format_version")
        if version != FORMAT_VERSION or "model" not in document:
            raise IndexFormatError(
                f"{path} has format version {version}; this mckit reads version {FORMAT_VERSION}.",
                hint="Update mckit, or build the index again.",
            )
        spec = ModelSpec.from_json(document["model"], str(path))
        return cls(spec=spec, model=document.get("model_path"), pictures=document.get("pictures"))


def is_index(folder: Path) -> bool:
    """Whether an index lies there."""
    return (folder / INDEX_FILE).is_file()


def create_index(folder: Path, header: IndexHeader, *, force: bool = False) -> None:
    """Make an empty index; see :func:`staged_index`."""
    with staged_index(folder, header, force=force):
        pass


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
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not is_index(folder):
        raise OutputError(f"{folder} exists and is not an index.", hint="Choose another -o.")
    with contextlib.ExitStack() as stack:
        if is_index(folder) and force:
            stack.enter_context(_writer_lock(folder))
        staging = stack.enter_context(atomic_folder(folder, force=force or empty))
        Store.create(staging / ITEMS_FILE)
        (staging / VECTORS_FILE).touch()
        header.write(staging)
        yield staging


class Index:
    """An index as its readers see it: the state of the moment it was opened.

    Attributes:
        path: The folder.
        header: What ``index.json`` says.
        store: The items.
        matrix: ``(rows, d)`` float32, memory-mapped; rows of removed items included.
    """

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            IndexFormatError: It is missing, damaged, or of another version.
        """
        self.path = path
        self.header = IndexHeader.read(path)
        self.store = Store.open(path / ITEMS_FILE, writable=False)
        try:
            self.matrix: Vectors = map_matrix(path / VECTORS_FILE, self.spec.embedding_dim, self.store.rows)
            self._all_living = self.store.vectors == len(self.matrix)
        except BaseException:
            self.store.close()
            raise

    @property
    def spec(self) -> ModelSpec:
        """The model whose vectors these are."""
        return self.header.spec

    def allowed_rows(
        self, *, folder: str | None = None, since_ns: int | None = None, until_ns: int | None = None
    ) -> NDArray[np.bool_] | None:
        """A mask over the matrix, ``(rows,)``, or None when every row may be found; see :meth:`Store.living_rows`."""
        if self._all_living and folder is None and since_ns is None and until_ns is None:
            return None
        rows = np.array(self.store.living_rows(folder=folder, since_ns=since_ns, until_ns=until_ns), np.int64)
        mask = np.zeros(len(self.matrix), np.bool_)
        mask[rows[rows < len(mask)]] = True
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
        store: The items.
        matrix: The rows.
    """

    def __init__(self, store: Store, matrix: MatrixWriter) -> None:
        self.store, self.matrix = store, matrix

    def commit(self) -> None:
        """Make everything since the last commit count: first the rows reach the disk, then the items that name them."""
        self.matrix.flush()
        self.store.commit(self.matrix.rows)


@contextlib.contextmanager
def open_writer(folder: Path) -> Iterator[IndexWriter]:
    """Open an index for writing; what is not committed when the block ends never happened.

    Raises:
        IndexFormatError: Another process is writing, or the index is damaged.
    """
    header = IndexHeader.read(folder)
    with _writer_lock(folder), contextlib.ExitStack() as stack:
        store = Store.open(folder / ITEMS_FILE, writable=True)
        stack.callback(store.close)
        matrix = stack.enter_context(MatrixWriter(folder / VECTORS_FILE, header.spec.embedding_dim, store.rows))
        yield IndexWriter(store, matrix)


@contextlib.contextmanager
def _writer_lock(folder: Path) -> Iterator[None]:
    connection = sqlite3.connect(folder / LOCK_FILE, timeout=0, isolation_level=None)
    try:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise OutputError(f"{folder} cannot be written: {error}.") from error
            raise IndexFormatError(
                f"Another process is writing the index {folder}.", hint="Wait until it is done, then run it again."
            ) from error
        yield
    finally:
        connection.close()
