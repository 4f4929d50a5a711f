"""Captions varied or made wrong, phrases as labels, the texts of a run and its bank."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from mobileclip_kit.distillation.captions import (
    PhraseTable,
    RunTexts,
    TextAugmentation,
    phrases,
    read_bank,
    sample,
    wrong_caption,
)
from mobileclip_kit.errors import DataError, UsageError

CAPTION = "a photo of two small dogs on the street"


def test_by_default_captions_stay_as_they_are():
    assert TextAugmentation().vary("  a  B ", Random(0)) == "  a  B "


def test_synonyms_come_from_the_table_and_the_recipe():
    augmentation = TextAugmentation(synonym=1.0, synonyms=(("dogs", "hounds"),))
    assert augmentation.vary("small dogs", Random(0)) == "little hounds"


def test_swapping_keeps_the_words():
    swapped = TextAugmentation(swap=1.0).vary(CAPTION, Random(1))
    assert swapped != CAPTION
    assert sorted(swapped.split()) == sorted(CAPTION.split())


def test_swapped_words_are_neighbours():
    assert TextAugmentation(swap=1.0).vary("one two", Random(0)) == "two one"


def test_deleting_keeps_the_order_and_at_least_one_word():
    kept = TextAugmentation(delete=0.5).vary(CAPTION, Random(2)).split()
    words = iter(CAPTION.split())
    assert 0 < len(kept) < 9
    assert all(word in words for word in kept)
    assert TextAugmentation(delete=1.0).vary(CAPTION, Random(0)) == "a"


def test_equal_chance_gives_equal_captions():
    augmentation = TextAugmentation(synonym=0.5, swap=0.5, delete=0.3)
    assert augmentation.vary(CAPTION, Random(5)) == augmentation.vary(CAPTION, Random(5))


def test_empty_captions_stay_empty():
    assert TextAugmentation(synonym=1.0, swap=1.0, delete=1.0).vary("", Random(0)) == ""


def test_probabilities_out_of_range_are_refused():
    with pytest.raises(UsageError, match="swap is 1.5"):
        TextAugmentation(swap=1.5)


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


def test_phrases_are_neighbouring_words():
    assert phrases(["a red star", "red star"]) == {("a", "red"), ("red", "star")}
    assert phrases(["star", ""]) == frozenset()


def test_case_and_punctuation_make_no_other_phrase():
    """As the tokenizer reads them: else "A red star." and "a red star" would be rivals as labels."""
    assert phrases(["A red (star), top-hat."]) == {("a", "red"), ("red", "star"), ("star", "top-hat")}
    assert phrases(["red - star !"]) == {("red", "star")}


def test_the_most_common_phrases_are_numbered_once_a_caption():
    table = PhraseTable(["a red star", "a red car", "blue car blue car blue car"], 3)
    assert table.numbers == {("a", "red"): 0, ("blue", "car"): 1, ("car", "blue"): 2}


def test_rows_are_padded():
    table = PhraseTable(["a red star"], 8)
    numbers, counted = table.rows(["a red star", "red star", "dog"])
    assert [sorted(row[here].tolist()) for row, here in zip(numbers, counted, strict=True)] == [[0, 1], [1], []]


def test_no_phrases_make_no_columns():
    numbers, counted = PhraseTable(["a red star"], 0).rows(["a red star"])
    assert numbers.shape == counted.shape == (1, 0)


SEED = 3


def test_every_text_is_numbered_once() -> None:
    texts = RunTexts.collect([["a", "b"], [], ["b"]], ["c", "a", "c"])
    assert texts.texts == ("a", "b", "c")
    assert [rows.tolist() for rows in texts.captions] == [[0, 1], [], [1]]
    assert texts.bank.tolist() == [2, 0]


def test_an_image_shows_all_its_captions_in_time_and_always_the_same_ones_again() -> None:
    texts = RunTexts.collect([["a"], ["b", "c", "d"]], [])
    rows = np.array([0, 1])
    chosen = [texts.caption_rows(rows, seed=SEED, epoch=epoch).tolist() for epoch in range(30)]
    assert {first for first, _ in chosen} == {0}
    assert {second for _, second in chosen} == {1, 2, 3}
    assert texts.caption_rows(rows, seed=SEED, epoch=7).tolist() == chosen[7]
    assert texts.caption_rows(rows[1:], seed=SEED, epoch=7).tolist() == chosen[7][1:]


def test_a_part_of_the_bank_changes_with_the_step() -> None:
    texts = RunTexts.collect([], [str(number) for number in range(50)])
    parts = [sample(texts.bank, 10, seed=SEED, step=step).tolist() for step in range(40)]
    assert all(len(set(part)) == 10 for part in parts)
    assert len({row for part in parts for row in part}) == 50
    assert sample(texts.bank, 10, seed=SEED, step=5).tolist() == parts[5]
    for most in (None, 50):
        assert sample(texts.bank, most, seed=SEED, step=0).tolist() == list(range(50))


def test_a_bank_is_names_times_templates(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\n dog \ncat\n", encoding="utf-8")
    (tmp_path / "templates.txt").write_text("a photo of a {}\n{}, drawn\n", encoding="utf-8")
    assert read_bank(tmp_path / "names.txt") == ["cat", "dog"]
    assert read_bank(tmp_path / "names.txt", tmp_path / "templates.txt") == [
        "a photo of a cat",
        "a photo of a dog",
        "cat, drawn",
        "dog, drawn",
    ]


def test_unusable_banks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", encoding="utf-8")
    (tmp_path / "names.txt").write_text("cat", encoding="utf-8")
    (tmp_path / "none.txt").write_text("a photo", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="holds no text"):
        read_bank(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="holds no template"):
        read_bank(tmp_path / "names.txt", tmp_path / "empty.txt")
    with pytest.raises(DataError, match="'a photo' needs exactly one"):
        read_bank(tmp_path / "names.txt", tmp_path / "none.txt")
    with pytest.raises(DataError, match="does not exist"):
        read_bank(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="not UTF-8"):
        read_bank(tmp_path / "latin.txt")
