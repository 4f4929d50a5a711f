"""Recall and precision of `mckit duplicates` on planted copies.

    python benchmarks/duplicates.py PHOTOS --model MODEL [-o results/duplicates.json] [--photos N]

PHOTOS is a folder of images that are no copies of one another, MODEL encodes them. Each image gets five copies: half
and quarter size, JPEG of quality 40, 5% cropped at random edges, and a burst: moved by 2%, other brightness, noise.
Negatives are two views that show 75% of the width and height of the same image from opposite corners, as other photos
of the scene would, and all pairs of different images. The same is done with synthetic scenes and the bundled teacher;
many of them hold the same things in the same colours. The line is chosen on the images of even number, as the highest
one at which at most one joined pair in a thousand is wrong; figures are those of the odd ones, with this line and with
the one that mckit uses. The cost of the perceptual hash and of reading a header is processor time.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import HERE, parse, write
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.duplicates import LINE, even_sample, hash_distances, typical_distance
from mobileclip_kit.images import list_images, load_image, resize_and_crop
from mobileclip_kit.phash import perceptual_hash
from mobileclip_kit.photo_facts import read_facts
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import SceneSet, write_scenes

TEACHER = HERE.parent / "models" / "scenes-teacher"
COPIES = ("half", "quarter", "quality 40", "cropped 5%", "burst")
SCENES, SCENE_PIXELS, SEED = 400, 160, 23
LINES, PRECISION = np.arange(0.1, 1.3, 0.01), 0.999


def main() -> None:
    """Plant, encode, measure."""
    chosen = parse("folder", out=Path("duplicates.json"), model=Path, photos=0)
    files = list(list_images(chosen.folder))
    if chosen.photos:
        files = files[:: max(1, len(files) // chosen.photos)]
    report = {"photos": measure(files, open_encoder(chosen.model))}
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), SceneSet(items=SCENES, seed=SEED, size=SCENE_PIXELS, split="test"))
        report["scenes"] = measure(list(list_images(Path(folder))), open_encoder(TEACHER))
    write(chosen.out, {"line": LINE, **report})


def measure(files: Sequence[Path], encoder: Encoder) -> dict[str, Any]:
    """The figures of one set of images."""
    random = np.random.default_rng(SEED)
    spec = encoder.spec.require_image()
    vectors, hashes = [], []
    for path in files:
        pixels = np.stack([resize_and_crop(image, spec) for image in variants(load_image(path), random)])
        vectors.append(encoder.encode_images(pixels))
        hashes.append([perceptual_hash(each) for each in pixels])
    everything = (np.stack(vectors), np.array(hashes, np.int64))  # (images, variants, d), (images, variants)
    fitting, held = ([part[start::2] for part in everything] for start in (0, 1))
    even = distances(*fitting)
    best = max(line for line in LINES.tolist() if figures(even, line)["precision"] >= PRECISION)
    found = distances(*held)
    return {
        "model": encoder.spec.name,
        "images": len(files),
        "line_of_even_images": round(best, 2),
        "odd_images": {"at_their_line": figures(found, best), "at_mckits_line": figures(found, LINE)},
        "hash_processor_us": microseconds(lambda: perceptual_hash(pixels[0])),
        "header_processor_us": microseconds(lambda: read_facts(files[0])),
    }


def variants(image: Image.Image, random: np.random.Generator) -> list[Image.Image]:
    """The image, its copies, and two views of its scene."""
    width, height = image.size
    across, down = int(0.95 * width), int(0.95 * height)
    left, top = random.integers(0, width - across + 1), random.integers(0, height - down + 1)
    moved = np.asarray(image.crop((max(1, width // 50), max(1, height // 50), width, height)), np.float32)
    burst = moved * random.uniform(0.95, 1.05) + random.normal(0, 4, moved.shape)
    view = (int(0.75 * width), int(0.75 * height))
    return [
        image,
        image.resize((width // 2, height // 2), Image.Resampling.LANCZOS),
        image.resize((width // 4, height // 4), Image.Resampling.BILINEAR),
        jpeg(image, 40),
        jpeg(image.crop((left, top, left + across, top + down)), 90),
        jpeg(Image.fromarray(burst.clip(0, 255).astype(np.uint8)), 90),
        image.crop((0, 0, *view)),
        image.crop((width - view[0], height - view[1], width, height)),
    ]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image after JPEG compression."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def distances(vectors: NDArray[np.float32], hashes: NDArray[np.int64]) -> dict[str, NDArray[np.floating]]:
    """The sum of both distances for each kind of pair."""
    images = vectors[:, 0]
    typical = typical_distance(images[even_sample(len(images))])

    def between(first: Any, second: Any) -> NDArray[np.floating]:
        cosines = np.einsum("nd,nd->n", vectors[first], vectors[second])
        return (1 - cosines) / typical + hash_distances(hashes[first], hashes[second])

    every = np.arange(len(images))
    found = {name: between((every, 0), (every, place)) for place, name in enumerate(COPIES, 1)}
    views = [between((every, first), (every, second)) for first, second in ((0, 6), (0, 7), (6, 7))]
    left, right = np.triu_indices(len(images), 1)
    return {**found, "views of the scene": np.concatenate(views), "other images": between((left, 0), (right, 0))}


def figures(found: dict[str, NDArray[np.floating]], line: float) -> dict[str, Any]:
    """Recall of each kind of copy, pairs that are wrongly joined, and precision over all pairs."""
    joined = {name: int(np.count_nonzero(values <= line)) for name, values in found.items()}
    right = sum(joined[name] for name in COPIES)
    wrong = {name: joined[name] for name in found if name not in COPIES}
    return {
        "line": round(line, 2),
        "recall": {name: round(joined[name] / len(found[name]), 4) for name in COPIES},
        "recall_all": round(right / sum(len(found[name]) for name in COPIES), 4),
        "wrong": {name: {"pairs": len(found[name]), "joined": count} for name, count in wrong.items()},
        "precision": round(right / max(1, right + sum(wrong.values())), 4),
    }


def microseconds(call: Callable[[], object], times: int = 200) -> float:
    """Processor time of one call."""
    call()
    started = time.process_time()
    for _ in range(times):
        call()
    return round(1e6 * (time.process_time() - started) / times, 1)


if __name__ == "__main__":
    main()
