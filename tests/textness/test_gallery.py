"""A gallery that is encoded once answers the bench's questions and textness's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bench.world import measure_world
from mobileclip_kit.data.scenes.folder import World, write_world
from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec
from mobileclip_kit.textness.evaluate import answer
from mobileclip_kit.textness.gallery import EncodedGallery, encode_gallery
from mobileclip_kit.textness.world import ask_world, encode_world


class Counting:
    """An encoder that counts the pictures that it is given; its vectors are noise."""

    runtime = "fake"
    spec = ModelSpec(name="fake", embedding_dim=8, image=ImageSpec(height=16, width=16), text=TextSpec())

    def __init__(self) -> None:
        self.pictures = 0

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        self.pictures += len(pixels)
        return self._noise(len(pixels))

    def encode_texts(self, texts) -> np.ndarray:
        return self._noise(len(texts))

    def _noise(self, rows: int) -> np.ndarray:
        vectors = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_world(tmp_path, World(items=60, seed=3, size=16, split="gallery"))
    return tmp_path


def test_one_encoding_serves_both_figures_and_textness(world: Path) -> None:
    encoder = Counting()
    gallery = encode_world(world, encoder)
    figures = measure_world(encoder, gallery, gallery)
    asked = ask_world(gallery, encoder)
    assert encoder.pictures == 60
    assert answer(asked.typographic).word_over_thing == figures["word_over_thing"]
    assert len(asked.clean.gallery) == sum(row.word is None for row in gallery.truth)


def test_the_first_pictures_only(world: Path) -> None:
    assert [row.image for row in encode_gallery(world, Counting(), limit=2).truth] == [
        "images/000000.png",
        "images/000001.png",
    ]


def test_a_world_without_words_is_refused_before_it_is_encoded(world: Path) -> None:
    truth = world / "truth.jsonl"
    things = [line for line in truth.read_text().splitlines() if '"word": null' in line]
    truth.write_text("\n".join(things))
    encoder = Counting()
    with pytest.raises(DataError, match="no pictures of words"):
        encode_world(world, encoder)
    assert encoder.pictures == 0
    with pytest.raises(DataError, match="no pictures of words"):
        ask_world(encode_gallery(world, encoder), encoder)


def test_vectors_of_other_pictures_are_refused(world: Path) -> None:
    gallery = encode_gallery(world, Counting())
    with pytest.raises(ShapeError, match="60 pictures, but 59 vectors"):
        EncodedGallery(gallery.truth, gallery.vectors[1:])
