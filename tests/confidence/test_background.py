"""The background texts of an index, on disk."""

from __future__ import annotations

import json
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mobileclip_kit.confidence.background as background_module
from mobileclip_kit.confidence.background import (
    BACKGROUND_FILE,
    LEAST_IMAGES,
    Background,
    open_background,
    refresh_background,
)
from mobileclip_kit.confidence.bank import bank_texts
from mobileclip_kit.errors import IndexFormatError
from mobileclip_kit.index.folder import IndexReader, open_writer
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.importing import import_vectors
from tests.confidence.words import WordEncoder, make_word_index
from tests.index.vectors import unit_rows


@pytest.fixture
def background() -> Background:
    about = {"model_hash": "abc", "bank": "b", "images": 50, "generation": 0, "rows": 50}
    return Background.measure(unit_rows(7, 6), unit_rows(50, 6), **about)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return make_word_index(tmp_path / "index")


def refresh(index: Path, encoder: WordEncoder | None) -> str | None:
    with open_writer(index) as writer:
        return refresh_background(writer, encoder, WordEncoder().spec.model_hash)


def add(index: Path, count: int) -> None:
    with open_writer(index) as writer:
        row = writer.matrix.append(unit_rows(count, WordEncoder().spec.embedding_dim))
        for offset in range(count):
            writer.store.put(Item(name=f"more/{row + offset}.png", row=row + offset))
        writer.commit()


def test_statistics_are_those_of_all_scores(background: Background) -> None:
    scores = unit_rows(50, 6).astype(np.float64) @ background.texts.T
    np.testing.assert_allclose(background.best, scores.max(axis=0), atol=1e-5)
    np.testing.assert_allclose(background.mean, scores.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(background.deviation, scores.std(axis=0), atol=1e-5)


def test_the_file_is_read_as_it_was_written(background: Background, tmp_path: Path) -> None:
    background.write(tmp_path / BACKGROUND_FILE)
    read = Background.read(tmp_path / BACKGROUND_FILE)
    for name, value in vars(background).items():
        np.testing.assert_array_equal(getattr(read, name), value)


def test_safetensors_reads_the_file(background: Background, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    background.write(tmp_path / BACKGROUND_FILE)
    arrays = safetensors.load_file(tmp_path / BACKGROUND_FILE)
    assert arrays["texts"].dtype == np.float16
    np.testing.assert_array_equal(arrays["texts"], background.texts)
    np.testing.assert_array_equal(arrays["image_covariance"], background.image_covariance)


@pytest.mark.parametrize("size", [0, 5, 100, -4])
def test_a_truncated_file_is_refused(background: Background, tmp_path: Path, size: int) -> None:
    path = tmp_path / BACKGROUND_FILE
    background.write(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(IndexFormatError, match="is damaged"):
        Background.read(path)


def test_numbers_that_are_not_finite_are_refused(background: Background, tmp_path: Path) -> None:
    replace(background, mean=np.full(7, np.nan, np.float32)).write(tmp_path / BACKGROUND_FILE)
    with pytest.raises(IndexFormatError, match="mean holds numbers that are not finite"):
        Background.read(tmp_path / BACKGROUND_FILE)


def test_a_changed_bit_is_noticed(background: Background, tmp_path: Path) -> None:
    path = tmp_path / BACKGROUND_FILE
    background.write(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFormatError, match="do not have its checksum"):
        Background.read(path)


def test_an_empty_bank_is_refused(background: Background, tmp_path: Path) -> None:
    none = {name: getattr(background, name)[:0] for name in ("texts", "best", "mean", "deviation")}
    replace(background, **none).write(tmp_path / "file")
    with pytest.raises(IndexFormatError, match="it holds no texts"):
        Background.read(tmp_path / "file")


def test_another_version_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"kind": "background", "format_version": "2"}}).encode()
    (tmp_path / BACKGROUND_FILE).write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(IndexFormatError, match="format version 2"):
        Background.read(tmp_path / BACKGROUND_FILE)


def test_an_unchanged_index_keeps_its_background(index: Path) -> None:
    encoder, before = WordEncoder(), (index / BACKGROUND_FILE).stat().st_mtime_ns
    assert refresh(index, encoder) is None
    assert encoder.encoded == 0
    assert (index / BACKGROUND_FILE).stat().st_mtime_ns == before


def test_an_index_that_grew_is_measured_again_without_encoding_the_texts_again(index: Path) -> None:
    add(index, 20)
    refresh(index, None)
    assert Background.read(index / BACKGROUND_FILE).images == 240, "a twelfth more is not enough"
    add(index, 20)
    refresh(index, None)
    assert Background.read(index / BACKGROUND_FILE).images == 280


@pytest.mark.parametrize(("data", "reason"), [(b"", "it is empty"), (b"damaged", "it is cut off"), (b"12345678", "")])
def test_a_damaged_background_is_made_anew(index: Path, data: bytes, reason: str) -> None:
    (index / BACKGROUND_FILE).write_bytes(data)
    with IndexReader(index) as reader:
        found, problem = open_background(reader)
    assert found is None and problem is not None and f"is damaged: {reason}" in problem
    assert refresh(index, WordEncoder()) is None
    assert Background.read(index / BACKGROUND_FILE).images == 240


def test_another_index_of_the_model_takes_the_text_vectors_of_the_cache_folder(index: Path) -> None:
    before = Background.read(index / BACKGROUND_FILE)
    (index / BACKGROUND_FILE).unlink()
    encoder = WordEncoder()
    assert refresh(index, encoder) is None
    assert encoder.encoded == 0
    again = Background.read(index / BACKGROUND_FILE)
    np.testing.assert_array_equal(again.texts, before.texts)
    np.testing.assert_array_equal(again.best, before.best)


def test_a_damaged_file_in_the_cache_folder_counts_as_none(index: Path) -> None:
    (cached,) = (background_module.cache_folder() / "backgrounds").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    (index / BACKGROUND_FILE).unlink()
    encoder = WordEncoder()
    assert refresh(index, encoder) is None
    assert encoder.encoded == len(bank_texts())


def test_the_cache_folder_keeps_few_models_and_is_not_needed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "_MOST_CACHED", 1)
    folder = background_module.cache_folder() / "backgrounds"
    (folder / "old.safetensors").touch()
    os.utime(folder / "old.safetensors", (0, 0))
    for file in (index / BACKGROUND_FILE, *folder.glob("[!o]*")):
        file.unlink()
    assert refresh(index, WordEncoder()) is None
    assert len(list(folder.iterdir())) == 1 and not (folder / "old.safetensors").exists()
    monkeypatch.setattr(background_module, "cache_folder", lambda: Path("/dev/null/here"))
    (index / BACKGROUND_FILE).unlink()
    assert refresh(index, WordEncoder()) is None


def test_a_small_index_says_that_it_is_too_small(tmp_path: Path) -> None:
    index = make_word_index(tmp_path / "small", 3)
    with IndexReader(index) as reader:
        found, problem = open_background(reader)
    assert found is None
    assert problem == f"Hits have no confidence: 3 images are too few to calibrate it; {LEAST_IMAGES} are needed."


def test_an_index_of_an_older_version_says_how_to_add_a_background(index: Path) -> None:
    (index / BACKGROUND_FILE).unlink()
    with IndexReader(index) as reader:
        assert "The next `mckit index` makes one." in str(open_background(reader)[1])
    shutil.rmtree(background_module.cache_folder())
    assert "no text tower" in str(refresh(index, None))


def test_imported_vectors_of_an_unknown_model_have_a_hint_that_works(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_rows(120, 8))
    (tmp_path / "n.txt").write_text("\n".join(map(str, range(120))))
    report = import_vectors(tmp_path / "v.npy", tmp_path / "n.txt", tmp_path / "index")
    with IndexReader(tmp_path / "index") as index:
        background, problem = open_background(index)
    assert background is None and problem is not None and problem.endswith("from them, with --model M.")
    assert report.confidence_problem == problem


def test_the_bank_names_each_text_once() -> None:
    texts = bank_texts()
    assert len(texts) == len(set(texts)) > 1000
    assert {"a dog", "an orange", "an hourglass", "a unicorn", "an umbrella", "a red car", "grass"} <= set(texts)
