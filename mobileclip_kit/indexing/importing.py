"""An index of vectors that another program computed.

clip-retrieval's layout: ``img_emb/img_emb_N.npy``, rows of float16, and ``metadata/metadata_N.parquet``, a line for
each row, whose ``image_path`` names the image. What :mod:`mobileclip_kit.indexing.dumping` writes has a
``vectors.json`` beside them that names the model; folders of other programs need an encoder for that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.confidence.background import refresh_background
from mobileclip_kit.errors import DataError, ModelMismatchError, first_line
from mobileclip_kit.extras import missing_extra
from mobileclip_kit.files import check_sha256, counted, read_json, sha256_of_file
from mobileclip_kit.formats import from_document
from mobileclip_kit.images import decode_ahead
from mobileclip_kit.index.folder import IndexHeader, IndexWriter, open_writer, staged_index
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.index.selection import storable_ns
from mobileclip_kit.index.store import Item
from mobileclip_kit.index.vectors import MatrixWriter
from mobileclip_kit.indexing.deriving import query_vectors_for, refresh_derived
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.photo_facts import PhotoFacts, read_facts
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import UNKNOWN_MODEL, ModelSpec

FORMAT_VERSION = 1
VECTORS_JSON = "vectors.json"
Layout = Literal["clip-retrieval", "npy", "parquet", "lance"]

_CHUNK_ROWS = 4096
_FLUSH_SECONDS = 0.25
# The columns that may name an image, the best first.
_NAME_COLUMNS = ("image_path", "key", "url")


@dataclass(frozen=True, kw_only=True)
class VectorsFile:
    """What the ``vectors.json`` of a dumped index says; empty where there is none.

    Attributes:
        format_version: 1.
        layout: ``clip-retrieval``, ``npy``, ``parquet`` or ``lance``.
        items: Vectors.
        images: The folder of the images.
        model_path: The place of the model.
        model: Its :class:`~mobileclip_kit.spec.ModelSpec` as JSON.
        files: Hex SHA-256 of each file by its path in the folder; empty where an older mckit dumped it.
    """

    format_version: int = FORMAT_VERSION
    layout: Layout = "clip-retrieval"
    items: int = 0
    images: str | None = None
    model_path: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def check_files(self, folder: Path) -> None:
        """Compare the dumped files with their SHA-256.

        Raises:
            DataError: One is missing or was changed.
        """
        for name, sha256 in self.files.items():
            check_sha256(folder, name, sha256, source=VECTORS_JSON, hint="Write it again with `mckit dump`.")

    @property
    def spec(self) -> ModelSpec | None:
        """The model, if it is named."""
        return ModelSpec.from_json(self.model, VECTORS_JSON) if self.model else None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file, if it is there.

        Raises:
            DataError: It is damaged.
        """
        path = folder / VECTORS_JSON
        if not path.is_file():
            return cls()
        document = read_json(path)
        if "pictures" in document:  # the first version's name of the key
            document["images"] = document.pop("pictures")
        return from_document(document, cls, where=str(path), hint="Remove it and name the model with --model.")


@dataclass(frozen=True)
class Part:
    """A matrix and the names of its rows.

    Attributes:
        vectors: The ``.npy`` file.
        matrix: ``(n, d)``, mapped.
        names: n of them.
        source: Where the names come from, for messages.
        facts: What is known of the images, n of them; empty for nothing.
    """

    vectors: Path
    matrix: NDArray[np.floating]
    names: Sequence[str]
    source: Path
    facts: Sequence[PhotoFacts | None] = ()


def import_vectors(
    vectors: Path,
    names: Path,
    out: Path,
    options: IndexOptions = IndexOptions(),  # noqa: B008 (frozen)
    *,
    images: Path | None = None,
    encoder: Encoder | None = None,
) -> IndexReport:
    """Build an index of vectors made elsewhere, scaled to length 1.

    Args:
        vectors: A ``.npy`` file, ``(n, d)`` of any float type.
        names: The names in the order of the rows: a line each, or a JSON list of strings in a ``.json`` file.
        out: The index.
        options: ``force``, ``kind`` and ``query_vectors`` count.
        images: The folder that the names are relative to; images that are not in it are left out and listed.
        encoder: Of the model that made the vectors; without it the index is bound to the content of the file.

    Raises:
        DataError: A file is missing or damaged, the numbers of vectors and names differ, a name comes twice or is
            none, or not one image is in ``images``.
        ModelMismatchError: The width is not the model's.
        OutputError: ``out`` exists and is not to be replaced, or is something else.
    """
    part = Part(vectors, load_matrix(vectors), read_names(names), names)
    return _import_parts([part], out, options, images=images, encoder=encoder, described=VectorsFile())


def import_clip_retrieval(
    folder: Path,
    out: Path,
    options: IndexOptions = IndexOptions(),  # noqa: B008 (frozen)
    *,
    images: Path | None = None,
    encoder: Encoder | None = None,
) -> IndexReport:
    """Build an index of a folder that clip-retrieval, or :func:`~mobileclip_kit.indexing.dumping.dump_index`, wrote.

    Args:
        folder: With ``img_emb`` and ``metadata``.
        out: The index.
        options: See :func:`import_vectors`.
        images: The folder of the images; names become relative to it. None for the one in ``vectors.json``.
        encoder: Of the model that made the vectors; None for the model in ``vectors.json``, or an unknown one.

    Raises:
        DataError: A file is missing or damaged, or no column names the images.
        ModelMismatchError: The width is not the model's.
        MissingExtraError: pyarrow is not installed.
    """
    described = VectorsFile.read(folder)
    described.check_files(folder)
    root = str(images.absolute()) if images is not None else described.images
    if images is None and root and Path(root).is_dir():
        images = Path(root)
    parts = [
        Part(vectors, load_matrix(vectors), _below(names, images), metadata, facts)
        for vectors, metadata in _pairs(folder)
        for names, facts in [_names(metadata, root)]
    ]
    return _import_parts(parts, out, options, images=images, encoder=encoder, described=described)


def _import_parts(
    parts: Sequence[Part],
    out: Path,
    options: IndexOptions,
    *,
    images: Path | None,
    encoder: Encoder | None,
    described: VectorsFile,
) -> IndexReport:
    """Build an index of several matrices of one model; see :func:`import_vectors`."""
    dim = _check_parts(parts)
    if images is not None and not images.is_dir():
        raise DataError(f"{images} is not a folder." if images.exists() else f"{images} does not exist.")
    spec, model = described.spec, described.model_path
    if encoder is not None:
        spec, model = encoder.spec, encoder.model_path
    if spec is not None and spec.embedding_dim != dim:
        raise ModelMismatchError(
            f"{parts[0].vectors} holds vectors of {dim} numbers; those of {spec.name} have {spec.embedding_dim}."
        )
    started = time.monotonic()
    named = spec or _unnamed(parts[0].vectors.name, dim)
    header = IndexHeader(spec=named, model=model, images=None if images is None else str(images.resolve()))
    report = IndexReport()
    with (
        staged_index(out, header, force=options.force) as staging,
        open_writer(staging) as writer,
        ThreadPoolExecutor(1, thread_name_prefix="hash") as pool,
    ):
        hashing = pool.submit(_content_hash, [part.vectors for part in parts]) if spec is None else None
        _fill(writer, parts, images)
        writer.commit()
        if hashing is not None:
            named = replace(named, model_hash=f"{UNKNOWN_MODEL}{hashing.result()}")
            replace(header, spec=named).write(staging)
        if images is not None and not writer.store.vectors:
            _refuse_nothing(writer.store.failures(), images)
        report.search = refresh_derived(writer, options.kind, query_vectors_for(encoder, options.query_vectors))
        report.confidence_problem = refresh_background(writer, encoder, named.model_hash)
        report.take_stock(writer)
    report.added, report.seconds = report.items, time.monotonic() - started
    return report


def _check_parts(parts: Sequence[Part]) -> int:
    """The width of all parts' vectors."""
    dim = int(parts[0].matrix.shape[1])
    for part in parts:
        if len(part.matrix) != len(part.names):
            held, named = counted(len(part.matrix), "vector"), counted(len(part.names), "name")
            raise DataError(f"{part.vectors} holds {held}, but {part.source} holds {named}.")
        if part.matrix.shape[1] != dim:
            raise DataError(f"{part.vectors} holds vectors of {part.matrix.shape[1]} numbers; the first file {dim}.")
    _check_names(parts)
    return dim


def _refuse_nothing(failures: Sequence[Item], images: Path) -> None:
    """An index without a single image is a wrong folder rather than a wish."""
    if failures:
        raise DataError(
            f"None of the {len(failures)} names has both an image in {images} and a usable vector. The first, "
            f"{failures[0].name!r}: {failures[0].reason}",
            hint="Say with --images which folder the names are relative to.",
        )


def _unnamed(name: str, dim: int) -> ModelSpec:
    """A stand-in for the model that made some files, which will be known by their content alone."""
    return ModelSpec(name=name, embedding_dim=dim, image=None, text=None, model_hash=UNKNOWN_MODEL)


def _content_hash(vectors: Sequence[Path]) -> str:
    digests = [sha256_of_file(path) for path in vectors]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _check_names(parts: Sequence[Part]) -> None:
    for part in parts:
        if "" in part.names:
            number = list(part.names).index("") + 1
            raise DataError(f"Name {number} of {part.source} is empty; every vector needs a name.")
        if not _can_name_files("".join(part.names)):
            impossible = next(name for name in part.names if not _can_name_files(name))
            raise DataError(f"{part.source} lists {impossible!r}, which can be no file's name.")
    every = [name for part in parts for name in part.names]
    if len(set(every)) < len(every):
        ((name, count),) = Counter(every).most_common(1)
        where = parts[0].source if len(parts) == 1 else parts[0].source.parent
        raise DataError(f"{where} lists {name!r} {count} times; names must differ.")


def _can_name_files(names: str) -> bool:
    try:
        return b"\0" not in os.fsencode(names)
    except UnicodeEncodeError:
        return False


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


def fact_types() -> dict[str, Any]:
    """The parquet column of each field of :class:`PhotoFacts`, with its type."""
    pa, _ = require_pyarrow()
    kinds = {"latitude": pa.float64(), "longitude": pa.float64(), "camera": pa.string()}
    return {each.name: kinds.get(each.name, pa.int64()) for each in dataclasses.fields(PhotoFacts)}


def _names(path: Path, root: Path | str | None) -> tuple[list[str], list[PhotoFacts | None]]:
    """The names in a file of metadata, and what it says of the images if mckit wrote it."""
    pa, parquet = require_pyarrow()
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file: {first_line(error)}.") from error
    column = next((name for name in _NAME_COLUMNS if name in table.column_names), None)
    if column is None:
        raise DataError(f"{path} has none of the columns {', '.join(_NAME_COLUMNS)}, only {table.column_names}.")
    names = ["" if name is None else str(name) for name in table.column(column).to_pylist()]
    if root is not None:
        prefix = str(root).rstrip("/\\") + os.sep
        names = [name.removeprefix(prefix).replace(os.sep, "/") for name in names]
    types = fact_types()
    if not all(name in table.column_names and table.schema.field(name).type == kind for name, kind in types.items()):
        return names, []
    rows = table.select(list(types)).to_pylist()
    return names, [PhotoFacts(**row) if any(value is not None for value in row.values()) else None for row in rows]


def _below(names: list[str], images: Path | None) -> list[str]:
    """Names below ``images``. clip-retrieval writes paths as they were given to it: ``photos/a.jpg`` for ``photos``."""
    if images is None:
        return names
    prefix = f"{os.path.normpath(images)}{os.sep}".replace(os.sep, "/")
    return [
        name[len(prefix) :] if name.startswith(prefix) and not os.path.lexists(f"{images}/{name}") else name
        for name in names
    ]


def _fill(writer: IndexWriter, parts: Sequence[Part], images: Path | None) -> None:
    """Put all rows into a new index: one thread appends to the matrix, this one to the store."""
    chunks = ([(part, slice(start, start + _CHUNK_ROWS))]
              for part in parts for start in range(0, len(part.names), _CHUNK_ROWS))  # fmt: skip
    append = functools.partial(_append, writer.matrix, images)
    appending = contextlib.closing(decode_ahead(append, chunks, threads=1))
    with writer.store.filling(), _flushing(writer.matrix), appending as appended:
        for ((part, chunk),), (added,) in appended:
            if isinstance(added, int):
                writer.store.add_rows(part.names[chunk], added)
            else:
                writer.store.put(*added)


@contextlib.contextmanager
def _flushing(matrix: MatrixWriter) -> Iterator[None]:
    """Bring to the disk what is appended in the block, in a thread: the last flush has little left to wait for."""
    done = threading.Event()

    def flush() -> None:
        while not done.wait(_FLUSH_SECONDS):
            matrix.flush()

    with ThreadPoolExecutor(1, thread_name_prefix="flush") as pool:
        flushing = pool.submit(flush)
        try:
            yield
        finally:
            done.set()
    flushing.result()


def _append(matrix: MatrixWriter, images: Path | None, of: tuple[Part, slice]) -> int | list[Item]:
    """Append rows to the matrix; the number of the first one, or items where more is to be said of them."""
    part, chunk = of
    names, facts = part.names[chunk], part.facts[chunk]
    vectors, bad = scale_rows(part.matrix[chunk])
    if images is None and not facts and not bad.any():
        return matrix.append(vectors)
    described: list[dict[str, Any]] = [
        {"reason": "Its vector is zero or not finite."} if is_bad else _describe(name, images, known)
        for name, is_bad, known in zip(names, bad.tolist(), facts or [None] * len(names), strict=True)
    ]
    good = [number for number, fields in enumerate(described) if "reason" not in fields]
    for row, number in enumerate(good, start=matrix.append(vectors[good])):
        described[number]["row"] = row
    return [Item(name=name, **fields) for name, fields in zip(names, described, strict=True)]


def _describe(name: str, images: Path | None, known: PhotoFacts | None) -> dict[str, Any]:
    """What an item says of the file of that name, or the reason why there is none."""
    if images is None:
        return {"facts": known}
    path = images / name
    try:
        status, sha256 = path.stat(), sha256_of_file(path)
    except OSError as error:
        return {"reason": f"The image cannot be read in the given folder: {error.strerror}."}
    moment, facts = storable_ns(status.st_mtime_ns), read_facts(path) or known
    if facts is not None and known is not None:
        facts = replace(facts, phash=known.phash)  # no header has it
    return {"size_bytes": status.st_size, "mtime_ns": moment, "sha256": sha256, "facts": facts}


def require_pyarrow() -> tuple[Any, Any]:
    """The packages ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtraError: They are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("A parquet file", "parquet") from error
    return pyarrow, pyarrow.parquet
