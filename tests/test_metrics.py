"""Accuracy figures against values by hand, slow plain-Python references, and relations."""

from __future__ import annotations

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.metrics import (
    agreement,
    best_first,
    class_vectors,
    first_right_ranks,
    flatten_recall,
    map_over_depths,
    mean_cosine,
    nearest_overlap,
    overlap_at_k,
    precision_at_1,
    recall_at_k,
    row_cosines,
    scale_rows,
    top_k,
    zero_shot,
)

SUMS = 1e-6  # float32 sums in another order


def random_vectors(count: int, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def slow_ranking(query: np.ndarray, gallery: np.ndarray, without: int | None = None) -> list[int]:
    """Rows by falling cosine, in float64 and plain Python."""
    cosines = [
        float(np.dot(query.astype(float), row.astype(float)) / np.linalg.norm(row.astype(float))) for row in gallery
    ]
    return sorted((row for row in range(len(gallery)) if row != without), key=lambda row: (-cosines[row], row))


def slow_map(student: np.ndarray, teacher: np.ndarray, n: int) -> float:
    """The definition, read aloud."""
    total = 0.0
    for image in range(len(teacher)):
        relevant = set(slow_ranking(teacher[image], teacher, without=image)[:n])
        found, precision_sum = 0, 0.0
        for place, row in enumerate(slow_ranking(student[image], student, without=image)[:n], start=1):
            if row in relevant:
                found += 1
                precision_sum += found / place
        total += precision_sum / n
    return total / len(teacher)


def map_at_n(student: np.ndarray, teacher: np.ndarray, n: int, **queries: np.ndarray) -> float:
    return map_over_depths(student, teacher, (n,), **queries)[n]


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_top_k_by_hand() -> None:
    gallery = on_circle(0, 10, 90, 180)
    assert top_k(on_circle(8), gallery, 3).tolist() == [[1, 0, 2]]
    assert top_k(gallery, gallery, 2, exclude_self=True)[0].tolist() == [1, 2]


def test_top_k_ignores_lengths() -> None:
    gallery = random_vectors(20)
    scaled = gallery * np.arange(1, 21)[:, None]
    assert (top_k(gallery, scaled, 5) == top_k(gallery, gallery, 5)).all()


def test_ties_go_to_the_lower_row() -> None:
    alike = np.ones((6, 4), dtype=np.float32)
    assert top_k(alike, alike, 3)[0].tolist() == [0, 1, 2]


def test_top_k_of_more_queries_than_one_block_equals_the_reference() -> None:
    queries, gallery = random_vectors(300, seed=1), random_vectors(40, seed=2)
    found = top_k(queries, gallery, 4)
    for row in (0, 255, 256, 299):
        assert found[row].tolist() == slow_ranking(queries[row], gallery)[:4]


def test_map_by_hand() -> None:
    """Teacher's first three {1, 2, 3}; the student names 1, 4, 3: (1/1 + 2/3) / 3."""
    teacher = np.eye(5, dtype=np.float32)
    query = np.array([[0.1, 0.9, 0.8, 0.7, 0.2]], dtype=np.float32)
    student_query = np.array([[0.1, 0.9, 0.2, 0.7, 0.8]], dtype=np.float32)
    expected = (1 / 1 + 2 / 3) / 3
    assert map_at_n(teacher, teacher, 3, queries=query, student_queries=student_query) == pytest.approx(
        expected, abs=SUMS
    )


def test_map_equals_the_slow_reference() -> None:
    teacher = random_vectors(40, seed=3)
    student = teacher + 0.7 * random_vectors(40, seed=4)
    for n in (1, 5, 10):
        assert map_at_n(student, teacher, n) == pytest.approx(slow_map(student, teacher, n), abs=SUMS)


def test_map_over_depths_equals_each_depth_alone() -> None:
    student, teacher = random_vectors(30, seed=5), random_vectors(30, seed=6)
    together = map_over_depths(student, teacher, (3, 7, 12))
    assert together == {n: pytest.approx(map_at_n(student, teacher, n)) for n in (3, 7, 12)}


def test_a_model_agrees_with_itself_whatever_its_lengths_and_rotation() -> None:
    teacher = random_vectors(40)
    rotation, _ = np.linalg.qr(random_vectors(16, seed=9))
    student = 3 * teacher @ rotation
    assert map_at_n(student, teacher, 10) == 1
    assert overlap_at_k(student, teacher, 10) == 1


def test_map_falls_as_noise_grows() -> None:
    teacher, noise = random_vectors(60), random_vectors(60, seed=8)
    figures = [map_at_n(teacher + amount * noise, teacher, 10) for amount in (0.0, 0.3, 1.0, 3.0)]
    assert figures == sorted(figures, reverse=True)
    assert figures[0] == 1 > figures[-1]


def test_a_collapsed_student_earns_no_agreement() -> None:
    teacher = random_vectors(400)
    assert map_at_n(np.ones((400, 8)), teacher, 10) < 0.05


def test_student_and_teacher_may_differ_in_width() -> None:
    assert 0 <= map_at_n(random_vectors(20, 4), random_vectors(20, 9), 5) <= 1


def test_overlap_by_hand() -> None:
    """From 0°: one model names 10° and 20°, the other 10° and 30°; likewise all round."""
    a, b = on_circle(0, 10, 20, 180), on_circle(0, 10, 180, 20)
    assert overlap_at_k(a, b, 2) == pytest.approx((0.5 + 0.5 + 0.5 + 0.5) / 4)
    assert overlap_at_k(a, b, 3) == 1


def test_mean_cosine_by_hand() -> None:
    assert mean_cosine(on_circle(0, 0), 5 * on_circle(60, 90)) == pytest.approx(0.25, abs=SUMS)


def test_recall_by_hand_with_several_captions_an_image() -> None:
    images = on_circle(0, 40, 90)
    texts = on_circle(5, 45, 80, 85)
    recall = recall_at_k(images, texts, [0, 0, 1, 2], ks=(1, 2))
    # Texts at 5° and 85° find their images; 45° belongs to the image at 0° but is nearer 40°; 80° is nearer 90°.
    assert recall["text_to_image"] == {1: 0.5, 2: 1.0}
    # The image at 0° takes 5°, its own; 40° takes 45°, another's (80° is third, after 5°); 90° takes 85°, its own.
    assert recall["image_to_text"] == {1: pytest.approx(2 / 3), 2: pytest.approx(2 / 3)}
    assert flatten_recall(recall)["recall_at_1_text_to_image"] == 0.5


def test_recall_equals_the_slow_reference() -> None:
    images = random_vectors(25, seed=1)
    owner = [row % 20 for row in range(50)]  # the last five images have no caption and only compete
    texts = images[owner] + 1.2 * random_vectors(50, seed=2)
    recall = recall_at_k(images, texts, owner, ks=(1, 5))
    for k in (1, 5):
        found = [owner[row] in slow_ranking(text, images)[:k] for row, text in enumerate(texts)]
        assert recall["text_to_image"][k] == pytest.approx(np.mean(found))
        named = [any(owner[row] == image for row in slow_ranking(images[image], texts)[:k]) for image in range(20)]
        assert recall["image_to_text"][k] == pytest.approx(np.mean(named))


def test_a_collapsed_model_recalls_by_chance() -> None:
    alike = np.ones((50, 4))
    assert recall_at_k(alike, alike, range(50))["text_to_image"] == {1: 0.02, 5: 0.1, 10: 0.2}


def test_ties_may_count_against_the_right_answer() -> None:
    alike = np.ones((4, 2))
    right = [[0], [1], [2, 3]]
    assert first_right_ranks(alike[:3], alike, right).tolist() == [0, 1, 2]
    assert first_right_ranks(alike[:3], alike, right, ties_behind=True).tolist() == [3, 3, 2]


def test_best_first_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.9, 0.5]])
    assert best_first(scores).tolist() == [[1, 2, 3, 0]]
    assert best_first(scores, 2).tolist() == [[1, 2]]


def test_scale_rows_names_rows_without_a_direction() -> None:
    rows, bad = scale_rows(np.array([[3, 4], [0, 0], [np.inf, 1], [3e-300, 4e-300], [3e300, 4e300]]))
    assert bad.tolist() == [False, True, True, False, False]
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [0, 0], [0.6, 0.8], [0.6, 0.8]], atol=SUMS)


def test_row_cosines_by_hand() -> None:
    first = np.array([[1, 0], [2, 2], [1, 0], [0, 0], [np.inf, 0]])
    second = np.array([[3, 0], [-1, 0], [0, 5], [1, 0], [1, 0]])
    np.testing.assert_allclose(row_cosines(first, second), [1, -np.sqrt(0.5), 0, 0, 0], atol=1e-15)


def test_nearest_overlap_compares_at_most_half_of_the_others() -> None:
    a, b = on_circle(0, 10, 25, 180), on_circle(0, 12, 20, 180)
    # k = 1: 0 names 1 in both; 1 names 0 in a and 2 in b; 2 names 1 in both; 3 names 2 in both.
    assert nearest_overlap(a, b) == 0.75
    assert nearest_overlap(a[:2], b[:2]) is None


def test_precision_at_1_by_hand() -> None:
    gallery = on_circle(0, 30, 90)
    assert precision_at_1(on_circle(1, 29, 89, 50), gallery, [{0}, {0, 1}, {1}, {0, 1}]) == 0.75
    assert first_right_ranks(on_circle(89), gallery, [{0}]).tolist() == [2]


def test_zero_shot_by_hand() -> None:
    classes = on_circle(0, 30, 60, 90, 120, 150, 180)
    figures = zero_shot(on_circle(2, 31, 2, 2), [0, 1, 1, 6], classes)
    assert figures == {"top1": 0.5, "top5": 0.75}
    assert "top5" not in zero_shot(on_circle(2), [0], classes[:5])


def test_class_vectors_average_the_prompts_directions() -> None:
    places = {"a cat": 0.0, "cats": 60.0, "a {x}": 90.0, "{x}s": 90.0}
    lengths = {"cats": 7.0}

    def encode(texts: list[str]) -> np.ndarray:
        return np.concatenate([lengths.get(text, 1.0) * on_circle(places[text]) for text in texts])

    vectors = class_vectors(encode, ["cat", "{x}"], ["a {}", "{}s"])
    np.testing.assert_allclose(vectors, on_circle(30, 90), atol=SUMS)


def test_agreement_leaves_out_depths_that_need_more_images() -> None:
    figures = agreement(random_vectors(12), random_vectors(12, seed=1))
    assert set(figures) == {"map_at_10", "map_at_11", "overlap_at_1", "overlap_at_5", "overlap_at_10"}
    assert agreement(random_vectors(1), random_vectors(1)) == {}
    full = agreement(random_vectors(30), random_vectors(30))
    assert full["map_at_10_to_20"] == 1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: top_k(np.ones((2, 3)), np.ones((4, 5)), 1), ShapeError, "width 3"),
        (lambda: top_k(np.ones((2, 3)), np.ones((4, 3)), 5), DataError, "best 5 of 4"),
        (lambda: top_k(np.ones((4, 3)), np.ones((4, 3)), 4, exclude_self=True), DataError, "best 4 of 3"),
        (lambda: top_k(np.ones(3), np.ones((4, 3)), 1), ShapeError, r"\(3,\)"),
        (lambda: map_at_n(np.ones((3, 2)), np.ones((4, 2)), 1), ShapeError, "same images"),
        (lambda: overlap_at_k(np.array([[1, 2], [np.nan, 1]]), np.ones((2, 2)), 1), DataError, "row 1"),
        (lambda: overlap_at_k(np.array([[1, 2], [0, 0]]), np.ones((2, 2)), 1), DataError, "zero"),
        (lambda: recall_at_k(np.ones((2, 2)), np.ones((2, 2)), [0, 2]), DataError, "2 images"),
        (lambda: recall_at_k(np.ones((2, 2)), np.ones((2, 2)), [0]), ShapeError, "2 texts"),
        (lambda: precision_at_1(np.ones((1, 2)), np.ones((2, 2)), [set()]), DataError, "right answer"),
        (lambda: row_cosines(np.ones((1, 2)), np.ones((1, 3))), ShapeError, "one space"),
        (lambda: zero_shot(np.ones((1, 2)), [0], np.ones((1, 2))), DataError, "1 class"),
        (lambda: zero_shot(np.ones((1, 2)), [-1], np.ones((2, 2))), DataError, "label"),
        (lambda: class_vectors(lambda texts: np.ones((1, 2)), ["cat"], ["a photo"]), DataError, "{}"),
    ],
)
def test_what_cannot_be_judged_is_refused(call: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()  # type: ignore[operator]
