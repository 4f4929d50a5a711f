"""From an image file to the pixels that every runtime takes: the one image path.

The reference is open_clip's evaluation transform on the *upright* image: resize in the image's own mode, crop or
pad, convert to RGB, divide by 255, normalise. Wherever that transform gives a usable image, the pixels here are
the same. It departs from open_clip on purpose in these places:

* **EXIF orientation** is applied before anything else. open_clip's transform ignores it, but people see upright
  images, and a phone hands upright pixels to its model.
* **Palette, bilevel, 16-bit, 32-bit and float images** become 8-bit RGB *before* the resize. open_clip resizes
  palette and bilevel images by nearest neighbour, and turns every 16-bit sample above 255 into white. 16-bit samples
  are divided by 257, so that 65,535 becomes 255. Integers of 32 bits count as 16-bit samples when one of them exceeds
  255; float samples are clipped to 0…255, as open_clip does.
* **Padding** (``longest``) is done in RGB. open_clip pads a CMYK image before the conversion, where 0 means white.
* **Very long, small images**: the part that the crop throws away is never computed (1×4000 at 224 would become
  224×896,000), which may move a sample by one level (a nearly transparent one by more, since its colour is divided by
  its alpha); and ``longest`` keeps at least one row or column, where open_clip fails.

As in open_clip, an alpha channel weighs the colours in the resize and is then dropped: there is no background. Of an
animation or a stack, the first frame counts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import math
import os
import struct
import threading
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from mobileclip_kit.arguments import with_article
from mobileclip_kit.arrays import Pixels
from mobileclip_kit.errors import DataError, ImageError, ShapeError
from mobileclip_kit.extras import install_line
from mobileclip_kit.files import open_file
from mobileclip_kit.spec import ImageSpec

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif"}
)
# The brands in the first box of an HEIF file whose images Pillow leaves to a plugin.
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

# The formats that are read, in Pillow's words, and its plugin for each; HEIF is registered by pillow-heif.
_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "TIFF": "TiffImagePlugin",
    "BMP": "BmpImagePlugin",
    "AVIF": "AvifImagePlugin",
    "HEIF": None,
}

# 200 megapixels is what the largest phone cameras write, and 600 MB as RGB.
MAX_PIXELS = 200_000_000
# Pillow allocates memory for every row: an image of one column of 200 million pixels would take 3 GB.
MAX_SIDE = 1_000_000

Item = TypeVar("Item")
Result = TypeVar("Result")

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# Modes whose samples can be averaged, so that the resize may come first, as in open_clip.
_RESIZABLE_MODES = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
# What Pillow itself turns an image with an alpha channel into for the time of a resize.
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
_STRAIGHT = {premultiplied: mode for mode, premultiplied in _PREMULTIPLIED.items()}
# When an image is enlarged to more than this many times the target's area, only what the crop keeps is computed.
_FULL_RESIZE_AREAS = 16
_REACH = 3
# Of a chunk, whose size may be anything.
_PNG_BYTES_AT_ONCE = 1 << 20
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def load_image(source: Path | bytes, *, max_pixels: int = MAX_PIXELS, least_side: int | None = None) -> Image.Image:
    """Decode the first frame of an image, upright, as 8-bit RGB.

    For :func:`load_pixels`, which also decodes, CMYK and alpha images are converted to RGB after the resize, as in
    open_clip; here they are converted at once.

    Args:
        source: A file, or its bytes.
        max_pixels: Larger images are refused from their header, without decoding. At most :data:`MAX_PIXELS`.
        least_side: Let the JPEG decoder halve, quarter… an image whose sides stay at least so many pixels long: for
            thumbnails, several times faster on camera photos. None for the image as it is.

    Returns:
        An image of mode RGB.

    Raises:
        ImageError: The file is missing, empty, truncated, too large, or no image. The message names it.
    """
    with _reading(source):
        return _to_rgb(_to_resizable(_decode(source, max_pixels, least_side)))


def load_pixels(
    source: str | Path | bytes | Image.Image | Pixels,
    spec: ImageSpec,
    *,
    draft: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_side: int = MAX_SIDE,
) -> Pixels:
    """Decode, resize and crop an image: what every encoder takes.

    Args:
        source: A file, its bytes, an image that Pillow opened (its EXIF orientation is applied), or an RGB array,
            ``(height, width, 3)`` uint8.
        spec: Size, filter and resize mode.
        draft: Let the JPEG decoder halve, quarter… an image that stays at least twice as large as the target.
            Several times faster on camera photos, but the pixels are no longer open_clip's.
        max_pixels: As in :func:`load_image`, for files and bytes.
        max_side: The same for width and height, in pixels.

    Returns:
        RGB, ``(height, width, 3)`` uint8.

    Raises:
        ImageError: See :func:`load_image`.
        ShapeError: An array has another shape or type.
    """
    if isinstance(source, str):
        source = Path(source)
    elif not isinstance(source, Path | bytes):
        return _pixels_in_memory(source, spec)
    with _reading(source):
        # Twice the target leaves the antialiased filter something to filter.
        least_side = 2 * max(spec.height, spec.width) if draft else None
        return resize_and_crop(_decode(source, max_pixels, least_side, max_side), spec)


def resize_and_crop(image: Image.Image, spec: ImageSpec) -> Pixels:
    """Resize and crop (or pad) an image exactly as open_clip's evaluation transform does.

    Args:
        image: Upright, of any mode.
        spec: Size, filter and resize mode. As in open_clip, ``shortest`` with a target that is not square is always
            bicubic.

    Returns:
        RGB, ``(height, width, 3)`` uint8.
    """
    image = _to_resizable(image)
    full_width, full_height = _resized_size(image.size, spec)
    crop_width, crop_height = min(full_width, spec.width), min(full_height, spec.height)
    # Python's round takes halves to the even number, and so does the reference.
    left, top = round((full_width - crop_width) / 2), round((full_height - crop_height) / 2)
    resample = _FILTERS[spec.interpolation]
    if spec.resize_mode == "shortest" and spec.height != spec.width:
        resample = Image.Resampling.BICUBIC

    affordable = max(_FULL_RESIZE_AREAS * spec.width * spec.height, image.width * image.height)
    if full_width * full_height <= affordable:
        image = image.resize((full_width, full_height), resample)
        image = image.crop((left, top, left + crop_width, top + crop_height))
    else:
        across, down = image.width / full_width, image.height / full_height
        box = (left * across, top * down, (left + crop_width) * across, (top + crop_height) * down)
        image = _resize_box(image, (crop_width, crop_height), resample, box)

    pixels = np.asarray(_to_rgb(image))  # (crop_height, crop_width, 3)
    if pixels.shape == (spec.height, spec.width, 3):
        return np.array(pixels)
    padded = np.full((spec.height, spec.width, 3), spec.fill_color, np.uint8)
    left, top = (spec.width - crop_width) // 2, (spec.height - crop_height) // 2
    padded[top : top + crop_height, left : left + crop_width] = pixels
    return padded


def normalize(pixels: Pixels, spec: ImageSpec) -> NDArray[np.float32]:
    """Divide by 255, subtract the mean and divide by the standard deviation, channels first.

    Args:
        pixels: RGB, ``(n, height, width, 3)`` uint8.
        spec: Mean and standard deviation.

    Returns:
        ``(n, 3, height, width)`` float32: the tensor that open_clip's transform gives.

    Raises:
        ShapeError: ``pixels`` has another shape or type.
    """
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ShapeError(f"Pixels must be (n, height, width, 3) uint8, not {pixels.shape} {pixels.dtype}.")
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def decode_ahead(
    decode: Callable[[Item], Result], batches: Iterable[Sequence[Item]], *, ahead: int = 3, threads: int | None = None
) -> Generator[tuple[Sequence[Item], list[Result]]]:
    """Decode images in threads, ahead of the model that takes them: the only pool of decoders.

    Threads, not processes: Pillow releases the interpreter's lock while it decodes and resizes, and pixels need not be
    copied between processes. Closing the generator stops the threads.

    Args:
        decode: Decodes one image. An error that it raises ends the generator.
        batches: What to decode; taken from the iterator ``ahead`` batches early.
        ahead: Batches that are being decoded, or wait, while the consumer works on another one.
        threads: Decoders; None for one a core.

    Yields:
        Each batch and what ``decode`` returned for its items, in order.
    """
    waiting: deque[tuple[Sequence[Item], list[Future[Result]]]] = deque()
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="decode")
    try:
        for batch in batches:
            waiting.append((batch, [pool.submit(decode, item) for item in batch]))
            if len(waiting) > ahead:
                items, futures = waiting.popleft()
                yield items, [future.result() for future in futures]
        for items, futures in waiting:
            yield items, [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def read_header(source: Path | bytes, ifds: Sequence[int] = ()) -> tuple[tuple[int, int], dict[int, dict[int, Any]]]:
    """Width, height and EXIF tags of an image, from its header alone.

    Args:
        source: A file, or its bytes.
        ifds: Tags of the first EXIF directory whose directories are read too.

    Returns:
        The size as it is stored, before the orientation is applied, and for 0 and each of ``ifds`` the values by tag;
        empty where they are missing or damaged.

    Raises:
        ImageError: See :func:`load_image`.
    """
    with _reading(source), _open(source) as image:
        found: dict[int, dict[int, Any]] = {}
        with contextlib.suppress(*_DECODER_ERRORS):
            exif = Image.Image.getexif(image)  # PNG's own decodes an image in which it finds no tags
            found[0] = dict(exif)
            for ifd in ifds:
                with contextlib.suppress(*_DECODER_ERRORS):
                    found[ifd] = dict(exif.get_ifd(ifd))
        return image.size, found


def open_image(stream: IO[bytes]) -> ImageFile:
    """Read an image's header, in one of the formats of :data:`IMAGE_SUFFIXES` whatever the file is called.

    Pillow itself knows some forty formats, and starts another program for one of them: Ghostscript, for EPS.

    Args:
        stream: The file's bytes, from the first on.

    Raises:
        UnidentifiedImageError: The bytes are of another format, or of none.
    """
    _load_plugins()
    # Pillow fails on a name that no plugin has registered.
    return Image.open(stream, formats=[name for name in _PLUGINS if name in Image.OPEN])


def image_format(path: Path) -> str | None:
    """The format of an image in Pillow's words, from its header; None for a file that is no readable image."""
    try:
        with _PILLOW_AT_REST, open_file(path) as stream:
            return open_image(stream).format
    except (DataError, Image.DecompressionBombError, *_DECODER_ERRORS):
        return None


@functools.cache
def _load_plugins() -> None:
    for plugin in filter(None, _PLUGINS.values()):
        with contextlib.suppress(ImportError):  # AVIF came with Pillow 11.3
            importlib.import_module(f"PIL.{plugin}")


def list_images(
    folder: Path, suffixes: frozenset[str] | None = None, *, passed: list[Path] | None = None
) -> Iterator[Path]:
    """The image files below a folder, by suffix, in the order of their paths; hidden files and folders are skipped.

    Broken links are among them: reading one gives the reason why there is no image.

    Args:
        folder: Searched to any depth.
        suffixes: Which files, in lower case; None for :func:`image_suffixes`.
        passed: Receives hidden folders, and files without a suffix that begin as images do.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    wanted = image_suffixes() if suffixes is None else suffixes
    return (Path(entry.path) for entry in list_entries(folder, wanted, passed=passed))


def list_entries(
    folder: Path | str, suffixes: frozenset[str], *, passed: list[Path] | None = None
) -> Iterator[os.DirEntry[str]]:
    """As :func:`list_images`, the entries of the folders: making paths takes as long as listing them."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
    for entry in found:
        dot = entry.name.rfind(".")
        is_hidden, suffix = entry.name.startswith("."), "" if dot < 0 else entry.name[dot:].lower()
        # Links to folders are not followed: they can lead back to where they stand.
        if entry.is_dir(follow_symlinks=False):
            if not is_hidden:
                yield from list_entries(entry.path, suffixes, passed=passed)
            elif passed is not None:
                passed.append(Path(entry.path))
        elif is_hidden:
            continue
        elif suffix in suffixes and _is_file(entry):
            yield entry
        elif passed is not None and not suffix and _begins_as_image(entry):
            passed.append(Path(entry.path))


def _begins_as_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file begins as JPEG, PNG or HEIC files do."""
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG")) or start[4:11] == b"ftyphei"


def image_suffixes() -> frozenset[str]:
    """The suffixes of images; HEIC is among them even where its plugin is missing, which decoding then says."""
    return IMAGE_SUFFIXES


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a file, or a link to one or to nowhere (in a circle, say)."""
    if not entry.is_symlink():
        return entry.is_file()
    return os.path.isfile(entry.path) or not os.path.exists(entry.path)


def _decode(
    source: Path | bytes, max_pixels: int, least_side: int | None = None, max_side: int = MAX_SIDE
) -> Image.Image:
    """The first frame, upright, in its own mode; see :func:`load_pixels` for the draft's ``least_side``."""
    with _open(source) as image:
        if image.width * image.height > max_pixels or max(image.size) > max_side:
            raise ImageError(
                f"{_name(source)} is {image.width}×{image.height} pixels; the limit is {max_pixels:,} pixels, "
                f"{max_side:,} a side.",
                hint="Scale it down first.",
            )
        if least_side is not None:
            image.draft(None, (least_side, least_side))
        stream = image.fp
        image.load()
        if image.format == "PNG" and stream is not None:
            _check_png_pixels(stream)
        turn = _TURNS.get(_orientation(image))
        # copy() leaves the file behind; transpose() makes a new image anyhow.
        return image.copy() if turn is None else image.transpose(turn)


def _check_png_pixels(stream: IO[bytes]) -> None:
    """Compare the pixels of a PNG with their checksums: Pillow decodes other pixels of some damaged files."""
    stream.seek(8)  # behind the signature
    while len(head := stream.read(8)) == 8:
        left, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":  # what lies behind it is none of the image
            return
        if kind != b"IDAT":
            stream.seek(left + 4, os.SEEK_CUR)
            continue
        crc = zlib.crc32(kind)
        while left and (part := stream.read(min(left, _PNG_BYTES_AT_ONCE))):
            crc, left = zlib.crc32(part, crc), left - len(part)
        if stream.read(4) != crc.to_bytes(4, "big"):
            raise OSError("its pixels do not have their checksum")


@contextlib.contextmanager
def _open(source: Path | bytes) -> Iterator[ImageFile]:
    """An image of which only the header has been read."""
    opened: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else open_file(source)
    with opened as stream:
        start = stream.read(12)
        if not start:
            raise ImageError(f"{_name(source)} is empty.")
        stream.seek(0)
        if start[4:8] == b"ftyp" and start[8:] in _HEIF_BRANDS:
            _register_heif(source)
        with open_image(stream) as image:
            yield image


def _pixels_in_memory(source: Image.Image | Pixels, spec: ImageSpec) -> Pixels:
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or source.size == 0:
            raise ShapeError(f"An image is (height, width, 3) uint8, not {source.shape} {source.dtype}.")
        return resize_and_crop(Image.fromarray(source), spec)
    if not isinstance(source, Image.Image):
        raise ShapeError(f"An image is a path, a Pillow image or an array, not {with_article(type(source))}.")
    name = getattr(source, "filename", "") or "The image"
    if 0 in source.size:
        raise ImageError(f"{_name(name)} has no pixels: {source.width}×{source.height}.")
    with _reading(name):
        source.load()
        turn = _TURNS.get(_orientation(source))
        return resize_and_crop(source if turn is None else source.transpose(turn), spec)


def _register_heif(source: Path | bytes) -> None:
    """Teach Pillow HEIC, which phones write, when the first such image is met."""
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            f"{_name(source)} is a HEIC image, which needs the extra [heic]; install it with: {install_line('heic')}"
        ) from error
    pillow_heif.register_heif_opener()


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1…8; damaged EXIF data beside sound pixels count as none."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _resized_size(size: tuple[int, int], spec: ImageSpec) -> tuple[int, int]:
    """Width and height after the resize and before the crop, by the rounding rules of torchvision and open_clip."""
    width, height = size
    if spec.resize_mode == "squash":
        return spec.width, spec.height
    if spec.resize_mode == "shortest" and spec.width == spec.height:
        # torchvision cuts the longer side down to an integer…
        if width <= height:
            return spec.width, int(spec.width * height / width)
        return int(spec.height * width / height), spec.height
    # …and open_clip rounds both sides.
    choose = max if spec.resize_mode == "longest" else min
    ratio = choose(height / spec.height, width / spec.width)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _resize_box(
    image: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: tuple[float, float, float, float]
) -> Image.Image:
    """The enlarged part of an image inside ``box`` (left, top, right, bottom), as if all of it had been enlarged."""
    left, top, right, bottom = box
    # Pillow keeps a box in single precision: cutting the rest off first keeps its numbers small. An enlarging filter
    # reaches two pixels far.
    first_column, first_row = max(0, int(left) - _REACH), max(0, int(top) - _REACH)
    last_column = min(image.width, math.ceil(right) + _REACH)
    last_row = min(image.height, math.ceil(bottom) + _REACH)
    part = image.crop((first_column, first_row, last_column, last_row))
    # Pillow rounds to 8 bits between the two directions and chooses their order by the box; a whole image that is
    # enlarged alike in both is resized across first.
    part = part.convert(_PREMULTIPLIED.get(part.mode, part.mode))
    part = part.resize((size[0], part.height), resample, (left - first_column, 0, right - first_column, part.height))
    part = part.resize(size, resample, (0, top - first_row, size[0], bottom - first_row))
    return part.convert(image.mode)


def _to_resizable(image: Image.Image) -> Image.Image:
    # What programs that compose images hand over in memory; Pillow converts "La" to nothing but "LA".
    if image.mode in _STRAIGHT:
        image = image.convert(_STRAIGHT[image.mode])
    if image.mode in _RESIZABLE_MODES:
        return image
    if image.mode.startswith("I"):
        samples = np.asarray(image)
        if samples.dtype.itemsize == 2 or samples.max(initial=0) > 255:
            samples = (np.clip(samples, 0, 65535).astype(np.uint32) + 128) // 257
        return Image.fromarray(np.clip(samples, 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        # By way of RGBA, since Pillow cannot carry a palette with several transparent entries into RGB.
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _to_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _name(source: str | Path | bytes) -> str:
    return f"An image of {len(source)} bytes" if isinstance(source, bytes) else str(source)


@contextlib.contextmanager
def _reading(source: str | Path | bytes) -> Iterator[None]:
    """Turn whatever a decoder raises into one ImageError sentence, and keep Pillow's warnings in."""
    name = _name(source)
    try:
        with _PILLOW_AT_REST:
            yield
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder, not an image.") from error
    except PermissionError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror}.") from error
    except DataError as error:
        raise error if isinstance(error, ImageError) else ImageError(error.message) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image in a format that can be decoded here.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is larger than the limit of {MAX_PIXELS:,} pixels.", hint="Scale it down first."
        ) from error
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason == "Operation on closed image":
            raise ImageError(f"{name} is closed.", hint="Pass its path, or the image before it is closed.") from error
        raise ImageError(f"{name} is damaged or cut off: {reason}.") from error


class _PillowAtRest:
    """While images are read, Pillow warns of nothing, and refuses no image that MAX_PIXELS allows.

    Both are settings of the whole process, so the first reader changes them and the last one restores them; threads
    that saved and restored them each on their own would restore one another's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._warnings = warnings.catch_warnings()
        self._limit: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                # Pillow warns above its limit and refuses from twice the limit on.
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                Image.MAX_IMAGE_PIXELS = self._limit
                self._warnings.__exit__(None, None, None)


_PILLOW_AT_REST = _PillowAtRest()
