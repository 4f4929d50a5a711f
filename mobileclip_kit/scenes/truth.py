"""The exact contents of the synthetic scenes: ``truth.jsonl`` has one JSON object per line, for one image each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobileclip_kit import formats
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import check_sha256, parse_json, read_json

TRUTH_FILE = "truth.jsonl"
SCENES_FILE = "scenes.json"
LISTS_KEY = "lists_sha256"
DRAW_AGAIN = "Draw the folder again with `mckit scenes`."

Form = Literal["thing", "pair", "word", "word over thing"]
Size = Literal["small", "medium", "big"]
Relation = Literal["left of", "right of", "above", "below"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Objects:
    """One, two or three objects of one kind, colour and size.

    Attributes:
        kind: "star".
        colour: "red".
        size: Size by the longer side, as a share of the image.
        boxes: Left, top, right, bottom of each object, as shares 0…1 of the image. Its length is the number of objects.
    """

    kind: str
    colour: str
    size: Size
    boxes: tuple[Box, ...]

    @property
    def count(self) -> int:
        """The number of objects."""
        return len(self.boxes)


@dataclass(frozen=True, kw_only=True)
class Word:
    """A written word.

    Attributes:
        text: The name of a kind.
        typeface: A name in ``sprites.TYPEFACES``.
        colour: Colour of the letters.
        angle: Rotation in degrees, clockwise.
        box: As in :class:`Objects`.
    """

    text: str
    typeface: str
    colour: str
    angle: float
    box: Box


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One image.

    Attributes:
        image: The key: the path within the folder, or ``SPLIT/SEED/INDEX`` of an image drawn in memory.
        form: Objects of one kind, objects of two kinds, a word alone, or a word over objects of one kind.
        objects: No, one or two groups.
        relation: Position of the first group relative to the second; None unless there are two groups.
        background: A name in ``backgrounds.BACKGROUNDS``.
        word: The written word, if there is one.
    """

    image: str
    form: Form
    objects: tuple[Objects, ...]
    relation: Relation | None
    background: str
    word: Word | None

    @property
    def alone(self) -> bool:
        """Whether the image shows only a word."""
        return self.form == "word"

    def to_json(self) -> str:
        """The JSON text, one line."""
        # vars() and not asdict(), which copies each number and takes a tenth of the time of drawing.
        document = vars(self) | {
            "objects": [vars(group) | {"count": group.count} for group in self.objects],
            "word": None if self.word is None else vars(self.word),
            "alone": self.alone,
        }
        return json.dumps(document, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str, where: str = "The line") -> Truth:
        """Read a line of :meth:`to_json`.

        Raises:
            DataError: The line cannot be read; the message begins with ``where``.
        """
        try:
            document = parse_json(line)
            document = {key: value for key, value in document.items() if key != "alone"}
            for group in document.get("objects", ()):
                group.pop("count", None)  # both can be computed from the other keys
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"{where} is not the truth of an image: {error}.") from error
        return formats.from_document(document, cls, where=f"{where}, the truth of an image")


def is_scenes(place: Path | str) -> bool:
    """Whether images, or a captions file beside them, are those of a folder that `mckit scenes` made."""
    path = Path(place)
    folder = path if path.is_dir() else path.parent
    return path.exists() and (folder / SCENES_FILE).is_file() and (folder / TRUTH_FILE).is_file()


def check_lists(folder: Path) -> None:
    """Compare ``truth.jsonl`` and ``captions.csv`` with their SHA-256 in ``scenes.json``, if it has them.

    Raises:
        DataError: A file is missing or was changed.
    """
    lists = read_json(folder / SCENES_FILE).get(LISTS_KEY) if (folder / SCENES_FILE).is_file() else None
    for name, sha256 in lists.items() if isinstance(lists, dict) else ():
        check_sha256(folder, name, sha256, source=SCENES_FILE, hint=DRAW_AGAIN)


def read_truth(path: Path) -> list[Truth]:
    """Read a ``truth.jsonl``, or that of a folder made by ``mckit scenes``.

    Raises:
        DataError: The file is missing, or a line of it cannot be read.
    """
    if path.is_dir():
        check_lists(path)
        path = path / TRUTH_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.", hint="Draw the synthetic scenes with `mckit scenes`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    return [Truth.from_json(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
