"""Texts on their way into training: captions, varied or made wrong; text banks; two-word phrases as labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from string import punctuation
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.data.images import Rows, random_numbers
from mobileclip_kit.distillation.ranges import Range, check_ranges
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_text

WordClasses = Sequence[frozenset[str]]
Phrase = tuple[str, str]

_SLOT = "{}"

SYNONYMS: dict[str, tuple[str, ...]] = {
    "photo": ("picture", "photograph", "image"),
    "picture": ("photo", "image"),
    "image": ("photo", "picture"),
    "big": ("large",),
    "large": ("big",),
    "small": ("little",),
    "little": ("small",),
    "street": ("road",),
    "road": ("street",),
    "man": ("guy",),
    "woman": ("lady",),
    "child": ("kid",),
    "people": ("persons",),
    "bike": ("bicycle",),
    "bicycle": ("bike",),
    "plane": ("airplane",),
    "sofa": ("couch",),
    "couch": ("sofa",),
}


@dataclass(frozen=True, kw_only=True)
class TextAugmentation:
    """How captions are varied. The defaults leave them unchanged.

    LightCLIP (arXiv 2312.00674) replaces, swaps and deletes words (EDA, arXiv 1901.11196). Our reading: each has a
    probability of its own; a short table of caption words serves as the thesaurus, and a recipe adds its own pairs.
    Where order and every word matter ("a red star left of a blue house"), all three make captions untrue.

    Attributes:
        synonym: Probability that a word with synonyms is replaced by one.
        swap: Probability that two neighbouring words of a caption change places.
        delete: Probability that a word is left out; a caption keeps at least one.
        synonyms: Pairs in addition to :data:`SYNONYMS`.
    """

    synonym: Annotated[float, Range(0.0, 1.0)] = 0.0
    swap: Annotated[float, Range(0.0, 1.0)] = 0.0
    delete: Annotated[float, Range(0.0, 1.0)] = 0.0
    synonyms: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def synonym_table(self) -> Mapping[str, tuple[str, ...]]:
        """Word → its synonyms."""
        table = dict(SYNONYMS)
        for word, synonym in self.synonyms:
            table[word] = (*table.get(word, ()), synonym)
        return table

    @property
    def keeps_captions(self) -> bool:
        """Whether every caption stays unchanged."""
        return not (self.synonym or self.swap or self.delete)

    def vary(self, caption: str, rng: Random) -> str:
        """Vary one caption; white space between words becomes single spaces."""
        if self.keeps_captions:
            return caption
        table, words = self.synonym_table, caption.split()
        for place, word in enumerate(words):
            choices = table.get(word.lower())
            if choices and rng.random() < self.synonym:
                words[place] = choices[int(rng.random() * len(choices))]
        kept = [word for word in words if rng.random() >= self.delete]
        words = kept or words[:1]
        if len(words) > 1 and rng.random() < self.swap:
            place = int(rng.random() * (len(words) - 1))
            words[place], words[place + 1] = words[place + 1], words[place]
        return " ".join(words)


def wrong_caption(caption: str, others: Sequence[str], classes: WordClasses, rng: Random) -> str | None:
    """A hard negative: a caption made wrong by words of one class, in lower case; None if it has no such word.

    Contrastive training on whole captions leaves a model a bag of words: "a red star beside a blue house" and "a blue
    star beside a red house" mean the same to it. NegCLIP (arXiv 2210.01936) adds captions with two exchanged words as
    negatives. Our reading: the recipe lists classes of words that may replace each other (colours, say); two words of a
    class are exchanged; a single one is replaced, if possible by a word of its class in the image's other captions,
    since it belongs to the other thing.

    Args:
        caption: True of the image.
        others: All captions of the image; none of them is returned.
        classes: Sets of words in lower case.
        rng: Chooses the word and its replacement.
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


def phrases(captions: Iterable[str]) -> frozenset[Phrase]:
    """Every two neighbouring words, without case and surrounding punctuation: "red star" is more than two words."""
    words = ([bare for word in caption.lower().split() if (bare := word.strip(punctuation))] for caption in captions)
    return frozenset(pair for each in words for pair in pairwise(each))


class PhraseTable:
    """The most common phrases of captions, numbered.

    Args:
        captions: Of the training set.
        count: How many phrases at most; equally common ones are taken in alphabetical order.
    """

    def __init__(self, captions: Iterable[str], count: int) -> None:
        found = Counter(phrase for caption in captions for phrase in phrases([caption]))
        ordered = sorted(found, key=lambda phrase: (-found[phrase], phrase))
        self.numbers = {phrase: number for number, phrase in enumerate(ordered[:count])}

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, captions: Sequence[str]) -> tuple[Rows, NDArray[np.bool_]]:
        """The numbers of each caption's phrases, ``(n, most)``, and which of them count, ``(n, most)``."""
        found = [sorted(self.numbers[each] for each in phrases([text]) if each in self.numbers) for text in captions]
        most = max((len(row) for row in found), default=0)
        counted = np.arange(most) < np.array([len(row) for row in found])[:, None]
        numbers = np.zeros((len(found), most), np.int64)
        numbers[counted] = [number for row in found for number in row]
        return numbers, counted


# Of an image's captions: in DataCompDR's shards the first one is real, and the others are synthetic.
Which = Literal["any", "first", "others"]


@dataclass(frozen=True)
class RunTexts:
    """Every text of a run once, and who uses it.

    Which caption an image gets and which part of a large bank a step uses are pure functions of seed and step.

    Attributes:
        texts: All different.
        captions: For each image of the training set the places of its captions in ``texts``.
        bank: Places of the bank's texts, ``(m,)``.
    """

    texts: tuple[str, ...]
    captions: tuple[Rows, ...]
    bank: Rows

    @classmethod
    def collect(cls, captions: Iterable[Sequence[str]], bank: Sequence[str]) -> RunTexts:
        """Number the captions of each image of the training set and the texts of a bank; both may be empty."""
        places: dict[str, int] = {}
        numbered = tuple(
            np.array([places.setdefault(text, len(places)) for text in each], np.int64) for each in captions
        )
        in_bank = np.array([places.setdefault(text, len(places)) for text in dict.fromkeys(bank)], np.int64)
        return cls(tuple(places), numbered, in_bank)

    @property
    def caption_everywhere(self) -> bool:
        """Whether every image has a caption."""
        return bool(self.captions) and all(len(rows) for rows in self.captions)

    def caption_rows(self, rows: Rows, *, seed: int, epoch: int, which: Which = "any") -> Rows:
        """One caption of each image, another one in each epoch: places in ``texts``, ``(n,)``.

        Args:
            rows: The images.
            seed: Of the run.
            epoch: Each epoch draws anew.
            which: Among which captions; an image with one caption has no others, and it is taken.
        """
        numbers = random_numbers(rows.astype(np.uint64), seed=seed, epoch=epoch, count=1)[:, 0]
        among = {"any": slice(None), "first": slice(1), "others": slice(1, None)}[which]
        found = [self.captions[row][among] if len(self.captions[row]) > 1 else self.captions[row] for row in rows]
        return np.array([own[int(number * len(own))] for own, number in zip(found, numbers, strict=True)], np.int64)


def sample(rows: Rows, most: int | None, *, seed: int, step: int) -> Rows:
    """All rows, or ``most`` of them: a pure function of seed and step."""
    if most is None or most >= len(rows):
        return rows
    rng = np.random.Generator(np.random.Philox(key=[seed, step]))
    return rows[np.sort(rng.choice(len(rows), most, replace=False))]


def read_bank(names: Path, templates: Path | None = None) -> list[str]:
    """The texts of a bank: every template with every name, in the templates' order; repetitions once.

    Args:
        names: A file with one class name or text a line.
        templates: A file with one template a line, such as ``a photo of a {}``; None takes the names unchanged.

    Raises:
        DataError: A file is missing, not UTF-8 or empty, or a template has not exactly one ``{}``.
    """
    listed = _lines(names)
    if not listed:
        raise DataError(f"The text bank {names} holds no text.", hint="Write one class name or text a line.")
    forms = [_SLOT] if templates is None else _lines(templates)
    if not forms:
        raise DataError(f"{templates} holds no template.", hint="Write one a line, such as: a photo of a {}")
    for form in forms:
        if form.count(_SLOT) != 1:
            raise DataError(f"{templates}: the template {form!r} needs exactly one {_SLOT} for the name.")
    return list(dict.fromkeys(form.replace(_SLOT, name) for form in forms for name in listed))


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8.", hint="Save the file as UTF-8.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
