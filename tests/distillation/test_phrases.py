"""Two-word phrases of captions."""

from mobileclip_kit.distillation.captions import PhraseTable, phrases


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
