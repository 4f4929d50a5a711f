"""Text vectors beside the image vectors of a cache: captions and text banks, asked once.

They lie in ``CACHE/texts``, a cache of its own whose keys are the texts themselves. With them, training that compares
images with texts never loads the teacher either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.cache.build import describe_teacher
from mobileclip_kit.cache.folder import CACHE_FILE, TeacherCache
from mobileclip_kit.cache.writer import CacheWriter
from mobileclip_kit.errors import CacheError, DataError
from mobileclip_kit.files import counted
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.networks.devices import encode_in_half, teacher_batch
from mobileclip_kit.networks.families import encode_text_raw
from mobileclip_kit.networks.model import Model
from mobileclip_kit.progress import Progress
from mobileclip_kit.tokenizer import load_tokenizer

TEXTS_FOLDER = "texts"
_PART = 4096


def cache_texts(teacher: Model, texts: Sequence[str], cache: Path, *, device: str = "cpu") -> int:
    """Add the teacher's vectors of texts to a cache; texts that are in it are not asked again.

    Args:
        teacher: With a text tower.
        texts: Captions or a bank.
        cache: The cache of images that they belong to, or the place for one.
        device: Where the teacher runs.

    Returns:
        How many texts were new.

    Raises:
        ModelMismatchError: The cache holds another teacher's vectors.
        ModelError: The teacher has no text tower.
    """
    tokenizer = load_tokenizer(teacher.spec.require_text(), teacher.tokenizer_file)
    network = teacher.network.to(device).eval()
    description = replace(describe_teacher(teacher), preprocessing=None)
    if (cache / CACHE_FILE).is_file():
        TeacherCache.open(cache, verify=False).description.check_same_teacher(description, cache)
    cache.mkdir(parents=True, exist_ok=True)
    with CacheWriter(cache / TEXTS_FOLDER, description) as writer:
        wanted = [text for text in dict.fromkeys(texts) if not writer.holds(text, text_hash(text))]
        with Progress("teacher", total=len(wanted), unit="texts") as progress:
            batch = teacher_batch(device)
            for part in parts_of(wanted, batch):
                ids = torch.from_numpy(tokenizer(part)).to(device)
                vectors = encode_in_half(lambda ids=ids: encode_text_raw(network, ids), device)  # type: ignore[misc]
                writer.add(part, [text_hash(text) for text in part], vectors.cpu().numpy()[:, None, :])
                progress.advance(len(part))
        return len(wanted)


def import_text_vectors(cache: Path, vectors: Path, texts: Path) -> int:
    """Add text vectors that somebody else computed to a cache that was imported.

    Args:
        cache: A cache of images; its teacher is taken to have made these vectors too.
        vectors: A ``.npy`` file, ``(texts, d)``, raw or of length 1 as the images' are.
        texts: One a line.

    Returns:
        How many texts were new, or had another vector.

    Raises:
        DataError: The texts and rows are not equally many, or the width is not the cache's.
        CacheError: There is no such cache, or a vector is not finite.
    """
    images = TeacherCache.open(cache, verify=False).description
    description = replace(images, views=1, augmentation=None, preprocessing=None)
    matrix, listed = load_matrix(vectors), read_names(texts)
    if matrix.shape != (len(listed), description.embedding_dim):
        raise DataError(
            f"{vectors} holds {matrix.shape[0]} × {matrix.shape[1]} numbers for {counted(len(listed), 'text')} "
            f"of a cache {description.embedding_dim} wide.",
            hint="Each text needs one row of the teacher's width, in the same order.",
        )
    for start, numbers in enumerate(parts_of(matrix, _PART)):
        if not (usable := np.isfinite(numbers).all(axis=1)).all():
            row = start * _PART + int(np.argmin(usable))
            raise CacheError(f"Row {row} of {vectors}, the vector of {listed[row]!r}, is not finite.")
    with CacheWriter(cache / TEXTS_FOLDER, description) as writer:
        rows, added = {text: row for row, text in enumerate(listed)}, 0
        for part in parts_of(list(rows.items()), _PART):
            keys, found = [text for text, _ in part], np.asarray(matrix[[row for _, row in part]], np.float32)
            added += writer.add_fresh(keys, [text_hash(text) for text in keys], found[:, None, :])
        return added


def open_texts(cache: Path) -> TeacherCache | None:
    """The text vectors of a cache, checked; None when it has none."""
    folder = cache / TEXTS_FOLDER
    return TeacherCache.open(folder) if (folder / CACHE_FILE).is_file() else None


def text_vectors(stored: TeacherCache | None, texts: Sequence[str], cache: Path) -> Vectors:
    """Raw vectors of texts, ``(n, d)`` float32.

    Raises:
        CacheError: The cache lacks some of them; the first is named.
    """
    held = set(stored.keys) if stored is not None else set()
    missing = [text for text in texts if text not in held]
    if stored is None or missing:
        raise CacheError(
            f"The cache {cache} has no vectors of {len(missing)} of {len(texts)} texts; the first is {missing[0]!r}.",
            hint="Add them with `mckit cache --captions` or `--bank`, or pass the teacher's model as --text-from.",
        )
    return stored.vectors(texts)[:, 0]


def text_hash(text: str) -> str:
    """SHA-256 of a text's UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
