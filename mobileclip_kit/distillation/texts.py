"""The texts of a run: the captions of its images, and a bank of texts for images that have none.

A bank is class names × templates, one of each a line: ``cat`` and ``a photo of a {}`` give "a photo of a cat". Which
caption an image gets and which part of a large bank a step uses are pure functions of seed and step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobileclip_kit.data.images import Rows
from mobileclip_kit.distillation.augment import random_numbers
from mobileclip_kit.distillation.objective import Moment
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import read_text

_SLOT = "{}"


@dataclass(frozen=True)
class Texts:
    """Every text of a run once, and who uses it.

    Attributes:
        texts: All different.
        captions: For each image of the training set the places of its captions in ``texts``.
        bank: Places of the bank's texts, ``(m,)`` int64.
    """

    texts: tuple[str, ...]
    captions: tuple[Rows, ...]
    bank: Rows

    def caption_rows(self, rows: Rows, moment: Moment) -> Rows:
        """One caption of each image, another one in each epoch: places in ``texts``, ``(n,)``."""
        numbers = random_numbers(rows.astype(np.uint64), seed=moment.seed, epoch=moment.epoch, count=1)[:, 0]
        chosen = [self.captions[row][int(number * len(self.captions[row]))]
                  for row, number in zip(rows, numbers, strict=True)]  # fmt: skip
        return np.array(chosen, np.int64)

    def bank_rows(self, moment: Moment, most: int | None) -> Rows:
        """The bank's texts in this step: all, or ``most`` of them drawn anew: places in ``texts``."""
        return sample(self.bank, most, moment)


def collect_texts(captions: Sequence[Sequence[str]], bank: Sequence[str]) -> Texts:
    """Number the texts of images and bank.

    Args:
        captions: Of each image of the training set, perhaps none.
        bank: May be empty.
    """
    places: dict[str, int] = {}
    numbered = tuple(np.array([places.setdefault(text, len(places)) for text in texts], np.int64) for texts in captions)
    in_bank = np.array([places.setdefault(text, len(places)) for text in dict.fromkeys(bank)], np.int64)
    return Texts(tuple(places), numbered, in_bank)


def sample(rows: Rows, most: int | None, moment: Moment) -> Rows:
    """All rows, or ``most`` of them: a pure function of seed and step."""
    if most is None or most >= len(rows):
        return rows
    chance = np.random.Generator(np.random.Philox(key=[moment.seed, moment.step]))
    return rows[np.sort(chance.choice(len(rows), most, replace=False))]


def read_bank(names: Path, templates: Path | None = None) -> list[str]:
    """The texts of a bank.

    Args:
        names: One class name or text a line.
        templates: One a line, each with one ``{}`` for the name; None takes the lines as they are.

    Returns:
        Every template with every name, in the templates' order; repetitions once.

    Raises:
        DataError: A file is missing, not UTF-8 or empty, or a template has not exactly one ``{}``.
    """
    listed = _lines(names)
    if not listed:
        raise DataError(f"The text bank {names} holds no text.", hint="Write one class name or text a line.")
    if templates is None:
        return list(dict.fromkeys(listed))
    forms = _lines(templates)
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
