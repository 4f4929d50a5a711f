"""The file of labels: one a line, with other words for it after tabs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_text

MAX_LABELS = 10_000
# What XML cannot hold, whatever it is escaped as.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Label:
    """A label and the texts that are compared with images.

    Attributes:
        name: The tag.
        texts: The name and its synonyms; an image has the tag if one of them describes it.
    """

    name: str
    texts: tuple[str, ...]


def read_labels(path: Path) -> list[Label]:
    """Read a file of labels; empty lines are skipped.

    Raises:
        DataError: The file is missing, holds no label, holds the same text twice, or a character that is no text.
    """
    return parse_labels(read_text(path).removeprefix("\ufeff").splitlines(), str(path))


def parse_labels(lines: Iterable[str], where: str = "The list") -> list[Label]:
    """Labels from lines; see :func:`read_labels`."""
    labels: list[Label] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        texts = tuple(dict.fromkeys(text for part in line.split("\t") if (text := " ".join(part.split()))))
        for text in texts:
            if _NO_TEXT.search(text):
                raise DataError(f"{where}, line {number}: {text!r} has a character that is no text.",
                                hint="Remove it: XMP sidecars cannot hold it.")  # fmt: skip
            if (first := seen.setdefault(text.casefold(), number)) != number:
                raise DataError(
                    f"{where}, line {number}: {text!r} stands in line {first} already.",
                    hint="Give each label and each synonym once.",
                )
        if texts:
            labels.append(Label(texts[0], texts))
    if not labels:
        raise DataError(f"{where} holds no label.", hint="Write one label a line, such as: dog, a tab, puppy.")
    if len(labels) > MAX_LABELS:
        raise DataError(f"{where} holds {len(labels):,} labels; the limit is {MAX_LABELS:,}.")
    return labels
