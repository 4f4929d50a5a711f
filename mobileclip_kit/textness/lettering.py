"""Writing words on copies of images, in many typefaces, sizes, positions, colours and angles.

The fonts are those of the synthetic scenes. They are part of packages that mckit depends on, so the result is the same
on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageStat

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.images import load_pixels, resize_and_crop
from mobileclip_kit.scenes.sprites import TYPEFACES, font
from mobileclip_kit.spec import ImageSpec

# Short and common, not only names of things: the direction should mean "something is written", not "dog is written".
WORDS = tuple(
    "open close sale new free hello love time yes no stop go left right north south east west welcome thanks today "
    "tomorrow night morning summer winter spring monday friday july street road park market hotel cafe bar shop store "
    "bank school museum station exit enter push pull danger notice private office police taxi bus milk bread water "
    "coffee tea fresh best quality super price only now big small red green blue black white gold silver happy dream "
    "peace music live world city home house garden river ocean mountain forest star moon sun light fire storm cloud "
    "dog cat horse bird fish bear apple lemon pizza burger king queen prince power energy speed magic lucky smile "
    "the and with from this that what when where why how one two three seven ten 24 50 99 100 2024 no.1 a-z".split()
)

# Words are written at twice the resolution of the model and then scaled down with the image, like words in photos.
_SUPERSAMPLING = 2
_HEIGHT_SHARES = (0.07, 0.26)
_WIDTH_SHARE = 0.92
_LEAST_CONTRAST = 110.0
_PLATE_CHANCE = 0.25
_OUTLINE_CHANCE = 0.25
_UPPER_CHANCE = 0.4
_COLOUR_TRIES = 20
# From this standard deviation of the background luminance on, no single colour is legible everywhere.
_BUSY_GROUND = 45.0


def draw_words(image: Image.Image, rng: np.random.Generator, *, words: Sequence[str] = WORDS) -> Image.Image:
    """A copy of an image with one to three words written on it.

    Args:
        image: Mode RGB, at least 16 pixels high and wide.
        rng: Makes all random choices; the same state gives the same image.
        words: The words to choose from.
    """
    label = _label(image, rng, _pick(rng, words, int(rng.integers(1, 4))))
    left = int(rng.integers(0, max(1, image.width - label.width + 1)))
    top = int(rng.integers(0, max(1, image.height - label.height + 1)))
    place = (left, top, left + label.width, top + label.height)
    return _write(image, label, (left, top), rng, image.crop(place))


def pair_pixels(image: Path, spec: ImageSpec, rngs: Sequence[np.random.Generator]) -> Pixels:
    """Pixels of an image without words, then with words from each generator, ``(1 + len(rngs), height, width, 3)``.

    Raises:
        ImageError: The image cannot be decoded.
    """
    large = replace(spec, height=_SUPERSAMPLING * spec.height, width=_SUPERSAMPLING * spec.width)
    canvas = Image.fromarray(load_pixels(image, large))
    versions = [canvas, *(draw_words(canvas, rng) for rng in rngs)]
    return np.stack([resize_and_crop(version, spec) for version in versions])


def _pick(rng: np.random.Generator, words: Sequence[str], count: int) -> str:
    """Join words in one line or one per line, in lower case, in upper case or capitalised."""
    chosen = [words[number] for number in rng.integers(0, len(words), count)]
    text = ("\n" if rng.random() < 0.5 else " ").join(chosen)
    return text.upper() if rng.random() < _UPPER_CHANCE else text.title() if rng.random() < 0.5 else text


def _label(image: Image.Image, rng: np.random.Generator, text: str) -> Image.Image:
    """The mask ("L") of a text, rotated, and small enough for the image."""
    typeface = list(TYPEFACES)[int(rng.integers(len(TYPEFACES)))]
    height_px = max(8, round(float(rng.uniform(*_HEIGHT_SHARES)) * image.height))
    mask = _mask(text, font(typeface, height_px))
    # Mostly horizontal, sometimes vertical, as on the spines of books and on shop signs.
    degrees = float(rng.normal(0, 8)) + (90.0 * float(rng.choice([-1, 1])) if rng.random() < 0.08 else 0.0)
    mask = mask.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    shrink = min(_WIDTH_SHARE * image.width / mask.width, _WIDTH_SHARE * image.height / mask.height, 1.0)
    if shrink < 1:
        size = (max(1, round(mask.width * shrink)), max(1, round(mask.height * shrink)))
        mask = mask.resize(size, Image.Resampling.LANCZOS)
    return mask


def _mask(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = measure.multiline_textbbox((0, 0), text, font=font, align="center")
    mask = Image.new("L", (max(1, int(right - left) + 2), max(1, int(bottom - top) + 2)))
    ImageDraw.Draw(mask).multiline_text((1 - left, 1 - top), text, fill=255, font=font, align="center")
    return mask


def _write(
    image: Image.Image, mask: Image.Image, place: tuple[int, int], rng: np.random.Generator, ground: Image.Image
) -> Image.Image:
    """Paint the text through its mask, with a plate or an outline behind it at random or for legibility."""
    written = image.copy()
    colour = _contrasting(rng, ImageStat.Stat(ground).mean)
    busy = ImageStat.Stat(ground.convert("L")).stddev[0] > _BUSY_GROUND
    chance = rng.random()
    if chance < _PLATE_CHANCE:
        plate = tuple(int(value) for value in rng.integers(0, 256, 3))
        colour = _contrasting(rng, plate)
        written.paste(plate, (place[0], place[1], place[0] + mask.width, place[1] + mask.height))
    elif busy or chance < _PLATE_CHANCE + _OUTLINE_CHANCE:
        shade = (0, 0, 0) if _luminance(colour) > 127 else (255, 255, 255)
        step = max(1, mask.height // 40)
        for across, down in ((-step, 0), (step, 0), (0, -step), (0, step)):
            written.paste(shade, (place[0] + across, place[1] + down), mask)
    written.paste(colour, place, mask)
    return written


def _contrasting(rng: np.random.Generator, ground: Sequence[float]) -> tuple[int, int, int]:
    """A random colour whose luminance differs enough from that of the background."""
    for _ in range(_COLOUR_TRIES):
        red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
        if abs(_luminance((red, green, blue)) - _luminance(ground)) >= _LEAST_CONTRAST:
            return red, green, blue
    return (0, 0, 0) if _luminance(ground) > 127 else (255, 255, 255)


def _luminance(colour: Sequence[float]) -> float:
    """Rec. 601 luma, 0…255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
