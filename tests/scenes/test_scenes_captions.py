"""Captions say what the truth says."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from mobileclip_kit.scenes import COLOURS, KINDS, SceneConfig, draw_scene
from mobileclip_kit.scenes.captions import SYNONYMS, caption_words, noun_phrase

NUMBERS = {1: "", 2: "two", 3: "three"}


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(11, index, 16, split="test") for index in range(600)]


def names(kind: str) -> set[str]:
    singulars = {kind, SYNONYMS.get(kind, kind)}
    return singulars | {KINDS[kind].plural, "puppies"} | {f"{singular}s" for singular in singulars}


def mentions(text: str, words) -> bool:
    return any(re.search(rf"\b{word}\b", text) for word in words)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kind": "star"}, "a star"),
        ({"kind": "apple"}, "an apple"),
        ({"kind": "apple", "colour": "red"}, "a red apple"),
        ({"kind": "car", "colour": "orange"}, "an orange car"),
        ({"kind": "leaf", "colour": "green", "count": 3}, "three green leaves"),
        ({"kind": "bus", "size": "small", "colour": "blue", "count": 2}, "two small blue buses"),
        ({"kind": "puppy", "count": 2}, "two puppies"),
    ],
)
def test_noun_phrase(arguments, text):
    assert noun_phrase(**arguments) == text


def test_captions_name_kind_colour_and_count_truly(scenes):
    for scene in scenes:
        if scene.truth.form != "thing":
            continue
        group = scene.truth.objects[0]
        for text in scene.captions:
            assert mentions(text, names(group.kind)), (text, group)
            assert not mentions(text, set(COLOURS) - {group.colour}), (text, group)
            assert not mentions(text, {"two", "three"} - {NUMBERS[group.count]}), (text, group)


def test_size_words_agree_with_the_truth(scenes):
    wrong = {"small": ("big", "large", "huge"), "big": ("small", "little", "tiny")}
    wrong["medium"] = wrong["small"] + wrong["big"]
    for scene in scenes:
        if scene.truth.form == "thing":
            assert not any(mentions(text, wrong[scene.truth.objects[0].size]) for text in scene.captions)


def test_relation_captions_are_true_in_either_order(scenes):
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    checked = 0
    for scene in scenes:
        truth = scene.truth
        for text in scene.captions if truth.form == "pair" else ():
            said = re.split(r" (?:to the )?(left of|right of|above|below|under) ", text)
            if len(said) != 3 or truth.objects[0].kind == truth.objects[1].kind:
                continue
            relation = "below" if said[1] == "under" else said[1]
            first = truth.objects[0] if mentions(said[0], names(truth.objects[0].kind)) else truth.objects[1]
            assert relation == (truth.relation if first is truth.objects[0] else opposite[truth.relation]), text
            checked += 1
    assert checked > 50


def test_half_of_the_captions_of_a_word_say_that_it_is_one_and_the_rest_name_the_thing():
    config = SceneConfig(word_share=1.0, word_over_share=0.0, pair_share=0.0, captions=1)
    kinds = Counter()
    for index in range(500):
        scene = draw_scene(1, index, 16, config=config)
        text = scene.captions[0]
        kinds["word" if mentions(text, ("word", "text")) else text.replace(scene.truth.word.text, "x")] += 1
    assert kinds["word"] / 500 == pytest.approx(0.5, abs=0.07)
    assert set(kinds) <= {"word", "x", "a x", "an x", "a photo of a x", "a photo of an x"}


def test_articles_fit(scenes):
    for scene in scenes:
        for text in scene.captions:
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
            assert not re.search(r"\s\s|^\s|\s$|\{", text), text


def test_caption_words_cover_every_caption(scenes):
    known = set(caption_words())
    for scene in scenes:
        for text in scene.captions:
            assert set(text.split()) <= known, text


def test_captions_of_an_image_are_distinct(scenes):
    assert all(len(set(scene.captions)) == len(scene.captions) >= 1 for scene in scenes)
