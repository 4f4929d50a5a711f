"""What the run asks and what it tells to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

from mobileclip_kit.quickstart.page import next_commands
from mobileclip_kit.quickstart.stages import sliding_query
from mobileclip_kit.scenes.truth import Objects, Truth, Word

BOX = (0.0, 0.0, 0.5, 0.5)


def image(name: str, *, thing: str | None = None, word: str | None = None) -> Truth:
    objects = () if thing is None else (Objects(kind=thing, colour="red", size="big", boxes=(BOX,)),)
    written = None if word is None else Word(text=word, typeface="sans", colour="red", angle=0.0, box=BOX)
    form = "word" if thing is None else "thing"
    return Truth(image=name, form=form, objects=objects, relation=None, background="plain", word=written)


def test_slides_over_the_kind_that_is_shown_and_written_and_says_it_as_captions_do():
    gallery = [
        *(image(f"star {at}", thing="star") for at in range(5)),
        image("an apple", thing="apple"),
        image("another", thing="apple"),
        image("its word", word="apple"),
    ]
    assert sliding_query(gallery) == "a photo of an apple"


def test_the_next_command_can_be_pasted_wherever_the_tour_lies():
    first = next_commands(Path("/my tours/it's one")).splitlines()[0]
    assert shlex.split(first) == ["mckit", "search", "/my tours/it's one/index", "a red star"]
