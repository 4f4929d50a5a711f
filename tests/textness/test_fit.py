"""The probe and the mean difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness.fit import FitOptions, fit_probe, fit_textness, mean_difference
from tests.index.vectors import unit_rows

DIM = 16
SPEC = ModelSpec(name="m", embedding_dim=DIM, image=None, text=None, model_hash="aa")


def pairs(count: int = 300, strength: float = 0.6) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Random images, and the same moved along the first axis by their words."""
    clean = unit_rows(count, DIM)
    text = clean + strength * np.eye(DIM, dtype=np.float32)[0]
    return clean, (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)


def test_the_probe_solves_its_equation_by_hand() -> None:
    """Points ±1 on a line: the slope a of w₁ satisfies l2·a = 1 / (1 + e^{2a})."""
    probe = fit_probe(np.array([[1.0], [-1.0]], np.float32), np.array([1, 0]), l2=0.1)
    slope = probe.direction[0] / 2
    assert 0.1 * slope == pytest.approx(1 / (1 + np.exp(2 * slope)), abs=1e-5)
    assert probe.bias == pytest.approx(0, abs=1e-6)


def test_the_probe_is_a_minimum() -> None:
    """No small step lowers the loss, written here a second time, in the units of the vectors as they came."""
    rows, labels = unit_rows(80, 4), np.random.default_rng(1).integers(0, 2, 80)
    probe = fit_probe(rows, labels, l2=1e-2)
    spread2 = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()

    def loss(direction: NDArray[np.float64], bias: float) -> float:
        """Of a softmax whose two weight rows are ± half of the direction."""
        weight, biases = np.stack([-direction, direction]) / 2, np.array([-bias, bias]) / 2
        logits = rows @ weight.T + biases
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return float(-np.log(chances[np.arange(80), labels]).mean() + 0.5e-2 * spread2 * (weight**2).sum())

    best = loss(probe.direction, probe.bias)
    rng = np.random.default_rng(2)
    for _ in range(50):
        step = 0.05 * rng.standard_normal(5)
        assert loss(probe.direction + step[:4], probe.bias + step[4]) > best


def test_the_raw_probe_has_the_length_of_one_class_weights() -> None:
    """As in the article: the row of the class with words, of a softmax over two."""
    clean, text = pairs()
    fitted = fit_textness(clean, text, SPEC, FitOptions(held_out=0.1))
    tested = np.random.default_rng(fitted.report["seed"]).permutation(300)[:30]
    kept = np.setdiff1d(np.arange(300), tested)
    probe = fit_probe(np.concatenate([clean[kept], text[kept]]), np.repeat([0, 1], len(kept)))
    row = probe.direction / 2  # see test_the_probe_is_a_minimum
    query = unit_rows(1, DIM, seed=5)
    moved = query + 2.0 * row
    expected = moved / np.linalg.norm(moved)
    np.testing.assert_allclose(fitted.apply(query, 2.0, "probe", raw=True), expected, atol=1e-5)


def test_the_figures_of_an_unbalanced_split_by_hand() -> None:
    """Nine in ten held-out images have words; the probe cannot tell them apart and calls everything words."""
    clean, text = unit_rows(60, DIM, seed=1), unit_rows(60, DIM, seed=2)
    fitted = fit_textness(clean, text, SPEC, FitOptions(l2=1e3), extra_text=unit_rows(480, DIM, seed=3))
    report = fitted.report
    assert report["held_out_rows"] == 12 + 12 + 96
    assert report["chance"] == pytest.approx(108 / 120)
    assert report["accuracy"] == report["chance"]
    assert report["balanced_accuracy"] == 0.5
    assert 0.3 < report["auc"] < 0.7
    warnings = fitted.warnings()
    assert "probe is right for 90.0%" in warnings[0]
    assert "(90.0%)" in warnings[0]


def test_a_direction_that_tells_words_apart_warns_of_nothing() -> None:
    fitted = fit_textness(*pairs(strength=3), SPEC)
    assert fitted.report["chance"] == 0.5
    assert fitted.report["auc"] > 0.99
    assert fitted.warnings() == []


def test_both_directions_find_what_was_planted() -> None:
    fitted = fit_textness(*pairs(), SPEC)
    assert set(fitted.directions) == {"probe", "mean_difference"}
    for direction in fitted.directions.values():
        assert direction[0] > 0.9
        assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-6)
    assert fitted.report["angle_degrees"] < 35
    assert fitted.report["accuracies"]["probe"] > 0.85
    assert fitted.report["pair_accuracies"]["probe"] == 1
    assert fitted.report["held_out_rows"] == 120
    assert fitted.vector is fitted.directions["probe"]


def test_the_widest_scale_follows_the_scores_and_what_words_change() -> None:
    """In a narrow cone scores differ little, and words decide at a small scale already."""
    fitted = fit_textness(*pairs(), SPEC)
    scores = np.random.default_rng(0).normal(0.25, 0.02, 5000)
    assert fitted.widest_scale(scores) == pytest.approx(3 * 0.02 / fitted.report["pair_steps"]["probe"], rel=0.05)
    assert fitted.widest_scale(100 * scores) == 2.0, "no wider than in the article"
    assert replace(fitted, report={}).widest_scale(scores) == 2.0, "files of older versions do not have the step"


def test_words_that_leave_no_trace_are_not_learned_by_heart() -> None:
    """Accuracy is measured on images that were held out: random labels stay at chance."""
    clean, text = unit_rows(200, DIM, seed=1), unit_rows(200, DIM, seed=2)
    report = fit_textness(clean, text, SPEC).report
    assert report["training_accuracy"] > report["accuracy"]
    assert abs(report["accuracy"] - 0.5) < 0.15


def test_copies_of_an_image_are_held_out_together() -> None:
    """With images that repeat exactly, a split by row would let the probe know every held-out row."""
    clean, text = unit_rows(20, DIM, seed=1), unit_rows(20, DIM, seed=2)
    repeated = fit_textness(
        np.repeat(clean, 10, axis=0), np.repeat(text, 10, axis=0), SPEC, images=np.repeat(np.arange(20), 10)
    )
    once = fit_textness(clean, text, SPEC)
    assert repeated.report["accuracy"] == once.report["accuracy"]
    assert repeated.report["held_out_rows"] == 10 * once.report["held_out_rows"]


def test_extra_images_with_words_count_as_positives() -> None:
    clean, text = pairs(60)
    extra = text[:40] + np.float32(0.05)
    fitted = fit_textness(clean, text, SPEC, extra_text=extra)
    assert fitted.report["extra_text_images"] == 40
    assert fitted.report["held_out_rows"] == 24 + 8


def test_mean_difference_by_hand() -> None:
    clean, text = np.array([[1, 0], [0, 1]], np.float32), np.array([[2, 2], [1, 4]], np.float32)
    np.testing.assert_array_equal(mean_difference(clean, text), [1, 2.5])


def test_what_cannot_be_learned_from_is_refused() -> None:
    clean, text = pairs(50)
    with pytest.raises(DataError, match="too few"):
        fit_textness(clean[:5], text[:5], SPEC)
    with pytest.raises(ShapeError, match="not pairs"):
        fit_textness(clean, text[:-1], SPEC)
    with pytest.raises(DataError, match="length 0"):
        fit_textness(clean, clean, SPEC)
    with pytest.raises(DataError, match="both kinds"):
        fit_probe(clean, np.zeros(50, np.intp))
    with pytest.raises(DataError, match="the same"):
        fit_probe(np.ones((4, 2), np.float32), np.array([0, 1, 0, 1]))
