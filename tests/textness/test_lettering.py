"""Words on images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.spec import ImageSpec
from mobileclip_kit.textness.lettering import draw_words, pair_pixels
from tests.indexing.fakes import draw


def written(seed: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Where the words of a seed changed a grey image, as a mask."""
    image = Image.new("RGB", size, (128, 128, 128))
    return (np.asarray(draw_words(image, np.random.default_rng(seed))) != 128).any(axis=2)


def test_every_image_gets_legible_words_and_keeps_most_of_itself() -> None:
    shares = [written(seed).mean() for seed in range(60)]
    assert min(shares) > 0.002
    assert np.median(shares) < 0.25


def test_words_stand_in_many_places_and_sizes() -> None:
    centres = np.array([np.argwhere(written(seed)).mean(axis=0) for seed in range(60)])
    assert (centres.std(axis=0) > 10).all()
    shares = [written(seed).mean() for seed in range(60)]
    assert max(shares) > 5 * min(shares)


def test_equal_seeds_give_equal_words_and_the_original_is_left_alone() -> None:
    image = Image.new("RGB", (90, 90), (10, 200, 30))
    first, second = (draw_words(image, np.random.default_rng(3)) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != draw_words(image, np.random.default_rng(4)).tobytes()
    assert image.getcolors() == [(8100, (10, 200, 30))]


@pytest.mark.parametrize("size", [(16, 16), (400, 20), (20, 400)])
def test_small_and_narrow_images_take_words(size: tuple[int, int]) -> None:
    assert any(written(seed, size).any() for seed in range(20))


def test_both_halves_of_a_pair_fit_the_model(tmp_path) -> None:
    spec = ImageSpec(height=32, width=48)
    path = draw(tmp_path / "a.png", (100, 50, 0), size=90)
    clean, text, other = pair_pixels(path, spec, [np.random.default_rng(seed) for seed in (0, 1)])
    assert clean.shape == text.shape == (32, 48, 3)
    assert np.ptp(clean, axis=(0, 1)).max() == 0
    assert not np.array_equal(text, clean)
    assert not np.array_equal(text, other)
