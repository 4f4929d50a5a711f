"""The teacher cache's files, and reading them.

::

    cache.json           the teacher, the preprocessing and the shards; a shard that it does not list does not count
    shards/00000.npy     raw vectors, (items, views, d) float16, never normalised: norms can be computed from them
    shards/00000.jsonl   {"key": …, "sha256": …} of each item's image, in the order of the rows
    texts/               text vectors in the same form, their keys the texts, where captions or a bank were asked for

float16 holds 11 significant bits up to 65,504: enough for vectors whose norm is about 10 (cosine to the float32 ones
above 0.9999999), at half the size. An image is found by its content, so that renamed images keep their vectors and
equally named ones of another collection never get them. Vectors written later count where a key comes twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit import formats
from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import CacheError, DataError, ModelMismatchError
from mobileclip_kit.files import parse_json, read_json, sha256_of_file
from mobileclip_kit.spec import ImageSpec

CACHE_FILE = "cache.json"
_DAMAGED = "The cache is damaged; make it again with `mckit cache --force`."
SHARDS = "shards"
FORMAT_VERSION = 1
_LATER = ("teacher_weights", "logit_bias")  # fields that the first caches lack


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One pair of shard files.

    Attributes:
        name: "00000".
        items: Rows.
        sha256: Of the ``.npy`` file.
        keys_sha256: Of the ``.jsonl`` file.
    """

    name: str
    items: int
    sha256: str
    keys_sha256: str


@dataclass(frozen=True, kw_only=True)
class CacheDescription:
    """The teacher and the way it was run: equal for everything in one cache; and which images it saw.

    Attributes:
        teacher: The teacher's name.
        teacher_hash: Its model hash; None for vectors that somebody else computed.
        teacher_weights: SHA-256 of its weights alone, which stays the same when an update of open_clip changes the
            configuration of a named model; None in older caches.
        embedding_dim: d.
        normalized: Whether the vectors came with length 1, their norms lost.
        preprocessing: The teacher's; None when it is not known.
        logit_scale: The teacher's; None when it is not known.
        logit_bias: SigLIP's; None when the teacher has none, or it is not known.
        views: Vectors of each image: the first of the image itself, the others of augmented views.
        augmentation: What made the views, with its seed; None for the image alone.
        parts: Of a sharded run: the parts ``i/n`` of the images that the cache holds; empty for all of them.
    """

    teacher: str
    teacher_hash: str | None
    embedding_dim: int
    normalized: bool
    preprocessing: ImageSpec | None = None
    logit_scale: float | None = None
    views: int = 1
    augmentation: Mapping[str, Any] | None = None
    teacher_weights: str | None = None
    logit_bias: float | None = None
    parts: tuple[str, ...] = ()

    def has_weights(self, weights: str | None) -> bool:
        """Whether the teacher is known to have these weights."""
        return weights is not None and weights == self.teacher_weights

    def check_same(self, other: CacheDescription, path: Path) -> None:
        """Refuse to mix vectors of two teachers, or of one teacher run in two ways.

        Raises:
            ModelMismatchError: Names what differs.
        """
        # The name says where a teacher was loaded from; its hash says who it is.
        skipped = {"parts"} | ({"teacher"} if self.teacher_hash and other.teacher_hash else set())
        if self.has_weights(other.teacher_weights):
            skipped |= {"teacher_hash"}
        # What older caches do not have says nothing.
        skipped |= {name for name in _LATER if None in (getattr(self, name), getattr(other, name))}
        for entry in fields(self):
            ours, theirs = getattr(self, entry.name), getattr(other, entry.name)
            if entry.name not in skipped and ours != theirs:
                raise ModelMismatchError(
                    f"The cache {path} has {entry.name} {ours}, not {theirs}.",
                    hint="Choose another -o for these vectors, or add --force to replace the cache.",
                )

    def check_same_teacher(self, other: CacheDescription, path: Path) -> None:
        """Refuse vectors that another teacher made, whatever the views.

        Raises:
            ModelMismatchError: Names both teachers.
        """
        ours, theirs = self.teacher_hash or self.teacher, other.teacher_hash or other.teacher
        same = ours == theirs or self.has_weights(other.teacher_weights)
        if not same or self.embedding_dim != other.embedding_dim:
            raise ModelMismatchError(
                f"The cache {path} holds vectors of {self.teacher} ({ours[:12]}), "
                f"not of {other.teacher} ({theirs[:12]}).",
                hint="Their spaces differ; take a cache for each teacher.",
            )


@dataclass(frozen=True, kw_only=True)
class CacheFile(CacheDescription):
    """``cache.json``: the description and the shards.

    Attributes:
        items: Items in all shards, each name once.
        shards: In the order in which they were written.
        format_version: Of the folder.
    """

    items: int
    shards: tuple[Shard, ...]
    format_version: int = FORMAT_VERSION


@dataclass
class TeacherCache:
    """A cache that was opened and checked.

    Attributes:
        path: The folder.
        description: Who made the vectors.
        keys: The images' names when they were cached, each once.
        hashes: SHA-256 of each image file, in the order of ``keys``.
    """

    path: Path
    description: CacheDescription
    shards: tuple[Shard, ...]
    keys: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    _matrices: list[NDArray[np.float16]] = field(default_factory=list, repr=False)
    _places: list[tuple[int, int]] = field(default_factory=list, repr=False)

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Self:
        """Open a cache.

        Args:
            path: The folder.
            verify: Compare every shard with its SHA-256 (about a second a gigabyte).

        Raises:
            CacheError: It is no cache, or a file is missing, cut off or altered.
        """
        description, shards = read_description(path)
        cache = cls(path, description, shards)
        latest: dict[str, tuple[str, tuple[int, int]]] = {}
        for number, shard in enumerate(shards):
            matrix, entries = _open_shard(path / SHARDS, shard, description, verify=verify)
            cache._matrices.append(matrix)
            for row, entry in enumerate(entries):
                latest[entry["key"]] = (entry["sha256"], (number, row))
        cache.keys = list(latest)
        cache.hashes = [sha256 for sha256, _ in latest.values()]
        cache._places = [place for _, place in latest.values()]
        return cache

    def __len__(self) -> int:
        return len(self.keys)

    def vectors(self, keys: Sequence[str]) -> Vectors:
        """Raw vectors of images by name, ``(n, views, d)`` float32.

        Raises:
            CacheError: A name is not in the cache.
        """
        rows = {key: row for row, key in enumerate(self.keys)}
        missing = next((key for key in keys if key not in rows), None)
        if missing is not None:
            raise CacheError(f"The cache {self.path} has no vector of {missing}.")
        return self.vectors_at([rows[key] for key in keys])

    def vectors_at(self, rows: Iterable[int]) -> Vectors:
        """Raw vectors by place in :attr:`keys`, ``(n, views, d)`` float32."""
        picked = [self._matrices[shard][row] for shard, row in (self._places[row] for row in rows)]
        shape = (0, self.description.views, self.description.embedding_dim)
        return np.stack(picked).astype(np.float32) if picked else np.zeros(shape, np.float32)

    def rows_by_content(self) -> dict[str, int]:
        """SHA-256 of an image file → its place in :attr:`keys`; of several names the one that was written last."""
        return {self.hashes[row]: row for row in self.rows_as_written()}

    def rows_as_written(self) -> list[int]:
        """The places in :attr:`keys`, in the order in which the items were written."""
        return sorted(range(len(self)), key=self._places.__getitem__)


def cache_folders(path: Path) -> list[Path]:
    """The cache itself, or the caches in a folder of several teachers'."""
    if (path / CACHE_FILE).is_file():
        return [path]
    # Hidden ones are those that interrupted runs staged.
    inside = sorted(file.parent for file in path.glob(f"*/{CACHE_FILE}") if not file.parent.name.startswith("."))
    return inside or [path]


def read_description(path: Path) -> tuple[CacheDescription, tuple[Shard, ...]]:
    """What ``cache.json`` says.

    Raises:
        CacheError: The folder has none, or it is damaged or of another version.
    """
    file = path / CACHE_FILE
    if not file.is_file():
        raise CacheError(f"{path} is not a teacher cache: it has no {CACHE_FILE}.", hint="Make one with `mckit cache`.")
    try:
        document = read_json(file)
    except DataError as error:
        raise CacheError(error.message, hint=error.hint or _DAMAGED) from error
    if document.get("format_version") != FORMAT_VERSION:
        raise CacheError(
            f"{file} has format version {document.get('format_version')}; this mckit reads {FORMAT_VERSION}.",
            hint="Update mckit, or make the cache again.",
        )
    read = formats.from_document(document, CacheFile, where=str(file), error=CacheError)
    if read.logit_scale is not None and not 0.0 < read.logit_scale < math.inf:
        raise CacheError(f"{file}: logit_scale is {read.logit_scale:g}; it must be above 0.", hint=_DAMAGED)
    description = {entry.name: getattr(read, entry.name) for entry in fields(CacheDescription)}
    return CacheDescription(**description), read.shards


def check_shard(path: Path, shard: Shard) -> None:
    """Compare a shard of the cache ``path`` with its SHA-256.

    Raises:
        CacheError: A file of it is missing or was changed.
    """
    _check_files(path / SHARDS, shard, verify=True)


def _check_files(folder: Path, shard: Shard, *, verify: bool) -> None:
    for file, sha256 in ((folder / f"{shard.name}.npy", shard.sha256),
                         (folder / f"{shard.name}.jsonl", shard.keys_sha256)):  # fmt: skip
        if not file.is_file():
            raise CacheError(f"{file} is missing.", hint=_DAMAGED)
        if verify and sha256_of_file(file) != sha256:
            raise CacheError(f"{file} is not what {CACHE_FILE} recorded: it was cut off or altered.", hint=_DAMAGED)


def _open_shard(
    folder: Path, shard: Shard, description: CacheDescription, *, verify: bool
) -> tuple[NDArray[np.float16], list[dict[str, str]]]:
    hint = _DAMAGED
    matrix_file, keys_file = folder / f"{shard.name}.npy", folder / f"{shard.name}.jsonl"
    _check_files(folder, shard, verify=verify)
    try:
        matrix = np.load(matrix_file, mmap_mode="r", allow_pickle=False)
        entries = [parse_json(line) for line in keys_file.read_text(encoding="utf-8").splitlines()]
    except (ValueError, EOFError) as error:
        raise CacheError(f"The shard {matrix_file} cannot be read: {error}.", hint=hint) from error
    expected = (shard.items, description.views, description.embedding_dim)
    if matrix.shape != expected or matrix.dtype != np.float16 or len(entries) != shard.items:
        raise CacheError(
            f"{matrix_file} holds {matrix.dtype} {matrix.shape} for {len(entries)} keys, not float16 {expected}.",
            hint=hint,
        )
    return matrix, entries
