from __future__ import annotations

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.explain.embedding_map import embedding_map


def clusters(count: int, each: int) -> np.ndarray:
    """Unit-ish vectors about ``count`` orthogonal directions."""
    rng = np.random.default_rng(0)
    return np.concatenate([np.eye(16)[k] + 0.05 * rng.standard_normal((each, 16)) for k in range(count)])


def test_the_same_seed_gives_the_same_map() -> None:
    vectors = clusters(3, 6)
    first, again = embedding_map(vectors, vectors[::6], seed=7), embedding_map(vectors, vectors[::6], seed=7)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.texts, again.texts)


def test_neighbours_stay_neighbours_and_a_text_stands_in_its_class() -> None:
    """Though all texts lie far from all images: every one has a large part in a direction that no image has."""
    images = clusters(3, 12)
    texts = np.eye(16)[:3] + 3 * np.eye(16)[15]
    places = embedding_map(images, texts)
    labels = np.repeat(np.arange(3), 12)
    distances = np.linalg.norm(places.images[:, None] - places.images[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    to_texts = np.linalg.norm(places.texts[:, None] - places.images[None], axis=2)
    assert (labels[to_texts.argmin(axis=1)] == np.arange(3)).all()


def test_places_fill_the_unit_disc() -> None:
    places = embedding_map(clusters(2, 3))
    assert places.images.shape == (6, 2) and places.texts.shape == (0, 2)
    assert np.linalg.norm(places.images, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(places.images.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("images", [clusters(2, 2), np.ones((9, 16))])
def test_fewer_than_five_different_images_are_no_map(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="5 different images"):
        embedding_map(images)


def test_one_text_alone_is_refused() -> None:
    with pytest.raises(DataError, match="two different texts"):
        embedding_map(clusters(2, 3), np.ones((1, 16)))


def test_texts_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError):
        embedding_map(clusters(2, 3), np.ones((2, 8)))
