"""The tags of an index: ``tags.json`` in its folder, written by ``mckit tag``; docs/index-format.md describes it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from mobileclip_kit import formats
from mobileclip_kit.errors import DataError, IndexFormatError
from mobileclip_kit.files import atomic_file, seal
from mobileclip_kit.index.store import Store

TAGS_FILE = "tags.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TaggedItem:
    """The tags of one image.

    Attributes:
        tags: The confidence of each, from 0 to 1.
        sha256: Of the file that was tagged; an image that has changed since has no tags until the next ``mckit tag``.
    """

    tags: Mapping[str, float]
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What ``tags.json`` says.

    Attributes:
        labels: All labels that were looked for.
        min_confidence: The least confidence of a tag.
        model_hash: Of the model that compared labels and images.
        items: The tagged images by their names in the index.
        format_version: Of the file.
    """

    labels: tuple[str, ...]
    min_confidence: float
    model_hash: str
    items: Mapping[str, TaggedItem] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @classmethod
    def read(cls, index: Path) -> Self | None:
        """The tags of an index; None if it has none.

        Raises:
            DataError: The file was changed or is not JSON.
            IndexFormatError: It is of another version, or something else.
        """
        path = index / TAGS_FILE
        if not path.is_file():
            return None
        hint = "Make it anew with `mckit tag`."
        tags = formats.read(path, cls, error=IndexFormatError, hint=hint)
        if tags.format_version != FORMAT_VERSION:
            raise IndexFormatError(
                f"{path} has format version {tags.format_version}; this mckit reads version {FORMAT_VERSION}.",
                hint=hint,
            )
        return tags

    def write(self, index: Path) -> None:
        """Write the file, atomically."""
        with atomic_file(index / TAGS_FILE) as staging:
            # Names need not be UTF-8; escaped, any name survives.
            staging.write_text(json.dumps(seal(formats.to_document(self)), indent=1) + "\n", encoding="ascii")

    def rows(self, store: Store, names: Sequence[str]) -> list[int]:
        """The rows of the images that have all of these tags and are as they were when they were tagged.

        Raises:
            DataError: A label was not looked for; names those that were.
        """
        for name in names:
            if name not in self.labels:
                few = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
                raise DataError(f"No image was tagged with {name!r}; the labels are {few}.")
        wanted = set(names)
        return [row for name, tagged in self.items.items()
                if tagged.tags.keys() >= wanted and (row := _row(store, name, tagged)) is not None]  # fmt: skip

    def living(self, store: Store) -> Self:
        """Only the images that are as they were when they were tagged."""
        kept = {name: tagged for name, tagged in self.items.items() if _row(store, name, tagged) is not None}
        return replace(self, items=kept)

    def counts(self) -> list[tuple[str, int]]:
        """How many images have each label, in the order of the labels; labels without an image are left out."""
        counted = Counter(label for item in self.items.values() for label in item.tags)
        return [(label, counted[label]) for label in self.labels if counted[label]]


def _row(store: Store, name: str, tagged: TaggedItem) -> int | None:
    item = store.find(name)
    return item.row if item is not None and item.sha256 == tagged.sha256 else None
