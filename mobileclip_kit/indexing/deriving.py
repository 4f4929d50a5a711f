"""Keeping the derived index in step with its matrix: which kind, when it is built anew, what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ModelMismatchError
from mobileclip_kit.index.ann_build import TARGET_RECALL, QueryVectors, derive
from mobileclip_kit.index.ann_index import Derived
from mobileclip_kit.index.folder import IndexHeader, IndexWriter
from mobileclip_kit.index.kinds import IndexKind, choose_kind
from mobileclip_kit.index.npy import load_matrix
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.tokenizer import standard_merges

# When more than this share of the rows came after the derived index was made, it is made anew.
REBUILD_SHARE = 0.1
# Rows that no item names any more, beyond which an update compacts the matrix.
COMPACT_SHARE = 0.25
_COMPACT_LEAST_ROWS = 1024
_QUESTIONS = 256
_COMMON_MERGES = 12_000
_LEAST_LETTERS = 4
# So much below the recall that the settings are chosen for is an accident of the measurement.
_TOLERATED_LOSS = 0.01


@dataclass(frozen=True)
class SearchKind:
    """How an index is searched from now on.

    Attributes:
        kind: See :data:`mobileclip_kit.index.kinds.KINDS`.
        reason: One sentence.
        derived: Its measured figures; None for the exact scan.
    """

    kind: IndexKind
    reason: str
    derived: Derived | None = None

    def sentence(self) -> str:
        """What a person is told: the kind, the reason, and what was measured."""
        told = f"Search: {self.kind}. {self.reason}"
        if self.derived is not None:
            told += (
                f" Recall@10 {self.derived.recall_at_10:.3f} against the exact scan with {self.derived.measured_with}; "
                f"{self.derived.search_ms:.2f} ms a query, the scan {self.derived.exact_ms:.2f} ms."
            )
        return " ".join([told, *self.warnings()])

    def warnings(self) -> list[str]:
        """In what the kind is worse than the exact scan, a sentence each."""
        if self.derived is None:
            return []
        told = []
        if self.derived.search_ms >= self.derived.exact_ms:
            told.append("Warning: it is not quicker than the exact scan; --kind flat is better here.")
        if self.derived.recall_at_10 < TARGET_RECALL - _TOLERATED_LOSS:
            missed = 1 - self.derived.recall_at_10
            told.append(f"Warning: it misses {missed:.0%} of what the exact scan finds; --kind flat misses nothing.")
        return told


def tidy_matrix(writer: IndexWriter, *, always: bool = False) -> int:
    """Compact the matrix when enough of it is dead, or ``always``; how many rows were dropped."""
    dead = writer.matrix.rows - writer.store.vectors
    if always or (dead >= _COMPACT_LEAST_ROWS and dead > COMPACT_SHARE * writer.matrix.rows):
        return writer.compact()
    return 0


def refresh_derived(
    writer: IndexWriter, kind: IndexKind | None, ask: Callable[[Vectors], QueryVectors], *, threads: int | None = None
) -> SearchKind:
    """Derive what searches use, if it is not there already, and say so in ``index.json``.

    Args:
        writer: Of the index; everything is committed.
        kind: Asked for; None for the kind asked for before, or the one that suits the size.
        ask: Gives the questions that recall is measured with; takes the matrix.
        threads: Of the building.
    """
    header, matrix = IndexHeader.read(writer.path), writer.matrix.map()
    old = _usable(header, writer)
    wanted = kind or (header.derived.kind if header.derived is not None and header.derived.asked else None)
    if wanted is None:
        choice = choose_kind(*matrix.shape)
        wanted, reason = choice.kind, choice.reason
    else:
        reason = "It was asked for."
    if wanted == "flat" or len(matrix) == 0:
        _point_to(writer.path, header, None)
        return SearchKind("flat", reason)
    if old is None or old.kind != wanted or len(matrix) - old.rows > REBUILD_SHARE * len(matrix):
        # One that is damaged or outgrown goes only when the new one counts.
        generation = writer.store.generation
        old = derive(matrix, wanted, writer.path, ask(matrix), generation=generation, threads=threads)
    old = replace(old, asked=kind is not None or old.asked)
    _point_to(writer.path, header, old)
    return SearchKind(old.kind, reason, old)


def query_vectors_for(encoder: Encoder | None, given: Path | None = None) -> Callable[[Vectors], QueryVectors]:
    """The questions for measuring recall: given vectors, texts of common words, or, with neither, the index's own rows.

    Args:
        encoder: Of the index's model; None when there is none.
        given: A ``.npy`` matrix of query vectors.
    """

    def ask(matrix: Vectors) -> QueryVectors:
        if given is not None:
            return _given(given, matrix.shape[1])
        if encoder is not None and encoder.spec.text is not None:
            texts = [f"a photo of {word}" for word in common_words(_QUESTIONS)]
            return QueryVectors(encoder.encode_texts(texts), f"{len(texts)} texts")
        rows = np.unique(np.linspace(0, len(matrix) - 1, _QUESTIONS).astype(np.int64))
        return QueryVectors(
            np.array(matrix[rows], np.float32), f"{len(rows)} of its own images, since there were no texts"
        )

    return ask


def common_words(count: int) -> list[str]:
    """English words spread over the commonest merges of CLIP's vocabulary, the same on every machine."""
    pieces = (left + right for left, right in standard_merges()[:_COMMON_MERGES])
    words = [piece.removesuffix("</w>") for piece in pieces if piece.endswith("</w>")]
    words = [word for word in words if len(word) >= _LEAST_LETTERS and word.isascii() and word.isalpha()]
    return [words[place] for place in np.linspace(0, len(words) - 1, count).astype(int)]


def _given(path: Path, dim: int) -> QueryVectors:
    matrix = load_matrix(path)
    if matrix.shape[1] != dim:
        raise ModelMismatchError(f"{path} holds vectors of {matrix.shape[1]} numbers; the index holds {dim}.")
    vectors, bad = scale_rows(matrix)
    if bad.any() or len(vectors) == 0:
        raise DataError(f"{path} holds {int(bad.sum())} vectors that are zero or not finite among {len(vectors)}.")
    places = np.unique(np.linspace(0, len(vectors) - 1, 4 * _QUESTIONS).astype(np.int64))
    return QueryVectors(vectors[places], f"{len(places)} given vectors")


def _usable(header: IndexHeader, writer: IndexWriter) -> Derived | None:
    derived = header.derived
    if derived is None or derived.generation != writer.store.generation or derived.rows > writer.matrix.rows:
        return None
    path = writer.path / derived.file
    return derived if path.is_file() and path.stat().st_size == derived.size_bytes else None


def _point_to(folder: Path, header: IndexHeader, derived: Derived | None) -> None:
    if header.derived != derived:
        replace(header, derived=derived).write(folder)
    for path in folder.glob("*.faiss"):
        if derived is None or path.name != derived.file:
            path.unlink()
