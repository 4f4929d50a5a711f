"""How captions are varied."""

from random import Random

import pytest

from mobileclip_kit.distillation.captions import TextAugmentation
from mobileclip_kit.errors import UsageError

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
