"""Data sets of CLIP_benchmark, where its package is installed: their images, classes and prompts.

https://github.com/LAION-AI/CLIP_benchmark knows where a hundred data sets lie and how their classes are asked for. It
is no dependency of ours: ``pip install clip-benchmark requests`` brings it and what it needs without saying so, and it
downloads what it is asked for.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mobileclip_kit.bench.quality import Gallery
from mobileclip_kit.errors import DataError, UsageError

_PLACEHOLDER = "{c}"


def read_dataset(name: str, root: Path, folder: Path, *, limit: int | None) -> Gallery:
    """Write a data set's test images as PNG files, with their classes and prompts.

    Args:
        name: In CLIP_benchmark's words: ``cifar10``, ``wds/vtab/pets``.
        root: Where the data set lies, or is downloaded to.
        folder: An empty folder for the images; the caller removes it.
        limit: The first so many images.

    Raises:
        UsageError: The package is not installed.
        DataError: It knows no such data set, cannot fetch it, or it is not one of classes.
    """
    try:
        builder = importlib.import_module("clip_benchmark.datasets.builder")
    except ImportError as error:
        raise UsageError(
            f"--dataset {name} needs CLIP_benchmark, which cannot be imported: {error}.",
            hint="pip install clip-benchmark requests, or pass your own images with --labels.",
        ) from error
    try:
        dataset = builder.build_dataset(name, root=str(root), split="test", task="zeroshot_classification")
        classes, templates = list(dataset.classes), dataset.templates
    except Exception as error:  # its loaders raise whatever the data set's own library raises
        raise DataError(f"CLIP_benchmark cannot open the data set {name!r} in {root}: {_sentence(error)}") from error
    if isinstance(templates, dict) or not templates:
        raise DataError(f"The data set {name!r} has prompts of its own for each class, which mckit does not read.")
    paths, labels = [], []
    for number, (image, label) in enumerate(itertools.islice(_images(dataset, name), limit)):
        path = folder / f"{number:06}.png"
        image.convert("RGB").save(path)
        paths.append(path)
        labels.append(int(label))
    if not paths:
        raise DataError(f"The data set {name!r} has no test image.")
    return Gallery(
        tuple(path.name for path in paths),
        tuple(paths),
        labels=tuple(labels),
        classes=tuple(map(str, classes)),
        templates=tuple(template.replace(_PLACEHOLDER, "{}") for template in templates),
    )


def _sentence(error: Exception) -> str:
    return f"{str(error).strip().rstrip('.') or type(error).__name__}."


def _images(dataset: Any, name: str) -> Iterator[tuple[Image.Image, int]]:
    for image, label in dataset:
        if not isinstance(image, Image.Image):
            raise DataError(f"The data set {name!r} gives a {type(image).__name__} in place of an image.")
        yield image, label
