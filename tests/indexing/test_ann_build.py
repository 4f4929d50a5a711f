"""When an index gets a derived one, when it is made anew, and what it is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, ModelMismatchError
from mobileclip_kit.index.folder import IndexReader, open_writer
from mobileclip_kit.indexing import deriving as module
from mobileclip_kit.indexing.deriving import common_words, query_vectors_for
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from tests.index.vectors import unit_rows
from tests.indexing.fakes import DIM, ColourEncoder, draw, draw_many


def faiss_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.faiss"))


def test_small_indexes_are_scanned_and_say_so(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    report = update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i")
    assert report.search is not None
    assert report.search.sentence().startswith("Search: flat. 3 vectors of 6 numbers")
    assert report.to_json()["search"] == {"kind": "flat", "reason": report.search.reason, "warnings": []}
    assert faiss_files(tmp_path / "i") == []


def test_a_kind_that_was_asked_for_is_measured_with_texts_kept_and_renewed(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 60)
    report = update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", IndexOptions(kind="hnsw"))
    search = report.to_json()["search"]
    assert (search["kind"], search["rows"], search["measured_with"]) == ("hnsw", 60, "256 texts")
    assert search["recall_at_10"] == 1
    assert faiss_files(tmp_path / "i") == ["hnsw-0-60.faiss"]

    for number in range(3):
        draw(tmp_path / "photos" / f"late{number}.png", (number, 9, 200))
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i")
    assert faiss_files(tmp_path / "i") == ["hnsw-0-60.faiss"], "three of 63 rows are scanned beside it"
    with IndexReader(tmp_path / "i") as index:
        item = index.store.find("late1.png")
        assert item is not None and item.row is not None
        assert item.row in index.nearest(index.matrix[item.row][None], 3)[1]
    for number in range(9):
        draw(tmp_path / "photos" / f"later{number}.png", (number, 99, 200))
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i")
    assert faiss_files(tmp_path / "i") == ["hnsw-0-72.faiss"]
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", IndexOptions(kind="flat"))
    assert faiss_files(tmp_path / "i") == []
    with IndexReader(tmp_path / "i") as index:
        assert index.derived is None


def test_a_derived_file_that_was_lost_is_made_again(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 20)
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", IndexOptions(kind="flat-int8"))
    (tmp_path / "i" / "flat-int8-0-20.faiss").unlink()
    with IndexReader(tmp_path / "i") as index:
        assert index.derived is None
        assert index.nearest(index.matrix[:1], 1)[1].tolist() == [[0]]
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i")
    assert faiss_files(tmp_path / "i") == ["flat-int8-0-20.faiss"]


def test_an_update_compacts_what_is_mostly_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_many(tmp_path / "photos", 20)
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", IndexOptions(kind="flat-float16"))
    for number in range(4):
        (tmp_path / "photos" / f"{number:04d}.png").unlink()
    report = update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i")
    assert (report.removed, report.compacted) == (4, 0)
    report = update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", IndexOptions(compact=True))
    assert report.compacted == 4
    assert faiss_files(tmp_path / "i") == ["flat-float16-1-16.faiss"]
    monkeypatch.setattr(module, "_COMPACT_LEAST_ROWS", 5)
    for number in range(4, 12):
        (tmp_path / "photos" / f"{number:04d}.png").unlink()
    assert update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", IndexOptions(prune=True)).compacted == 8
    with open_writer(tmp_path / "i") as writer:
        assert writer.matrix.rows == 8


def test_questions_are_texts_given_vectors_or_the_rows_themselves(tmp_path: Path) -> None:
    matrix = unit_rows(40, DIM)
    assert query_vectors_for(ColourEncoder())(matrix).what == "256 texts"
    np.save(tmp_path / "q.npy", 3 * unit_rows(7, DIM))
    given = query_vectors_for(ColourEncoder(), tmp_path / "q.npy")(matrix)
    assert given.what == "7 given vectors"
    np.testing.assert_allclose(given.vectors, unit_rows(7, DIM), atol=1e-6)
    assert "since there were no texts" in query_vectors_for(None)(matrix).what
    np.save(tmp_path / "q.npy", unit_rows(7, DIM + 1))
    with pytest.raises(ModelMismatchError, match="7 numbers"):
        query_vectors_for(None, tmp_path / "q.npy")(matrix)
    np.save(tmp_path / "q.npy", np.zeros((2, DIM)))
    with pytest.raises(DataError, match="2 vectors that are zero"):
        query_vectors_for(None, tmp_path / "q.npy")(matrix)


def test_common_words_are_words() -> None:
    words = common_words(256)
    assert len(words) == len(set(words)) == 256
    assert all(word.isalpha() and len(word) >= 4 for word in words)
