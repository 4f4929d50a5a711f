"""Images with captions, listed in a table: CSV, TSV, JSONL or the text files of CLIP_benchmark's Flickr30k.

An image that is listed several times keeps all its different captions. Rows that cannot be used are skipped and
reported with their line numbers; a file that cannot be used at all is an error.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileclip_kit.data.pair import Pair, Skipped, keep_captions
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import parse_json

# The first of these names that a table has is used. filepath and title are open_clip's defaults.
IMAGE_COLUMNS = ("image", "filepath", "file_name", "path")
CAPTION_COLUMNS = ("caption", "title", "text", "captions")
# The first line of CLIP_benchmark's text files; their captions are not quoted.
_FLICKR_HEADER, _FLICKR_SUFFIX = "image,caption", ".jpg,"


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    captions: tuple[str, ...]


def read_table(path: Path, skipped: list[Skipped]) -> Iterator[Pair]:
    """Pairs of a CSV or TSV file with a header.

    Args:
        path: One column names the image (see :data:`IMAGE_COLUMNS`), relative to the file's folder or to ``images/``
            in it; another one holds a caption (see :data:`CAPTION_COLUMNS`).
        skipped: Receives the rows whose image does not exist, whose caption cannot be read, or that are repeated.

    Raises:
        DataError: The file is not UTF-8, not a table, or lacks a column.
    """
    return _pairs(path, _table_rows(path, skipped), skipped)


def read_jsonl(path: Path, skipped: list[Skipped]) -> Iterator[Pair]:
    """Pairs of a file with one JSON object per line, with the same keys; ``captions`` may be a list.

    Raises:
        DataError: The file is not UTF-8, or a line is not a JSON object with those keys.
    """
    return _pairs(path, _jsonl_rows(path), skipped)


def is_flickr(path: Path) -> bool:
    """Whether a file is ``flickr30k_test_karpathy.txt`` or one like it."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(2 * len(_FLICKR_HEADER)).strip() == _FLICKR_HEADER


def read_flickr(path: Path, skipped: list[Skipped]) -> Iterator[Pair]:
    """Pairs of a text file of CLIP_benchmark: after a header ``NAME.jpg,CAPTION`` in each line, nothing quoted.

    Raises:
        DataError: The file is not UTF-8.
    """
    return _pairs(path, _flickr_rows(path, skipped), skipped)


def _flickr_rows(path: Path, skipped: list[Skipped]) -> Iterator[_Row]:
    for line, text in enumerate(_read_text(path).split("\n")[1:], start=2):
        name, comma, caption = text.strip().partition(_FLICKR_SUFFIX)
        if comma:
            yield _Row(line, name + _FLICKR_SUFFIX[:-1], (caption,))
        elif name:
            skipped.append(Skipped(name, f"{path.name} line {line} does not start with the name of a .jpg file."))


def _table_rows(path: Path, skipped: list[Skipped]) -> Iterator[_Row]:
    text = _read_text(path)
    header = text[: text.find("\n")] if "\n" in text else text
    tabs = path.suffix.lower() == ".tsv" or ("\t" in header and "," not in header)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ",", strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        image, caption = _column(path, columns, IMAGE_COLUMNS), _column(path, columns, CAPTION_COLUMNS)
        for row in reader:
            if None in row:
                reason = f"{path.name} line {reader.line_num} has more cells than the header; is a comma unquoted?"
                skipped.append(Skipped(str(row[image]), reason))
            else:
                yield _Row(reader.line_num, row[image] or "", (row[caption] or "",))
    except csv.Error as error:
        raise DataError(f"{path} line {reader.reader.line_num} is not valid CSV: {error}.") from error


def _jsonl_rows(path: Path) -> Iterator[_Row]:
    for line, text in enumerate(_read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            document = parse_json(text)
        except ValueError as error:
            raise DataError(f"{path} line {line} is not valid JSON: {error}.") from error
        if not isinstance(document, Mapping):
            raise DataError(f"{path} line {line} holds a JSON {type(document).__name__}, not an object.")
        columns = list(document)
        where = f"{path} line {line}"
        image: Any = document[_column(where, columns, IMAGE_COLUMNS)]
        captions: Any = document[_column(where, columns, CAPTION_COLUMNS)]
        captions = [captions] if isinstance(captions, str) else captions
        if not isinstance(image, str) or not isinstance(captions, list):
            raise DataError(f"{where}: the image must be a text, and the captions a text or a list of texts.")
        if not all(isinstance(caption, str) for caption in captions):
            raise DataError(f"{where}: a caption is not a text.")
        yield _Row(line, image, tuple(captions) or ("",))


def _pairs(path: Path, rows: Iterator[_Row], skipped: list[Skipped]) -> Iterator[Pair]:
    """Join the rows of each image; images are in the order of their first rows."""
    images: dict[str, Path] = {}
    captions: dict[str, list[str]] = {}
    known: dict[str, tuple[str, Path] | None] = {}  # each name is looked up once, however many captions it has
    for row in rows:
        where = f"{path.name} line {row.line}"
        if row.image not in known:
            known[row.image] = find_image(path.parent, row.image)
        found = known[row.image]
        if found is None:
            missing = f"the image {row.image} does not exist" if row.image else "there is no image's name"
            skipped.append(Skipped(row.image, f"{where}: {missing}."))
            continue
        key, image = found
        images.setdefault(key, image)
        keep_captions(captions.setdefault(key, []), row.captions, key, where, skipped, repeats=True)
    for key, image in images.items():
        if captions[key]:
            yield Pair(key, image, tuple(captions[key]))


def find_image(folder: Path, name: str) -> tuple[str, Path] | None:
    """The key and file of a listed image, or None. The key does not depend on which of its names the table uses.

    Args:
        folder: The folder of the table.
        name: The name as listed, relative to the folder or to ``images/`` in it.
    """
    if not name or "\0" in name:
        return None
    for candidate in (folder / name, folder / "images" / name):
        try:
            exists = candidate.is_file()
        except OSError:  # the name is too long for a file
            return None
        if exists:
            inside = candidate.is_relative_to(folder)
            return (candidate.relative_to(folder) if inside else candidate).as_posix(), candidate
    return None


def _column(where: Path | str, columns: list[str], known: tuple[str, ...]) -> str:
    for name in known:
        if name in columns:
            return name
    held = f"has the columns {', '.join(columns)}, but none of" if any(columns) else "has no columns; one must be"
    raise DataError(
        f"{where} {held} {', '.join(known)}.",
        hint="Name the image's column `image` and the caption's column `caption`.",
    )


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} line {line} is not UTF-8: byte 0x{data[error.start]:02x}.", hint="Save the file as UTF-8."
        ) from error
