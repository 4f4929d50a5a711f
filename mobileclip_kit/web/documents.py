"""The JSON documents that the server sends; the description of the API is derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether something can be used.

    Attributes:
        unavailable: Why it cannot be used; null if it can.
    """

    unavailable: str | None


@dataclass(frozen=True, kw_only=True)
class TextnessAvailability(Availability):
    """Whether results can be moved towards written words or away from them.

    Attributes:
        unavailable: Why not; null if they can.
        limit: The greatest scale of the textness vector.
    """

    limit: float


@dataclass(frozen=True, kw_only=True)
class ConfidenceAvailability(Availability):
    """Whether hits of queries in words have a confidence.

    Attributes:
        unavailable: Why not; null if they have one.
        line: The confidence below which the page hides hits.
    """

    line: float


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """The model of the index.

    Attributes:
        name: Its name.
        opening: Whether it is not open yet.
        device: Where it computes (`cpu`, `cuda`, `openvino`, …); null until it is open.
    """

    name: str
    opening: bool
    device: str | None


@dataclass(frozen=True, kw_only=True)
class FolderEntry:
    """A folder of the library.

    Attributes:
        path: Relative to the library.
        images: Images in it and below.
    """

    path: str
    images: int


@dataclass(frozen=True, kw_only=True)
class TagEntry:
    """A label that some images have.

    Attributes:
        label: As it was given to `mckit tag`.
        images: Images that have it.
    """

    label: str
    images: int


@dataclass(frozen=True, kw_only=True)
class LibraryDescription:
    """The library, what can be searched for, and why something cannot.

    Attributes:
        name: Of the index.
        generation: Changes when the index is reopened.
        images: Images that can be found.
        failures: Images without a vector.
        model: The index's model.
        word_search: Queries in words.
        image_search: Queries by an uploaded image.
        textness: The slider for written words.
        confidence: Confidences of hits.
        files: Thumbnails and images.
        folders: At most 1,000, sorted by path.
        folders_omitted: Folders beyond that.
        days: The first and the last day on which images were taken; null if that is not known.
        months: Number of images taken in each month, such as `2024-07`.
        copies: Images that folding hides behind a copy of the same photo; null until that is known.
        tags: Labels of `mckit tag`, in their order; empty if the index has none.
        notices: What the user should know, such as a damaged vector.
    """

    name: str
    generation: int
    images: int
    failures: int
    model: ModelState
    word_search: Availability
    image_search: Availability
    textness: TextnessAvailability
    confidence: ConfidenceAvailability
    files: Availability
    folders: tuple[FolderEntry, ...]
    folders_omitted: int
    days: tuple[str, ...] | None
    months: Mapping[str, int]
    copies: int | None
    tags: tuple[TagEntry, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """A hit.

    Attributes:
        id: For the other requests; empty if the image was removed a moment ago.
        name: Path relative to the library, with invisible characters escaped.
        score: Cosine similarity to the query; null when there is no query.
        confidence: Probability that the hit is right; null where it is not known.
        copies: Copies of the same photo that are folded behind it.
        same_files: Those among them that are the same file byte for byte; the others are near copies.
    """

    id: str
    name: str
    score: float | None
    confidence: float | None
    copies: int
    same_files: int


@dataclass(frozen=True, kw_only=True)
class SearchLatency:
    """Where the time of a search went.

    Attributes:
        encoding: Milliseconds in the model.
        searching: Milliseconds in the index.
    """

    encoding: float
    searching: float


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """The hits of a search, best first; the newest images first when there is no query.

    Attributes:
        generation: Changes when the index is reopened.
        start: Index of the first hit.
        candidates: Images that pass the filters.
        total: Hits that can be listed.
        ranked: False when there is no query.
        certain: Hits up to the last likely one; null where confidences are not known.
        likely: Likely ones among them; null where confidences are not known.
        hits: As many as were asked for, and 500 at most.
        latency_ms: How long it took.
    """

    generation: int
    start: int
    candidates: int
    total: int
    ranked: bool
    certain: int | None
    likely: int | None
    hits: tuple[FoundImage, ...]
    latency_ms: SearchLatency | None = None


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Facts about an image.

    Attributes:
        id: As in the request.
        name: File name.
        folder: Folder relative to the library.
        size_bytes: Size of the file when it was indexed; null if that is not known.
        modified: When the file was modified, with the zone; null if that is not known.
        taken: The camera's local time, with the zone if it is known; null if the header has no time.
        width: Of the upright image in pixels; null if that is not known.
        height: Of the upright image in pixels; null if that is not known.
        place: Latitude and longitude in degrees; null if the header has none.
        camera: Its make and model; null if the header has none.
        tags: Its labels, the surest first.
    """

    id: str
    name: str
    folder: str
    size_bytes: int | None
    modified: str | None
    taken: str | None
    width: int | None
    height: int | None
    place: tuple[float, ...] | None
    camera: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class UploadToken:
    """An accepted image.

    Attributes:
        token: For `images` of a search; valid while the server keeps the image.
    """

    token: str


@dataclass(frozen=True, kw_only=True)
class ErrorFacts:
    """What failed.

    Attributes:
        kind: Class of the error, as with `--json`.
        message: One sentence.
        hint: What to do about it, if anything.
    """

    kind: str
    message: str
    hint: str | None


@dataclass(frozen=True, kw_only=True)
class ErrorDocument:
    """An error.

    Attributes:
        error: What failed.
    """

    error: ErrorFacts
