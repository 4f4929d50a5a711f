"""Golden files of the pixel path: drawn images, and what the image path makes of them.

``pixels.bin`` holds samples, ``pixels.json`` where they begin: sources with four bytes a pixel, results with three.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.images import load_pixels
from mobileclip_kit.spec import ImageSpec

Samples = NDArray[np.uint8]

SPECS: list[dict[str, Any]] = [
    {"height": 24, "width": 24, "interpolation": "bicubic", "resize_mode": "shortest"},
    {"height": 24, "width": 24, "interpolation": "bilinear", "resize_mode": "shortest"},
    {"height": 16, "width": 28, "interpolation": "bilinear", "resize_mode": "shortest"},
    {"height": 24, "width": 24, "interpolation": "bilinear", "resize_mode": "longest", "fill_color": 128},
    {"height": 28, "width": 16, "interpolation": "bicubic", "resize_mode": "longest"},
    {"height": 16, "width": 24, "interpolation": "bicubic", "resize_mode": "squash"},
    {"height": 33, "width": 33, "interpolation": "bilinear", "resize_mode": "squash"},
]


def drawn() -> Iterator[tuple[str, Samples]]:
    """Extremes: ``(height, width, 3 or 4)``."""
    generator = np.random.default_rng(12)

    def noise(height: int, width: int) -> Samples:
        return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)

    y, x = np.mgrid[0:47, 0:61]
    yield "checkers of one pixel", np.repeat((255 * ((x + y) % 2)).astype(np.uint8)[:, :, None], 3, 2)
    stripes = np.zeros((48, 32, 3), np.uint8)
    stripes[:, np.arange(32), np.arange(32) % 3] = 255
    yield "stripes in pure colours", stripes
    edge = np.full((20, 60, 3), 255, np.uint8)
    edge[:, :30] = np.linspace(0, 64, 30)[None, :, None]
    yield "a slope and an edge", edge
    dot = np.zeros((50, 50, 3), np.uint8)
    dot[25, 25] = 255
    yield "a white dot on black", dot
    yield "noise", noise(61, 97)
    yield "a tall strip, reduced down first", noise(150, 7)
    yield "a wide strip", noise(7, 150)
    yield "of the model's size", noise(24, 24)
    yield "one pixel", noise(1, 1)
    yield "a line, of which most is cropped", noise(1, 400)
    yield "a column", noise(40, 1)
    ramp = noise(40, 24)
    yield "colours under a slope of alpha", np.dstack([ramp, np.linspace(0, 255, 960).reshape(40, 24).astype(np.uint8)])
    y, x = np.mgrid[0:33, 0:33]
    disc = np.where((x - 16) ** 2 + (y - 16) ** 2 < 120, 255, 0).astype(np.uint8)
    yield "red around a transparent green", np.dstack([disc, 255 - disc, np.zeros_like(disc), disc])


def make_pixels(folder: Path) -> None:
    """Write ``pixels.json`` and ``pixels.bin``."""
    samples = bytearray()
    sources, cases = [], []
    for number, (name, source) in enumerate(drawn()):
        height, width, channels = source.shape
        image = Image.fromarray(source)
        sources.append(
            {"name": name, "width": width, "height": height, "has_alpha": channels == 4, "start": len(samples)}
        )
        samples += np.asarray(image.convert("RGBA")).tobytes()
        for spec in SPECS:
            cases.append({"source": number, "spec": {"fill_color": 0, **spec}, "start": len(samples)})
            samples += load_pixels(image, ImageSpec(**spec)).tobytes()
    (folder / "pixels.bin").write_bytes(samples)
    lines = [
        f'"{key}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        for key, entries in (("sources", sources), ("cases", cases))
    ]
    (folder / "pixels.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def make_tagged_png(path: Path) -> None:
    """A PNG with alpha whose profile says Display P3, and that is turned by its EXIF orientation.

    The image path takes the samples as they are: a phone must not convert them to another colour space.
    """
    y, x = np.mgrid[0:40, 0:64]
    samples = np.dstack([4 * x, 6 * y, 255 - 4 * x, np.clip(64 + 5 * y, 0, 255)]).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(samples).save(path, icc_profile=display_p3(), exif=exif)


def display_p3() -> bytes:
    """A minimal ICC profile (version 2): Display P3's primaries, adapted to D50, and a gamma of 2.2."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    name = b"Display P3\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(4 + 4 + 2 + 1 + 67)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": description + bytes(-len(description) % 4),
        b"cprt": b"text\0\0\0\0none" + bytes(4),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.51512, 0.2412, -0.00105),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.29198, 0.69225, 0.04189),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1571, 0.06657, 0.78407),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    head = struct.pack(">I", 128 + len(table) + len(body)) + bytes(4) + b"\x02\x10\0\0mntrRGB XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return head + table + body


def read_pixels(folder: Path) -> Iterator[tuple[str, Image.Image, ImageSpec, Samples]]:
    """Name, source, spec and golden result of each case."""
    document = json.loads((folder / "pixels.json").read_text())
    samples = np.frombuffer((folder / "pixels.bin").read_bytes(), np.uint8)
    for case in document["cases"]:
        source, spec = document["sources"][case["source"]], ImageSpec(**case["spec"])
        shape = (source["height"], source["width"], 4)
        image = Image.fromarray(samples[source["start"] :][: np.prod(shape)].reshape(shape))
        image = image if source["has_alpha"] else image.convert("RGB")
        result = samples[case["start"] :][: spec.height * spec.width * 3]
        yield source["name"], image, spec, result.reshape(spec.height, spec.width, 3)


def make_tagged(folder: Path) -> None:
    """``tagged.png``, and in ``tagged.json`` what the image path makes of it: for tests on a Mac."""
    make_tagged_png(folder / "tagged.png")
    pixels = load_pixels(folder / "tagged.png", ImageSpec(height=24, width=24))
    (folder / "tagged.json").write_text(json.dumps({"rgb": pixels.ravel().tolist()}) + "\n")
