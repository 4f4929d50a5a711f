"""Vectors to and from other programs.

clip-retrieval's layout: ``img_emb/img_emb_N.npy``, rows of float16, and ``metadata/metadata_N.parquet``, a line for
each row, whose ``image_path`` says where the image is. Ours carries a ``vectors.json`` beside them that names the
model, so that an index goes out and comes back without a question; folders of other programs need ``--model``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import atomic_folder, read_json, write_json
from mobileclip_kit.index.ann_build import Questions
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.kinds import Kind
from mobileclip_kit.index.npy import load_matrix, save_matrix
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.imported import Part, import_parts
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.spec import ModelSpec

FORMAT_VERSION = 1
VECTORS_JSON = "vectors.json"
ROWS_IN_FILE = 1_000_000

Layout = Literal["clip-retrieval", "npy"]
# The columns that may name an image, the best first.
_NAME_COLUMNS = ("image_path", "key", "url")


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
        layout: ``clip-retrieval``, or ``npy`` for ``vectors.npy`` (float32) and ``names.json``.
        force: Replace such a folder.

    Raises:
        IndexFormatError: The index is missing or damaged.
        OutputError: ``out`` exists and ``force`` is False, or holds something else.
        UsageError: pyarrow is not installed.
    """
    with IndexReader(folder) as index, atomic_folder(out, force=force) as staging:
        items = [item for item in index.store.items() if item.row is not None]
        kept = [item for item in items if _is_text(item.name)]
        left_out = [
            os.fsencode(item.name).decode("utf-8", "backslashreplace") for item in items if not _is_text(item.name)
        ]
        if layout == "npy":
            save_matrix(staging / "vectors.npy", _vectors(index, kept))
            write_json(staging / "names.json", [item.name for item in kept])
        else:
            _write_parts(index, kept, staging)
        write_json(
            staging / VECTORS_JSON,
            {
                "format_version": FORMAT_VERSION,
                "layout": layout,
                "items": len(kept),
                "images": index.header.images if _is_text(index.header.images or "") else None,
                "model_path": index.header.model if _is_text(index.header.model or "") else None,
                "model": index.spec.to_json(),
            },
        )
    return Dumped(len(kept), left_out)


def import_clip_retrieval(
    folder: Path,
    out: Path,
    *,
    ask: Callable[[Vectors], Questions],
    images: Path | None = None,
    spec: ModelSpec | None = None,
    model: str | None = None,
    force: bool = False,
    kind: Kind | None = None,
) -> IndexReport:
    """Build an index of a folder that clip-retrieval's inference, or :func:`dump_index`, wrote.

    Args:
        folder: With ``img_emb`` and ``metadata``.
        out: The index.
        ask: See :func:`mobileclip_kit.indexing.deriving.ask_texts`.
        images: The folder of the images; names become relative to it. None for the one in ``vectors.json``.
        spec: The model that made the vectors; None for the one in ``vectors.json``, or an unknown one.
        model: Where that model lies.
        force: Replace an index that exists already.
        kind: Of the search; None for the one that suits the size.

    Raises:
        DataError: A file is missing or damaged, or no column names the images.
        ModelMismatchError: The width is not the model's.
        UsageError: pyarrow is not installed.
    """
    described = read_json(folder / VECTORS_JSON) if (folder / VECTORS_JSON).is_file() else {}
    if not isinstance(described.get("model", {}), dict) or not isinstance(described.get("images"), str | None):
        raise DataError(f"{folder / VECTORS_JSON} is damaged.", hint="Remove it and name the model with --model.")
    if spec is None and "model" in described:
        spec = ModelSpec.from_json(described["model"], str(folder / VECTORS_JSON))
        model = model or described.get("model_path")
    if images is None and described.get("images") and Path(described["images"]).is_dir():
        images = Path(described["images"])
    root = images.absolute() if images is not None else described.get("images")
    parts = [
        Part(vectors, load_matrix(vectors), _below(_names(metadata, root), images), metadata)
        for vectors, metadata in _pairs(folder)
    ]
    return import_parts(parts, out, images=images, spec=spec, model=model, force=force, kind=kind, ask=ask)


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    numbered = {}
    for path in (folder / "img_emb").glob("img_emb_*.npy"):
        found = re.fullmatch(r"img_emb_(\d+)\.npy", path.name)
        if found:
            numbered[int(found.group(1))] = (path, folder / "metadata" / f"metadata_{found.group(1)}.parquet")
    if not numbered:
        raise DataError(f"{folder} holds no img_emb/img_emb_N.npy.", hint="Name clip-retrieval's output folder.")
    for _, pair in sorted(numbered.items()):
        if not pair[1].is_file():
            raise DataError(f"{pair[1]} is missing: nothing names the vectors of {pair[0].name}.")
        yield pair


def _names(path: Path, root: Path | str | None) -> list[str]:
    pa, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file: {str(error).splitlines()[0]}.") from error
    column = next((name for name in _NAME_COLUMNS if name in table.column_names), None)
    if column is None:
        raise DataError(f"{path} has none of the columns {', '.join(_NAME_COLUMNS)}, only {table.column_names}.")
    names = ["" if name is None else str(name) for name in table.column(column).to_pylist()]
    if root is None:
        return names
    prefix = str(root).rstrip("/\\") + os.sep
    return [name.removeprefix(prefix).replace(os.sep, "/") for name in names]


def _below(names: list[str], images: Path | None) -> list[str]:
    """Names below ``images``. clip-retrieval writes paths as they were given to it: ``photos/a.jpg`` for ``photos``."""
    if images is None:
        return names
    prefix = f"{os.path.normpath(images)}{os.sep}".replace(os.sep, "/")
    return [
        name[len(prefix) :] if name.startswith(prefix) and not os.path.lexists(f"{images}/{name}") else name
        for name in names
    ]


def _write_parts(index: IndexReader, items: list[Item], folder: Path) -> None:
    pa, parquet = _pyarrow()
    (folder / "img_emb").mkdir()
    (folder / "metadata").mkdir()
    root = index.header.images
    for number, start in enumerate(range(0, max(1, len(items)), ROWS_IN_FILE)):
        part = items[start : start + ROWS_IN_FILE]
        paths = [item.name if root is None else os.path.join(root, item.name) for item in part]
        save_matrix(folder / "img_emb" / f"img_emb_{number}.npy", _vectors(index, part).astype(np.float16))
        table = pa.table({"image_path": pa.array(paths, pa.string())})
        parquet.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")


def _vectors(index: IndexReader, items: list[Item]) -> Vectors:
    return index.vectors([item.row for item in items if item.row is not None])


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "Parquet files need the package pyarrow.", hint="Install it: pip install 'mobileclip-kit[parquet]'."
        ) from error
    return pyarrow, pyarrow.parquet
