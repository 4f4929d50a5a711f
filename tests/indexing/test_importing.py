"""Indexes of vectors made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError, ModelMismatchError, OutputError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing.importing import import_vectors
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.metrics import scale_rows
from tests.indexing.fakes import DIM, ColourEncoder, draw


def write(folder: Path, vectors: NDArray[np.floating], names: list[str]) -> tuple[Path, Path]:
    np.save(folder / "v.npy", vectors)
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return folder / "v.npy", folder / "names.txt"


def raw(count: int, dim: int = DIM) -> NDArray[np.float32]:
    return 10 * np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)


def test_rows_are_scaled_and_bound_to_the_file(tmp_path: Path) -> None:
    vectors, names = write(tmp_path, raw(3), ["b", "a", "c d"])
    report = import_vectors(vectors, names, tmp_path / "index")
    assert (report.items, report.added, report.failed) == (3, 3, [])
    with IndexReader(tmp_path / "index") as index:
        assert index.spec.model_hash == f"vectors:{sha256_of_file(vectors)}"
        assert index.spec.towers == ()
        item = index.store.find("c d")
        assert item is not None
        expected = raw(3)[2] / np.linalg.norm(raw(3)[2])
        np.testing.assert_allclose(index.matrix[item.row], expected, atol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_unusable_rows_are_listed_and_left_out(tmp_path: Path, bad: float) -> None:
    rows = raw(3)
    rows[1] = bad
    report = import_vectors(*write(tmp_path, rows, ["a", "b", "c"]), tmp_path / "index")
    assert report.items == 2
    assert [(item.name, item.reason) for item in report.failed] == [("b", "Its vector is zero or not finite.")]


def test_images_that_are_not_there_are_listed_and_left_out(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png", (1, 2, 3))
    report = import_vectors(*write(tmp_path, raw(2), ["a.png", "b.png"]), tmp_path / "i", images=tmp_path / "photos")
    assert [item.name for item in report.failed] == ["b.png"]
    with IndexReader(tmp_path / "i") as index:
        item = index.store.find("a.png")
        assert item is not None
        assert item.sha256 == sha256_of_file(tmp_path / "photos" / "a.png")


def test_names_of_another_folder_leave_nothing(tmp_path: Path) -> None:
    """All of them missing is a wrong folder: no index is replaced by an empty one."""
    vectors, names = write(tmp_path, raw(2), ["a.png", "b.png"])
    (tmp_path / "photos").mkdir()
    import_vectors(vectors, names, tmp_path / "index")
    with pytest.raises(DataError, match="None of the 2 names"):
        import_vectors(vectors, names, tmp_path / "index", IndexOptions(force=True), images=tmp_path / "photos")
    with IndexReader(tmp_path / "index") as index:
        assert index.store.vectors == 2


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    vectors, _ = write(tmp_path, raw(2), ["a", "b"])
    (tmp_path / "names.json").write_text(json.dumps([name, "b.png"]))
    with pytest.raises(DataError, match="can be no file's name"):
        import_vectors(vectors, tmp_path / "names.json", tmp_path / "index", images=tmp_path)


def test_an_import_for_a_model_can_be_brought_up_to_date_with_it(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png", (1, 2, 3))
    encoder = ColourEncoder()
    pair = write(tmp_path, raw(1), ["a.png"])
    import_vectors(*pair, tmp_path / "index", images=tmp_path / "photos", encoder=encoder)
    draw(tmp_path / "photos" / "b.png", (3, 2, 1))
    report = update_index(tmp_path / "photos", encoder, tmp_path / "index")
    assert (report.unchanged, report.added, encoder.encoded) == (1, 1, 1)


def test_names_from_json_may_hold_line_breaks(tmp_path: Path) -> None:
    vectors, _ = write(tmp_path, raw(2), ["-", "-"])
    (tmp_path / "names.json").write_text(json.dumps(["a\nb", "c"]))
    import_vectors(vectors, tmp_path / "names.json", tmp_path / "index")
    with IndexReader(tmp_path / "index") as index:
        assert index.store.find("a\nb") is not None


def test_half_precision_and_extremes_become_unit_rows() -> None:
    rows, bad = scale_rows(np.array([[3e4, 4e4], [3e-7, 4e-7]], np.float16))
    assert not bad.any()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rows[0], [0.6, 0.8], atol=1e-3)
    tiny, _ = scale_rows(np.array([[3e-300, 4e-300]]))
    np.testing.assert_allclose(tiny[0], [0.6, 0.8], atol=1e-7)


def bad_import(folder: Path, vectors: NDArray[np.generic], names: list[str], match: str) -> None:
    with pytest.raises(DataError, match=match):
        import_vectors(*write(folder, vectors, names), folder / "index")
    assert not (folder / "index").exists()


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    bad_import(tmp_path, raw(2), ["a"], r"2 vectors.*1 name\.")
    bad_import(tmp_path, raw(3), ["a", "b", "a"], "'a' 2 times")
    bad_import(tmp_path, raw(2), ["a", ""], "Name 2")
    bad_import(tmp_path, raw(2)[0], ["a"], "not a matrix")
    bad_import(tmp_path, np.array([[1, 2]]), ["a"], "int64")
    with pytest.raises(ModelMismatchError, match="7 numbers"):
        import_vectors(*write(tmp_path, raw(1, 7), ["a"]), tmp_path / "index", encoder=ColourEncoder())
    (tmp_path / "v.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="not a readable .npy file: it does not begin as one"):
        import_vectors(tmp_path / "v.npy", tmp_path / "names.txt", tmp_path / "index")
    (tmp_path / "v.npy").write_bytes(b"")
    with pytest.raises(DataError, match="not a readable .npy file: the file is empty"):
        import_vectors(tmp_path / "v.npy", tmp_path / "names.txt", tmp_path / "index")
    with pytest.raises(DataError, match="does not exist"):
        import_vectors(tmp_path / "none.npy", tmp_path / "names.txt", tmp_path / "index")


def test_force_is_needed_to_replace_an_index(tmp_path: Path) -> None:
    def run(*, force: bool) -> IndexReport:
        return import_vectors(*write(tmp_path, raw(2), ["a", "b"]), tmp_path / "index", IndexOptions(force=force))

    run(force=False)
    with pytest.raises(OutputError, match="exists already"):
        run(force=False)
    assert run(force=True).items == 2
