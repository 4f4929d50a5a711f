"""An index of vectors that somebody else computed."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError, ModelMismatchError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.folder import IndexHeader, IndexWriter, open_writer, staged_index
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.spec import ModelSpec

_CHUNK_ROWS = 16384


def import_vectors(
    vectors: Path,
    names: Path,
    out: Path,
    *,
    images: Path | None = None,
    spec: ModelSpec | None = None,
    model: str | None = None,
    force: bool = False,
) -> IndexReport:
    """Build an index of vectors made elsewhere, scaled to length 1.

    Args:
        vectors: A ``.npy`` file, ``(n, d)`` of any float type.
        names: The names in the order of the rows: a line each, or a JSON list of strings in a ``.json`` file.
        out: The index.
        images: The folder that the names are relative to; pictures that are not in it are left out and listed.
        spec: The model that made the vectors; None binds the index to the file itself.
        model: Where that model lies, kept for later queries.
        force: Replace an index that exists already.

    Raises:
        DataError: A file is missing or damaged, the numbers of vectors and names differ, or a name comes twice.
        ModelMismatchError: The width is not the model's.
        OutputError: ``out`` exists and ``force`` is False, or is something else.
    """
    matrix, listed = load_matrix(vectors), read_names(names)
    if len(matrix) != len(listed):
        raise DataError(f"{vectors} holds {len(matrix)} vectors, but {names} holds {len(listed)} names.")
    _check_names(listed, names)
    if images is not None and not images.is_dir():
        raise DataError(f"{images} is not a folder." if images.exists() else f"{images} does not exist.")
    if spec is None:
        digest = f"vectors:{sha256_of_file(vectors)}"
        spec = ModelSpec(name=vectors.name, embedding_dim=matrix.shape[1], image=None, text=None, model_hash=digest)
    elif spec.embedding_dim != matrix.shape[1]:
        raise ModelMismatchError(
            f"{vectors} holds vectors of {matrix.shape[1]} numbers; those of {spec.name} have {spec.embedding_dim}."
        )
    started = time.monotonic()
    header = IndexHeader(spec=spec, model=model, pictures=None if images is None else str(images.resolve()))
    report = IndexReport()
    with staged_index(out, header, force=force) as staging, open_writer(staging) as writer:
        for start in range(0, len(listed), _CHUNK_ROWS):
            _add(writer, matrix[start : start + _CHUNK_ROWS], listed[start : start + _CHUNK_ROWS], images)
        writer.commit()
        report.take_stock(writer.store)
    report.added, report.seconds = report.items, time.monotonic() - started
    return report


def load_matrix(path: Path) -> NDArray[np.floating]:
    """Map a ``.npy`` file of floats, ``(n, d)``.

    Raises:
        DataError: It is missing, damaged, or holds something else.
    """
    try:
        matrix: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is not a readable .npy file: {error}.") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
        kind = f"{matrix.dtype} of shape {matrix.shape}" if isinstance(matrix, np.ndarray) else "an archive"
        raise DataError(f"{path} holds {kind}, not a matrix of floats with a row for each picture.")
    if matrix.shape[1] == 0:
        raise DataError(f"{path} holds vectors of no numbers.")
    return matrix


def read_names(path: Path) -> list[str]:
    """Names, a line each, or a JSON list when the file ends in ``.json``.

    Raises:
        DataError: The file is missing or is not such a list.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if path.suffix.lower() != ".json":
        # Only line feeds divide: str.splitlines would also cut names at form feeds and the like.
        lines = os.fsdecode(data).replace("\r\n", "\n").split("\n")
        return lines[:-1] if lines[-1] == "" else lines
    try:
        listed = json.loads(data)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise DataError(f"{path} is not a JSON list of strings.")
    return listed


def unit_rows(rows: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows scaled to length 1, and which of them could not be (not finite, or zero)."""
    wide = np.asarray(rows, np.float64)
    # Scaled by the greatest entry first, so that no square overflows or vanishes.
    greatest = np.abs(wide).max(axis=1, keepdims=True)
    bad = ~np.isfinite(greatest[:, 0]) | (greatest[:, 0] == 0)
    wide = np.divide(wide, greatest, where=~bad[:, None], out=np.zeros_like(wide))
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, norms, where=~bad[:, None], out=np.zeros_like(wide)).astype(np.float32), bad


def _check_names(listed: Sequence[str], path: Path) -> None:
    if "" in listed:
        raise DataError(f"Name {listed.index('') + 1} of {path} is empty; every vector needs a name.")
    name, count = Counter(listed).most_common(1)[0] if listed else ("", 0)
    if count > 1:
        raise DataError(f"{path} lists {name!r} {count} times; names must differ.")


def _add(writer: IndexWriter, rows: NDArray[np.floating], names: Sequence[str], images: Path | None) -> None:
    vectors, bad = unit_rows(rows)
    items, keep = [], []
    for number, name in enumerate(names):
        item = _describe(name, images)
        if bad[number]:
            item = Item(name=name, reason="Its vector is zero or not finite.")
        elif item.reason is None:
            keep.append(number)
        items.append(item)
    row = writer.matrix.append(vectors[keep])
    for item in items:
        if item.reason is None:
            item = Item(name=item.name, size_bytes=item.size_bytes, mtime_ns=item.mtime_ns, sha256=item.sha256, row=row)
            row += 1
        writer.store.put(item)


def _describe(name: str, images: Path | None) -> Item:
    """The file of that name as an item that lacks its row, or the reason why there is none."""
    if images is None:
        return Item(name=name)
    path = images / name
    try:
        status, sha256 = path.stat(), sha256_of_file(path)
    except OSError as error:
        return Item(name=name, reason=f"The picture cannot be read in the given folder: {error.strerror}.")
    return Item(name=name, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256)
