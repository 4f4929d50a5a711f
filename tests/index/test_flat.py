"""Exact search against numpy and against faiss's own flat index."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.index import flat
from mobileclip_kit.index.flat import search_flat
from tests.index.vectors import unit_rows

ROWS, DIM = 300, 24


@pytest.fixture(autouse=True, params=["by faiss", "by a matrix product"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test goes both ways."""
    if request.param == "by faiss":
        monkeypatch.setattr(flat, "_SMALL_MATRIX", -1)


@pytest.mark.parametrize("k", [1, 7, 150])
def test_equals_faiss_flat_index(k: int) -> None:
    matrix, queries = unit_rows(ROWS, DIM), unit_rows(5, DIM, seed=1)
    reference = faiss.IndexFlatIP(DIM)
    reference.add(matrix)
    expected_scores, expected_rows = reference.search(queries, k)
    scores, rows = search_flat(matrix, queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", [3, 150])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_forbidden_rows_are_never_found(k: int, share: float) -> None:
    matrix, queries = unit_rows(ROWS, DIM), unit_rows(4, DIM, seed=1)
    allowed = np.random.default_rng(2).random(ROWS) < share
    scores, rows = search_flat(matrix, queries, k, allowed=allowed)
    products = np.where(allowed, queries @ matrix.T, -np.inf)
    expected = np.argsort(-products, axis=1, kind="stable")[:, : min(k, allowed.sum())]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(products, expected, 1), rtol=0, atol=1e-6)


def test_more_wanted_than_there_are() -> None:
    scores, rows = search_flat(unit_rows(3, DIM), unit_rows(2, DIM, seed=1), 10)
    assert scores.shape == rows.shape == (2, 3)
    assert sorted(rows[0].tolist()) == [0, 1, 2]


def test_nothing_to_find_and_nothing_asked() -> None:
    assert search_flat(np.empty((0, DIM), np.float32), unit_rows(2, DIM), 5)[1].shape == (2, 0)
    assert search_flat(unit_rows(3, DIM), np.empty((0, DIM), np.float32), 5)[1].shape == (0, 3)
    assert search_flat(unit_rows(3, DIM), unit_rows(1, DIM), 5, allowed=np.zeros(3, bool))[1].shape == (1, 0)


def test_queries_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError, match="24"):
        search_flat(unit_rows(3, DIM), unit_rows(1, 23), 1)
