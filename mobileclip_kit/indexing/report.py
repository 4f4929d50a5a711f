"""What an indexing run did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mobileclip_kit.formats import to_document
from mobileclip_kit.index.store import Item, Store
from mobileclip_kit.indexing.deriving import SearchKind


@dataclass(kw_only=True)
class IndexReport:
    """Counts of one run.

    Attributes:
        items: Images that can be found now.
        added: New images that got a vector.
        updated: Known images whose content changed, or that failed before, and got a vector.
        moved: Images that kept their vector under another name.
        removed: Images that are no longer there.
        unchanged: Images whose content is as before.
        failed: Images without a vector, those of earlier runs included, each with its reason.
        compacted: Vectors of removed images that were dropped from the matrix.
        missing_shards: Parts that other parts of the same folder were merged without: "2/4".
        search: How the index is searched from now on; None before that is decided.
        confidence_problem: Why the index has no background for confidences; None when it has one.
        headers: Images of an older index whose headers were read: dates, places, cameras and sizes.
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
    compacted: int = 0
    missing_shards: list[str] = field(default_factory=list)
    search: SearchKind | None = None
    confidence_problem: str | None = None
    headers: int = 0
    decoded: int = 0
    seconds: float = 0.0
    device: str | None = None

    @property
    def images_per_s(self) -> float:
        """Images decoded and encoded a second; 0 when there was nothing to do."""
        return self.decoded / self.seconds if self.decoded and self.seconds > 0 else 0.0

    def take_stock(self, store: Store) -> None:
        """Fill in what the index holds now."""
        self.items, self.failed = store.vectors, store.failures()

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
            "compacted": self.compacted,
            "missing_shards": self.missing_shards,
            "search": None if self.search is None else _search(self.search),
            "confidence_unavailable": self.confidence_problem,
            "headers": self.headers,
            "device": self.device,
            "images_per_s": round(self.images_per_s, 2),
            "seconds": round(self.seconds, 3),
        }


def _search(search: SearchKind) -> dict[str, Any]:
    measured = {} if search.derived is None else to_document(search.derived)
    return {**measured, "kind": search.kind, "reason": search.reason, "warnings": search.warnings()}
