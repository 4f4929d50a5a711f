"""Images with classes to tell apart: a folder a class, or a table with a column of labels."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mobileclip_kit.bench.quality import Gallery
from mobileclip_kit.data.captions import IMAGE_COLUMNS, find_image
from mobileclip_kit.data.folder import read_folder
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import DataError, ImageError, UsageError
from mobileclip_kit.images import load_image

LABEL_COLUMNS = ("label", "class", "category")
TEMPLATES = ("a photo of a {}",)


def read_labelled(source: Path, *, limit: int | None, templates: tuple[str, ...] = TEMPLATES) -> Gallery:
    """Read images whose class is the folder that they lie in, or stands in a CSV or TSV file.

    Args:
        source: ``CLASS/IMAGE`` below a folder (``_`` in a class's name is a space), or a table with the columns
            ``image`` and ``label``, images relative to its folder or to ``images/`` in it.
        limit: So many images at most, taken at even distances, so that all classes are among them.
        templates: Sentences with ``{}`` in a class's place.

    Raises:
        DataError: No usable image, or fewer than two classes.
    """
    skipped: list[Skipped] = []
    if not source.exists():
        raise DataError(f"{source} does not exist.", hint="Pass a folder with a folder for each class, or a table.")
    found = _folder(source, skipped) if source.is_dir() else _table(source, skipped)
    if limit is not None and len(found) > limit:
        found = [found[place * len(found) // limit] for place in range(limit)]
    usable = [one for one in found if _decodes(one, skipped)]
    classes = sorted({label for _, _, label in usable})
    if len(classes) < 2:
        raise DataError(
            f"{source} has {len(usable)} usable images of {len(classes)} classes; zero-shot needs two or more.",
            hint="Put the images of each class into a folder with its name, or pass a table of image,label.",
        )
    return Gallery(
        tuple(key for key, _, _ in usable),
        tuple(path for _, path, _ in usable),
        skipped=tuple(skipped),
        labels=tuple(classes.index(label) for _, _, label in usable),
        classes=tuple(classes),
        templates=templates,
    )


def read_templates(path: Path | None) -> tuple[str, ...]:
    """Sentences with ``{}`` in a class's place, one a line; CLIP's first one where there is no file.

    Raises:
        DataError: It cannot be read, or has no sentence.
        UsageError: A sentence has no ``{}``.
    """
    if path is None:
        return TEMPLATES
    try:
        lines = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if not lines:
        raise DataError(f"{path} has no template.", hint='Write sentences such as "a photo of a {}", one a line.')
    for line in lines:
        if "{}" not in line:
            raise UsageError(f"The template {line!r} of {path} has no {{}} where the class shall stand.")
    return lines


_Labelled = tuple[str, Path, str]


def _folder(source: Path, skipped: list[Skipped]) -> list[_Labelled]:
    found = []
    for pair in read_folder(source, skipped):
        if "/" not in pair.key:
            skipped.append(Skipped(pair.key, "It lies in no class's folder."))
        elif isinstance(pair.image, Path):
            found.append((pair.key, pair.image, pair.key.split("/", 1)[0].replace("_", " ")))
    return found


def _table(source: Path, skipped: list[Skipped]) -> list[_Labelled]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} cannot be read: {error}.") from error
    delimiter = "\t" if source.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        image, label = _column(source, columns, IMAGE_COLUMNS), _column(source, columns, LABEL_COLUMNS)
        rows = [(reader.line_num, (row[image] or "").strip(), (row[label] or "").strip()) for row in reader]
    except csv.Error as error:
        raise DataError(f"{source} line {reader.reader.line_num} is not valid CSV: {error}.") from error
    found = []
    for line, name, kind in rows:
        place = find_image(source.parent, name)
        if place is None or not kind:
            reason = "there is no label" if place else f"the image {name!r} does not exist"
            skipped.append(Skipped(name, f"{source.name} line {line}: {reason}."))
            continue
        found.append((name, place[1], kind))
    return found


def _column(source: Path, columns: list[str], known: tuple[str, ...]) -> str:
    for name in known:
        if name in columns:
            return name
    raise DataError(
        f"{source} has the columns {', '.join(columns) or 'none'}, but none of {', '.join(known)}.",
        hint="Name the image's column `image` and the class's column `label`.",
    )


def _decodes(one: _Labelled, skipped: list[Skipped]) -> bool:
    try:
        load_image(one[1])
    except ImageError as error:
        skipped.append(Skipped(one[0], error.message))
        return False
    return True
