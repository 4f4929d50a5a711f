"""Confidences of hits, on an index of animals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mobileclip_kit.cli.search import command
from mobileclip_kit.confidence.background import BACKGROUND_FILE, Background
from mobileclip_kit.confidence.scorer import confidences, default_line, features
from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.search import index as index_module
from mobileclip_kit.search.hits import certain_hits
from mobileclip_kit.search.index import Index
from mobileclip_kit.textness.vector import Textness
from tests.confidence.words import WordEncoder, make_word_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_word_index(tmp_path_factory.mktemp("confidence") / "index")


@pytest.fixture
def index(folder: Path) -> Index:
    return Index(folder, WordEncoder())


def test_what_the_library_holds_is_certain_and_what_it_lacks_is_not(index: Index) -> None:
    held, lacked = index.search("a dog"), index.search("a banana")
    assert min(hit.confidence for hit in held) > 0.5
    assert max(hit.confidence for hit in lacked) < default_line()
    assert index.confidence_problem is None


def test_a_search_can_say_nothing(index: Index) -> None:
    assert index.search("a banana", min_confidence=default_line()) == []
    assert len(index.search("a dog", min_confidence=default_line())) == 10


@pytest.mark.parametrize("query", ["a horse", "a piano", "dog -cat"])
def test_a_hit_has_the_same_confidence_for_every_number_of_hits(index: Index, query: str) -> None:
    few, many = index.search(query, k=1), index.search(query, k=25)
    assert few[0].confidence == pytest.approx(many[0].confidence, abs=1e-5)


def test_only_words_have_a_confidence(index: Index) -> None:
    hits = index.search(like="dog/000.png", min_confidence=0.9)
    assert len(hits) == 10 and {hit.confidence for hit in hits} == {None}
    assert {hit.confidence for hit in index.search("a dog", like="dog/000.png")} == {None}


@pytest.mark.parametrize("taken", ["-cat", "-white:2", "-cat -banana -horse"])
def test_words_that_are_taken_away_change_the_order_and_not_what_is_right(index: Index, taken: str) -> None:
    dogs, lacked = index.search(f"a dog {taken}"), index.search(f"a banana {taken}")
    assert len(certain_hits(dogs, default_line())) == 10
    assert certain_hits(lacked, default_line()) == []
    assert {hit.confidence for hit in index.search("-cat")} == {None}


@pytest.mark.parametrize("scale", [-1.0, 1.0])
def test_textness_changes_the_order_and_not_what_is_right(index: Index, tmp_path: Path, scale: float) -> None:
    direction = WordEncoder().encode_texts(["word"])
    path = tmp_path / "textness.json"
    Textness(model="words", model_hash="w0rd5", directions={"probe": direction[0]}).save(path)
    moved = {"textness": scale, "textness_vector": path, "min_confidence": default_line()}
    assert len(index.search("a dog", **moved)) == 10
    assert index.search("a banana", **moved) == index.search("a piano", **moved) == []


def test_a_list_of_certain_hits_ends_where_those_of_the_page_do(index: Index) -> None:
    hits = index.search("a dog", k=60)
    sure = [1.0, 0.1, 0.8, *[0.1] * 11, 0.9]
    listed = [replace(hit, confidence=confidence) for hit, confidence in zip(hits, sure, strict=False)]
    assert certain_hits(listed, 0.5) == [listed[0], listed[2]]
    assert certain_hits(listed, None) == listed


def test_vectors_to_judge_by_belong_to_the_queries(index: Index) -> None:
    vectors, judged = index.encode_judged(["a dog", "a cat -dog"])
    assert judged is not None and not np.allclose(vectors[1], judged[1])
    np.testing.assert_array_equal(vectors[0], judged[0])
    with pytest.raises(ShapeError, match="those to judge by"):
        index.search_vectors(vectors, judged=judged[:1])


def test_a_query_far_from_every_text_has_none(folder: Path) -> None:
    background = Background.read(folder / BACKGROUND_FILE)
    hits = background.texts[:3]
    far = np.linalg.svd(background.texts.astype(np.float64))[2][-1].astype(np.float32)
    assert confidences(background, far, hits) is None
    assert len(confidences(background, background.texts[0], hits[:0])) == 0


def test_only_angles_between_vectors_count(folder: Path) -> None:
    """After a rotation of all vectors, the features are the same."""
    background = Background.read(folder / BACKGROUND_FILE)
    query, hits = background.texts[1], background.texts[200:210]
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(len(query), len(query))))[0].astype(np.float32)
    turned = replace(
        background,
        texts=background.texts @ turn,
        image_mean=background.image_mean @ turn,
        image_covariance=turn.T @ background.image_covariance @ turn,
    )
    found, again = features(background, query, hits), features(turned, query @ turn, hits @ turn)
    assert found is not None and again is not None and found.shape == (10, 17)
    np.testing.assert_allclose(again, found, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("confidence", [-0.1, 1.5, float("nan"), "high"])
def test_an_impossible_confidence_is_refused(index: Index, confidence: object) -> None:
    with pytest.raises(UsageError, match="min_confidence"):
        index.search("a dog", min_confidence=confidence)


def run(folder: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(index_module, "open_query_encoder", lambda *_, **__: WordEncoder())
    result = CliRunner().invoke(command, [str(folder), *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_line_says_no_image_like_that(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(folder, "a banana", "a dog", "--min-confidence", "0.2", "-k", "3", monkeypatch=monkeypatch)
    assert "a banana\n      no image like that\na dog\n" in told
    assert "%  dog/" in told


def test_a_search_without_hits_writes_no_empty_sheet(folder: Path, tmp_path: Path) -> None:
    sheet, page = tmp_path / "hits.png", tmp_path / "hits.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "open_query_encoder", lambda *_, **__: WordEncoder())
        arguments = [str(folder), "a banana", "--min-confidence", "0.2", "--sheet", str(sheet), "--html", str(page)]
        result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0 and "no image like that" in result.stdout
    assert f"No hits; not written: {sheet}, {page}." in result.stderr
    assert not sheet.exists() and not page.exists()


def test_a_query_far_from_every_text_is_not_cut_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "open_query_encoder", lambda *_, **__: WordEncoder())
    printed = CliRunner().invoke(command, [str(folder), "--min-confidence", "0.9", "-dog"]).output
    assert "Nothing was left out for '-dog': it is far from every background text." in printed


def test_json_says_what_was_cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(folder, "a banana", "--min-confidence", "0.2", "--json", monkeypatch=monkeypatch)
    document = json.loads(told)
    assert document["results"] == [{"query": "a banana", "hits": [], "cutoff": {"min_confidence": 0.2, "hidden": 10}}]
    assert document["confidence_unavailable"] is None


def test_too_few_images_cut_nothing_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = make_word_index(tmp_path / "small", 3)
    told = run(small, "a banana", "--min-confidence", "0.9", monkeypatch=monkeypatch)
    assert "Nothing was left out: Hits have no confidence: 3 images are too few" in told
    assert "dog/000.png" in told
