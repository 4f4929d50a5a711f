"""The matrix file: bytes on disk, tails, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, IndexFormatError, ShapeError
from mobileclip_kit.index.vectors import MatrixWriter, bad_rows, map_matrix
from tests.index.vectors import unit_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "vectors.f32").touch()
    return tmp_path / "vectors.f32"


def test_the_file_is_bare_little_endian_float32(path: Path) -> None:
    with MatrixWriter(path, 2, 0) as writer:
        assert writer.append(np.array([[1, 0], [0, 1]], np.float32)) == 0
        assert writer.append(np.array([[0.6, 0.8]], np.float32)) == 2
    assert path.read_bytes()[:8] == b"\x00\x00\x80\x3f\x00\x00\x00\x00"
    assert path.stat().st_size == 3 * 2 * 4
    np.testing.assert_array_equal(map_matrix(path, 2, 3)[2], np.array([0.6, 0.8], np.float32))


def test_a_tail_that_does_not_count_is_ignored_and_overwritten(path: Path) -> None:
    first, second = unit_rows(3, 4, seed=1), unit_rows(2, 4, seed=2)
    with MatrixWriter(path, 4, 0) as writer:
        writer.append(first)
    with path.open("ab") as stream:
        stream.write(b"half a row")
    np.testing.assert_array_equal(map_matrix(path, 4, 2), first[:2])
    with MatrixWriter(path, 4, 2) as writer:
        assert writer.append(second) == 2
        np.testing.assert_array_equal(writer.read(3), second[1])
    np.testing.assert_array_equal(map_matrix(path, 4, 4), np.concatenate([first[:2], second]))
    assert path.stat().st_size == 4 * 4 * 4


def test_fewer_rows_than_counted_are_refused(path: Path) -> None:
    path.write_bytes(bytes(16))
    with pytest.raises(IndexFormatError, match="cut off"):
        map_matrix(path, 4, 2)
    with pytest.raises(IndexFormatError, match="missing"):
        map_matrix(path.with_name("none"), 4, 0)


def test_an_empty_matrix_maps(path: Path) -> None:
    assert map_matrix(path, 4, 0).shape == (0, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_rows_that_no_search_may_meet_are_refused(path: Path, bad: float) -> None:
    rows = unit_rows(3, 4)
    rows[1] = bad
    assert bad_rows(rows).tolist() == [1]
    with MatrixWriter(path, 4, 0) as writer, pytest.raises(DataError, match="row 1"):
        writer.append(rows)
    assert path.stat().st_size == 0


def test_no_rows_change_nothing(path: Path) -> None:
    with MatrixWriter(path, 3, 0) as writer:
        assert writer.append(np.empty((0, 3), np.float32)) == writer.rows == 0


def test_another_width_is_refused(path: Path) -> None:
    with MatrixWriter(path, 4, 0) as writer, pytest.raises(ShapeError):
        writer.append(unit_rows(1, 5))
