"""How well a model knows the built-in world, whose truth is exact.

Two galleries are asked. The *mixed* one (split ``test``) shows everything, unseen combinations of kind and colour among
it: it gives right-first rates for things and for written words. The *fair* one (split ``gallery``) has as many pictures
of each word alone as of its thing: it gives the share of things whose written name is found first, CLIP's weakness.
"""

from __future__ import annotations

from mobileclip_kit.bench.accuracy import right_first
from mobileclip_kit.data.scenes.queries import (
    count_queries,
    reading_queries,
    relation_queries,
    thing_queries,
    weakness_queries,
)
from mobileclip_kit.textness.evaluate import answer
from mobileclip_kit.textness.gallery import EncodedGallery, Reader, ask, ask_for_things


def measure_world(encoder: Reader, mixed: EncodedGallery, fair: EncodedGallery) -> dict[str, float]:
    """The figures of one model, shares in 0…1.

    Args:
        encoder: Of texts, into the space of the pictures' vectors.
        mixed: Of the split ``test``.
        fair: Of the split ``gallery``.

    Returns:
        ``right_first`` ("a red star"), ``right_first_unseen`` (combinations that training never showed),
        ``reading_right_first`` ("the word car"), ``count_right_first``, ``relation_right_first``, and
        ``word_over_thing`` ("a photo of a car" answered by a picture of the word before any of the thing). A kind of
        query that the galleries have none of is left out.
    """
    things = thing_queries(mixed.truth)
    asked = {
        "right_first": things,
        "right_first_unseen": [query for query in things if query.unseen],
        "reading_right_first": reading_queries(mixed.truth),
        "count_right_first": count_queries(mixed.truth),
        "relation_right_first": relation_queries(mixed.truth),
    }
    figures = {}
    for name, queries in asked.items():
        if queries:
            questions = ask(encoder, mixed, queries)
            figures[name] = right_first(questions.queries, questions.gallery, questions.right)
    weakness = weakness_queries(fair.truth)
    if weakness:
        errors = answer(ask_for_things(encoder, fair, weakness)).word_over_thing
        assert errors is not None  # every weakness query has both things and words
        figures["word_over_thing"] = errors
    return figures
