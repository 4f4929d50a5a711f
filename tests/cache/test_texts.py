"""Text vectors beside a cache's image vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.cache.build import import_vectors
from mobileclip_kit.cache.texts import TEXTS_FOLDER, import_text_vectors, open_texts, text_vectors
from mobileclip_kit.errors import CacheError, DataError
from tests.cache.test_cache import draw, write_vectors


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    images = draw(tmp_path / "images", 3)
    given = write_vectors(tmp_path, np.eye(3, 4, dtype=np.float32), [f"{row:02d}.png" for row in range(3)])
    import_vectors(images, out=tmp_path / "cache", **given)
    return tmp_path / "cache"


def bank(folder: Path, count: int, width: int = 4) -> tuple[Path, Path]:
    np.save(folder / "t.npy", np.arange(count * width, dtype=np.float32).reshape(count, width) + 1)
    (folder / "t.txt").write_text("\n".join(f"text {row}" for row in range(count)) + "\n")
    return folder / "t.npy", folder / "t.txt"


def test_imported_texts_come_back_and_are_extended(tmp_path: Path, cache: Path) -> None:
    assert import_text_vectors(cache, *bank(tmp_path, 2)) == 2
    assert import_text_vectors(cache, *bank(tmp_path, 3)) == 1
    found = text_vectors(open_texts(cache), ["text 2", "text 0"], cache)
    assert found.tolist() == [[9, 10, 11, 12], [1, 2, 3, 4]]


def test_corrected_text_vectors_replace_those_that_changed(tmp_path: Path, cache: Path) -> None:
    vectors, texts = bank(tmp_path, 3)
    import_text_vectors(cache, vectors, texts)
    np.save(vectors, np.load(vectors) * [[1], [-1], [1]])
    assert import_text_vectors(cache, vectors, texts) == 1
    assert text_vectors(open_texts(cache), ["text 1", "text 2"], cache).tolist() == [[-5, -6, -7, -8], [9, 10, 11, 12]]


def test_a_vector_that_is_not_finite_leaves_the_texts_as_they_were(tmp_path: Path, cache: Path) -> None:
    vectors, texts = bank(tmp_path, 3)
    import_text_vectors(cache, vectors, texts)
    np.save(vectors, np.load(vectors) * [[-1], [1], [np.nan]])
    with pytest.raises(CacheError, match="Row 2 of .*, the vector of 'text 2', is not finite"):
        import_text_vectors(cache, vectors, texts)
    assert text_vectors(open_texts(cache), ["text 0"], cache).tolist() == [[1, 2, 3, 4]]


def test_rows_that_fit_neither_texts_nor_cache_are_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="2 × 5 numbers for 2 texts of a cache 4 wide"):
        import_text_vectors(cache, *bank(tmp_path, 2, width=5))
    vectors, texts = bank(tmp_path, 3)
    texts.write_text("only one\n")
    with pytest.raises(DataError, match="3 × 4 numbers for 1 text of"):
        import_text_vectors(cache, vectors, texts)
    assert open_texts(cache) is None


def test_an_altered_shard_of_texts_is_named(tmp_path: Path, cache: Path) -> None:
    import_text_vectors(cache, *bank(tmp_path, 2))
    shard = cache / TEXTS_FOLDER / "shards" / "00000.npy"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(CacheError, match=r"texts/shards/00000.npy is not what cache.json recorded"):
        open_texts(cache)
