"""Synthetic scenes encoded by a model, and textness queries to them with exact relevant images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError, ModelError, ShapeError
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.files import encode_files
from mobileclip_kit.scenes.folder import read_scenes_file
from mobileclip_kit.scenes.queries import Query, WeaknessQuery, thing_queries, weakness_queries
from mobileclip_kit.scenes.truth import TRUTH_FILE, Truth, read_truth
from mobileclip_kit.textness.evaluate import GalleryQueries

_TEMPLATE = "a photo of {}"
_NO_WORDS = "holds no images of words beside images of the things that they name"
_DRAW = "Draw some with `mckit scenes 1000 --split gallery -o DIR`."


class TextEncoder(Protocol):
    """An object that encodes texts."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, ``(n, d)``."""
        ...


@dataclass(frozen=True)
class EncodedGallery:
    """Images of the synthetic scenes with their truth and the vectors of one model.

    Attributes:
        truth: Contents of each image.
        vectors: Unit rows in the same order, ``(n, d)``.

    Raises:
        ShapeError: There are more or fewer vectors than images.
    """

    truth: Sequence[Truth]
    vectors: Vectors

    def __post_init__(self) -> None:
        if len(self.truth) != len(self.vectors):
            raise ShapeError(f"{len(self.truth)} images, but {len(self.vectors)} vectors.")

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {truth.image: row for row, truth in enumerate(self.truth)}

    def rows(self, keys: Iterable[str]) -> frozenset[int]:
        """The rows of the images with the given keys; keys that are not in the gallery are ignored."""
        return frozenset(self._places[key] for key in keys if key in self._places)

    def where(self, keep: Callable[[Truth], bool]) -> EncodedGallery:
        """The images for whose truth the function returns True."""
        kept = [row for row, truth in enumerate(self.truth) if keep(truth)]
        return EncodedGallery([self.truth[row] for row in kept], self.vectors[kept])


@dataclass(frozen=True)
class SceneQueries:
    """The three kinds of queries.

    Attributes:
        typographic: "a photo of a car", on all images; images that show only the word "car" are wrong.
        clean: "a red car", on the images without words.
        reading: "car", on all images; those with the written word are relevant.
    """

    typographic: GalleryQueries
    clean: GalleryQueries
    reading: GalleryQueries


def encode_gallery(folder: Path, encoder: Encoder, *, limit: int | None = None) -> EncodedGallery:
    """Encode the images of a folder drawn by ``mckit scenes``.

    Args:
        folder: A folder with ``truth.jsonl``.
        encoder: An encoder with an image tower.
        limit: Number of images, from the first on; None for all.

    Raises:
        DataError: The folder has no truth or no images.
        ImageError: An image is damaged.
        ModelError: The model has no image tower.
    """
    truth = read_truth(folder)[:limit]
    if not truth:
        raise DataError(f"{folder} has no images.", hint="Draw some with `mckit scenes`.")
    return EncodedGallery(truth, encode_files(encoder, [folder / row.image for row in truth], label="encode"))


def encode_scenes(folder: Path, encoder: Encoder) -> EncodedGallery:
    """Encode scenes after checking that :func:`query_scenes` can use them and the model.

    Raises:
        DataError: The folder holds no drawn scenes, or no images of words beside things.
        ImageError: An image cannot be decoded.
        ModelError: The model lacks a tower.
    """
    if encoder.spec.text is None:
        raise ModelError(
            f"The model {encoder.spec.name} has no text tower, which encodes the queries to the scenes.",
            hint="Pass a model with both towers.",
        )
    if not (folder / TRUTH_FILE).is_file():
        raise DataError(f"{folder} is not synthetic scenes: it has no {TRUTH_FILE}.", hint=_DRAW)
    rows = read_truth(folder)
    if not weakness_queries(rows) or all(row.word is not None for row in rows):
        raise DataError(f"{folder} {_NO_WORDS}.", hint=_DRAW)
    return encode_gallery(folder, encoder)


@dataclass(frozen=True)
class OwnPhotos:
    """A user's photos.

    Attributes:
        vectors: Unit rows, ``(n, d)``.
        captions: Their captions; none where the photos have no captions.
        right: For each caption, the rows of its photo.
        failed: Photos that cannot be decoded.
    """

    vectors: Vectors
    captions: tuple[str, ...]
    right: tuple[frozenset[int], ...]
    failed: tuple[Skipped, ...]


def encode_photos(place: Path, encoder: Encoder) -> OwnPhotos:
    """Encode photos of one's own, with captions or without.

    Args:
        place: A folder, or a file of captions.
        encoder: With an image tower.

    Raises:
        DataError: There are fewer than two photos, or they are in shards.
    """
    pairs, failed = list(open_source(place)), list[Skipped]()
    files = [pair.image for pair in pairs if isinstance(pair.image, Path)]
    if len(files) < len(pairs):
        raise DataError(f"{place} holds shards.", hint="Pass a folder of photos or a captions file.")
    vectors = encode_files(encoder, files, failed=failed, label="photos")
    left_out = {skip.item for skip in failed}
    kept = [pair for pair, file in zip(pairs, files, strict=True) if str(file) not in left_out]
    if len(kept) < 2:
        raise DataError(f"{place} has {len(kept)} photos that can be decoded; two are needed.")
    owners: dict[str, set[int]] = {}
    for row, pair in enumerate(kept):
        for caption in pair.captions:
            owners.setdefault(caption, set()).add(row)
    return OwnPhotos(vectors, tuple(owners), tuple(map(frozenset, owners.values())), tuple(failed))


def read_pairs(folder: Path) -> list[Truth] | None:
    """The truth of a folder drawn by ``mckit scenes N --split pairs``: each scene without a word, then with one.

    Returns:
        None if the folder has other contents.

    Raises:
        DataError: The images are not such pairs.
    """
    scenes = read_scenes_file(folder)
    if scenes is None or scenes.split != "pairs" or not (folder / TRUTH_FILE).is_file():
        return None
    rows = read_truth(folder)
    clean, worded = rows[0::2], rows[1::2]
    if len(rows) % 2 or any(a.word is not None or b.word is None for a, b in zip(clean, worded, strict=True)):
        raise DataError(f"The images of {folder} are not pairs without and with a word.", hint="Draw it again.")
    return rows


def query_scenes(gallery: EncodedGallery, encoder: TextEncoder, *, template: str = _TEMPLATE) -> SceneQueries:
    """Queries to a gallery that was encoded with the same model.

    Args:
        gallery: A folder made by ``mckit scenes N --split gallery``, encoded.
        encoder: Encodes texts into the space of the vectors of the gallery.
        template: The typographic query, with ``{}`` in the place of "a car".

    Raises:
        DataError: The gallery has no kind that occurs both as a word and as a thing.
        ModelError: The model has no text tower.
    """
    plain = gallery.where(lambda truth: truth.word is None)
    weak, things = weakness_queries(gallery.truth, template), thing_queries(plain.truth)
    if not weak or not things:
        raise DataError(f"The gallery {_NO_WORDS}.", hint=_DRAW)
    words = sorted({row.word.text for row in gallery.truth if row.word is not None})
    written = [gallery.rows(row.image for row in gallery.truth if row.word and row.word.text == word) for word in words]
    return SceneQueries(
        typographic=encode_weakness_queries(encoder, gallery, weak),
        clean=encode_gallery_queries(encoder, plain, things),
        reading=GalleryQueries(encoder.encode_texts(words), gallery.vectors, written),
    )


def encode_gallery_queries(encoder: TextEncoder, gallery: EncodedGallery, queries: Sequence[Query]) -> GalleryQueries:
    """Queries with their relevant rows."""
    vectors = encoder.encode_texts([query.text for query in queries])
    return GalleryQueries(vectors, gallery.vectors, [gallery.rows(query.right) for query in queries])


def encode_weakness_queries(
    encoder: TextEncoder, gallery: EncodedGallery, queries: Sequence[WeaknessQuery]
) -> GalleryQueries:
    """Queries whose relevant rows show the thing and whose wrong rows show only its name."""
    vectors = encoder.encode_texts([query.text for query in queries])
    right, wrong = ([gallery.rows(keys) for keys in sets]
                    for sets in ([query.things for query in queries], [query.words for query in queries]))  # fmt: skip
    return GalleryQueries(vectors, gallery.vectors, right, wrong)
