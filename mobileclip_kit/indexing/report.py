"""What an indexing run did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.formats import to_document
from mobileclip_kit.index.folder import IndexWriter
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.deriving import SearchKind

# Trained CLIP models give different photos mean cosines of 0.2 to 0.8.
_ALIKE = 0.95
_SAMPLE = 2000
_LEAST_ROWS = 20


@dataclass(kw_only=True)
class IndexReport:
    """Counts of one indexing run.

    Attributes:
        items: Images that can be found now.
        added: New images that got a vector.
        updated: Known images whose content changed, or that failed before, and got a vector.
        moved: Images that kept their vector under another name.
        removed: Images that are no longer there.
        unchanged: Images whose content is as before.
        failed: Images without a vector, those of earlier runs included, each with its reason.
        passed: Hidden folders, and images without a suffix, which are not looked at; relative to the folder.
        compacted: Vectors of removed images that were dropped from the matrix.
        missing_shards: Parts that other parts of the same folder were merged without: "2/4".
        search: How the index is searched from now on; None before that is decided.
        confidence_problem: Why the index has no background for confidences; None when it has one.
        headers: Images of an older index whose headers were read: dates, places, cameras and sizes.
        mean_cosine: Of two images of the index; None for fewer than 20.
        decoded: Images that were decoded in this run.
        seconds: Wall-clock time of decoding and encoding.
        device: Where the model computed the vectors of this run; None if it computed none.
    """

    items: int = 0
    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: list[Item] = field(default_factory=list)
    passed: list[Path] = field(default_factory=list)
    compacted: int = 0
    missing_shards: list[str] = field(default_factory=list)
    search: SearchKind | None = None
    confidence_problem: str | None = None
    headers: int = 0
    mean_cosine: float | None = None
    decoded: int = 0
    seconds: float = 0.0
    device: str | None = None

    @property
    def images_per_s(self) -> float:
        """Images decoded and encoded a second; 0 when there was nothing to do."""
        return self.decoded / self.seconds if self.decoded and self.seconds > 0 else 0.0

    def take_stock(self, writer: IndexWriter) -> None:
        """Fill in what the index holds now."""
        self.items, self.failed = writer.store.vectors, writer.store.failures()
        self.mean_cosine = _mean_cosine_of_pairs(writer.matrix.map())

    def warnings(self) -> list[str]:
        """What is wrong with the vectors as a whole, a sentence each."""
        if self.mean_cosine is None or self.mean_cosine < _ALIKE:
            return []
        return [
            f"The vectors of the images are nearly equal (mean cosine of two images {self.mean_cosine:.3f}), so "
            "searches cannot tell them apart. The model has hardly been trained, or it was trained for other images."
        ]

    def to_json(self) -> dict[str, Any]:
        """The document of ``mckit index --json``, less the path of the index."""
        return {
            "items": self.items,
            "added": self.added,
            "updated": self.updated,
            "moved": self.moved,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "failed": [{"item": item.name, "reason": item.reason} for item in self.failed],
            "passed": [path.as_posix() for path in self.passed],
            "compacted": self.compacted,
            "missing_shards": self.missing_shards,
            "search": None if self.search is None else _search(self.search),
            "confidence_unavailable": self.confidence_problem,
            "headers": self.headers,
            "mean_cosine": None if self.mean_cosine is None else round(self.mean_cosine, 4),
            "warnings": self.warnings(),
            "device": self.device,
            "images_per_s": round(self.images_per_s, 2),
            "seconds": round(self.seconds, 3),
        }


def _mean_cosine_of_pairs(matrix: Vectors) -> float | None:
    """Of different rows of a sample: ``(|Σ v|² − n) / (n (n − 1))`` for n unit rows."""
    sample = np.array(matrix[:: max(1, len(matrix) // _SAMPLE)], np.float64)
    n = len(sample)
    return None if n < _LEAST_ROWS else float((np.square(sample.sum(axis=0)).sum() - n) / (n * (n - 1)))


def _search(search: SearchKind) -> dict[str, Any]:
    measured = {} if search.derived is None else to_document(search.derived)
    return {**measured, "kind": search.kind, "reason": search.reason, "warnings": search.warnings()}
