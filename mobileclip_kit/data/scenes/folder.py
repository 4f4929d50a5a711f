"""The built-in world as a folder: ``images/*.png``, ``captions.csv``, ``truth.jsonl`` and ``world.json``."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from mobileclip_kit.data.scenes.plan import WorldConfig
from mobileclip_kit.data.scenes.png import encode_png
from mobileclip_kit.data.scenes.truth import TRUTH_FILE
from mobileclip_kit.data.scenes.world import DEFAULT_WORLD, Split, draw_scene
from mobileclip_kit.errors import UsageError
from mobileclip_kit.files import write_json

CAPTIONS_FILE = "captions.csv"
WORLD_FILE = "world.json"
PICTURES_FOLDER = "images"

_CHUNK = 128
# Starting a process costs as much as drawing about so many pictures.
_WORTH_A_POOL = 1024


@dataclass(frozen=True, kw_only=True)
class World:
    """What is drawn: with equal values the folders are equal byte by byte.

    Attributes:
        items: How many pictures.
        seed: Which ones.
        size: Pixels of their sides.
        split: See ``world``.
        config: What the world is made of.
    """

    items: int
    seed: int
    size: int
    split: Split = "train"
    config: WorldConfig = DEFAULT_WORLD


def write_world(
    folder: Path, world: World, *, workers: int | None = None, advance: Callable[[int], None] = lambda drawn: None
) -> None:
    """Draw a world into an existing, empty folder.

    Args:
        folder: Where to.
        world: What.
        workers: Processes; None takes one for each processor. The result does not depend on it.
        advance: Told how many more pictures have been drawn.

    Raises:
        UsageError: The number of pictures, their size or the number of processes is out of range.
    """
    if world.items < 1:
        raise UsageError(f"{world.items} pictures cannot be drawn.", hint="Ask for 1 or more.")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} processes cannot draw.", hint="Ask for 1 or more.")
    draw_scene(world.seed, 0, world.size, split=world.split, config=world.config)  # refuses before anything is written
    (folder / PICTURES_FOLDER).mkdir()
    with (
        (folder / CAPTIONS_FILE).open("w", encoding="utf-8", newline="") as captions_stream,
        (folder / TRUTH_FILE).open("w", encoding="utf-8") as truth_stream,
    ):
        captions = csv.writer(captions_stream, lineterminator="\n")
        captions.writerow(["image", "caption"])
        for drawn in _chunks(folder, world, workers):
            for said, truth in drawn:
                captions.writerows(said)
                truth_stream.write(truth + "\n")
            advance(len(drawn))
    write_json(folder / WORLD_FILE, asdict(world))


Drawn = list[tuple[list[tuple[str, str]], str]]


def _chunks(folder: Path, world: World, workers: int | None) -> Iterator[Drawn]:
    draw = partial(_write_chunk, folder, world)
    starts = range(0, world.items, _CHUNK)
    processes = min(workers or _processors(), len(starts))
    if processes == 1 or world.items < _WORTH_A_POOL:
        yield from map(draw, starts)
        return
    # A fresh interpreter a process: forking one that has threads (torch, BLAS) may never return.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_ignore_interrupts) as pool:
        try:
            yield from pool.map(draw, starts)
        finally:
            pool.shutdown(cancel_futures=True)


def _processors() -> int:
    """Those that this process may use, where the system tells (a container's share), else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_chunk(folder: Path, world: World, start: int) -> Drawn:
    """Draw and write pictures ``start`` … and return their captions' rows and their truth's line."""
    rows: Drawn = []
    for index in range(start, min(start + _CHUNK, world.items)):
        scene = draw_scene(world.seed, index, world.size, split=world.split, config=world.config)
        name = f"{PICTURES_FOLDER}/{index:06d}.png"
        (folder / name).write_bytes(encode_png(scene.picture))
        rows.append(([(name, text) for text in scene.captions], replace(scene.truth, image=name).to_json()))
    return rows


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent, which cleans up for all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
