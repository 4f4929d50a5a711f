"""Teacher caches from the vectors that shards hold beside their images, as DataCompDR's do (arXiv 2311.17049).

``NAME.npz`` has ``image_emb`` ``(views, d)``, the vectors of augmented views, and ``text_emb`` ``(1 + n, d)``, those of
the real caption and of the n synthetic ones. Each row is the vectors of several teachers, side by side: in DataCompDR
1,536 numbers of two. There is a cache for each teacher.

*Departure:* The augmentations (``.paug.json``) are not replayed, since they cut views from the original image and not
from the square that a student sees. The vector of an image is the mean of its unit vectors over the views.
"""

from __future__ import annotations

import contextlib
import io
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.cache.build import CacheReport
from mobileclip_kit.cache.folder import CacheDescription
from mobileclip_kit.cache.texts import TEXTS_FOLDER, text_hash
from mobileclip_kit.cache.writer import CacheWriter, cache_folders_for, cache_place
from mobileclip_kit.data.images import content_hashes
from mobileclip_kit.data.pair import Pair, Skipped, first_reason
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import counted
from mobileclip_kit.index.npy import NPY_ERRORS
from mobileclip_kit.metrics import unit_rows
from mobileclip_kit.progress import track

DATACOMPDR = ("ViT-L-14:datacomp_xl_s13b_b90k", "ViT-L-14:openai")
_DATACOMPDR_WIDTH, _LOGIT_SCALE = 1536, 100.0
_PART, _LARGEST = 256, 16 << 20
_NO_VECTORS = "It has no stored vectors (.npz)."
# What a damaged archive raises beside NPY_ERRORS: a member is missing, or packed in an unknown way.
_ZIP_ERRORS = (KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def import_reinforced(
    shards: Path | str, out: Path, *, teachers: Sequence[str] = DATACOMPDR, force: bool = False
) -> list[CacheReport]:
    """Make or extend a cache for each teacher whose vectors shards hold.

    Args:
        shards: A tar, a folder or a pattern of tars with images.
        out: The cache; with several teachers the folder of their caches.
        teachers: Their names, in the order of their parts of a vector, which are equally wide.
        force: Replace existing caches.

    Returns:
        A report for each teacher; what could not be used is in the first.

    Raises:
        DataError: No image has stored vectors that can be used, or they cannot be those of these teachers.
        ModelMismatchError: A cache holds another teacher's vectors.
        OutputError: ``out`` is the cache of one teacher, and there are several.
    """
    started, failed, folders = time.monotonic(), list[Skipped](), cache_folders_for(out, len(teachers))
    pairs = [pair for pair in open_source(shards, failed) if _has_vectors(pair, failed)]
    if not pairs:
        damaged = [skip for skip in failed if skip.reason != _NO_VECTORS]
        raise DataError(
            f"No image of {shards} has stored vectors (.npz){first_reason(damaged, 'failed')}.",
            hint="Pass shards of DataCompDR with their images, or run a teacher with `mckit cache`.",
        )
    width = _width(pairs, teachers, shards)
    made_of = {"shards": str(shards), "teachers": [*teachers], "pairs": [pair.key for pair in pairs]}
    with contextlib.ExitStack() as stack:
        writers = []
        for folder, teacher in zip(folders, teachers, strict=True):
            place = stack.enter_context(cache_place(folder, made_of, force=force))
            description = CacheDescription(teacher=teacher, teacher_hash=None, embedding_dim=width, normalized=True,
                                           logit_scale=_LOGIT_SCALE)  # fmt: skip
            writers.append([stack.enter_context(CacheWriter(place / name, description)) for name in ("", TEXTS_FOLDER)])
        for part in track(list(parts_of(pairs, _PART)), "import", "parts"):
            _add(part, writers, width, failed)
    seconds = time.monotonic() - started
    return [
        CacheReport(folder, images.items, 1, images.added, failed if place == 0 else [], seconds, texts.added)
        for place, (folder, (images, texts)) in enumerate(zip(folders, writers, strict=True))
    ]


def _has_vectors(pair: Pair, failed: list[Skipped]) -> bool:
    if pair.stored is None:
        failed.append(Skipped(pair.key, _NO_VECTORS))
    return pair.stored is not None


def _width(pairs: Sequence[Pair], teachers: Sequence[str], shards: Path | str) -> int:
    """Of one teacher's vectors, as the first image has them whose vectors can be used."""
    unusable = list[Skipped]()
    first, stored = next(((pair, stored) for pair in pairs if (stored := _read(pair, unusable))), (pairs[0], {}))
    if not stored:
        raise DataError(
            f"No image of {shards} can be imported{first_reason(unusable, 'failed')}",
            hint="A .npz holds image_emb and text_emb; its texts are the caption (.txt) and those of .syn.json.",
        )
    whole = stored["image_emb"].shape[1]
    expected = _DATACOMPDR_WIDTH if tuple(teachers) == DATACOMPDR else whole
    if whole != expected or whole % len(teachers):
        names = " and ".join(teachers)
        raise DataError(
            f"The stored vectors of {first.key} have {counted(whole, 'number')}, which cannot be those of {names}.",
            hint="Name the teachers in their order with --teacher-name.",
        )
    return int(whole) // len(teachers)


def _add(part: Sequence[Pair], writers: Sequence[Sequence[CacheWriter]], width: int, failed: list[Skipped]) -> None:
    keys, texts, images, vectors = list[tuple[str, str]](), list[str](), list[Vectors](), list[Vectors]()
    hashes, unread = content_hashes([pair.image for pair in part], [pair.key for pair in part])
    failed += unread
    for pair, sha256 in zip(part, hashes, strict=True):
        stored = _read(pair, failed, width * len(writers)) if sha256 else {}
        if not stored:
            continue
        keys.append((pair.key, sha256))
        assert pair.stored is not None
        named = [row for row, text in enumerate(pair.stored.texts) if text]
        texts += [pair.stored.texts[row] for row in named]
        images.append(stored["image_emb"])
        vectors.append(stored["text_emb"][named])
    if not keys:
        return
    for number, (image_writer, text_writer) in enumerate(writers):
        own = slice(number * width, (number + 1) * width)
        means = np.stack([unit_rows(unit_rows(rows[:, own]).mean(0, keepdims=True)) for rows in images])
        image_writer.add_fresh([key for key, _ in keys], [sha256 for _, sha256 in keys], means)
        places = {text: row for row, text in enumerate(texts)}
        found = unit_rows(np.concatenate(vectors)[list(places.values())][:, own])
        text_writer.add_fresh(list(places), [text_hash(text) for text in places], found[:, None, :])


def _read(pair: Pair, failed: list[Skipped], width: int | None = None) -> dict[str, Vectors]:
    """``image_emb`` and ``text_emb`` of an image; empty, and a reason in ``failed``, where they cannot be used."""
    assert pair.stored is not None
    try:
        if pair.stored.file.size_bytes > _LARGEST:
            raise ValueError(f"the file has {pair.stored.file.size_bytes:,} bytes; {_LARGEST:,} are the most")
        with NpzFile(io.BytesIO(pair.stored.file.read()), allow_pickle=False) as file:
            found = {name: np.asarray(file[name], np.float32) for name in ("image_emb", "text_emb")}
        images, texts = found["image_emb"], found["text_emb"]
        if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1] or not images.size:
            raise ValueError(f"the shapes are {images.shape} and {texts.shape}, not (views, d) and (texts, d)")
        if width is not None and images.shape[1] != width:
            raise ValueError(f"they have {counted(images.shape[1], 'number')}, those of other images {width}: they are "
                             "of other teachers")  # fmt: skip
        if len(texts) != len(pair.stored.texts):
            captions = counted(len(pair.stored.texts), "caption")
            raise ValueError(f"there are {counted(len(texts), 'text vector')} for {captions}")
        if not all(np.isfinite(part).all() and part.any(axis=1).all() for part in (images, texts)):
            raise ValueError("a vector is zero or not finite")
    except (*NPY_ERRORS, *_ZIP_ERRORS) as error:
        reason = str(error) or type(error).__name__
        failed.append(Skipped(pair.key, f"Its stored vectors cannot be used: {reason.rstrip('.')}."))
        return {}
    return found
