"""The background texts: everyday nouns, some of them in ten colours, some as written words, and general captions."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit import formats

_FILE = Path(__file__).with_name("bank.json")


@dataclass(frozen=True, kw_only=True)
class _Bank:
    """``bank.json``.

    Attributes:
        colours: Of the things in ``coloured``.
        coloured: Things that also appear once in each colour.
        written: Words that also appear as "the word …".
        things: Nouns.
        plain: Those of them that have no article.
        captions: Texts that are used as they stand.
    """

    colours: tuple[str, ...]
    coloured: tuple[str, ...]
    written: tuple[str, ...]
    things: tuple[str, ...]
    plain: tuple[str, ...]
    captions: tuple[str, ...]


@functools.cache
def bank_texts() -> tuple[str, ...]:
    """The texts, always in the same order."""
    bank = formats.read(_FILE, _Bank)
    things = [thing if thing in bank.plain else _with_article(thing) for thing in bank.things]
    coloured = [_with_article(f"{colour} {thing}") for thing in bank.coloured for colour in bank.colours]
    return tuple(dict.fromkeys([*things, *coloured, *(f"the word {word}" for word in bank.written), *bank.captions]))


def bank_sha256(texts: Sequence[str]) -> str:
    """Identity of a bank: equal for equal texts in equal order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _with_article(words: str) -> str:
    vowel = words[0] in "aeio" or words.startswith(("um", "hour"))
    return f"{'an' if vowel else 'a'} {words}"
