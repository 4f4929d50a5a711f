"""A gallery that is encoded once answers the bench's questions and textness's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bench.evaluators import evaluate_scenes
from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec
from mobileclip_kit.textness.evaluate import score_queries
from mobileclip_kit.textness.gallery import EncodedGallery, encode_gallery, encode_scenes, query_scenes


class Counting:
    """An encoder that counts the images that it is given; its vectors are noise."""

    runtime = "fake"
    spec = ModelSpec(name="fake", embedding_dim=8, image=ImageSpec(height=16, width=16), text=TextSpec())

    def __init__(self) -> None:
        self.images = 0

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        self.images += len(pixels)
        return self._noise(len(pixels))

    def encode_texts(self, texts) -> np.ndarray:
        return self._noise(len(texts))

    def _noise(self, rows: int) -> np.ndarray:
        vectors = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_scenes(tmp_path, SceneSet(items=60, seed=3, size=16, split="gallery"))
    return tmp_path


def test_one_encoding_serves_both_figures_and_textness(scenes: Path) -> None:
    encoder = Counting()
    gallery = encode_scenes(scenes, encoder)
    figures = evaluate_scenes(encoder, gallery, gallery)
    asked = query_scenes(gallery, encoder)
    assert encoder.images == 60
    assert score_queries(asked.typographic).typographic_error_rate == figures["typographic_error_rate"]
    assert len(asked.clean.gallery) == sum(row.word is None for row in gallery.truth)


def test_the_first_images_only(scenes: Path) -> None:
    assert [row.image for row in encode_gallery(scenes, Counting(), limit=2).truth] == [
        "images/000000.png",
        "images/000001.png",
    ]


def test_scenes_without_words_are_refused_before_it_is_encoded(scenes: Path) -> None:
    truth = scenes / "truth.jsonl"
    things = [line for line in truth.read_text().splitlines() if '"word": null' in line]
    truth.write_text("\n".join(things))
    (scenes / "scenes.json").unlink()  # which says that the truth was changed
    encoder = Counting()
    with pytest.raises(DataError, match="no images of words"):
        encode_scenes(scenes, encoder)
    assert encoder.images == 0
    with pytest.raises(DataError, match="no images of words"):
        query_scenes(encode_gallery(scenes, encoder), encoder)


def test_vectors_of_other_images_are_refused(scenes: Path) -> None:
    gallery = encode_gallery(scenes, Counting())
    with pytest.raises(ShapeError, match="60 images, but 59 vectors"):
        EncodedGallery(gallery.truth, gallery.vectors[1:])
