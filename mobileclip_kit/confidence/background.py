"""The background of an index: the vectors of the background texts, and how they score on its images.

One file of the index folder, in the format of safetensors (8 bytes length, a JSON header, the arrays), which other
languages read too; docs/index-format.md describes it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.confidence.bank import bank_sha256, bank_texts
from mobileclip_kit.errors import IndexFormatError, OutputError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.index.folder import IndexReader, IndexWriter
from mobileclip_kit.progress import track
from mobileclip_kit.resources import cache_folder
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import UNKNOWN_MODEL

BACKGROUND_FILE = "background.safetensors"
FORMAT_VERSION = 1
# With fewer images, the greatest score of a text says little about the texts that have no answer.
LEAST_IMAGES = 100
_TEXTS_AT_ONCE = 64
# Models whose text vectors stay in the cache folder.
_MOST_CACHED = 16
# When more than this share of the images came or went, the statistics are made anew.
CHANGED_SHARE = 0.1
_MOST_ROWS = 65_536
_ROWS_AT_ONCE = 8192
_LONGEST_HEADER, _LENGTH_BYTES = 1 << 20, 8
_AGAIN = "Delete the file; the next `mckit index` makes it anew."
_OF_UNKNOWN_MODEL = (
    "Hits have no confidence: these are vectors of an unknown model. Make the index again from them, with --model M."
)
_TYPES: dict[str, Any] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


@dataclass(frozen=True, kw_only=True)
class Background:
    """Background texts and their scores on the images of one index.

    Attributes:
        model_hash: Of the index's model.
        bank: See :func:`mobileclip_kit.confidence.bank.bank_sha256`.
        images: Images that had a vector when this was made.
        generation: Of the matrix then.
        rows: Of the matrix then.
        texts: Unit rows, ``(m, d)``.
        best: Greatest score of each text on any image, ``(m,)``.
        mean: Of each text's scores on all images, ``(m,)``.
        deviation: Standard deviation of these, ``(m,)``.
        image_mean: Mean of the image vectors, ``(d,)``.
        image_covariance: Of the image vectors, ``(d, d)``.
    """

    model_hash: str
    bank: str
    images: int
    generation: int
    rows: int
    texts: Vectors
    best: Vectors
    mean: Vectors
    deviation: Vectors
    image_mean: Vectors
    image_covariance: Vectors

    @classmethod
    def measure(cls, texts: Vectors, vectors: Vectors, **about: Any) -> Self:
        """Score texts on images.

        Args:
            texts: Unit rows, ``(m, d)``.
            vectors: Of the images: unit rows ``(n, d)``, at least one; of many, an even sample is used.
            **about: The other attributes.
        """
        texts = texts.astype(np.float16).astype(np.float32)  # as they are stored
        chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), _MOST_ROWS)).astype(np.int64)
        best = np.full(len(texts), -np.inf, np.float32)
        total, squares = np.zeros(vectors.shape[1]), np.zeros((vectors.shape[1],) * 2)
        for rows in parts_of(chosen, _ROWS_AT_ONCE):
            part = np.asarray(vectors[rows], np.float32)
            best = np.maximum(best, (part @ texts.T).max(axis=0))
            total += part.sum(axis=0, dtype=np.float64)
            squares += part.T @ part
        mean = total / len(chosen)
        covariance = squares / len(chosen) - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(((texts @ covariance) * texts).sum(axis=1), 1e-12))
        return cls(
            texts=texts,
            best=best,
            mean=(texts @ mean).astype(np.float32),
            deviation=deviation.astype(np.float32),
            image_mean=mean.astype(np.float32),
            image_covariance=covariance.astype(np.float32),
            **about,
        )

    @functools.cached_property
    def scale(self) -> tuple[float, float, float]:
        """Mean standard deviation of a text's scores; mean and standard deviation of the scores of all texts."""
        all_scores = float(np.sqrt(np.mean(self.deviation**2) + self.mean.var()))
        return float(self.deviation.mean()), float(self.mean.mean()), all_scores

    def write(self, path: Path) -> None:
        """Write the file, atomically."""
        arrays = {name: _stored(name, getattr(self, name)) for name in _SHAPES}
        content = b"".join(data.tobytes() for _, data in arrays.values())
        header: dict[str, Any] = {
            "__metadata__": {
                "format_version": str(FORMAT_VERSION),
                "kind": "background",
                "sha256": hashlib.sha256(content).hexdigest(),
                **{name: str(getattr(self, name)) for name in _ABOUT},
            }
        }
        start = 0
        for name, (kind, data) in arrays.items():
            header[name] = {"dtype": kind, "shape": list(data.shape), "data_offsets": [start, start + data.nbytes]}
            start += data.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with atomic_file(path) as staging, staging.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + content)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            IndexFormatError: It is damaged, or of another version.
        """
        data = path.read_bytes()
        try:
            if len(data) < _LENGTH_BYTES:
                raise ValueError("it is empty" if not data else "it is cut off")
            (length,) = struct.unpack_from("<Q", data)
            if length > min(len(data), _LONGEST_HEADER):
                raise ValueError("its header is longer than the file")
            header = json.loads(data[8 : 8 + length])
            about = header["__metadata__"]
            if about["kind"] != "background" or about["format_version"] != str(FORMAT_VERSION):
                raise ValueError(f"it has the kind {about['kind']} and format version {about['format_version']}")
            content = data[8 + length :]
            if hashlib.sha256(content).hexdigest() != about["sha256"]:
                raise ValueError("its numbers do not have its checksum")
            arrays: dict[str, Any] = {name: _array(content, header[name]) for name in _SHAPES}
            read = cls(**{name: kind(about[name]) for name, kind in _ABOUT.items()}, **arrays)
            read._check_shapes()
        except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
            raise IndexFormatError(f"{path} is damaged: {error}.", hint=_AGAIN) from error
        return read

    def _check_shapes(self) -> None:
        m, d = self.texts.shape
        if m == 0:
            raise ValueError("it holds no texts")
        wanted = {"m": m, "d": d}
        for name, dimensions in _SHAPES.items():
            array = getattr(self, name)
            if array.shape != tuple(wanted[letter] for letter in dimensions):
                raise ValueError(f"{name} has the shape {array.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds numbers that are not finite")

    def suits(self, images: int, generation: int, rows: int) -> bool:
        """Whether the index has changed so little that these statistics still count."""
        changed = max(abs(images - self.images), abs(rows - self.rows))
        return generation == self.generation and changed <= CHANGED_SHARE * max(images, 1)


_ABOUT: dict[str, Any] = {"model_hash": str, "bank": str, "images": int, "generation": int, "rows": int}
_SHAPES = {
    "texts": "md",
    "best": "m",
    "mean": "m",
    "deviation": "m",
    "image_mean": "d",
    "image_covariance": "dd",
}


def refresh_background(
    writer: IndexWriter, encoder: Encoder | None, model_hash: str, known: Sequence[Path] = ()
) -> str | None:
    """Make the background of an index, or keep the one that still counts.

    Args:
        writer: Of the index; everything is committed.
        encoder: Of the index's model; without one, the text vectors of an older background are used.
        model_hash: Of the index.
        known: Backgrounds of other indexes of the same model, whose text vectors are used too, as are those that the
            user's cache folder has.

    Returns:
        Why the index has no background; None when it has one.
    """
    path = writer.path / BACKGROUND_FILE
    bank = bank_sha256(bank_texts())
    old = _old(path, model_hash, bank)
    images, generation, rows = writer.store.vectors, writer.store.generation, writer.matrix.rows
    if images < LEAST_IMAGES:
        path.unlink(missing_ok=True)
        return too_few(images)
    if old is not None and old.suits(images, generation, rows):
        return None
    cached = _cached_path(model_hash, bank)
    others = (_old(other, model_hash, bank) for other in (*known, *cached))
    if (same := old or next(filter(None, others), None)) is not None:
        texts = same.texts
    elif encoder is not None and encoder.spec.text is not None:
        every = list(bank_texts())
        parts = track(list(parts_of(every, _TEXTS_AT_ONCE)), "background texts", "batches")
        texts = np.concatenate([encoder.encode_texts(part) for part in parts])
        _cache(texts, model_hash, bank, cached)
    else:
        path.unlink(missing_ok=True)
        is_unknown = encoder is None and model_hash.startswith(UNKNOWN_MODEL)
        return _OF_UNKNOWN_MODEL if is_unknown else "Hits have no confidence: the model has no text tower here."
    living = np.array(sorted(writer.store.living_rows()), np.int64)
    about = {"model_hash": model_hash, "bank": bank, "images": images, "generation": generation, "rows": rows}
    Background.measure(texts, _Rows(writer.matrix.map(), living), **about).write(path)  # type: ignore[arg-type]
    return None


class _Rows:
    """Some rows of a matrix on disk, read when they are asked for."""

    def __init__(self, matrix: Vectors, rows: np.ndarray[Any, Any]) -> None:
        self._matrix, self._rows = matrix, rows
        self.shape = (len(rows), matrix.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Any) -> Any:
        return self._matrix[self._rows[chosen]]


def open_background(index: IndexReader) -> tuple[Background | None, str | None]:
    """The background of an index, or why it has none, one sentence."""
    path = index.path / BACKGROUND_FILE
    if not path.is_file():
        if index.store.vectors < LEAST_IMAGES:
            return None, too_few(index.store.vectors)
        if index.spec.model_hash.startswith(UNKNOWN_MODEL):
            return None, _OF_UNKNOWN_MODEL
        return None, "Hits have no confidence: this index has no background. The next `mckit index` makes one."
    try:
        background = Background.read(path)
    except IndexFormatError as error:  # hits are found without it
        return None, f"Hits have no confidence: {error.message} {error.hint}"
    if background.model_hash != index.spec.model_hash or background.texts.shape[1] != index.spec.embedding_dim:
        return None, "Hits have no confidence: the background belongs to another model. Run `mckit index` again."
    return background, None


def too_few(images: int) -> str:
    """The sentence for a small index."""
    return f"Hits have no confidence: {images} images are too few to calibrate it; {LEAST_IMAGES} are needed."


def _cached_path(model_hash: str, bank: str) -> list[Path]:
    """Where the text vectors of a model are kept for its other indexes; none without a home folder."""
    name = hashlib.sha256(f"{model_hash}\n{bank}".encode()).hexdigest()[:32]
    try:
        return [cache_folder() / "backgrounds" / f"{name}.safetensors"]
    except RuntimeError:
        return []


def _cache(texts: Vectors, model_hash: str, bank: str, paths: list[Path]) -> None:
    """Keep the text vectors of a model: a large text tower takes a minute for them, as long as for hundreds of images.

    They are scored on themselves, since nothing of a library belongs into another index.
    """
    about = {"model_hash": model_hash, "bank": bank, "images": 0, "generation": 0, "rows": 0}
    # Without a place to remember, the next index costs more; nothing else.
    with contextlib.suppress(OutputError, OSError):
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            Background.measure(texts, texts, **about).write(path)
            kept = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
            for oldest in kept[:-_MOST_CACHED]:
                oldest.unlink(missing_ok=True)


def _old(path: Path, model_hash: str, bank: str) -> Background | None:
    """The background in the file, if it is of this model and bank; one that is damaged counts as none."""
    try:
        old = Background.read(path) if path.is_file() else None
    except IndexFormatError:
        return None
    return old if old is not None and (old.model_hash, old.bank) == (model_hash, bank) else None


def _stored(name: str, array: Vectors) -> tuple[str, np.ndarray[Any, Any]]:
    kind = "F16" if name == "texts" else "F32"
    return kind, np.ascontiguousarray(array, _TYPES[kind])


def _array(data: bytes, entry: Any) -> Vectors:
    first, last = entry["data_offsets"]
    numbers = np.frombuffer(data[first:last], _TYPES[entry["dtype"]])
    shaped: Vectors = numbers.reshape(entry["shape"]).astype(np.float32)
    return shaped
