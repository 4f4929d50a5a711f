"""The synthetic scenes as a folder: ``images/*.png``, ``captions.csv``, ``truth.jsonl`` and ``scenes.json``."""

from __future__ import annotations

import csv
import os
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit import formats
from mobileclip_kit.errors import UsageError
from mobileclip_kit.files import read_json, sha256_of_file, write_json
from mobileclip_kit.options import Option
from mobileclip_kit.scenes.plan import SceneConfig
from mobileclip_kit.scenes.scene import DEFAULT_CONFIG, Scene, Split, draw_scene
from mobileclip_kit.scenes.truth import DRAW_AGAIN, LISTS_KEY, SCENES_FILE, TRUTH_FILE, check_lists

CAPTIONS_FILE = "captions.csv"
IMAGES_FOLDER = "images"

_CHUNK = 128
# Starting a process takes about as long as drawing this many images.
_WORTH_A_POOL = 1024


@dataclass(frozen=True, kw_only=True)
class SceneSet:
    """The settings of a folder of scenes. Equal settings give folders that are identical byte for byte.

    Attributes:
        items: Number of images.
        seed: Seed of the random choices.
        size: Width and height of the images in pixels.
        split: See :mod:`mobileclip_kit.scenes.scene`.
        config: The contents of the scenes.
    """

    items: Annotated[int, Option("How many images.", names=("items",), metavar="N")]
    seed: Annotated[int, Option("The same seed gives the same images.")] = 0
    size: Annotated[int, Option("Width and height of the images in pixels, 16 to 1024.", metavar="PX")] = 64
    split: Annotated[
        Split,
        Option(
            "train: without the held-out combinations of kind and colour. test: with them. unseen: only them. "
            "gallery: as many images of words as of things. pairs: each scene without and with a word on it."
        ),
    ] = "train"
    config: SceneConfig = DEFAULT_CONFIG


def write_scenes(
    folder: Path, scenes: SceneSet, *, workers: int | None = None, advance: Callable[[int], None] = lambda drawn: None
) -> None:
    """Draw scenes into an existing, empty folder.

    Args:
        folder: The folder.
        scenes: The settings.
        workers: Number of processes; None for one per processor. The result does not depend on it.
        advance: Called with the number of images drawn since the last call.

    Raises:
        UsageError: The number of images, their size or the number of processes is out of range.
    """
    if scenes.items < 1:
        raise UsageError(f"{scenes.items} images cannot be drawn.", hint="Ask for 1 or more.")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} processes cannot draw.", hint="Ask for 1 or more.")
    _draw(scenes, 0)  # refuses before anything is written
    (folder / IMAGES_FOLDER).mkdir()
    with (
        (folder / CAPTIONS_FILE).open("w", encoding="utf-8", newline="") as captions_stream,
        (folder / TRUTH_FILE).open("w", encoding="utf-8") as truth_stream,
    ):
        captions = csv.writer(captions_stream, lineterminator="\n")
        captions.writerow(["image", "caption"])
        for drawn in _chunks(folder, scenes, workers):
            for said, truth in drawn:
                captions.writerows(said)
                truth_stream.write(truth + "\n")
            advance(len(drawn))
    lists = {name: sha256_of_file(folder / name) for name in (CAPTIONS_FILE, TRUTH_FILE)}
    write_json(folder / SCENES_FILE, {**formats.to_document(scenes), LISTS_KEY: lists}, sealed=True)


def read_scenes_file(folder: Path) -> SceneSet | None:
    """The settings of a folder of scenes; None if ``mckit scenes`` did not make it.

    Raises:
        DataError: The file is damaged.
    """
    # The first version wrote world.json, with the same keys.
    found = next((folder / name for name in (SCENES_FILE, "world.json") if (folder / name).is_file()), None)
    if found is None:
        return None
    check_lists(folder)
    document = {key: value for key, value in read_json(found).items() if key != LISTS_KEY}
    return formats.from_document(document, SceneSet, where=str(found), hint=DRAW_AGAIN)


Drawn = list[tuple[list[tuple[str, str]], str]]


def _chunks(folder: Path, scenes: SceneSet, workers: int | None) -> Iterator[Drawn]:
    draw = partial(_write_chunk, folder, scenes)
    starts = range(0, scenes.items, _CHUNK)
    processes = min(workers or _processors(), len(starts))
    if processes == 1 or scenes.items < _WORTH_A_POOL:
        yield from map(draw, starts)
        return
    # A new interpreter for each process: forking a process that has threads (torch, BLAS) may deadlock.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_ignore_interrupts) as pool:
        try:
            yield from pool.map(draw, starts)
        finally:
            pool.shutdown(cancel_futures=True)


def _processors() -> int:
    """The number of processors that this process may use, if the system tells it (as in a container), else of all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _draw(scenes: SceneSet, index: int) -> Scene:
    return draw_scene(scenes.seed, index, scenes.size, split=scenes.split, config=scenes.config)


def _write_chunk(folder: Path, scenes: SceneSet, start: int) -> Drawn:
    """Draw and write the images from ``start`` on; return the rows of their captions and the lines of their truth."""
    rows: Drawn = []
    for index in range(start, min(start + _CHUNK, scenes.items)):
        scene = _draw(scenes, index)
        name = f"{IMAGES_FOLDER}/{index:06d}.png"
        (folder / name).write_bytes(encode_png(scene.image))
        rows.append(([(name, text) for text in scene.captions], replace(scene.truth, image=name).to_json()))
    return rows


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C, which the parent process handles for all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB_8_BIT = struct.pack(">BBBBB", 8, 2, 0, 0, 0)
_UP = 2


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image ``(height, width, 3)`` without loss (PNG, W3C Recommendation, second edition)."""
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + width * 3), dtype=np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = pixels[0].reshape(-1)
    flat = pixels.reshape(height, -1)
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])  # modulo 256, as the filter requires
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    data = packer.compress(rows.tobytes()) + packer.flush()
    header = struct.pack(">II", width, height) + _RGB_8_BIT
    return _SIGNATURE + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", data) + _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
