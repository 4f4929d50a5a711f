"""Queries and their right answers, against galleries small enough to answer by hand."""

from __future__ import annotations

from mobileclip_kit.scenes import KINDS, Truth, draw_gallery_scene, draw_scene, held_out
from mobileclip_kit.scenes.queries import (
    count_queries,
    reading_queries,
    relation_queries,
    thing_queries,
    weakness_queries,
)
from mobileclip_kit.scenes.truth import Objects, Word

BOX = (0.0, 0.0, 0.5, 0.5)


def objects(kind: str, colour: str, count: int = 1) -> Objects:
    return Objects(kind=kind, colour=colour, size="small", boxes=(BOX,) * count)


def word(text: str) -> Word:
    return Word(text=text, typeface="sans", colour="red", angle=0.0, box=BOX)


def image(name, *groups, written=None, relation=None) -> Truth:
    form = "pair" if relation else "thing" if written is None else "word over thing" if groups else "word"
    return Truth(image=name, form=form, objects=groups, relation=relation, background="plain", word=written)


GALLERY = [
    image("one star", objects("star", "red")),
    image("two stars", objects("star", "red", 2)),
    image("star and house", objects("star", "red"), objects("house", "blue", 2), relation="left of"),
    image("word star", written=word("star")),
    image("word star over house", objects("house", "green"), written=word("star")),
    image("word car", written=word("car")),
]


def test_thing_queries_take_every_image_of_the_thing_and_no_word():
    found = {query.text: query.right for query in thing_queries(GALLERY)}
    assert found == {
        "a red star": {"one star", "two stars", "star and house"},
        "a green house": {"word star over house"},
    }


def test_a_thing_is_asked_for_only_where_some_image_shows_exactly_one():
    """There are two blue houses in one image, and no single one."""
    assert "a blue house" not in {query.text for query in thing_queries(GALLERY)}
    assert "two blue houses" in {query.text for query in count_queries(GALLERY)}


def test_reading_queries_take_the_word_alone_and_over_a_scene():
    found = {query.text: query.right for query in reading_queries(GALLERY)}
    assert found == {"the word star": {"word star", "word star over house"}, "the word car": {"word car"}}


def test_weakness_queries_need_the_thing_and_its_word_alone():
    (query,) = weakness_queries(GALLERY)
    assert query.text == "a photo of a star"
    assert query.things == {"one star", "two stars", "star and house"}
    assert query.words == {"word star"}
    assert weakness_queries(GALLERY, "{}")[0].text == "a star"


def test_count_queries_want_the_exact_count():
    found = {query.text: query.right for query in count_queries(GALLERY)}
    assert found == {"two red stars": {"two stars"}, "two blue houses": {"star and house"}}


def test_relation_queries_name_both_groups():
    (query,) = relation_queries(GALLERY)
    assert query.text == "a red star left of two blue houses"
    assert query.right == {"star and house"}


def test_a_relation_told_from_the_other_end_is_right_as_well():
    star, houses = objects("star", "red"), objects("house", "blue", 2)
    rows = [
        *GALLERY,
        image("turned", houses, star, relation="right of"),
        image("no", houses, star, relation="above"),
    ]
    found = {query.text: query.right for query in relation_queries(rows)}
    assert found == {
        "a red star left of two blue houses": {"star and house", "turned"},
        "two blue houses right of a red star": {"star and house", "turned"},
        "two blue houses above a red star": {"no"},
    }


def test_unseen_marks_held_out_combinations():
    rows = [draw_scene(1, index, 16, split="unseen").truth for index in range(10)]
    assert all(query.unseen for query in thing_queries(rows))
    rows = [draw_scene(1, index, 16).truth for index in range(40)]
    assert not any(query.unseen for query in [*thing_queries(rows), *count_queries(rows), *relation_queries(rows)])
    assert sum(held_out(kind, "red") for kind in KINDS) > 0


def test_balanced_gallery_asks_about_every_kind_with_equal_sets():
    rows = [draw_gallery_scene(2, index, 16).truth for index in range(4 * len(KINDS))]
    queries = weakness_queries(rows)
    assert len(queries) == len(KINDS)
    assert all(len(query.things) == len(query.words) == 2 for query in queries)
