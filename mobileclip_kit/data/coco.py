"""COCO's annotation files: captions, or instances whose category names stand for a caption.

Pictures lie where COCO keeps them: beside ``annotations/`` in a folder of the split's name (``captions_val2017.json`` →
``val2017/``), in ``images/``, or beside the file itself. Of instances, a picture's caption lists its categories once
each, those with the most instances first: "person, dog, frisbee" (our reading).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.errors import DataError


def read_coco(path: Path, skipped: list[Skipped]) -> Iterator[Pair]:
    """Pairs of an annotation file, in the order of its ``images``.

    Args:
        path: With ``images`` and ``annotations``; instances need ``categories``, too.
        skipped: Takes pictures that do not exist, and captions that are empty.

    Yields:
        Pairs whose key is the picture's ``file_name``; pictures without annotations have no caption.

    Raises:
        DataError: The file is not COCO's, or an annotation names an unknown picture or category.
    """
    document = _read(path)
    names = {category["id"]: str(category["name"]) for category in document.get("categories", ())}
    captions: dict[Any, list[str]] = {}
    categories: dict[Any, Counter[str]] = {}
    for number, annotation in enumerate(document["annotations"]):
        where, picture = f"{path}: annotation {number}", _field(annotation, "image_id", path, number)
        if isinstance(annotation.get("caption"), str):
            caption = annotation["caption"].strip()
            held = captions.setdefault(picture, [])
            if not caption:
                skipped.append(Skipped(str(picture), f"{where} has an empty caption."))
            elif caption not in held:
                held.append(caption)
        elif annotation.get("category_id") in names:
            categories.setdefault(picture, Counter())[names[annotation["category_id"]]] += 1
        else:
            raise DataError(f"{where} has neither a caption nor a known category_id.")
    yield from _pairs(path, document["images"], captions, categories, skipped)


def _pairs(path: Path, images: list[Any], captions: Mapping[Any, list[str]], categories: Mapping[Any, Counter[str]],
           skipped: list[Skipped]) -> Iterator[Pair]:  # fmt: skip
    unknown = (captions.keys() | categories.keys()) - {image.get("id") for image in images}
    if unknown:
        raise DataError(f"{path}: annotations name the picture {min(unknown, key=str)}, which images lacks.")
    seen: set[str] = set()
    for number, image in enumerate(images):
        name = str(_field(image, "file_name", path, number))
        file = _find(path, name)
        if name in seen:
            skipped.append(Skipped(name, f"{path.name} lists the picture twice."))
        elif file is None:
            skipped.append(Skipped(name, f"The picture {name} of {path.name} does not exist."))
        else:
            texts = list(captions.get(image.get("id"), ()))
            if image.get("id") in categories:
                texts.append(", ".join(category for category, _ in categories[image["id"]].most_common()))
            yield Pair(name, file, tuple(texts))
        seen.add(name)


def _find(path: Path, name: str) -> Path | None:
    split, parent = path.stem.rpartition("_")[2], path.parent
    folders = (parent.parent / split, parent.parent / "images" / split, parent.parent / "images", parent.parent,
               parent / split, parent / "images" / split, parent / "images", parent)  # fmt: skip
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    parts = [document.get(part) for part in ("images", "annotations")] if isinstance(document, dict) else [None]
    if not all(isinstance(part, list) and all(isinstance(entry, dict) for entry in part) for part in parts):
        raise DataError(
            f"{path} is not a COCO annotation file: it lacks lists of images and annotations.",
            hint="Pass captions_….json or instances_….json, or one JSON object a line as .jsonl.",
        )
    assert isinstance(document, dict)
    return document


def _field(entry: Mapping[str, Any], name: str, path: Path, number: int) -> Any:
    if name not in entry:
        raise DataError(f"{path}: entry {number} lacks {name}.")
    return entry[name]
