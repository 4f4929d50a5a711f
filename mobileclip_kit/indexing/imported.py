"""An index of vectors that somebody else computed."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ModelMismatchError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.ann_build import Questions
from mobileclip_kit.index.folder import IndexHeader, IndexWriter, open_writer, staged_index
from mobileclip_kit.index.kinds import Kind
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.index.store import Item, storable_ns
from mobileclip_kit.indexing.deriving import ask_texts, refresh_derived
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import ModelSpec

_CHUNK_ROWS = 16384


@dataclass(frozen=True)
class Part:
    """A matrix and the names of its rows.

    Attributes:
        vectors: The ``.npy`` file.
        matrix: ``(n, d)``, mapped.
        names: n of them.
        source: Where the names come from, for messages.
    """

    vectors: Path
    matrix: NDArray[np.floating]
    names: Sequence[str]
    source: Path


def import_vectors(
    vectors: Path,
    names: Path,
    out: Path,
    *,
    images: Path | None = None,
    spec: ModelSpec | None = None,
    model: str | None = None,
    force: bool = False,
    kind: Kind | None = None,
    questions: Path | None = None,
    encoder: Encoder | None = None,
) -> IndexReport:
    """Build an index of vectors made elsewhere, scaled to length 1.

    Args:
        vectors: A ``.npy`` file, ``(n, d)`` of any float type.
        names: The names in the order of the rows: a line each, or a JSON list of strings in a ``.json`` file.
        out: The index.
        images: The folder that the names are relative to; images that are not in it are left out and listed.
        spec: The model that made the vectors; None binds the index to the file itself.
        model: Where that model lies, kept for later queries.
        force: Replace an index that exists already.
        kind: Of the search; None for the one that suits the size.
        questions: See :func:`mobileclip_kit.indexing.deriving.ask_texts`.
        encoder: Of the model, to measure recall with texts.

    Raises:
        DataError: A file is missing or damaged, the numbers of vectors and names differ, a name comes twice or is
            none, or not one image is in ``images``.
        ModelMismatchError: The width is not the model's.
        OutputError: ``out`` exists and ``force`` is False, or is something else.
    """
    part = Part(vectors, load_matrix(vectors), read_names(names), names)
    ask = ask_texts(encoder, questions)
    return import_parts([part], out, images=images, spec=spec, model=model, force=force, kind=kind, ask=ask)


def import_parts(
    parts: Sequence[Part],
    out: Path,
    *,
    images: Path | None,
    spec: ModelSpec | None,
    model: str | None,
    force: bool,
    kind: Kind | None,
    ask: Callable[[Vectors], Questions],
) -> IndexReport:
    """Build an index of several matrices of one model; see :func:`import_vectors`."""
    dim = parts[0].matrix.shape[1]
    for part in parts:
        if len(part.matrix) != len(part.names):
            raise DataError(
                f"{part.vectors} holds {len(part.matrix)} vectors, but {part.source} holds {len(part.names)} names."
            )
        if part.matrix.shape[1] != dim:
            raise DataError(f"{part.vectors} holds vectors of {part.matrix.shape[1]} numbers; the first file {dim}.")
    _check_names(parts)
    if images is not None and not images.is_dir():
        raise DataError(f"{images} is not a folder." if images.exists() else f"{images} does not exist.")
    if spec is None:
        spec = _unknown_model([part.vectors for part in parts], dim)
    elif spec.embedding_dim != dim:
        raise ModelMismatchError(
            f"{parts[0].vectors} holds vectors of {dim} numbers; those of {spec.name} have {spec.embedding_dim}."
        )
    started = time.monotonic()
    header = IndexHeader(spec=spec, model=model, images=None if images is None else str(images.resolve()))
    report = IndexReport()
    with staged_index(out, header, force=force) as staging, open_writer(staging) as writer:
        for part in parts:
            for start in range(0, len(part.names), _CHUNK_ROWS):
                rows, names = part.matrix[start : start + _CHUNK_ROWS], part.names[start : start + _CHUNK_ROWS]
                _add(writer, rows, names, images)
        writer.commit()
        if images is not None and not writer.store.vectors:
            _refuse_nothing(writer.store.failures(), images)
        report.search = refresh_derived(writer, kind, ask)
        report.take_stock(writer.store)
    report.added, report.seconds = report.items, time.monotonic() - started
    return report


def _refuse_nothing(failures: Sequence[Item], images: Path) -> None:
    """An index without a single image is a wrong folder rather than a wish."""
    if failures:
        raise DataError(
            f"None of the {len(failures)} names has both an image in {images} and a usable vector. The first, "
            f"{failures[0].name!r}: {failures[0].reason}",
            hint="Say with --images which folder the names are relative to.",
        )


def _unknown_model(vectors: Sequence[Path], dim: int) -> ModelSpec:
    """A stand-in for the model that made these files, known by their content alone."""
    digests = [sha256_of_file(path) for path in vectors]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return ModelSpec(name=vectors[0].name, embedding_dim=dim, image=None, text=None, model_hash=f"vectors:{digest}")


def _check_names(parts: Sequence[Part]) -> None:
    counts: Counter[str] = Counter()
    for part in parts:
        if "" in part.names:
            number = list(part.names).index("") + 1
            raise DataError(f"Name {number} of {part.source} is empty; every vector needs a name.")
        impossible = next((name for name in part.names if not _can_name_a_file(name)), None)
        if impossible is not None:
            raise DataError(f"{part.source} lists {impossible!r}, which can be no file's name.")
        counts.update(part.names)
    name, count = counts.most_common(1)[0] if counts else ("", 0)
    if count > 1:
        where = parts[0].source if len(parts) == 1 else parts[0].source.parent
        raise DataError(f"{where} lists {name!r} {count} times; names must differ.")


def _can_name_a_file(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _add(writer: IndexWriter, rows: NDArray[np.floating], names: Sequence[str], images: Path | None) -> None:
    vectors, bad = scale_rows(rows)
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
        return Item(name=name, reason=f"The image cannot be read in the given folder: {error.strerror}.")
    return Item(name=name, size_bytes=status.st_size, mtime_ns=storable_ns(status.st_mtime_ns), sha256=sha256)
