"""Zero-shot tags of an index: each label is a query, and an image has the tag if it is a certain hit.

The confidence is that of :mod:`mobileclip_kit.confidence`, which tells for each label where its images end; a threshold
on the similarity or a softmax over the labels would tag every image with something.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.confidence.background import Background, open_background
from mobileclip_kit.confidence.scorer import FIRST_HITS, certain_count, confidences
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import atomic_file, check_can_write, write_json
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.store import Item
from mobileclip_kit.index.tags import TAGS_FILE, TaggedItem, Tags
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.prompts import encode_prompts
from mobileclip_kit.tagging.labels import Label
from mobileclip_kit.tagging.request import BESIDE, TEMPLATES, TagRequest
from mobileclip_kit.tagging.sidecars import prepare_sidecars, write_sidecars

_LABELS_AT_ONCE = 16
_ROWS_AT_ONCE = 65_536
_HITS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class TagReport:
    """What ``mckit tag`` did.

    Attributes:
        images: Images of the index.
        tagged: Those that have a tag now.
        labels: How many images have each label.
        tags: The confidence of each tag, by image and label.
        uncalibrated: Labels without a confidence, because no background text is near them; no image has them.
        sidecars: XMP sidecars that were written.
        without_sidecar: Images in tar files, which have none.
        device: Where the model encoded the labels.
    """

    images: int
    tagged: int
    labels: dict[str, int]
    tags: dict[str, dict[str, float]] = field(repr=False)
    uncalibrated: list[str]
    sidecars: int
    without_sidecar: int
    device: str

    def to_json(self) -> dict[str, Any]:
        """The document of ``mckit tag --json``, less the path of the index and the tags themselves."""
        return {key: value for key, value in vars(self).items() if key != "tags"}


def tag_index(
    index: IndexReader, get_encoder: Callable[[], Encoder], labels: Sequence[Label], request: TagRequest
) -> TagReport:
    """Tag the images of an index: in its ``tags.json``, on request also in a file and in sidecars.

    Everything that can be refused is refused before anything is written.

    Args:
        index: Opened.
        get_encoder: Opens its model.
        labels: See :func:`mobileclip_kit.tagging.labels.read_labels`.
        request: Says how, and where the tags go.

    Raises:
        DataError: The index has no background, a sidecar cannot be merged, or a folder is missing.
        OutputError: A place cannot be written.
    """
    background, problem = open_background(index)
    if background is None:
        raise DataError(f"The index {index.path} cannot be tagged. {problem}")
    if request.xmp == BESIDE and index.header.folder is None:
        raise DataError(
            f"The index {index.path} knows no folder of images.", hint="Name a folder for the sidecars: --xmp DIR."
        )
    check_can_write(index.path / TAGS_FILE, force=True)
    if request.out is not None:
        check_can_write(request.out, force=True)
    items = [item for item in index.store.items() if item.row is not None and item.row < len(index.matrix)]
    encoder = get_encoder()  # when nothing else can be refused
    found, uncalibrated = find_tags(index, background, encoder, labels, items, request)
    tagged = {item.name: found[item.row] for item in items if item.row in found}
    planned, without = _sidecars(index, items, tagged, request)
    write_sidecars(planned)
    if request.out is not None:
        _write_file(request.out, tagged)
    tags = Tags(
        labels=tuple(label.name for label in labels),
        min_confidence=request.min_confidence,
        model_hash=index.spec.model_hash,
        items={item.name: TaggedItem(tags=tagged[item.name], sha256=item.sha256)
               for item in items if item.name in tagged},
    )  # fmt: skip
    tags.write(index.path)
    return TagReport(
        images=len(items), tagged=len(tagged), labels=dict(tags.counts()), tags=tagged, uncalibrated=uncalibrated,
        sidecars=len(planned), without_sidecar=without, device=encoder.device,
    )  # fmt: skip


def find_tags(
    index: IndexReader,
    background: Background,
    encoder: Encoder,
    labels: Sequence[Label],
    items: Sequence[Item],
    request: TagRequest,
) -> tuple[dict[int | None, dict[str, float]], list[str]]:
    """The tags of rows, each with its confidence, and the labels that cannot be calibrated."""
    rows = np.array([item.row for item in items], np.int64)
    texts = [(label.name, text) for label in labels for text in label.texts]
    vectors = encode_prompts(encoder, [text for _, text in texts], request.templates or TEMPLATES)
    found: dict[int | None, dict[str, float]] = {}
    calibrated = set()
    with Progress("tag", total=len(texts), unit="texts") as progress:
        for (label, _), hits in zip(
            texts, certain_rows(index, background, vectors, rows, request.min_confidence), strict=True
        ):
            progress.advance()
            if hits is None:
                continue
            calibrated.add(label)
            for row, confidence in zip(hits[0].tolist(), hits[1].tolist(), strict=True):
                tags = found.setdefault(row, {})
                tags[label] = max(tags.get(label, 0.0), round(confidence, 3))
    return found, [label.name for label in labels if label.name not in calibrated]


def certain_rows(
    index: IndexReader, background: Background, queries: Vectors, rows: NDArray[np.int64], least: float
) -> Iterator[tuple[NDArray[np.int64], Vectors] | None]:
    """The rows that answer each query with at least some confidence.

    Args:
        index: Opened.
        background: Of the index.
        queries: Unit vectors of texts, ``(q, d)``.
        rows: Those that may be hits, ``(n,)``.
        least: The least confidence.

    Yields:
        Rows and confidences, best hit first; None for a query without confidences.
    """
    for part in parts_of(queries, _LABELS_AT_ONCE):
        # Not metrics.score_blocks, for which all rows would have to be copied out of the mapped matrix at once.
        scores = np.concatenate([index.matrix[some] @ part.T for some in parts_of(rows, _ROWS_AT_ONCE)])
        for number, query in enumerate(part):
            order = rows[np.argsort(-scores[:, number], kind="stable")]
            yield _certain(index, background, query, order, least)


def _certain(
    index: IndexReader, background: Background, query: Vectors, order: NDArray[np.int64], least: float
) -> tuple[NDArray[np.int64], Vectors] | None:
    first = index.vectors(order[:FIRST_HITS])  # they set the scale of all others
    sure = np.zeros(0, np.float32)
    while len(sure) < len(order) and certain_count(sure, least) + _HITS_AT_ONCE > len(sure):
        part = index.vectors(order[len(sure) : len(sure) + _HITS_AT_ONCE])
        found = confidences(background, query, np.concatenate([first, part]))
        if found is None:
            return None
        sure = np.concatenate([sure, found[len(first) :]])
    # The same end as on the page: far down the list, a confident hit is an accident.
    kept = np.flatnonzero(sure[: certain_count(sure, least)] >= least)
    return order[kept], sure[kept]


def _sidecars(
    index: IndexReader, items: Sequence[Item], tagged: dict[str, dict[str, float]], request: TagRequest
) -> tuple[dict[Path, str], int]:
    """The sidecars to write, with their new content, and how many images cannot have one."""
    if request.xmp is None:
        return {}, 0
    folder = index.header.folder or Path() if request.xmp == BESIDE else Path(request.xmp)
    names = [item.name for item in items if ".tar/" not in item.name]
    places = {folder / f"{name}.xmp": sorted(tagged.get(name, {})) for name in names}
    return prepare_sidecars(places), len(items) - len(names)


def _write_file(path: Path, tagged: dict[str, dict[str, float]]) -> None:
    if path.suffix.lower() == ".json":
        printable = {name.encode("utf-8", "backslashreplace").decode(): tags for name, tags in tagged.items()}
        write_json(path, printable)
        return
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["item", "label", "confidence"])
    writer.writerows([name, label, sure] for name, tags in tagged.items() for label, sure in tags.items())
    with atomic_file(path) as staging:
        staging.write_text(stream.getvalue(), encoding="utf-8", errors="backslashreplace")
