"""Queries and hits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, ImageError, ModelError, ModelMismatchError, ShapeError, UsageError
from mobileclip_kit.index.folder import IndexHeader, IndexReader, create_index, open_writer
from mobileclip_kit.index.selection import Selection
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.importing import import_vectors
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.search.hits import Hit, search
from mobileclip_kit.search.index import Index
from mobileclip_kit.search.models import find_textness, open_query_encoder
from mobileclip_kit.search.queries import (
    Term,
    combine,
    encode_queries,
    load_query_vectors,
    parse_query,
    vectors_of_items,
)
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness.vector import Textness
from tests.index.vectors import unit_rows
from tests.indexing.fakes import COLOURS, DIM, ColourEncoder, draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        draw(tmp_path / "photos" / f"{name}.png", colour)
    draw(tmp_path / "photos" / "trip" / "crimson.png", (200, 10, 30))
    return tmp_path / "photos"


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    update_index(photos, ColourEncoder(model_path="colours"), tmp_path / "index")
    return tmp_path / "index"


def items(hits: list[Hit]) -> list[str]:
    return [hit.item for hit in hits]


def test_words_find_their_images(folder: Path) -> None:
    with IndexReader(folder) as index:
        red, green = search(index, encode_queries(ColourEncoder(), ["a red thing", "green"]), 2)
    assert items(red) == ["red.png", "trip/crimson.png"]
    assert items(green)[0] == "green.png"
    assert [hit.rank for hit in red] == [1, 2]
    assert red[0].score == pytest.approx(1, abs=1e-5)


def test_scores_are_cosines_in_falling_order(folder: Path) -> None:
    queries = unit_rows(3, DIM)
    with IndexReader(folder) as index:
        for query, hits in zip(queries, search(index, queries, 10), strict=True):
            assert len(hits) == 4, "more were asked for than there are"
            for hit in hits:
                item = index.store.find(hit.item)
                assert item is not None
                assert hit.score == pytest.approx(float(query @ index.matrix[item.row]), abs=1e-6)
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True)


def test_an_empty_index_has_no_hits(tmp_path: Path) -> None:
    create_index(tmp_path / "index", IndexHeader(spec=ColourEncoder().spec))
    with IndexReader(tmp_path / "index") as index:
        assert search(index, unit_rows(2, DIM), 5) == [[], []]


def test_removed_images_are_never_hits(folder: Path) -> None:
    with open_writer(folder) as writer:
        writer.store.remove(["red.png"])
        writer.commit()
    with IndexReader(folder) as index:
        assert items(search(index, encode_queries(ColourEncoder(), ["red"]), 9)[0])[0] == "trip/crimson.png"


def test_an_image_and_an_item_find_themselves_first(folder: Path, photos: Path) -> None:
    with IndexReader(folder) as index:
        by_image = search(index, ColourEncoder().encode_images([photos / "blue.png"]), 1)[0]
        assert items(by_image) == ["blue.png"]
        likes = vectors_of_items(index, ["red.png"])
        assert items(search(index, likes, 1)[0]) == ["red.png"]
        assert items(search(index, likes, 1, without=frozenset({"red.png"}))[0]) == ["trip/crimson.png"]


def test_filters_by_folder(folder: Path) -> None:
    with IndexReader(folder) as index:
        hits = search(index, unit_rows(1, DIM), 9, allowed=index.allowed_rows(Selection(folder="trip")))[0]
    assert items(hits) == ["trip/crimson.png"]


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("a red bicycle", [Term(1, "a red bicycle")]),
        ("beach -people", [Term(1, "beach"), Term(-1, "people")]),
        ("beach at night -a crowd of people:0.5 +stars:2", [
            Term(1, "beach at night"), Term(-0.5, "a crowd of people"), Term(2, "stars")]),
        ("-people", [Term(-1, "people")]),
        ("t-shirt and rock-climbing", [Term(1, "t-shirt and rock-climbing")]),
        ("a clock at 10:30", [Term(1, "a clock at 10:30")]),
        ("1 + 1 - 2", [Term(1, "1 + 1 - 2")]),
        ("beach -people:0", [Term(1, "beach")]),
    ],
)  # fmt: skip
def test_signed_words_are_terms_of_their_own(query: str, terms: list[Term]) -> None:
    assert parse_query(query) == terms


@pytest.mark.parametrize("query", ["", "   ", "\n", "-people:0", "+", "   -  ", "- +", "+-"])
def test_empty_queries_are_refused(query: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        parse_query(query)


def test_weights_combine_as_by_hand() -> None:
    np.testing.assert_allclose(combine([1, -0.75], np.eye(2, dtype=np.float32)), [0.8, -0.6], atol=1e-7)
    with pytest.raises(UsageError, match="cancel"):
        combine([1, -1], np.ones((2, 1), np.float32))


@pytest.mark.parametrize("size", [1e300, 1e-9])
def test_only_the_ratio_of_weights_counts(size: float) -> None:
    combined = combine([4 * size, -3 * size], np.eye(2, dtype=np.float32))
    np.testing.assert_allclose(combined, [0.8, -0.6], atol=1e-7)


def test_a_weight_that_no_number_holds_is_refused() -> None:
    with pytest.raises(UsageError, match="weight of 'dog'"):
        parse_query(f"cat -dog:{'9' * 400}")


def test_taking_a_colour_away_moves_the_query_from_it() -> None:
    encoder = ColourEncoder()
    plain, without = encode_queries(encoder, ["grey", "grey -red:0.3"])
    red = encoder.encode_texts(["red"])[0]
    assert without @ red < plain @ red
    assert np.linalg.norm(without) == pytest.approx(1, abs=1e-6)


def test_templates_are_averaged() -> None:
    encoder = ColourEncoder()
    mean = encoder.encode_texts(["red blue", "red green"]).mean(axis=0)
    found = encode_queries(encoder, ["red"], templates=["{} blue", "{} green"])[0]
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)
    with pytest.raises(UsageError, match="template"):
        encode_queries(encoder, ["red"], templates=["a photo"])


def test_an_image_beside_words_is_added(photos: Path) -> None:
    encoder = ColourEncoder()
    image = encoder.encode_images([photos / "blue.png"])
    both = encode_queries(encoder, ["red"], beside=image)[0]
    expected = image[0] + encoder.encode_texts(["red"])[0]
    np.testing.assert_allclose(both, expected / np.linalg.norm(expected), atol=1e-6)


def test_bad_questions_are_refused(folder: Path, tmp_path: Path) -> None:
    with IndexReader(folder) as index:
        with pytest.raises(UsageError, match="at least 1"):
            search(index, unit_rows(1, DIM), 0)
        with pytest.raises(ShapeError):
            search(index, unit_rows(1, DIM + 1))
        with pytest.raises(DataError, match="'none.png' is not in the index"):
            vectors_of_items(index, ["none.png"])
    with pytest.raises(ImageError):
        ColourEncoder().encode_images([tmp_path / "none.png"])


def test_query_vectors_are_scaled_and_named(tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", (5 * unit_rows(2, DIM)).astype(np.float16))
    (tmp_path / "q.txt").write_text("dog\ncat\n")
    labels, vectors = load_query_vectors(tmp_path / "q.npy", tmp_path / "q.txt", DIM)
    assert labels == ["dog", "cat"]
    np.testing.assert_allclose(vectors, unit_rows(2, DIM), atol=1e-3)
    assert load_query_vectors(tmp_path / "q.npy", None, DIM)[0] == ["vector 0", "vector 1"]
    with pytest.raises(ModelMismatchError, match="6 numbers"):
        load_query_vectors(tmp_path / "q.npy", None, DIM + 1)
    (tmp_path / "q.txt").write_text("dog\n")
    with pytest.raises(DataError, match=r"1 name\."):
        load_query_vectors(tmp_path / "q.npy", tmp_path / "q.txt", DIM)
    np.save(tmp_path / "q.npy", np.full((1, DIM), np.nan))
    with pytest.raises(DataError, match="not finite"):
        load_query_vectors(tmp_path / "q.npy", None, DIM)


def test_the_model_is_found_and_checked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake_open(place: str, **_: object) -> ColourEncoder:
        asked.append(place)
        if place == "gone":
            raise ModelError("There is no model gone.")
        return ColourEncoder(model_hash="dead" if place == "other" else "c0ffee")

    monkeypatch.setattr("mobileclip_kit.search.models.open_encoder", fake_open)
    with IndexReader(folder) as index:
        open_query_encoder(index, None)
        open_query_encoder(index, "moved")
        assert asked == ["colours", "moved"]
        with pytest.raises(ModelMismatchError):
            open_query_encoder(index, "other")
        with pytest.raises(ModelError, match="no model gone"):
            open_query_encoder(index, "gone")
    create_index(tmp_path / "bare", IndexHeader(spec=ColourEncoder().spec))
    with IndexReader(tmp_path / "bare") as index, pytest.raises(ModelError, match="does not say which model"):
        open_query_encoder(index, None)
    create_index(tmp_path / "lost", IndexHeader(spec=ColourEncoder().spec, model="gone"))
    with (
        IndexReader(tmp_path / "lost") as index,
        pytest.raises(ModelError, match="model of the index .* cannot be opened"),
    ):
        open_query_encoder(index, None)


def test_the_textness_vector_is_found_and_checked(folder: Path, tmp_path: Path) -> None:
    def write(path: Path, model_hash: str) -> None:
        Textness(model="m", model_hash=model_hash, directions={"probe": unit_rows(1, DIM)[0]}).save(path)

    with IndexReader(folder) as index:
        with pytest.raises(UsageError, match="textness fit"):
            find_textness(index, None)
        write(folder / "textness.json", "c0ffee")
        np.testing.assert_allclose(find_textness(index, None).vector, unit_rows(1, DIM)[0], atol=1e-7)
        write(tmp_path / "other.json", "dead")
        with pytest.raises(ModelMismatchError):
            find_textness(index, tmp_path / "other.json")


def test_an_index_of_vectors_alone_answers(tmp_path: Path) -> None:
    spec = ModelSpec(name="v", embedding_dim=2, image=None, text=None, model_hash="x")
    create_index(tmp_path / "i", IndexHeader(spec=spec))
    with open_writer(tmp_path / "i") as writer:
        writer.matrix.append(np.eye(2, dtype=np.float32))
        writer.store.put(Item(name="across", row=0))
        writer.store.put(Item(name="up\nwards", row=1))
        writer.commit()
    with IndexReader(tmp_path / "i") as index:
        hits = search(index, np.array([[0.6, 0.8]], np.float32), 5)[0]
    assert hits == [Hit(1, "up\nwards", pytest.approx(0.8)), Hit(2, "across", pytest.approx(0.6))]


def test_equal_scores_are_in_the_order_of_their_names_for_every_number_of_hits(tmp_path: Path) -> None:
    names = [f"{number * 7 % 40:02d}.png" for number in range(40)]
    rows = np.repeat(unit_rows(2, DIM), 20, axis=0)
    rows[::3] *= 1 + 1e-7  # as if encoded in another batch
    create_index(tmp_path / "index", IndexHeader(spec=ColourEncoder().spec))
    with open_writer(tmp_path / "index") as writer:
        writer.matrix.append(rows)
        for row, name in enumerate(names):
            writer.store.put(Item(name=name, row=row))
        writer.commit()
    with IndexReader(tmp_path / "index") as index:
        every = items(search(index, rows[:1], 40)[0])
        assert every == sorted(names[:20]) + sorted(names[20:])
        for k in (1, 3, 4, 8, 19, 20, 21, 39):
            assert items(search(index, rows[:1], k)[0]) == every[:k]
            assert items(search(index, rows[:1], k, without=frozenset(every[:2]))[0]) == every[2 : k + 2]


@pytest.fixture
def imported(photos: Path, tmp_path: Path) -> Path:
    """An index of vectors whose model is not named, made by the colour encoder from the photos."""
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    np.save(tmp_path / "vectors.npy", ColourEncoder().encode_images([photos / name for name in names]))
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    import_vectors(tmp_path / "vectors.npy", tmp_path / "names.txt", tmp_path / "imported", images=photos)
    return tmp_path / "imported"


def test_imported_vectors_are_asked_in_words_by_the_model_that_made_them(
    imported: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.search.models.open_model", lambda *_, **__: ColourEncoder())
    with Index(imported, "colours") as index:
        assert index.search("a red thing", k=1)[0].item == "red.png"
    with Index(imported, ColourEncoder()) as index:
        assert index.search("green", k=1)[0].item == "green.png"
    with IndexReader(imported) as reader, pytest.raises(ModelError) as caught:
        open_query_encoder(reader, None)
    assert caught.value.hint is not None and caught.value.hint.startswith("Pass --model M")
    shutil.rmtree(photos)  # with which a model could be compared
    with IndexReader(imported) as reader, pytest.raises(ModelError) as caught:
        open_query_encoder(reader, None)
    assert caught.value.hint is not None and caught.value.hint.startswith("Build it again from the vectors with")


def test_a_model_that_did_not_make_the_imported_vectors_is_refused(
    imported: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Turned(ColourEncoder):
        def _run_images(self, pixels: np.ndarray) -> np.ndarray:
            return np.roll(super()._run_images(pixels), 1, axis=1)

    monkeypatch.setattr("mobileclip_kit.search.models.open_model", lambda *_, **__: Turned())
    with IndexReader(imported) as index:
        with pytest.raises(ModelMismatchError, match="did not make the vectors"):
            open_query_encoder(index, "turned")
        shutil.rmtree(photos)
        with pytest.raises(ModelError, match="none of its images is there") as caught:
            open_query_encoder(index, "turned")
    assert caught.value.hint is not None and "--images FOLDER" in caught.value.hint
