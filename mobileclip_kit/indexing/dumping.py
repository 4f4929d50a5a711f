"""The vectors and names of an index for other programs, in the layouts of :mod:`mobileclip_kit.indexing.importing`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.extras import require
from mobileclip_kit.files import atomic_folder, sha256_of_file, write_json
from mobileclip_kit.formats import write
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.npy import save_matrix
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.importing import VECTORS_JSON, Layout, VectorsFile, fact_types, require_pyarrow
from mobileclip_kit.photo_facts import PhotoFacts
from mobileclip_kit.progress import track

ROWS_IN_FILE = 1_000_000
_ROWS_IN_GROUP = 16384


@dataclass(frozen=True)
class Dumped:
    """What was written.

    Attributes:
        items: Vectors.
        left_out: Names that a UTF-8 file cannot hold, with bytes escaped.
    """

    items: int
    left_out: list[str]


def dump_index(folder: Path, out: Path, *, layout: Layout = "clip-retrieval", force: bool = False) -> Dumped:
    """Write the vectors and names of an index for other programs.

    Args:
        folder: The index.
        out: The folder to make.
        layout: ``clip-retrieval``; ``npy`` for ``vectors.npy`` (float32) and ``names.json``; ``parquet`` for
            ``images/N.parquet`` with the columns ``name``, ``path`` (null where the index knows no folder) and
            ``vector`` (a fixed-size list of float32), which vector databases read; or ``lance`` for the same columns as
            LanceDB's table ``images``. All but ``npy`` have a column for each field of
            :class:`~mobileclip_kit.photo_facts.PhotoFacts`.
        force: Replace such a folder.

    Raises:
        IndexFormatError: The index is missing or damaged.
        OutputError: ``out`` exists and ``force`` is False, or holds something else.
        MissingExtraError: pyarrow or lancedb is not installed.
    """
    with IndexReader(folder) as index, atomic_folder(out, force=force, kinds=(VECTORS_JSON,)) as staging:
        items = [item for item in index.store.items() if item.row is not None]
        kept = [item for item in items if _is_text(item.name)]
        left_out = [
            os.fsencode(item.name).decode("utf-8", "backslashreplace") for item in items if not _is_text(item.name)
        ]
        if layout == "npy":
            save_matrix(staging / "vectors.npy", _vectors(index, kept))
            write_json(staging / "names.json", [item.name for item in kept])
        elif layout == "parquet":
            _write_parquet(index, kept, staging)
        elif layout == "lance":
            _write_lance(index, kept, staging)
        else:
            _write_parts(index, kept, staging)
        write(
            staging / VECTORS_JSON,
            VectorsFile(
                layout=layout,
                items=len(kept),
                images=index.header.images if _is_text(index.header.images or "") else None,
                model_path=index.header.model if _is_text(index.header.model or "") else None,
                model=index.spec.to_json(),
                files={
                    path.relative_to(staging).as_posix(): sha256_of_file(path)
                    for path in sorted(staging.rglob("*"))
                    if path.is_file()
                },
            ),
        )
    return Dumped(len(kept), left_out)


def _write_parts(index: IndexReader, items: list[Item], folder: Path) -> None:
    pa, parquet = require_pyarrow()
    (folder / "img_emb").mkdir()
    (folder / "metadata").mkdir()
    for number, part in enumerate(track(list(parts_of(items, ROWS_IN_FILE)) or [[]], "dump", "files")):
        paths = [path or item.name for path, item in zip(_paths(index, part), part, strict=True)]
        save_matrix(folder / "img_emb" / f"img_emb_{number}.npy", _vectors(index, part).astype(np.float16))
        table = pa.table({"image_path": pa.array(paths, pa.string()), **_facts(part)})
        parquet.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")


def _write_parquet(index: IndexReader, items: Sequence[Item], folder: Path) -> None:
    _, parquet = require_pyarrow()
    (folder / "images").mkdir()
    for number, part in enumerate(parts_of(items, ROWS_IN_FILE) if items else [[]]):
        with parquet.ParquetWriter(folder / "images" / f"{number:05d}.parquet", _schema(index)) as writer:
            for batch in _batches(index, part):
                writer.write_batch(batch)


def _write_lance(index: IndexReader, items: Sequence[Item], folder: Path) -> None:
    require("A Lance table", "lance")
    import lancedb

    lancedb.connect(folder).create_table("images", _batches(index, items), schema=_schema(index))


def _schema(index: IndexReader) -> Any:
    pa, _ = require_pyarrow()
    return pa.schema([("name", pa.string()), ("path", pa.string()),
                      ("vector", pa.list_(pa.float32(), index.spec.embedding_dim)), *fact_types().items()])  # fmt: skip


def _batches(index: IndexReader, items: Sequence[Item]) -> Iterator[Any]:
    """Record batches of a few dozen megabytes, so that writers and readers need no more memory; at least one."""
    pa, _ = require_pyarrow()
    for rows in parts_of(items, _ROWS_IN_GROUP) if items else [[]]:
        vectors = pa.array(_vectors(index, rows).reshape(-1), pa.float32())
        columns = [pa.array([item.name for item in rows], pa.string()),
                   pa.array(_paths(index, rows), pa.string()),
                   pa.FixedSizeListArray.from_arrays(vectors, index.spec.embedding_dim),
                   *_facts(rows).values()]  # fmt: skip
        yield pa.record_batch(columns, schema=_schema(index))


def _paths(index: IndexReader, items: Sequence[Item]) -> list[str | None]:
    """The place of each image; None where the index knows no folder."""
    root = index.header.images
    return [None if root is None else os.path.join(root, item.name) for item in items]


def _facts(items: Sequence[Item]) -> dict[str, Any]:
    """A column for each fact; null where it is not known."""
    pa, _ = require_pyarrow()
    known = [item.facts or PhotoFacts() for item in items]
    return {name: pa.array([getattr(each, name) for each in known], kind) for name, kind in fact_types().items()}


def _vectors(index: IndexReader, items: Sequence[Item]) -> Vectors:
    return index.vectors([item.row for item in items if item.row is not None])


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)
