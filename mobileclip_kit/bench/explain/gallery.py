"""What the figures show of a gallery: which images, which classes, which texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mobileclip_kit.bench.quality import Gallery
from mobileclip_kit.scenes.captions import noun_phrase
from mobileclip_kit.scenes.truth import TRUTH_FILE, Truth, read_truth

_SHEET_IMAGES = 5
_MAP_IMAGES = 600


@dataclass(frozen=True)
class Shown:
    """The images of the figures.

    Attributes:
        sheet: Rows of the gallery that the heat maps show.
        mapped: Rows of the gallery that the map shows.
        labels: A class for each row of the gallery, ``""`` where none is known.
        written: Whether a row shows the class's name alone, and not the thing.
        names: The classes whose names serve as texts, the most frequent first; empty where captions say more.
    """

    sheet: tuple[int, ...]
    mapped: tuple[int, ...]
    labels: tuple[str, ...]
    written: tuple[bool, ...]
    names: tuple[str, ...]


def choose(gallery: Gallery, source: Path) -> Shown:
    """Choose images of as many classes as there is room for, the same ones every time.

    Args:
        gallery: All images.
        source: Where they come from. A folder of the synthetic scenes says what each image shows; elsewhere an image's
            class is the folder that it lies in, if there are several.
    """
    in_scenes = (source / TRUTH_FILE).is_file()
    labels, written = _labels_of_scenes(gallery, source) if in_scenes else _labels_of_folders(gallery)
    things = ["" if alone else label for label, alone in zip(labels, written, strict=True)]
    counts = Counter(label for label in things if label)
    ordered = tuple(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    names = ordered if in_scenes or not gallery.captions else ()
    if names:
        firsts = [things.index(name) for name in names[:_SHEET_IMAGES]]
        sheet = tuple(firsts + [row for row in range(len(labels)) if row not in firsts][: _SHEET_IMAGES - len(firsts)])
    else:
        sheet = spread(len(gallery.keys), _SHEET_IMAGES)
    return Shown(sheet, spread(len(gallery.keys), _MAP_IMAGES), labels, written, names)


def texts_of(gallery: Gallery, shown: Shown) -> tuple[str, ...]:
    """A text for each image of the sheet: its class if classes are known, else its first caption."""
    if shown.names:
        return tuple(
            dict.fromkeys(prompt(shown.labels[row]) for row in shown.sheet if shown.labels[row] in shown.names)
        )
    firsts = {owner: text for owner, text in zip(reversed(gallery.owners), reversed(gallery.captions), strict=True)}
    return tuple(dict.fromkeys(firsts[row] for row in shown.sheet if row in firsts))


def prompt(name: str) -> str:
    """``star`` → ``a photo of a star``."""
    return f"a photo of {noun_phrase(name)}"


def spread(count: int, most: int) -> tuple[int, ...]:
    """So many of ``range(count)``, evenly spread, the first one among them."""
    return tuple(range(count)) if count <= most else tuple(place * count // most for place in range(most))


def _labels_of_scenes(gallery: Gallery, source: Path) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    truth = {row.image: row for row in read_truth(source)}
    known = [truth.get(key) for key in gallery.keys]
    return tuple("" if row is None else _what(row) for row in known), tuple(
        row is not None and row.alone for row in known
    )


def _labels_of_folders(gallery: Gallery) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    folders = [Path(key).parent.name.replace("_", " ").strip() for key in gallery.keys]
    several = len(set(folders) - {""}) > 1
    return tuple(name if several else "" for name in folders), (False,) * len(folders)


def _what(row: Truth) -> str:
    """The first thing that an image shows, or the word alone."""
    if row.objects:
        return row.objects[0].kind
    return "" if row.word is None else row.word.text


def short(text: str, most: int = 60) -> str:
    """A text cut to a label's length."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
