"""What holds for any numbers: lengths, symmetry, order, and rounding to int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mobileclip_kit.index.phone_format import quantize_rows
from mobileclip_kit.metrics import row_cosines, scale_rows, top_k
from mobileclip_kit.runtime.open import open_encoder

FIRST = Path(__file__).parent / "golden" / "first-version"
# Half a unit in the last place of float32 for each of a few operations.
ROUNDING = 1e-6
ANY = arrays(st.sampled_from([np.float32, np.float64]), (3, 5), elements={"allow_subnormal": True})
SEEDS = st.integers(0, 2**32 - 1)
quick = settings(max_examples=30, deadline=None, derandomize=True)


def drawn(seed: int, count: int, dim: int = 8) -> NDArray[np.float32]:
    return scale_rows(np.random.default_rng(seed).standard_normal((count, dim)))[0]


@quick
@given(vectors=ANY)
def test_a_row_gets_length_1_or_has_no_direction(vectors: NDArray[np.floating]) -> None:
    """Also rows that hold NaN, infinity, the largest numbers and denormal ones."""
    with np.errstate(all="ignore"):
        rows, bad = scale_rows(vectors)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    assert np.abs(lengths[~bad] - 1).max(initial=0) < ROUNDING
    assert not rows[bad].any()
    has_direction = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    assert (bad == ~has_direction).all()


@quick
@given(seed=SEEDS, count=st.integers(0, 40))
def test_similarity_is_symmetric(seed: int, count: int) -> None:
    one, other = drawn(seed, count), drawn(seed + 1, count)
    assert np.array_equal(row_cosines(one, other), row_cosines(other, one))


@quick
@given(seed=SEEDS, count=st.sampled_from([1, 2, 7, 1000]))
def test_the_order_of_the_gallery_changes_no_hit(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    gallery, queries, order = drawn(seed, count), drawn(seed + 1, 3), draw.permutation(count)
    k = min(5, count)
    assert np.array_equal(top_k(queries, gallery, k), order[top_k(queries, gallery[order], k)])


@quick
@given(seed=SEEDS, count=st.integers(1, 20))
def test_each_number_of_an_int8_row_is_off_by_half_a_step_at_most(seed: int, count: int) -> None:
    rows = drawn(seed, count)
    numbers, scales = quantize_rows(rows)
    assert (np.abs(numbers * scales[:, None] - rows) <= scales[:, None] * 0.5 + ROUNDING).all()


def test_an_image_has_the_same_vector_in_every_batch() -> None:
    """Alone, among a thousand, and in a batch of none."""
    encoder = open_encoder(FIRST / "onnx-fp32", threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 16, 16, 3), np.uint8)
    together = encoder.encode_images(pixels)
    alone = np.concatenate([encoder.encode_images(pixels[place : place + 1]) for place in (0, 500, 999)])
    assert np.abs(together[[0, 500, 999]] - alone).max() < ROUNDING
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < ROUNDING
    assert encoder.encode_images(pixels[:0]).shape == (0, together.shape[1])
