"""Writing a teacher cache: shards are appended, a shard counts once ``cache.json`` lists it.

One process writes a cache at a time, as one writes an index: it holds the lock of :mod:`mobileclip_kit.locks`.

A cache that replaces another one is staged beside it, and the old one can be read until the new one takes its place.
The staged one stays when its run is killed or fails: the next run that makes the same cache continues it, every other
run removes it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mobileclip_kit import formats
from mobileclip_kit.arrays import Vectors
from mobileclip_kit.cache.folder import CACHE_FILE, SHARDS, CacheDescription, CacheFile, Shard, TeacherCache
from mobileclip_kit.errors import CacheError, MckitError, OutputError, ShapeError
from mobileclip_kit.files import atomic_file, check_can_write, continued_place, recover, remove_staged, sha256_of_file
from mobileclip_kit.index.npy import save_matrix
from mobileclip_kit.locks import LOCK_FILE, writer_lock

SHARD_ITEMS = 8192
_SHARD_SECONDS = 60.0
_FLOAT16_MAX = 65504.0
# Two vectors that differ by less than this share of their length are the same; float16 rounds by much less.
_SAME_VECTOR = 0.01
_SHARD_FILE = re.compile(r"\.?\d{5}\.(npy|jsonl)(\..*\.part)?")


class CacheWriter:
    """Adds items to a new or existing cache; what was added when the block is left, by an error too, is kept.

    Args:
        path: The folder; made when missing.
        description: Must equal an existing cache's.
        shard_items: Items of a full shard.

    Raises:
        CacheError: Another process is writing the cache, or it is damaged.
        ModelMismatchError: The existing cache holds another teacher's vectors.
        OutputError: The place cannot be written, or holds something else.
    """

    def __init__(self, path: Path, description: CacheDescription, *, shard_items: int = SHARD_ITEMS) -> None:
        self._path, self._description, self._shard_items = path, description, shard_items
        self._shards: tuple[Shard, ...] = ()
        self._known: dict[str, str] = {}
        self._given: set[str] = set()
        self.added = 0
        self._keys: list[str] = []
        self._hashes: list[str] = []
        self._vectors: list[Vectors] = []
        self._flushed = time.monotonic()
        recover(path)
        if not is_cache(path) and not is_unfinished(path):
            check_can_write(path, force=path.is_dir() and not any(path.iterdir()), kinds=(CACHE_FILE,))
        path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(cache_lock(path))
            remove_staged(path)  # of an interrupted run, see cache_place
            self._begin()
            self._held = stack.pop_all()

    def _begin(self) -> None:
        """Take over what is there, or write the description of an empty cache."""
        if is_cache(self._path):
            existing = TeacherCache.open(self._path)
            existing.description.check_same(self._description, self._path)
            self._shards = existing.shards
            self._known = dict(zip(existing.keys, existing.hashes, strict=True))
            ours, theirs = existing.description.parts, self._description.parts
            self._description = replace(self._description, parts=_joined(ours, theirs))
            if self._description.parts != ours:
                self._write_description()
        else:
            if (self._path / SHARDS).exists():
                shutil.rmtree(self._path / SHARDS)  # nothing lists them
            (self._path / SHARDS).mkdir()
            self._write_description()

    @property
    def items(self) -> int:
        """Items in all."""
        return len(self._known)

    def holds(self, key: str, sha256: str) -> bool:
        """Whether this very image is in the cache under this name."""
        return self._known.get(key) == sha256

    def held(self, keys: Sequence[str], hashes: Sequence[str]) -> set[str]:
        """Contents that the cache holds and keeps, under whatever name.

        Args:
            keys: Names of what is to be held.
            hashes: The content of each: where it is another one than the cache has under this name, that one goes.
        """
        going = {key for key, sha256 in zip(keys, hashes, strict=True) if sha256 and self._known.get(key) != sha256}
        return {sha256 for key, sha256 in self._known.items() if key not in going}

    def add(self, keys: Sequence[str], hashes: Sequence[str], vectors: Vectors) -> None:
        """Add items.

        Args:
            keys: The images' names, ``n``.
            hashes: SHA-256 of each image file, ``n``.
            vectors: Raw, ``(n, views, d)`` float32.

        Raises:
            ShapeError: The shapes do not fit.
            CacheError: A vector is not finite or does not fit into float16.
        """
        expected = (len(keys), self._description.views, self._description.embedding_dim)
        if vectors.shape != expected or len(hashes) != len(keys):
            raise ShapeError(f"The vectors are {vectors.shape}; {expected} was expected.")
        usable = np.isfinite(vectors).all(axis=(1, 2)) & (np.abs(vectors) <= _FLOAT16_MAX).all(axis=(1, 2))
        if not usable.all():
            key = keys[int(np.argmin(usable))]
            raise CacheError(f"The vector of {key} is not finite or exceeds float16's 65,504; nothing of it was kept.")
        self._keys += keys
        self._hashes += hashes
        self._vectors.append(vectors)
        if len(self._keys) >= self._shard_items or time.monotonic() - self._flushed > _SHARD_SECONDS:
            self.flush()

    def add_fresh(self, keys: Sequence[str], hashes: Sequence[str], vectors: Vectors) -> int:
        """Add the items that it does not hold, and those whose content it gave another vector before.

        Of an item that comes again, as a caption of many images does, the first vector counts.

        Args:
            keys: As in :meth:`add`.
            hashes: As in :meth:`add`.
            vectors: As in :meth:`add`.

        Returns:
            How many these are.
        """
        rows = [row for row, key in enumerate(keys) if key not in self._given]
        self._given.update(keys)
        held = [row for row in rows if self.holds(keys[row], hashes[row])]
        fresh = sorted({*rows} - {*held} | self._changed(held, hashes, vectors))
        if fresh:
            self.add([keys[row] for row in fresh], [hashes[row] for row in fresh], vectors[fresh])
        return len(fresh)

    def _changed(self, held: Sequence[int], hashes: Sequence[str], vectors: Vectors) -> set[int]:
        """The rows of whose content it gives another vector."""
        if not held:
            return set()
        before, places = self._before
        known = [row for row in held if hashes[row] in places]
        ours, theirs = before.vectors_at([places[hashes[row]] for row in known]), vectors[known]
        near = np.linalg.norm(ours - theirs, axis=(1, 2)) <= _SAME_VECTOR * np.linalg.norm(theirs, axis=(1, 2))
        return {row for row, is_same in zip(known, near, strict=True) if not is_same}

    @cached_property
    def _before(self) -> tuple[TeacherCache, dict[str, int]]:
        """What it held when this was first asked for, and the place of each content's vector."""
        cache = TeacherCache.open(self._path, verify=False)
        return cache, cache.rows_by_content()

    def flush(self) -> None:
        """Write what was added so far as a shard."""
        if not self._keys:
            return
        name = f"{len(self._shards):05d}"
        matrix_file, keys_file = (self._path / SHARDS / f"{name}{suffix}" for suffix in (".npy", ".jsonl"))
        with atomic_file(matrix_file) as staging:
            save_matrix(staging, np.concatenate(self._vectors).astype(np.float16))
        # ASCII escapes carry file names that are not valid UTF-8.
        entries = zip(self._keys, self._hashes, strict=True)
        lines = [json.dumps({"key": key, "sha256": sha256}) for key, sha256 in entries]
        with atomic_file(keys_file) as staging:
            staging.write_text("\n".join(lines) + "\n", encoding="utf-8")
        shard = Shard(name=name, items=len(lines), sha256=sha256_of_file(matrix_file),
                      keys_sha256=sha256_of_file(keys_file))  # fmt: skip
        self._known.update(zip(self._keys, self._hashes, strict=True))
        self._shards = (*self._shards, shard)
        self._write_description()
        self.added += len(lines)
        self._keys, self._hashes, self._vectors, self._flushed = [], [], [], time.monotonic()

    def _write_description(self) -> None:
        file = CacheFile(**vars(self._description), items=len(self._known), shards=self._shards)
        formats.write(self._path / CACHE_FILE, file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._held:
            self.flush()


def _joined(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """The parts that a cache holds after a run over others; no parts are all images."""
    return tuple(dict.fromkeys((*ours, *theirs))) if ours and theirs else ()


def cache_lock(path: Path) -> contextlib.AbstractContextManager[None]:
    """The writer's lock of a cache; see :func:`mobileclip_kit.locks.writer_lock`.

    Raises:
        CacheError: Another process is writing it.
    """
    return writer_lock(path, what="cache", busy=CacheError)


def is_cache(path: Path) -> bool:
    """Whether a cache lies there."""
    return (path / CACHE_FILE).is_file()


def is_unfinished(path: Path) -> bool:
    """Whether a killed writer left no more than the beginning of a cache: its lock, and shards that nothing lists."""
    inside = [child.name for child in path.iterdir()] if path.is_dir() and not is_cache(path) else []
    own = (LOCK_FILE, f".{CACHE_FILE}.")  # older versions had a journal beside the lock
    if not inside or not all(name == SHARDS or name.startswith(own) for name in inside):
        return False
    shards = (path / SHARDS).iterdir() if SHARDS in inside else ()
    return all(_SHARD_FILE.fullmatch(child.name) for child in shards)


def cache_folders_for(out: Path, teachers: int) -> list[Path]:
    """Where the caches of so many teachers are made: in ``out`` itself, those of several in folders in it.

    Raises:
        OutputError: ``out`` is a cache, and there are several.
    """
    if teachers == 1:
        return [out]
    if is_cache(out):
        raise OutputError(
            f"{out} is the cache of one teacher; the caches of several do not go into it.", hint="Choose another -o."
        )
    return [out / f"{number:02d}" for number in range(teachers)]


@contextlib.contextmanager
def cache_place(path: Path, made_of: Mapping[str, Any], *, force: bool) -> Iterator[Path]:
    """Yield the folder to write a cache to: its own, or one that replaces it when the block ends without an error.

    Args:
        path: The cache.
        made_of: All that decides about its contents: an interrupted run with something else is not continued.
        force: Replace what lies there.

    Raises:
        CacheError: Another process is writing the cache.
        OutputError: The place cannot be written, or holds something else.
    """
    recover(path)
    is_free = not path.exists() or is_unfinished(path) or (path.is_dir() and not any(path.iterdir()))
    if not force or is_free:
        yield path
        return
    check_can_write(path, force=True, kinds=(CACHE_FILE,))
    lock = cache_lock(path) if is_cache(path) else contextlib.nullcontext()
    with continued_place(path, made_of, lock, _items) as staging:
        yield staging


def _items(staging: Path) -> int:
    """How many items an interrupted run left; 0 where there are none, or damaged ones."""
    try:
        return len(TeacherCache.open(staging))
    except MckitError:
        return 0
