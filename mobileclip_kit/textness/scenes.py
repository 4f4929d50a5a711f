"""Textness questions to synthetic scenes, whose truth is exact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_json
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.scenes.folder import SCENES_FILE
from mobileclip_kit.scenes.queries import thing_queries, weakness_queries
from mobileclip_kit.scenes.truth import TRUTH_FILE, read_truth
from mobileclip_kit.textness.evaluate import Questions
from mobileclip_kit.textness.gallery import EncodedGallery, Reader, ask, ask_for_things, encode_gallery

_TEMPLATE = "a photo of {}"


@dataclass(frozen=True)
class SceneQueries:
    """The three kinds of questions.

    Attributes:
        typographic: "a photo of a car" to all images; an image of only the word car is wrong.
        clean: "a red car" to the images without words.
        reading: "car" to all images; those with the written word are right.
    """

    typographic: Questions
    clean: Questions
    reading: Questions


def query_scenes(gallery: EncodedGallery, reader: Reader, *, template: str = _TEMPLATE) -> SceneQueries:
    """The questions to a gallery that :func:`encode_scenes` or another has encoded with the same model.

    Args:
        gallery: Of a folder made by ``mckit scenes N --split gallery``.
        reader: Of texts, into the space of the gallery's vectors.
        template: The typographic query, with ``{}`` where "a car" goes.

    Raises:
        DataError: It has no images of words beside images of the things that they name.
        ModelError: The model has no text tower.
    """
    plain = gallery.where(lambda truth: truth.word is None)
    weak, things = weakness_queries(gallery.truth, template), thing_queries(plain.truth)
    if not weak or not things:
        raise DataError(
            "The gallery holds no images of words beside images of the things that they name.",
            hint="Draw a world with `mckit scenes 1000 --split gallery -o DIR`.",
        )
    words = sorted({row.word.text for row in gallery.truth if row.word is not None})
    written = [gallery.rows(row.image for row in gallery.truth if row.word and row.word.text == word) for word in words]
    return SceneQueries(
        typographic=ask_for_things(reader, gallery, weak),
        clean=ask(reader, plain, things),
        reading=Questions(reader.encode_texts(words), gallery.vectors, written),
    )


def encode_scenes(folder: Path, encoder: Encoder) -> EncodedGallery:
    """Encode synthetic scenes, after a look at whether it and the model allow questions at all.

    Raises:
        DataError: The folder is no synthetic scenes, or has no images of words beside things.
        ImageError: An image cannot be decoded.
        ModelError: The model lacks a tower.
    """
    encoder.spec.require_text()
    if not (folder / TRUTH_FILE).is_file():
        raise DataError(
            f"{folder} is not synthetic scenes: it has no {TRUTH_FILE}.",
            hint="Draw one with `mckit scenes 1000 --split gallery -o DIR`.",
        )
    rows = read_truth(folder)
    if not weakness_queries(rows) or all(row.word is not None for row in rows):
        raise DataError(
            f"{folder} holds no images of words beside images of the things that they name.",
            hint="Draw a world with `mckit scenes 1000 --split gallery -o DIR`.",
        )
    return encode_gallery(folder, encoder)


def is_pair_scenes(folder: Path) -> bool:
    """Whether a folder was drawn by ``mckit scenes N --split pairs``: each scene without a word, then with one."""
    path = folder / SCENES_FILE
    return path.is_file() and (folder / TRUTH_FILE).is_file() and read_json(path).get("split") == "pairs"


def encode_scene_pairs(folder: Path, encoder: Encoder, *, limit: int | None = None) -> tuple[Vectors, Vectors]:
    """Vectors of synthetic scenes's scenes without and with a word, row by row the same scene, each ``(n, d)``.

    A model that reads the words of the synthetic scenes alone learns its textness from these, not from other words.

    Raises:
        DataError: The images do not come in such pairs.
        ImageError: An image cannot be decoded.
        ModelError: The model has no image tower.
    """
    rows = read_truth(folder / TRUTH_FILE)
    clean, worded = rows[0::2], rows[1::2]
    if len(rows) % 2 or any(a.word is not None or b.word is None for a, b in zip(clean, worded, strict=True)):
        raise DataError(f"The images of {folder} are not pairs without and with a word.", hint="Draw it again.")
    vectors = encode_gallery(folder, encoder, limit=None if limit is None else 2 * limit).vectors
    return vectors[0::2], vectors[1::2]
