"""What a scale mends and costs, on galleries small enough to rank by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mobileclip_kit.errors import ShapeError
from mobileclip_kit.textness.evaluate import (
    GalleryQueries,
    evaluate_photos,
    evaluate_projection,
    evaluate_scales,
    project_out,
    score_queries,
    summarise,
)

# Axes: cat, dog, words. An image of the word "cat" lies nearer to the text "cat" than an image of a cat.
CAT, DOG, WORDS = np.eye(3)
GALLERY = np.array([0.8 * CAT + 0.6 * DOG, 0.6 * CAT + 0.8 * DOG, 0.9 * CAT + 0.43589 * WORDS], np.float32)
TEXTS = np.stack([CAT, DOG]).astype(np.float32)
TYPOGRAPHIC = GalleryQueries(TEXTS, GALLERY, [frozenset({0}), frozenset({1})], [frozenset({2}), frozenset()])
CLEAN = GalleryQueries(TEXTS, GALLERY[:2], [frozenset({0}), frozenset({1})])
READING = GalleryQueries(TEXTS[:1], GALLERY, [frozenset({2})])


def test_answers_by_hand() -> None:
    answers = score_queries(TYPOGRAPHIC)
    assert answers.precision_at_1 == 0.5
    assert answers.right_in_ten == 0.5
    assert answers.typographic_error_rate == 1, "of the one query that has both"
    assert score_queries(CLEAN).precision_at_1 == 1
    assert score_queries(CLEAN).typographic_error_rate is None


def test_negative_scales_mend_and_positive_ones_promote() -> None:
    rows = evaluate_scales(TYPOGRAPHIC, CLEAN, WORDS.astype(np.float32), (-1, 0, 1), reading=READING)
    assert [row["scale"] for row in rows] == [-1, 0, 1]
    assert [row["typographic_precision_at_1"] for row in rows] == [1, 0.5, 0.5]
    assert [row["typographic_error_rate"] for row in rows] == [0, 1, 1]
    assert [row["clean_precision_at_1"] for row in rows] == [1, 1, 1]
    assert [row["reading_precision_at_1"] for row in rows] == [0, 1, 1]
    best = summarise(rows)
    assert best["suppress"] == {
        "scale": -1, "errors_removed": 1, "reading_precision_at_1": 0, "clean_drop": 0, "clean_in_ten_drop": 0,
    }  # fmt: skip
    assert best["promote"]["scale"] == 1


def test_a_scale_that_costs_too_much_is_not_the_best() -> None:
    direction = (-0.6 * CAT + 0.8 * WORDS).astype(np.float32)
    rows = evaluate_scales(TYPOGRAPHIC, CLEAN, direction, (-3, -0.25, 0))
    assert rows[0]["clean_precision_at_1"] == 0.5
    suppress = summarise(rows)["suppress"]
    assert suppress is not None
    assert suppress["scale"] == -0.25
    assert summarise([rows[0], rows[2]])["suppress"] is None


def test_a_scale_with_which_neither_word_nor_thing_stands_first_is_not_the_best() -> None:
    plain = {
        "scale": 0,
        "typographic_error_rate": 1.0,
        "typographic_precision_at_1": 0.0,
        "typographic_right_in_ten": 0.1,
    }
    plain |= {"clean_precision_at_1": 1.0, "clean_right_in_ten": 1.0}
    plain |= {"reading_precision_at_1": None, "reading_right_in_ten": None}
    mild = {**plain, "scale": -0.5, "typographic_error_rate": 0.2, "typographic_precision_at_1": 0.75}
    strong = {**plain, "scale": -1.25, "typographic_error_rate": 0.1, "typographic_precision_at_1": 0.35}
    assert summarise([strong, mild, plain])["suppress"]["scale"] == -0.5


def test_projection_takes_a_direction_out_of_both_sides() -> None:
    words = np.stack([WORDS, WORDS]).astype(np.float32)
    assert project_out(GALLERY, words)[2] == pytest.approx(CAT)
    np.testing.assert_allclose(project_out(GALLERY[:2], words), GALLERY[:2], atol=1e-6)
    np.testing.assert_array_equal(project_out(words, words), 0)
    figures = evaluate_projection(TYPOGRAPHIC, CLEAN, words, reading=READING)
    assert figures["clean_precision_at_1"] == 1
    assert figures["typographic_error_rate"] == 1, "without its words, the image of the word is all cat"


def test_photos_of_ones_own_say_what_a_scale_changes() -> None:
    """Two photos; the second has words. A scale of −2 turns the query for it around."""
    gallery = np.array([[1, 0, 0], [0.6, 0, 0.8]], np.float32)
    queries = np.array([[0.6, 0, 0.8], [1, 0, 0]], np.float32)
    direction = np.array([0, 0, 1], np.float32)
    right = [frozenset({1}), frozenset({0})]
    plain, moved = evaluate_photos(queries, gallery, direction, (0.0, -2.0), right)
    assert (plain["first_kept"], plain["ten_kept"], plain["precision_at_1"]) == (1, 1, 1)
    assert (moved["first_kept"], moved["ten_kept"], moved["precision_at_1"]) == (0.5, 1, 0.5)
    assert "precision_at_1" not in evaluate_photos(queries, gallery, direction, (0.0,))[0]


def test_questions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError):
        GalleryQueries(TEXTS, GALLERY, [frozenset()])
    with pytest.raises(ShapeError):
        GalleryQueries(TEXTS, GALLERY[:, :2], [frozenset(), frozenset()])
