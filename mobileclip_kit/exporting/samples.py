"""What exports are verified and calibrated with: the user's images and texts, or drawn and built-in ones.

Real images of the kind that the model will meet are better for both; drawn ones let every export be checked at all,
and the result says which of them were used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError, ImageError, MissingExtraError, ModelError
from mobileclip_kit.exporting.request import VERIFIED_IMAGES, ExportOptions
from mobileclip_kit.images import load_pixels
from mobileclip_kit.networks.model import Model
from mobileclip_kit.spec import ImageSpec, TextSpec, Tower
from mobileclip_kit.tokenizer import load_tokenizer

Item = TypeVar("Item")

DEFAULT_COUNT = VERIFIED_IMAGES
# float16 is probed for overflow with so many inputs.
_PROBES = 4

_KINDS = ("a photo of a {}", "two {}s on a table", "a drawing of a {} by a child", "the word {} on a street sign")
_THINGS = ("dog", "bicycle", "red house", "lighthouse", "birthday cake", "mountain lake", "train station", "cat",
           "tree", "screenshot", "guitar", "old car")  # fmt: skip
PROMPTS = tuple(kind.format(thing) for kind, thing in itertools.product(_KINDS, _THINGS))


@dataclass(frozen=True)
class ImageInputs:
    """Images ready for every runtime.

    Attributes:
        pixels: RGB, ``(n, height, width, 3)`` uint8.
        source: For the report: "48 images of holiday/".
        skipped: ``(name, reason)`` of what could not be read.
    """

    pixels: Pixels
    source: str
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TextInputs:
    """Texts ready for every runtime.

    Attributes:
        ids: ``(n, context_length)`` int64.
        source: For the report: "48 built-in prompts".
    """

    ids: Ids
    source: str


@dataclass(frozen=True)
class Captioned:
    """Images with captions, ready for both towers.

    Attributes:
        pixels: ``(n, height, width, 3)`` uint8.
        ids: ``(m, context)`` int64.
        image_of: For each caption its image's row, ``(m,)``.
        source: For the report: "200 images with 1000 captions of holiday.csv".
    """

    pixels: Pixels
    ids: Ids
    image_of: NDArray[np.int64]
    source: str


def read_source(path: Path, model: Model, *, count: int) -> tuple[ImageInputs | None, TextInputs | None]:
    """Images and captions of a folder or captions file, as far as the model has towers and the source has captions.

    Args:
        path: What :func:`mobileclip_kit.data.sources.open_source` reads.
        model: Whose preprocessing and tokenizer count.
        count: At most so many of each.

    Raises:
        DataError: The source cannot be read, or holds no image that can.
    """
    left_out: list[Skipped] = []
    pairs = list(open_source(path, left_out))
    images = texts = None
    if model.spec.image is not None:
        files = [pair.source() for pair in spread(pairs, count)]
        images = read_images(files, model.spec.image, source=path.name)
        images = replace(images, skipped=(*((skip.item, skip.reason) for skip in left_out), *images.skipped))
    captions = [caption for pair in pairs for caption in pair.captions]
    if model.spec.text is not None and captions:
        texts = tokenize_texts(model, captions, count=count)
    return images, texts


def read_captioned(path: Path, model: Model, *, count: int) -> Captioned:
    """Images with their captions, for recall.

    Args:
        path: What :func:`mobileclip_kit.data.sources.open_source` reads.
        model: Whose preprocessing and tokenizer count.
        count: At most so many images.

    Raises:
        DataError: The source has fewer than two images with captions that can be read.
        ModelError: The model lacks a tower, or its tokenizer is not installed.
    """
    image, text = model.spec.require_image(), model.spec.require_text()
    pixels: list[Pixels] = []
    captions: list[str] = []
    image_of: list[int] = []
    for pair in spread([pair for pair in open_source(path, []) if pair.captions], count):
        try:
            pixels.append(load_pixels(pair.source(), image))
        except ImageError:
            continue  # the command has listed it already
        captions += pair.captions
        image_of += [len(pixels) - 1] * len(pair.captions)
    if len(pixels) < 2:
        raise DataError(
            f"{path} has {len(pixels)} images with captions; recall takes at least 2, and some hundred are good.",
            hint="Pass a captions file.",
        )
    ids = load_tokenizer(text, model.tokenizer_file)(captions)
    source = f"{len(pixels)} images with {len(captions)} captions of {path.name}"
    return Captioned(np.stack(pixels), ids, np.array(image_of), source)


def read_images(
    files: Sequence[Path | bytes], spec: ImageSpec, *, source: str, count: int | None = None
) -> ImageInputs:
    """Decode images spread evenly over a list.

    Args:
        files: Paths, or the encoded bytes.
        spec: The model's preprocessing.
        source: Where they come from, for the report.
        count: At most so many; None takes all.

    Raises:
        DataError: None of them can be read.
    """
    pixels, skipped = [], []
    for file in spread(files, count):
        try:
            pixels.append(load_pixels(file, spec))
        except ImageError as error:
            skipped.append((file.name if isinstance(file, Path) else f"{len(file)} bytes", error.message))
    if not pixels:
        reason = f" The first one: {skipped[0][1]}" if skipped else ""
        raise DataError(f"{source} holds no image that can be read.{reason}", hint="Pass a folder of images.")
    return ImageInputs(np.stack(pixels), f"{len(pixels)} images of {source}", tuple(skipped))


def draw_images(spec: ImageSpec, *, count: int = DEFAULT_COUNT, seed: int = 0) -> ImageInputs:
    """Images of soft colour fields with a few hard-edged boxes, the same ones for the same seed."""
    random = np.random.default_rng(seed)
    pixels = np.empty((count, spec.height, spec.width, 3), np.uint8)
    for image in pixels:
        cells = random.integers(2, 9)
        rows = np.linspace(0, cells - 1.001, spec.height)
        columns = np.linspace(0, cells - 1.001, spec.width)
        image[:] = _blend(random.uniform(0, 255, (cells, cells, 3)), rows, columns)
        for _ in range(random.integers(1, 6)):
            top, left = random.integers(0, spec.height), random.integers(0, spec.width)
            tall, wide = random.integers(1, spec.height + 1), random.integers(1, spec.width + 1)
            image[top : top + tall // 2 + 1, left : left + wide // 2 + 1] = random.integers(0, 256, 3)
    return ImageInputs(pixels, f"{count} drawn images")


def tokenize_texts(model: Model, texts: Iterable[str] | None, *, count: int = DEFAULT_COUNT) -> TextInputs:
    """Token rows of the user's texts, or of built-in prompts.

    A tokenizer of another library that is not installed here is no reason to leave a text tower unverified: then token
    rows are drawn, and the source says so.
    """
    spec = model.spec.require_text()
    given = None if texts is None else spread([text for text in dict.fromkeys(texts) if text.strip()], count)
    if given is not None and not given:
        raise DataError("The texts to verify with are all empty.", hint="Pass captions, or none for built-in prompts.")
    try:
        tokenizer = load_tokenizer(spec, model.tokenizer_file)
    except (ModelError, MissingExtraError) as error:
        return TextInputs(_draw_ids(spec, count), f"{count} drawn token rows ({error.message})")
    if given is None:
        return TextInputs(tokenizer(PROMPTS[:count]), f"{len(PROMPTS[:count])} built-in prompts")
    return TextInputs(tokenizer(given), f"{len(given)} captions")


def probe_inputs(model: Model, tower: Tower, options: ExportOptions) -> list[Mapping[str, NDArray[Any]]]:
    """A few inputs as a Core ML program takes them."""
    if tower == "image":
        images = options.images or draw_images(model.spec.require_image(), count=_PROBES)
        return [{"image": image[None]} for image in spread(list(images.pixels), _PROBES)]
    texts = options.texts or tokenize_texts(model, None, count=_PROBES)
    return [{"ids": row[None].astype(np.int32)} for row in spread(list(texts.ids), _PROBES)]


def spread(items: Sequence[Item], count: int | None) -> list[Item]:
    """At most ``count`` items, evenly spaced over the sequence."""
    if count is None or len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _blend(corners: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of ``(cells, cells, 3)`` at fractional rows and columns."""
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = corners[top][:, left] * (1 - right) + corners[top][:, left + 1] * right
    lower = corners[top + 1][:, left] * (1 - right) + corners[top + 1][:, left + 1] * right
    blended: np.ndarray = upper * (1 - down) + lower * down
    return blended


def _draw_ids(spec: TextSpec, count: int) -> Ids:
    random = np.random.default_rng(0)
    ids = random.integers(1, spec.vocab_size, (count, spec.context_length), dtype=np.int64)
    for row, length in zip(ids, random.integers(2, spec.context_length + 1, count), strict=True):
        row[length:] = spec.pad_id
    return ids
