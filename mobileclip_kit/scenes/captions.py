"""Captions of the synthetic scenes, phrased in many ways, like captions on the web.

Half of the captions of an image that shows only a word are "the word car", the others "car", "a car" or "a photo of a
car", like the captions of signs and logos. This is why a model confuses the word with the thing.

A third of the captions of images with two things name only one of them. Otherwise a model would learn that captions
are complete, and "a red star" would not find a star beside a house.
"""

from __future__ import annotations

import re
from random import Random

from mobileclip_kit.scenes.backgrounds import BACKGROUNDS
from mobileclip_kit.scenes.objects import COLOURS, KINDS
from mobileclip_kit.scenes.rng import happens, pick, weighted
from mobileclip_kit.scenes.truth import Objects, Relation, Truth

SYNONYMS: dict[str, str] = {
    "bike": "bicycle",
    "boat": "sailboat",
    "car": "automobile",
    "cat": "kitten",
    "cup": "mug",
    "dog": "puppy",
    "plane": "airplane",
    "hat": "top hat",
    "clock": "alarm clock",
    "moon": "crescent moon",
}
"""Synonyms of the kinds, used occasionally in captions; words written in images are never synonyms."""

_SYNONYM_SHARE = 0.06
_NUMBERS = {2: "two", 3: "three"}
_SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "big": ("big", "big", "large", "huge"), "medium": ("",)}
_PREPOSITIONS: dict[Relation, tuple[str, ...]] = {
    "left of": ("left of", "left of", "to the left of"),
    "right of": ("right of", "right of", "to the right of"),
    "above": ("above",),
    "below": ("below", "below", "under"),
}
OPPOSITE: dict[Relation, Relation] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
"""Position of the second thing relative to the first."""

_FRAMES = (("{}", 0.5), ("a photo of {}", 0.2), ("a picture of {}", 0.15), ("a drawing of {}", 0.15))

_WORD_FRAMES = (
    ("the word {word}", 0.86),
    ("the word {word} in {colour}", 0.06),
    ("a sign with the word {word}", 0.04),
    ("text that says {word}", 0.04),
)
_WEAK_FRAMES = ("{word}", "{thing}", "a photo of {thing}")
_OVER_FRAMES = (
    ("the word {word} over {thing}", 0.6),
    ("{thing} with the word {word}", 0.25),
    ("the word {word}", 0.15),
)
_PAIR_FRAMES = (
    ("{first} {preposition} {second}", 0.45),
    ("{first} and {second}", 0.1),
    ("{first} next to {second}", 0.1),
    ("{first}", 0.35),
)


def caption(rng: Random, truth: Truth, *, bare_share: float, word_caption_share: float) -> str:
    """Describe an image.

    Args:
        rng: Random number generator that chooses the wording.
        truth: The content of the image.
        bare_share: Share of captions of things that name only the kind: "a car".
        word_caption_share: Share of captions of words that mention the word as such: "the word car".
    """
    if truth.form == "word":
        return _word_alone(rng, truth, word_caption_share)
    if truth.form == "word over thing":
        return _word_over(rng, truth, word_caption_share)
    if truth.form == "pair":
        return _pair(rng, truth)
    group = truth.objects[0]
    if happens(rng, bare_share):
        name = group.kind if group.count == 1 else _plural(group.kind)
        return pick(rng, _WEAK_FRAMES).format(word=name, thing=noun_phrase(group.kind, count=group.count))
    place = BACKGROUNDS[truth.background].phrase
    said = weighted(rng, _FRAMES).format(_thing(rng, group))
    return f"{said} {place}" if place and happens(rng, 0.25) else said


def noun_phrase(kind: str, *, colour: str = "", size: str = "", count: int = 1) -> str:
    """Name objects with an article or a number: "an orange car", "two small red stars".

    Args:
        kind: A name in :data:`KINDS`, or one of :data:`SYNONYMS`.
        colour: Name of a colour, or an empty text.
        size: A word for the size, or an empty text.
        count: 1 to 3.
    """
    if count == 1:
        words = " ".join(word for word in (size, colour, kind) if word)
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    return " ".join(word for word in (_NUMBERS[count], size, colour, _plural(kind)) if word)


def caption_words() -> tuple[str, ...]:
    """All words of the captions and queries of the scenes, sorted: a trimmed vocabulary has to keep them."""
    texts = [
        *KINDS,
        *SYNONYMS.values(),
        *COLOURS,
        *_NUMBERS.values(),
        *(_plural(kind) for kind in (*KINDS, *SYNONYMS.values())),
    ]
    texts += [background.phrase for background in BACKGROUNDS.values()]
    texts += [word for group in (_SIZE_WORDS, _PREPOSITIONS) for words in group.values() for word in words]
    texts += [frame for frame, _ in (*_FRAMES, *_WORD_FRAMES, *_PAIR_FRAMES, *_OVER_FRAMES)]
    texts += ["a an and next to there is are on the"]
    return tuple(sorted({word for text in texts for word in re.findall(r"[a-z]+", re.sub(r"\{.*?\}", " ", text))}))


def _word_alone(rng: Random, truth: Truth, word_caption_share: float) -> str:
    assert truth.word is not None
    text = truth.word.text
    if happens(rng, word_caption_share):
        return weighted(rng, _WORD_FRAMES).format(word=text, colour=truth.word.colour)
    return pick(rng, _WEAK_FRAMES).format(word=text, thing=noun_phrase(text))


def _word_over(rng: Random, truth: Truth, word_caption_share: float) -> str:
    assert truth.word is not None
    thing = _thing(rng, truth.objects[0])
    if happens(rng, max(word_caption_share, 0.7)):
        return weighted(rng, _OVER_FRAMES).format(word=truth.word.text, thing=thing)
    return thing


def _pair(rng: Random, truth: Truth) -> str:
    assert truth.relation is not None
    first, second = (_thing(rng, group) for group in truth.objects)
    relation = truth.relation
    if happens(rng, 0.5):
        first, second, relation = second, first, OPPOSITE[relation]
    preposition = pick(rng, _PREPOSITIONS[relation])
    return weighted(rng, _PAIR_FRAMES).format(first=first, second=second, preposition=preposition)


def _thing(rng: Random, group: Objects) -> str:
    kind = SYNONYMS.get(group.kind, group.kind) if happens(rng, _SYNONYM_SHARE) else group.kind
    size = pick(rng, _SIZE_WORDS[group.size]) if happens(rng, 0.5) else ""
    return noun_phrase(kind, colour=group.colour, size=size, count=group.count)


def _plural(kind: str) -> str:
    if kind in KINDS:
        return KINDS[kind].plural
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
