"""An index of vectors that somebody else computed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError, ModelMismatchError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.folder import IndexHeader, IndexWriter, open_writer, staged_index
from mobileclip_kit.index.npy import load_matrix, read_names, unit_rows
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
