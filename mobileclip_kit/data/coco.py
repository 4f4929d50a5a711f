"""COCO's annotation files (captions, or instances whose category names become a caption), and Karpathy's splits.

Images are looked for where COCO keeps them: beside ``annotations/`` in a folder named after the split
(``captions_val2017.json`` → ``val2017/``; ``COCO_val2014_….jpg`` says it itself, as CLIP_benchmark's
``coco_test_karpathy.json`` needs), in ``images/``, or beside the file itself. For instances, the caption of an
image lists each of its categories once, those with the most instances first: "person, dog, frisbee" (our choice).

Karpathy's files (``dataset_coco.json``, ``dataset_flickr30k.json``; arXiv 1412.2306) define the test images for which
retrieval is reported: 5,000 of COCO and 1,000 of Flickr30k, five captions each. Only this split is read; for
training those that are for training, and for a cache, which serves both, all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobileclip_kit.data.pair import Pair, Skipped, Split, keep_captions
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import parse_json

_PARTS = ("images", "annotations", "categories")
# Karpathy's splits by what they are read for.
_SPLITS: Mapping[Split, tuple[str, ...]] = {"test": ("test",), "train": ("train", "restval")}
_PURPOSES = {"test": "which is for retrieval", "train": "which are for training"}


def read_coco(path: Path, skipped: list[Skipped], split: Split = "test") -> Iterator[Pair]:
    """The pairs of an annotation file, in the order of its ``images``.

    Args:
        path: A file with ``images`` and ``annotations``; instances also need ``categories``.
        skipped: Receives the images that do not exist, and the captions that are empty or not text.
        split: Of Karpathy's files.

    Yields:
        Pairs whose key is the image's ``file_name``; images without annotations have no caption.

    Raises:
        DataError: The file is not an annotation file of COCO, or an annotation names an unknown image or category.
    """
    document = _read(path)
    if any("sentences" in image for image in document["images"]):
        yield from _karpathy_pairs(path, document["images"], skipped, split)
        return
    names = {_number(category, "id", path, place): str(_field(category, "name", path, place))
             for place, category in enumerate(document["categories"])}  # fmt: skip
    captions: dict[Any, list[str]] = {}
    categories: dict[Any, Counter[str]] = {}
    for number, annotation in enumerate(document["annotations"]):
        where, image = f"{path}: annotation {number}", _number(annotation, "image_id", path, number)
        category = _number(annotation, "category_id", path, number) if "category_id" in annotation else None
        if isinstance(annotation.get("caption"), str):
            keep_captions(captions.setdefault(image, []), [annotation["caption"]], str(image), where, skipped)
        elif category in names:
            categories.setdefault(image, Counter())[names[category]] += 1
        else:
            raise DataError(f"{where} has neither a caption nor a known category_id.")
    yield from _pairs(path, document["images"], captions, categories, skipped)


def _pairs(path: Path, images: list[Any], captions: Mapping[Any, list[str]], categories: Mapping[Any, Counter[str]],
           skipped: list[Skipped]) -> Iterator[Pair]:  # fmt: skip
    ids = [_number(image, "id", path, number) if "id" in image else None for number, image in enumerate(images)]
    unknown = (captions.keys() | categories.keys()) - set(ids)
    if unknown:
        raise DataError(f"{path}: annotations name the image {min(unknown, key=str)}, which images lacks.")
    seen: set[str] = set()
    for number, image in enumerate(images):
        name = str(_field(image, "file_name", path, number))
        file = _find(path, name)
        if name in seen:
            skipped.append(Skipped(name, f"{path.name} lists the image twice."))
        elif file is None:
            skipped.append(Skipped(name, f"The image {name} of {path.name} does not exist."))
        else:
            texts = list(captions.get(ids[number], ()))
            if ids[number] in categories:
                texts.append(", ".join(category for category, _ in categories[ids[number]].most_common()))
            yield Pair(name, file, tuple(texts))
        seen.add(name)


def _karpathy_pairs(path: Path, images: list[Any], skipped: list[Skipped], split: Split) -> Iterator[Pair]:
    splits = [_field(image, "split", path, number) for number, image in enumerate(images)]
    names = _SPLITS.get(split)
    chosen = [number for number, own in enumerate(splits) if names is None or own in names]
    # Of all splits those for training come first, so that a limit takes the same as for training.
    chosen.sort(key=lambda number: splits[number] not in _SPLITS["train"])
    if names is not None and (others := len(images) - len(chosen)):
        reason = f"{others} images of other splits than {' and '.join(names)}, {_PURPOSES[split]}, are left out."
        skipped.append(Skipped(path.name, reason))
    for number in chosen:
        image = images[number]
        name, captions = str(_field(image, "filename", path, number)), list[str]()
        sentences = _field(image, "sentences", path, number)
        for sentence in sentences if isinstance(sentences, list) else [sentences]:
            text = sentence.get("raw") if isinstance(sentence, dict) else None
            if not isinstance(text, str):
                raise DataError(f"{path}: image {number} has a sentence without raw, its text.")
            keep_captions(captions, [text], name, f"{path}: image {number}", skipped)
        file = _find(path, name, *(str(image[key]) for key in ("filepath",) if image.get(key)))
        if file is None:
            skipped.append(Skipped(name, f"The image {name} of {path.name} does not exist."))
        else:
            yield Pair(name, file, tuple(captions))


def _find(path: Path, name: str, folder: str = "") -> Path | None:
    """The file of an image; ``folder`` is where Karpathy's files say that it is."""
    split, parent = folder or path.stem.rpartition("_")[2], path.parent
    if "/" in split or split in ("", ".."):
        return None
    stated = name.split("_")[1:2] if name.startswith("COCO_") else []
    names = (*(each for one in (split, *stated) for each in (one, f"images/{one}")), "images", f"{split}-images", "")
    folders = [above / each for above in (parent.parent, parent) for each in names]
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    try:
        return next((folder / name for folder in folders if (folder / name).is_file()), None)
    except OSError:  # the name is too long for a file
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    if isinstance(document, dict):
        document = {"categories": [], **({} if "dataset" not in document else {"annotations": []}), **document}
    parts = [document.get(part) for part in _PARTS] if isinstance(document, dict) else [None]
    if not all(isinstance(part, list) and all(isinstance(entry, dict) for entry in part) for part in parts):
        raise DataError(
            f"{path} is not a COCO annotation file: it lacks lists of images and annotations (and of categories).",
            hint="Pass captions_….json or instances_….json, or one JSON object a line as .jsonl.",
        )
    assert isinstance(document, dict)
    return document


def _field(entry: Mapping[str, Any], name: str, path: Path, number: int) -> Any:
    if name not in entry:
        raise DataError(f"{path}: entry {number} lacks {name}.")
    return entry[name]


def _number(entry: Mapping[str, Any], name: str, path: Path, number: int) -> Any:
    """A field that identifies an image or a category: a number in COCO's own files, perhaps a text in others."""
    value = _field(entry, name, path, number)
    if value is not None and not isinstance(value, int | str):
        raise DataError(f"{path}: entry {number} has the {name} {value!r}; it must be a number or a text.")
    return value
