"""Queries to a gallery of the synthetic scenes, with their exact sets of relevant images.

Every function takes the truth of a gallery and returns queries in a fixed order. Queries without a relevant image in
the gallery are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mobileclip_kit.scenes.captions import OPPOSITE, noun_phrase
from mobileclip_kit.scenes.objects import COLOURS, KINDS, held_out
from mobileclip_kit.scenes.truth import Truth


@dataclass(frozen=True)
class Query:
    """A text and the images that are relevant to it.

    Attributes:
        text: "a red star".
        right: Keys (``Truth.image``) of all relevant images.
        unseen: Whether the text names a combination of kind and colour that never occurs in training.
    """

    text: str
    right: frozenset[str]
    unseen: bool = False


@dataclass(frozen=True)
class WeaknessQuery:
    """A text that names a thing, the images of the thing, and the images of its written name.

    A typographic error is an image of ``words`` ranked above the first of ``things``.

    Attributes:
        text: "a photo of a car".
        things: Keys of images that show the thing.
        words: Keys of images that show its name and not the thing.
    """

    text: str
    things: frozenset[str]
    words: frozenset[str]


def thing_queries(gallery: Iterable[Truth]) -> list[Query]:
    """Queries such as "a red star", one for each kind and colour that occurs as a single object in some image.

    Relevant are all images with one or more red stars, alone, under a word or beside something else. Groups of two or
    three that have no such query are covered by :func:`count_queries`.
    """
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    single: set[tuple[str, str]] = set()
    for row in gallery:
        for group in row.objects:
            found[group.kind, group.colour].add(row.image)
            if group.count == 1:
                single.add((group.kind, group.colour))
    return [
        Query(noun_phrase(kind, colour=colour), frozenset(found[kind, colour]), held_out(kind, colour))
        for kind in KINDS
        for colour in COLOURS
        if (kind, colour) in single
    ]


def count_queries(gallery: Iterable[Truth]) -> list[Query]:
    """Queries such as "two red stars"; relevant are the images with exactly this number."""
    found: defaultdict[tuple[int, str, str], set[str]] = defaultdict(set)
    for row in gallery:
        for group in row.objects:
            if group.count > 1:
                found[group.count, group.kind, group.colour].add(row.image)
    return [
        Query(noun_phrase(kind, colour=colour, count=count), frozenset(right), held_out(kind, colour))
        for (count, kind, colour), right in sorted(found.items())
    ]


def relation_queries(gallery: Iterable[Truth]) -> list[Query]:
    """Queries such as "a red star left of a blue house", for each image with two kinds, with its numbers of objects.

    "A blue house right of a red star" has the same meaning, so its images are relevant as well.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    unseen = {}
    for row in gallery:
        if row.relation is not None:
            first, second = (noun_phrase(each.kind, colour=each.colour, count=each.count) for each in row.objects)
            text = f"{first} {row.relation} {second}"
            found[text].add(row.image)
            found[f"{second} {OPPOSITE[row.relation]} {first}"].add(row.image)
            unseen[text] = any(held_out(each.kind, each.colour) for each in row.objects)
    return [Query(text, frozenset(found[text]), unseen[text]) for text in sorted(unseen)]


def reading_queries(gallery: Iterable[Truth]) -> list[Query]:
    """Queries such as "the word car", one for each word in the gallery; relevant are all images with the word."""
    words = _words(gallery)
    return [Query(f"the word {text}", frozenset(words[text])) for text in KINDS if text in words]


def weakness_queries(gallery: Iterable[Truth], template: str = "a photo of {}") -> list[WeaknessQuery]:
    """Queries such as "a photo of a car", one for each kind that occurs both as a thing and as a word without things.

    Args:
        gallery: The truth, preferably of the split ``gallery``, which has equal numbers of both.
        template: The query, with ``{}`` in the place of "a car".
    """
    rows = list(gallery)
    words = _words(row for row in rows if row.alone)
    things: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        for group in row.objects:
            things[group.kind].add(row.image)
    return [
        WeaknessQuery(template.format(noun_phrase(kind)), frozenset(things[kind]), frozenset(words[kind]))
        for kind in KINDS
        if kind in things and kind in words
    ]


def _words(rows: Iterable[Truth]) -> Mapping[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.word is not None:
            found[row.word.text].add(row.image)
    return found
