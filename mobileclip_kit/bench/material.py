"""Reading what accuracy is measured on: images, captions, a teacher's vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.judging import encode_classes
from mobileclip_kit.bench.machine import usable_cores
from mobileclip_kit.bench.measure import Settings
from mobileclip_kit.bench.process import WorkerProcess, encode_images, encode_texts
from mobileclip_kit.bench.quality import Gallery, Teacher
from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError, ImageError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.images import load_image
from mobileclip_kit.index.npy import load_matrix


def read_gallery(source: Path, *, limit: int | None) -> Gallery:
    """Images of a folder, a captions file or a scenes folder, each looked at whether it can be decoded.

    Args:
        source: Whatever :func:`mobileclip_kit.data.sources.open_source` reads.
        limit: The first so many.

    Raises:
        DataError: No usable image.
    """
    keys: list[str] = []
    paths: list[Path] = []
    captions: list[str] = []
    owners: list[int] = []
    skipped: list[Skipped] = []
    for pair in open_source(source, skipped):
        if limit is not None and len(keys) >= limit:
            break
        if not isinstance(pair.image, Path):
            raise DataError(f"{source} holds packed images; the bench reads folders and caption files.")
        try:
            load_image(pair.image)
        except ImageError as error:
            skipped.append(Skipped(pair.key, error.message))
            continue
        captions.extend(pair.captions)
        owners.extend([len(keys)] * len(pair.captions))
        keys.append(pair.key)
        paths.append(pair.image)
    if not keys:
        raise DataError(f"{source} has no image that can be used.", hint="Pass a folder of images.")
    return Gallery(tuple(keys), tuple(paths), tuple(captions), tuple(owners), tuple(skipped))


def read_queries(path: Path) -> Vectors:
    """``(q, d)`` text vectors of an ``.npy`` file.

    Raises:
        DataError: Missing, damaged, or not a matrix of floats.
    """
    return np.asarray(load_matrix(path), dtype=np.float32)


def ask_teacher(model: str, gallery: Gallery, settings: Settings, queries: Vectors | None = None) -> Teacher:
    """Run a live teacher over a gallery, in a process that is gone before anything is timed.

    Raises:
        ModelError: The teacher cannot be opened or run.
    """
    with WorkerProcess(threads=usable_cores(), timeout_seconds=settings.timeout_seconds) as worker:
        opened = worker.ask(do="open", model=model, threads=usable_cores())
        images = encode_images(worker, gallery.paths)
        reads = "text" in opened["towers"]
        texts = encode_texts(worker, gallery.captions) if gallery.captions and reads else None
        classes = encode_classes(worker, gallery) if gallery.labels and reads else None
    return Teacher(opened["spec"]["name"], images, texts, queries, classes)


def cached_teacher(path: Path, gallery: Gallery, queries: Vectors | None = None) -> tuple[Gallery, Teacher]:
    """A teacher's stored vectors of a gallery, and the images of the gallery that it knows by their content.

    Raises:
        CacheError: The cache is damaged.
        DataError: It knows no image of the gallery, or only augmented views of images.
    """
    cache = TeacherCache.open(path)
    if cache.description.augmentation is not None:
        raise DataError(
            f"The cache {path} holds augmented views, which say nothing about the images themselves.",
            hint="Make a cache without augmentation, or pass the teacher as --teacher.",
        )
    known = cache.rows_by_content()
    places = [known.get(sha256_of_file(image)) for image in gallery.paths]
    judged = gallery.only([place is not None for place in places], f"The cache {path.name} has no vector of it.")
    if not judged.keys:
        raise DataError(
            f"The cache {path} has a vector of none of the {len(gallery.keys)} images.",
            hint="Pass images that it was made from as --images.",
        )
    images = cache.vectors_at(place for place in places if place is not None)[:, 0]
    return judged, Teacher(cache.description.teacher, images, queries=queries)
