"""Dropping the rows of removed items."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import IndexFormatError
from mobileclip_kit.index.folder import IndexHeader, IndexReader, create_index, open_writer
from mobileclip_kit.index.store import Item, Store
from mobileclip_kit.spec import ModelSpec
from tests.index.older import age
from tests.index.vectors import unit_rows

DIM = 8
HEADER = IndexHeader(spec=ModelSpec(name="m", embedding_dim=DIM, image=None, text=None, model_hash="ff"))
VECTORS = unit_rows(6, DIM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Items a…f in rows 5…0, of which b, d and f are gone."""
    create_index(tmp_path / "index", HEADER)
    with open_writer(tmp_path / "index") as writer:
        writer.matrix.append(VECTORS)
        for row, name in enumerate("fedcba"):
            writer.store.put(Item(name=name, row=row))
        writer.store.remove(["b", "d", "f"])
        writer.store.put(Item(name="broken", reason="damaged"))
        writer.commit()
    return tmp_path / "index"


def vectors(folder: Path) -> dict[str, list[float]]:
    with IndexReader(folder) as index:
        return {item.name: index.matrix[item.row].tolist() for item in index.store.items() if item.row is not None}


def test_living_items_keep_their_vectors_and_the_rest_goes(folder: Path) -> None:
    before = vectors(folder)
    with open_writer(folder) as writer:
        assert writer.compact() == 3
        assert writer.compact() == 0
        writer.store.put(Item(name="new", row=writer.matrix.append(VECTORS[:1])))
        writer.commit()
    assert vectors(folder) == before | {"new": VECTORS[0].tolist()}
    assert [path.name for path in folder.glob("*.f32")] == ["vectors-1.f32"]
    with IndexReader(folder) as index:
        assert len(index.matrix) == 4
        assert index.allowed_rows() is None
        assert [item.name for item in index.store.failures()] == ["broken"]


def test_a_copy_that_a_kill_left_unfinished_does_not_count(folder: Path) -> None:
    before = vectors(folder)
    (folder / "vectors-1.f32").write_bytes(b"half")
    assert vectors(folder) == before
    with open_writer(folder) as writer:
        writer.compact()
    assert vectors(folder) == before


def test_a_matrix_that_a_kill_left_behind_goes_with_the_next_writer(folder: Path) -> None:
    with open_writer(folder) as writer:
        writer.compact()
    (folder / "vectors.f32").write_bytes(b"old")
    (folder / ".hnsw-0-9.faiss.x1y2.part").write_bytes(b"half a graph")
    with open_writer(folder):
        pass
    assert not list(folder.glob(".*"))
    assert [path.name for path in folder.glob("*.f32")] == ["vectors-1.f32"]


def test_readers_that_are_open_keep_their_vectors_but_give_no_wrong_names(folder: Path) -> None:
    with IndexReader(folder) as index:
        assert index.names_of([1, 3]) == {1: "e", 3: "c"}
        with open_writer(folder) as writer:
            writer.compact()
        np.testing.assert_array_equal(index.matrix, VECTORS)
        assert not index.is_current()
        with pytest.raises(IndexFormatError, match="compacted"):
            index.names_of([1, 3])


def test_indexes_of_the_first_version_are_read_and_brought_up_to_date(folder: Path) -> None:
    before = vectors(folder)
    age(folder, 1)
    assert vectors(folder) == before
    with contextlib.closing(Store.open(folder / "items.sqlite", writable=False)) as store:
        assert store.generation == 0
    with open_writer(folder) as writer:
        assert writer.compact() == 3
    assert vectors(folder) == before
