"""How well a model knows the synthetic scenes, whose truth is exact.

Two galleries are asked. The *mixed* one (split ``test``) shows everything, unseen combinations of kind and colour among
it: it gives precision@1s for things and for written words. The *fair* one (split ``gallery``) has as many images
of each word alone as of its thing: it gives the share of things whose written name is found first, CLIP's weakness.
"""

from __future__ import annotations

from mobileclip_kit.metrics import precision_at_1
from mobileclip_kit.scenes.queries import (
    count_queries,
    reading_queries,
    relation_queries,
    thing_queries,
    weakness_queries,
)
from mobileclip_kit.textness.evaluate import score_queries
from mobileclip_kit.textness.gallery import (
    EncodedGallery,
    TextEncoder,
    encode_gallery_queries,
    encode_weakness_queries,
)


def evaluate_scenes(encoder: TextEncoder, mixed: EncodedGallery, fair: EncodedGallery) -> dict[str, float]:
    """The figures of one model, shares in 0…1.

    Args:
        encoder: Of texts, into the space of the images' vectors.
        mixed: Of the split ``test``.
        fair: Of the split ``gallery``.

    Returns:
        ``precision_at_1`` ("a red star"), ``precision_at_1_unseen`` (combinations that training never showed),
        ``reading_precision_at_1`` ("the word car"), ``count_precision_at_1``, ``relation_precision_at_1``, and
        ``typographic_error_rate`` ("a photo of a car" answered by an image of the word before any of the thing). A kind
        of query that the galleries have none of is left out.
    """
    things = thing_queries(mixed.truth)
    asked = {
        "precision_at_1": things,
        "precision_at_1_unseen": [query for query in things if query.unseen],
        "reading_precision_at_1": reading_queries(mixed.truth),
        "count_precision_at_1": count_queries(mixed.truth),
        "relation_precision_at_1": relation_queries(mixed.truth),
    }
    figures = {}
    for name, queries in asked.items():
        if queries:
            encoded = encode_gallery_queries(encoder, mixed, queries)
            figures[name] = precision_at_1(encoded.queries, encoded.gallery, encoded.right)
    weakness = weakness_queries(fair.truth)
    if weakness:
        errors = score_queries(encode_weakness_queries(encoder, fair, weakness)).typographic_error_rate
        assert errors is not None  # every weakness query has both things and words
        figures["typographic_error_rate"] = errors
    return figures
