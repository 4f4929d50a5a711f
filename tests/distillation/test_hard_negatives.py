"""Captions made wrong by one word."""

from __future__ import annotations

from random import Random

import pytest

from mobileclip_kit.distillation.captions import wrong_caption

COLOURS = frozenset({"red", "blue", "green"})
KINDS = frozenset({"star", "house", "tree"})


@pytest.mark.parametrize("seed", range(20))
def test_two_words_of_a_class_are_exchanged(seed):
    made = wrong_caption("a red star beside a blue house", (), (COLOURS,), Random(seed))
    assert made == "a blue star beside a red house"


@pytest.mark.parametrize("seed", range(20))
def test_a_single_word_becomes_the_one_that_the_image_also_shows(seed):
    others = ("a red star", "a blue house")
    made = wrong_caption("a red star", others, (COLOURS,), Random(seed))
    assert made == "a blue star"


def test_a_single_word_becomes_any_other_of_its_class_when_the_image_shows_no_other():
    made = {wrong_caption("a red star", ("a red star",), (COLOURS,), Random(seed)) for seed in range(40)}
    assert made == {"a blue star", "a green star"}


def test_every_class_has_its_turn():
    made = {wrong_caption("a red star", (), (COLOURS, KINDS), Random(seed)) for seed in range(60)}
    assert made == {"a blue star", "a green star", "a red house", "a red tree"}


def test_a_caption_without_such_words_has_no_negative():
    assert wrong_caption("a photo", ("a red star",), (COLOURS,), Random(0)) is None


def test_a_true_caption_is_never_given_as_wrong():
    others = ("a red star", "a blue star")
    assert wrong_caption("a red star", others, (COLOURS,), Random(0)) is None


def test_letters_case_makes_no_other_caption():
    """The tokenizer reads lower case, so a true caption in capitals is as true."""
    assert wrong_caption("a red star", ("a red star", "A Blue  Star"), (COLOURS,), Random(0)) is None
    assert wrong_caption("A RED star", ("A RED star", "a house, Blue"), (COLOURS,), Random(0)) == "a blue star"
