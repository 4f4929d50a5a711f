"""Vectors to and from clip-retrieval's layout."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.cli.entry import main
from mobileclip_kit.errors import DataError, MissingExtraError, OutputError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing.dumping import dump_index
from mobileclip_kit.indexing.importing import import_clip_retrieval, import_vectors
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.photo_facts import PhotoFacts
from mobileclip_kit.search.index import Index
from tests.indexing.fakes import DIM, ColourEncoder, draw_many
from tests.indexing.test_importing import raw, write

parquet = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")


def write_part(folder: Path, number: int, vectors: np.ndarray, **columns: list[str]) -> None:
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors.astype(np.float16))
    parquet.write_table(pa.table(columns), folder / "metadata" / f"metadata_{number}.parquet")


def load(folder: Path, out: Path, **options: object) -> IndexReport:
    return import_clip_retrieval(folder, out, **options)


def test_numbered_parts_come_in_their_order(tmp_path: Path) -> None:
    write_part(tmp_path / "e", 10, raw(1)[:1], image_path=["/photos/c.jpg"], caption=["x"])
    write_part(tmp_path / "e", 2, raw(3)[1:], image_path=["/photos/a.jpg", "/photos/b.jpg"], caption=["x", "y"])
    report = load(tmp_path / "e", tmp_path / "i")
    assert (report.items, report.failed) == (3, [])
    with IndexReader(tmp_path / "i") as index:
        assert index.names_of([0, 1, 2]) == {0: "/photos/a.jpg", 1: "/photos/b.jpg", 2: "/photos/c.jpg"}
        expected = raw(3)[1] / np.linalg.norm(raw(3)[1])
        np.testing.assert_allclose(index.matrix[0], expected, atol=1e-3)
        assert index.spec.model_hash.startswith("vectors:")


def test_paths_become_relative_to_the_given_folder(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 2)
    paths = [str(tmp_path / "photos" / "0000.png"), str(tmp_path / "photos" / "gone.png")]
    write_part(tmp_path / "e", 0, raw(2), image_path=paths)
    report = load(tmp_path / "e", tmp_path / "i", images=tmp_path / "photos", encoder=ColourEncoder())
    assert (report.items, [item.name for item in report.failed]) == (1, ["gone.png"])
    assert update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", IndexOptions(prune=True)).added == 1


@pytest.mark.parametrize("damage", [{"model": None}, {"model": []}, {"images": 7}])
def test_a_damaged_description_is_told(tmp_path: Path, damage: dict[str, object]) -> None:
    write_part(tmp_path / "e", 0, raw(1), image_path=["a.png"])
    (tmp_path / "e" / "vectors.json").write_text(json.dumps(damage))
    with pytest.raises(DataError, match=r"vectors\.json: (model|images) is .* it must be"):
        load(tmp_path / "e", tmp_path / "i")


def test_paths_that_begin_with_the_folder_as_it_was_given_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clip-retrieval writes ``photos/a.png`` when it was run on ``photos``."""
    monkeypatch.chdir(tmp_path)
    draw_many(tmp_path / "photos", 2)
    draw_many(tmp_path / "photos" / "photos", 1)
    paths = ["photos/0000.png", "photos/0001.png"]
    write_part(tmp_path / "e", 0, raw(2), image_path=paths)
    load(tmp_path / "e", tmp_path / "i", images=Path("photos"))
    with IndexReader(tmp_path / "i") as index:
        assert [item.name for item in index.store.items()] == ["0001.png", "photos/0000.png"]


def test_an_index_goes_out_and_comes_back(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 5)
    update_index(tmp_path / "photos", ColourEncoder(model_path="somewhere"), tmp_path / "i")
    assert dump_index(tmp_path / "i", tmp_path / "e").items == 5
    table = parquet.read_table(tmp_path / "e" / "metadata" / "metadata_0.parquet")
    assert table.column("image_path").to_pylist()[0] == str(tmp_path / "photos" / "0000.png")
    assert np.load(tmp_path / "e" / "img_emb" / "img_emb_0.npy").dtype == np.float16
    load(tmp_path / "e", tmp_path / "back")
    with IndexReader(tmp_path / "i") as index, IndexReader(tmp_path / "back") as back:
        assert back.header == index.header
        for item in index.store.items():
            twin = back.store.find(item.name)
            assert twin is not None
            assert twin.sha256 == sha256_of_file(tmp_path / "photos" / item.name)
            np.testing.assert_allclose(back.matrix[twin.row], index.matrix[item.row], atol=1e-3)


def test_vectors_and_names_for_numpy_come_back_exactly(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i")
    dump_index(tmp_path / "i", tmp_path / "v", layout="npy")
    import_vectors(tmp_path / "v" / "vectors.npy", tmp_path / "v" / "names.json", tmp_path / "back")
    with IndexReader(tmp_path / "i") as index, IndexReader(tmp_path / "back") as back:
        np.testing.assert_allclose(back.matrix, index.matrix, atol=1e-6)
        assert json.loads((tmp_path / "v" / "names.json").read_text()) == list(back.names_of([0, 1, 2]).values())
    with pytest.raises(OutputError, match="exists already"):
        dump_index(tmp_path / "i", tmp_path / "v")
    dump_index(tmp_path / "i", tmp_path / "v", force=True)


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names must be UTF-8 there")
def test_names_that_are_not_utf8_are_left_out_and_listed(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 1)
    (tmp_path / "photos" / "0000.png").rename(tmp_path / "photos" / os.fsdecode(b"bad\xff.png"))
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i")
    dumped = dump_index(tmp_path / "i", tmp_path / "e")
    assert (dumped.items, dumped.left_out) == (0, ["bad\\xff.png"])


def test_what_is_not_such_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="holds no img_emb"):
        load(tmp_path, tmp_path / "i")
    write_part(tmp_path / "e", 0, raw(1), caption=["x"])
    with pytest.raises(DataError, match="none of the columns image_path"):
        load(tmp_path / "e", tmp_path / "i")
    write_part(tmp_path / "e", 0, raw(1), key=["x", "y"])
    with pytest.raises(DataError, match="1 vector,.*2 names"):
        load(tmp_path / "e", tmp_path / "i")
    write_part(tmp_path / "e", 1, raw(1, DIM + 1), key=["z"])
    write_part(tmp_path / "e", 0, raw(1), key=["x"])
    with pytest.raises(DataError, match="7 numbers"):
        load(tmp_path / "e", tmp_path / "i")
    write_part(tmp_path / "e", 1, raw(1), key=["x"])
    with pytest.raises(DataError, match="'x' 2 times"):
        load(tmp_path / "e", tmp_path / "i")
    (tmp_path / "e" / "metadata" / "metadata_0.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable parquet"):
        load(tmp_path / "e", tmp_path / "i")
    (tmp_path / "e" / "metadata" / "metadata_0.parquet").unlink()
    with pytest.raises(DataError, match="is missing"):
        load(tmp_path / "e", tmp_path / "i")
    (tmp_path / "e" / "metadata" / "metadata_0.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"\.\[parquet\]"):
        load(tmp_path / "e", tmp_path / "i")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("layout", ["npy", "clip-retrieval"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str) -> None:
    """A limit on the size of files stands for the full disk: both reach numpy as a failed write."""
    resource = pytest.importorskip("resource")
    import_vectors(*write(tmp_path, raw(4000), [str(row) for row in range(4000)]), tmp_path / "i")
    capsys.readouterr()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        with pytest.raises(SystemExit, match="1"):
            main(["dump", str(tmp_path / "i"), "--format", layout, "-o", str(tmp_path / "v")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err
    assert said.startswith("error: A file has become larger than this place allows (") and ".npy)" in said
    assert not (tmp_path / "v").exists()


def test_a_parquet_dump_is_searched_by_lancedb_as_the_documentation_says(tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb")
    dataset = pytest.importorskip("pyarrow.dataset")
    draw_many(tmp_path / "photos", 30)
    encoder = ColourEncoder()
    update_index(tmp_path / "photos", encoder, tmp_path / "index")
    dump_index(tmp_path / "index", tmp_path / "table", layout="parquet")
    images = dataset.dataset(tmp_path / "table" / "images", format="parquet")
    table = lancedb.connect(tmp_path / "lance").create_table("images", images.to_batches(), schema=images.schema)
    vector = encoder.encode_texts("a red square")[0]
    hits = table.search(vector).distance_type("dot").limit(5).to_list()
    with Index(tmp_path / "index", encoder) as index:
        expected = index.search_vectors(vector[None], k=5)[0]
    dump_index(tmp_path / "index", tmp_path / "database", layout="lance")
    dumped = lancedb.connect(tmp_path / "database").open_table("images")
    assert dumped.to_arrow() == table.to_arrow()
    assert [hit["name"] for hit in hits] == [hit.item for hit in expected]
    assert hits[0]["path"] == str(tmp_path / "photos" / hits[0]["name"])
    np.testing.assert_allclose([1 - hit["_distance"] for hit in hits], [hit.score for hit in expected], atol=1e-6)


def test_a_parquet_dump_of_an_empty_index_has_its_columns(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 1)
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "index")
    (tmp_path / "photos" / "0000.png").unlink()
    update_index(tmp_path / "photos", ColourEncoder(), tmp_path / "index", IndexOptions(prune=True))
    dump_index(tmp_path / "index", tmp_path / "table", layout="parquet")
    table = parquet.read_table(tmp_path / "table" / "images")
    assert (table.num_rows, table.column_names[:3]) == (0, ["name", "path", "vector"])
    assert table.column_names[3:] == [each.name for each in dataclasses.fields(PhotoFacts)]
