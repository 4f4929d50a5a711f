"""Captions made wrong by one word, as hard negatives: they teach which thing has which colour.

Contrastive training on whole captions leaves a model a bag of words: "a red star beside a blue house" and "a blue star
beside a red house" mean the same to it. NegCLIP (arXiv 2210.01936) adds captions with two exchanged words as negatives.
Our reading: the recipe lists classes of words that may stand for each other (colours, say); two of a class in a caption
are exchanged; one alone is replaced, best by a word of its class that the image's other captions have, which is the
other thing's.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

Classes = Sequence[frozenset[str]]


def wrong_caption(caption: str, others: Sequence[str], classes: Classes, rng: Random) -> str | None:
    """A caption that differs from a true one by words of one class, or None if it has no word of any.

    In lower case, as the tokenizer reads it: "A red star" is no other caption than "a red star".

    Args:
        caption: True of the image.
        others: All captions of the image; their words tell what else it shows, and none of them is given.
        classes: Sets of words in lower case.
        rng: Chooses the word and what stands for it.
    """
    words, others = caption.lower().split(), [" ".join(text.lower().split()) for text in others]
    places = [
        (place, kind) for kind, members in enumerate(classes) for place, word in enumerate(words) if word in members
    ]
    if not places:
        return None
    place, kind = places[int(rng.random() * len(places))]
    members, word = classes[kind], words[place]
    rivals = [other for other, of in places if of == kind and words[other] != word]
    if rivals:
        other = rivals[int(rng.random() * len(rivals))]
        words[place], words[other] = words[other], word
    else:
        shown = {each for text in others for each in text.split() if each in members} - {word}
        choices = sorted(shown or members - {word})
        words[place] = choices[int(rng.random() * len(choices))]
    made = " ".join(words)
    return None if made in others else made
