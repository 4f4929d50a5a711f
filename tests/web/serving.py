"""A small library of coloured images, and ways to serve it to tests."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import uvicorn
from PIL import Image

from mobileclip_kit.index.folder import IndexHeader, create_index, open_writer
from mobileclip_kit.index.store import Item
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.photo_facts import PhotoFacts, local_us
from mobileclip_kit.textness.vector import Textness
from mobileclip_kit.web.app import build_app
from mobileclip_kit.web.library import Library
from mobileclip_kit.web.server import listen
from mobileclip_kit.web.service import Service
from mobileclip_kit.web.thumbnails import Thumbnails
from tests.index.vectors import unit_rows
from tests.indexing.fakes import DIM, ColourEncoder, draw

ODD_NAMES = [
    "line\nbreak.png",
    "quo\"te's.png",
    "🐈‍⬛ 猫.png",
    "<img src=x onerror=alert(1)>.png",
    "turned\u202egnp.exe.png",
    os.fsdecode(b"\xff\xfe.png"),
]
DAY_S = 24 * 3600


def make_photos(folder: Path) -> Path:
    """Images of three colours in folders, the last one the newest, and names of every kind."""
    colours = [(230, 20, 20), (200, 30, 30), (170, 25, 20), (20, 220, 40), (30, 180, 30), (30, 40, 230)]
    names = ["red.png", "trips/north/ruby.png", "trips/brick.png", "green.png", "trips/moss.png", "blue.png"]
    for number, (name, colour) in enumerate(zip(names, colours, strict=True)):
        path = draw(folder / name, colour, size=40)
        moment = 1_700_000_000 + number * DAY_S
        os.utime(path, (moment, moment))
    return folder


def make_index(folder: Path, photos: Path, *, model: str | None = "colours") -> Path:
    """Index the photos by their colours."""
    update_index(photos, ColourEncoder(model_path=model), folder)
    return folder


def make_many(folder: Path, count: int) -> Path:
    """An index of ``count`` images, all of them links to a few files, with random vectors."""
    photos = folder / "photos"
    first = [draw(photos / "many" / f"base{shade}.png", (shade * 8, 255 - shade * 8, 90), 64) for shade in range(30)]
    names = [f"many/{number:05d}.png" for number in range(count)]
    for number, name in enumerate(names):
        os.link(first[number % len(first)], photos / name)
    index = folder / "index"
    create_index(index, IndexHeader(spec=ColourEncoder().spec, model="colours", images=str(photos)))
    with open_writer(index) as writer:
        row = writer.matrix.append(unit_rows(count, DIM))
        for offset, name in enumerate(names):
            writer.store.put(Item(name=name, size_bytes=1, mtime_ns=10**18 + offset, row=row + offset))
        writer.commit()
    return index


# Of files, in nanoseconds since 1970: the first and the last moment that an index can hold, and the day before 1970.
ODD_MOMENTS = {"oldest.png": -(2**63), "before.png": -36 * 3600 * 10**9, "newest.png": 2**63 - 1}


def make_dated(folder: Path) -> Path:
    """An index of images of impossible years: three by their files, one by its camera."""
    photos = folder / "photos"
    first_year = PhotoFacts(taken_us=local_us(datetime(1, 1, 2)))
    create_index(folder / "index", IndexHeader(spec=ColourEncoder().spec, model="colours", images=str(photos)))
    with open_writer(folder / "index") as writer:
        row = writer.matrix.append(unit_rows(4, DIM))
        draw(photos / "camera.png", (1, 2, 3))
        writer.store.put(Item(name="camera.png", size_bytes=1, mtime_ns=0, row=row, facts=first_year))
        for number, (name, moment) in enumerate(ODD_MOMENTS.items(), 1):
            draw(photos / name, (1, 2, 3))
            writer.store.put(Item(name=name, size_bytes=1, mtime_ns=moment, row=row + number))
        writer.commit()
    return folder / "index"


def write_textness(path: Path) -> Path:
    """A textness vector that points to red."""
    direction = ColourEncoder().encode_texts(["red"])[0] - ColourEncoder().encode_texts(["green blue"])[0]
    unit = (direction / np.linalg.norm(direction)).astype(np.float32)
    Textness(model="colours", model_hash=ColourEncoder().spec.model_hash, directions={"probe": unit}).save(path)
    return path


def open_service(index: Path, thumbnails: Path, *, encoder=None, **options) -> Service:
    """A service whose model is the colour encoder, or another fake one."""
    return Service(Library(index), lambda _: encoder or ColourEncoder(), Thumbnails(thumbnails), **options)


@contextlib.contextmanager
def running(service: Service) -> Iterator[str]:
    """Serve in a thread; the address."""
    listening = listen(port=0)
    config = uvicorn.Config(build_app(service), log_level="error", access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening.socket]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.started
        yield listening.url
    finally:
        server.should_exit = True
        thread.join(20)
        listening.socket.close()


def save_turned(path: Path) -> None:
    """A wide JPEG, red on its left, whose EXIF says that it was taken with the camera held upright."""
    image = Image.new("RGB", (1200, 600), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 600, 600))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, quality=95, exif=exif)
