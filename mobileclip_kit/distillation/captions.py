"""Captions on their way into training: one of an image's captions each time, varied as LightCLIP varies its texts.

LightCLIP (arXiv 2312.00674) augments texts by synonym replacement, swap and deletion (EDA, arXiv 1901.11196). Our
reading: each happens with a probability of its own, on the words of a caption; a short table of caption words stands
for the thesaurus, and a recipe adds its own pairs. All three are off unless a recipe turns them on: where order and
every word matter ("a red star left of a blue house"), they make captions untrue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from mobileclip_kit.errors import UsageError

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
    """How captions are varied. The defaults leave them as they are.

    Attributes:
        synonym: Probability that a word with synonyms is replaced by one.
        swap: Probability that two neighbouring words of a caption change places.
        delete: Probability that a word is left out; a caption keeps at least one.
        synonyms: Pairs in addition to :data:`SYNONYMS`.
    """

    synonym: float = 0.0
    swap: float = 0.0
    delete: float = 0.0
    synonyms: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("synonym", "swap", "delete"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be in 0…1.")

    @property
    def table(self) -> Mapping[str, tuple[str, ...]]:
        """Word → its synonyms."""
        table = dict(SYNONYMS)
        for word, synonym in self.synonyms:
            table[word] = (*table.get(word, ()), synonym)
        return table

    @property
    def changes_nothing(self) -> bool:
        """Whether every caption stays as it is."""
        return not (self.synonym or self.swap or self.delete)

    def apply(self, caption: str, rng: Random) -> str:
        """Vary one caption; white space between words becomes single spaces."""
        if self.changes_nothing:
            return caption
        table, words = self.table, caption.split()
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
