"""Derived indexes: what they find, how they stay right when the matrix moves on, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mobileclip_kit.errors import IndexFormatError, ShapeError
from mobileclip_kit.formats import from_document, to_document
from mobileclip_kit.index import ann_build
from mobileclip_kit.index.ann_build import QueryVectors, derive
from mobileclip_kit.index.ann_index import Derived, DerivedIndex, best, rescore
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.index.folder import IndexHeader, IndexReader, create_index, open_writer
from mobileclip_kit.index.kinds import KINDS, IndexKind, choose_kind
from mobileclip_kit.index.store import Item
from mobileclip_kit.spec import ModelSpec
from tests.index.vectors import unit_rows

DIM, ROWS, LATE = 32, 2000, 30
DERIVED = tuple(kind for kind in KINDS if kind != "flat")
# Random vectors have no clusters: the hardest case for the approximate kinds, which have to look nearly everywhere.
LEAST_RECALL = 0.9


@pytest.fixture(scope="module")
def matrix() -> NDArray[np.float32]:
    return unit_rows(ROWS + LATE, DIM)


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return unit_rows(20, DIM, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("derived")


@pytest.fixture(scope="module", params=DERIVED)
def derived(
    request: pytest.FixtureRequest, folder: Path, matrix: NDArray[np.float32], queries: NDArray[np.float32]
) -> Derived:
    return derive(matrix[:ROWS], request.param, folder, QueryVectors(queries, "20 random rows"), threads=1)


def overlap(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def test_finds_what_it_was_measured_to_find_with_exact_scores(
    derived: Derived, folder: Path, matrix: NDArray[np.float32], queries: NDArray[np.float32]
) -> None:
    index = DerivedIndex(folder / derived.file, derived)
    scores, rows = index.search(matrix[:ROWS], queries, 10)
    truth = search_flat(matrix[:ROWS], queries, 10)[1]
    assert derived.recall_at_10 >= LEAST_RECALL
    assert overlap(rows, truth) == pytest.approx(derived.recall_at_10, abs=1e-3)
    expected = np.einsum("qd,qkd->qk", queries, matrix[rows])
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_coordinates_of_very_different_spread_are_compressed_as_well(tmp_path: Path) -> None:
    """Most of the variance in an eighth of the coordinates, as in CLIP's: each piece has the same sixteen codes."""
    spread = np.where(np.arange(64) < 8, 10, 1).astype(np.float32)
    vectors, asked = (rows * spread for rows in (unit_rows(4000, 64), unit_rows(50, 64, seed=1)))
    vectors, asked = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (vectors, asked))
    derived = derive(vectors, "ivf-pq", tmp_path, QueryVectors(asked, "50 rows"), threads=1, target=0.99)
    everywhere = replace(derived, settings={"candidates": 20, "breadth": 4000})
    rows = DerivedIndex(tmp_path / derived.file, everywhere).search(vectors, asked, 10)[1]
    assert overlap(rows, search_flat(vectors, asked, 10)[1]) >= 0.9


def test_rows_that_came_later_are_scanned_exactly(derived: Derived, folder: Path, matrix: NDArray[np.float32]) -> None:
    index = DerivedIndex(folder / derived.file, derived)
    _, rows = index.search(matrix, matrix[ROWS:], 3)
    assert rows[:, 0].tolist() == list(range(ROWS, ROWS + LATE))


def test_masked_rows_are_never_found(
    derived: Derived, folder: Path, matrix: NDArray[np.float32], queries: NDArray[np.float32]
) -> None:
    index = DerivedIndex(folder / derived.file, derived)
    allowed = np.arange(len(matrix)) % 2 == 1
    _, rows = index.search(matrix, queries, 10, allowed=allowed)
    assert (rows[rows >= 0] % 2 == 1).all()
    assert overlap(rows, search_flat(matrix, queries, 10, allowed=allowed)[1]) >= LEAST_RECALL


def test_few_allowed_rows_and_long_lists_are_left_to_the_scan(derived: Derived, folder: Path) -> None:
    index = DerivedIndex(folder / derived.file, derived)
    few = np.arange(ROWS) < ROWS // 50
    assert index.suits(None, 10)
    assert index.suits(few, 10) == index.suits(None, 5000) == derived.kind.startswith("flat")


def test_damaged_and_exchanged_files_are_refused(derived: Derived, folder: Path, tmp_path: Path) -> None:
    data = (folder / derived.file).read_bytes()
    (tmp_path / "cut").write_bytes(data[:-5])
    with pytest.raises(IndexFormatError, match="bytes instead of"):
        DerivedIndex(tmp_path / "cut", derived)
    (tmp_path / "noise").write_bytes(bytes(len(data)))
    with pytest.raises(IndexFormatError, match="was changed: its SHA-256"):
        DerivedIndex(tmp_path / "noise", derived)
    with pytest.raises(IndexFormatError, match="damaged"):
        DerivedIndex(tmp_path / "noise", replace(derived, sha256=None))
    with pytest.raises(IndexFormatError, match="2000 vectors instead of 7"):
        DerivedIndex(folder / derived.file, replace(derived, rows=7))
    with pytest.raises(ShapeError):
        DerivedIndex(folder / derived.file, derived).search(unit_rows(ROWS, DIM), unit_rows(1, DIM + 1), 3)


@pytest.mark.parametrize(
    "damage",
    [
        {"file": 3},
        {"rows": "9"},
        {"rows": -1},
        {"settings": [1]},
        {"settings": {}},
        {"size_bytes": None},
        {"settings": {"candidates": 0}},
        {"kind": "flat"},
        {"kind": "tree"},
        {"file": "../x"},
    ],
)
def test_a_damaged_description_is_refused(derived: Derived, damage: dict[str, object]) -> None:
    with pytest.raises(IndexFormatError, match="it must be|out of range|no candidates|names a derived index"):
        from_document({**to_document(derived), **damage}, Derived, where="index.json", error=IndexFormatError)


def test_a_matrix_of_another_width_is_refused(derived: Derived, folder: Path) -> None:
    index = DerivedIndex(folder / derived.file, derived)
    with pytest.raises(IndexFormatError, match="vectors of 32 numbers, the index of 16"):
        index.search(unit_rows(ROWS, 16), unit_rows(1, 16), 3)


def test_the_best_of_each_line_come_in_order() -> None:
    scores, rows = best(np.array([[0.1, 0.9, -np.inf]], np.float32), np.array([[7, 5, -1]]), 2)
    assert scores.tolist() == [[np.float32(0.9), np.float32(0.1)]]
    assert rows.tolist() == [[5, 7]]


def test_candidates_are_scored_by_the_matrix(matrix: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
    candidates = np.random.default_rng(2).integers(0, len(matrix), (len(queries), 7))
    candidates[0, 3] = candidates[2] = -1
    scores, rows = rescore(matrix, queries, candidates, 5)
    expected = np.where(candidates < 0, -np.inf, np.einsum("qd,qcd->qc", queries, matrix[candidates]))
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :5], atol=1e-6)
    assert (rows[2] == -1).all() and set(rows[0].tolist()) <= set(candidates[0].tolist())


def test_candidates_beyond_the_matrix_are_refused(matrix: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
    with pytest.raises(IndexFormatError, match="proposes row 2000 of 2000"):
        rescore(matrix[:ROWS], queries[:1], np.array([[5, ROWS]]), 1)


@pytest.mark.parametrize(("shares", "chosen"), [([1.0, 1.0, 1.0, 1.0], 32), ([1.0, 1.0, 1.0, 0.94], 64)])
def test_settings_reach_the_target_with_a_standard_error_to_spare(
    matrix: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, shares: list[float], chosen: int
) -> None:
    """Four queries of mean 0.985 ± 0.013 are no proof of 0.98."""
    found = {32: np.array(shares), 64: np.array([0.99, 0.99, 0.98, 0.98])}
    monkeypatch.setattr(ann_build, "measure_recall", lambda *given: found[given[-1]["breadth"]])
    settings, recall = ann_build._tune(None, matrix, "hnsw", matrix[:4], np.zeros(4, np.float32), 0.98)
    assert settings["breadth"] == chosen
    assert recall == pytest.approx(found[chosen].mean())


@pytest.mark.parametrize("k", [1, 3, 9, 10, 15])
def test_equal_scores_stay_in_their_order(k: int) -> None:
    scores = np.random.default_rng(0).integers(0, 4, (6, 10)).astype(np.float32)
    scores[0, 4:] = -np.inf
    rows = np.arange(60).reshape(6, 10)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = best(scores, rows, k)
    np.testing.assert_array_equal(found[0], np.take_along_axis(scores, order, 1))
    np.testing.assert_array_equal(found[1], np.take_along_axis(rows, order, 1))


@pytest.mark.parametrize(("rows", "kind"), [(0, "flat"), (100_000, "flat"), (1_000_000, "ivf-pq")])
def test_the_kind_follows_the_size_and_says_why(rows: int, kind: IndexKind) -> None:
    choice = choose_kind(rows, 512)
    assert choice.kind == kind
    assert f"{rows:,} vectors of 512" in choice.reason


def test_an_index_uses_its_derived_file_and_searches_exactly_without_it(
    tmp_path: Path, matrix: NDArray[np.float32], queries: NDArray[np.float32]
) -> None:
    header = IndexHeader(spec=ModelSpec(name="m", embedding_dim=DIM, image=None, text=None, model_hash="ff"))
    create_index(tmp_path / "i", header)
    with open_writer(tmp_path / "i") as writer:
        writer.matrix.append(matrix)
        for row in range(len(matrix)):
            writer.store.put(Item(name=str(row), row=row))
        writer.commit()
        described = derive(matrix, "hnsw", tmp_path / "i", QueryVectors(queries, "random rows"), threads=1)
        replace(header, derived=described).write(tmp_path / "i")
    exact = search_flat(matrix, queries, 5)[1]
    with IndexReader(tmp_path / "i") as index:
        assert index.header == header
        assert index.header.derived == described
        assert index.derived is not None
        assert overlap(index.nearest(queries, 5)[1], exact) >= LEAST_RECALL
        np.testing.assert_array_equal(index.nearest(queries, 5, exact=True)[1], exact)
    (tmp_path / "i" / described.file).unlink()
    with IndexReader(tmp_path / "i") as index:
        assert index.derived is None
        np.testing.assert_array_equal(index.nearest(queries, 5)[1], exact)
