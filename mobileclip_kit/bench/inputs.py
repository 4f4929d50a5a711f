"""Reading what accuracy is measured on: images, captions, classes, data sets, scenes, a teacher's vectors."""

from __future__ import annotations

import csv
import importlib
import io
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.evaluators import (
    Evaluator,
    Gallery,
    ImageEvaluator,
    ScenesEvaluator,
    TeacherVectors,
    encode_classes,
)
from mobileclip_kit.bench.machine import usable_cores
from mobileclip_kit.bench.process import WorkerProcess, encode_images, encode_texts
from mobileclip_kit.bench.request import BenchRequest
from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.data.captions import IMAGE_COLUMNS, find_image
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.data.sources import open_source, read_folder
from mobileclip_kit.errors import DataError, ImageError, UsageError
from mobileclip_kit.files import read_text, sha256_of_file
from mobileclip_kit.images import load_image
from mobileclip_kit.index.npy import load_matrix
from mobileclip_kit.scenes.folder import SceneSet, write_scenes

LABEL_COLUMNS = ("label", "class", "category")
TEMPLATES = ("a photo of a {}",)
_SCENES_SEED, _SCENES_SIZE = 1, 64  # the size that `mckit scenes` draws by default

_Labelled = tuple[str, Path, str]
_SYNSET = re.compile(r"n\d{8}", re.ASCII)


def read_evaluators(request: BenchRequest, folder: Path) -> list[Evaluator]:
    """Read everything that a request evaluates on; where two evaluators give the same figure, the later one counts.

    Args:
        request: What was asked for.
        folder: For images that are drawn or unpacked; the caller removes it.
    """
    queries = None
    if request.queries is not None and (request.teacher or request.cache):
        queries = read_queries(request.queries)
    evaluators: list[Evaluator] = []
    for source in (request.captions, request.images):
        if source is not None:
            cached = request.cache if source == (request.images or request.captions) else None
            gallery = read_gallery(source, limit=request.limit, folder=folder)
            evaluators.append(_evaluator(request, gallery, queries, cached))
    if request.labels is not None:
        templates = read_templates(request.templates)
        evaluators.append(_evaluator(request, read_labelled(request.labels, request.limit, templates)))
    if request.dataset is not None:
        (folder / "dataset").mkdir()
        found = read_dataset(request.dataset, request.dataset_root, folder / "dataset", limit=request.limit)
        evaluators.append(_evaluator(request, found))
    if request.scenes is not None:
        evaluators.append(_draw_scenes(request.scenes, folder))
    return evaluators


def _evaluator(
    request: BenchRequest, gallery: Gallery, queries: Vectors | None = None, cache: Path | None = None
) -> ImageEvaluator:
    if request.teacher is not None:
        timeout = request.settings().timeout_seconds
        return ImageEvaluator(gallery, run_teacher(request.teacher, gallery, timeout_seconds=timeout, queries=queries))
    # Without captions, classes or a teacher the images are only timed, and the report says so.
    return ImageEvaluator(gallery) if cache is None else ImageEvaluator(*cached_teacher(cache, gallery, queries))


def _draw_scenes(images: int, folder: Path) -> ScenesEvaluator:
    for split, seed in (("test", _SCENES_SEED), ("gallery", _SCENES_SEED + 1)):
        (folder / split).mkdir()
        write_scenes(folder / split, SceneSet(items=images, seed=seed, size=_SCENES_SIZE, split=split))  # type: ignore[arg-type]
    return ScenesEvaluator(folder / "test", folder / "gallery")


def read_gallery(source: Path, *, limit: int | None, folder: Path | None = None) -> Gallery:
    """Images of a folder, a captions file, shards or a scenes folder; each is decoded once to see that it can be.

    Args:
        source: Anything that :func:`mobileclip_kit.data.sources.open_source` reads.
        limit: Number of images to read.
        folder: For images of shards; the caller removes it. None refuses shards.

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
        if not isinstance(pair.image, Path) and folder is None:
            raise DataError(f"{source} holds shards.", hint="Pass a folder of images or a captions file.")
        try:
            path = _as_file(pair, folder)
        except OSError as error:
            skipped.append(Skipped(pair.key, f"The shard cannot be read: {error}."))
            continue
        if not _decodes(pair.key, path, skipped):
            continue
        captions.extend(pair.captions)
        owners.extend([len(keys)] * len(pair.captions))
        keys.append(pair.key)
        paths.append(path)
    if not keys:
        raise DataError(f"{source} has no image that can be used.", hint="Pass a folder of images.")
    return Gallery(tuple(keys), tuple(paths), tuple(captions), tuple(owners), tuple(skipped))


def _as_file(pair: Pair, folder: Path | None) -> Path:
    """The image's file; the processes that encode it read no archives, so one of an archive is written."""
    source = pair.source()
    if isinstance(source, Path):
        return source
    with tempfile.NamedTemporaryFile(dir=folder, suffix=Path(pair.key).suffix, delete=False) as file:
        file.write(source)
    return Path(file.name)


def read_queries(path: Path) -> Vectors:
    """``(q, d)`` text vectors of an ``.npy`` file.

    Raises:
        DataError: Missing, damaged, or not a matrix of floats.
    """
    return np.asarray(load_matrix(path), dtype=np.float32)


def run_teacher(
    model: str, gallery: Gallery, *, timeout_seconds: float = 900.0, queries: Vectors | None = None
) -> TeacherVectors:
    """Encode a gallery with a live teacher, in a process that ends before anything is timed.

    Raises:
        ModelError: The teacher cannot be opened or run.
    """
    with WorkerProcess(threads=usable_cores(), timeout_seconds=timeout_seconds) as worker:
        opened = worker.ask(do="open", model=model, threads=usable_cores())
        images = encode_images(worker, gallery.paths)
        reads = "text" in opened["towers"]
        texts = encode_texts(worker, gallery.captions) if gallery.captions and reads else None
        classes = encode_classes(worker, gallery) if gallery.labels and reads else None
    return TeacherVectors(opened["spec"]["name"], images, texts, queries, classes)


def cached_teacher(path: Path, gallery: Gallery, queries: Vectors | None = None) -> tuple[Gallery, TeacherVectors]:
    """A teacher's stored vectors of a gallery, and those images of the gallery that it has (by their content).

    Raises:
        CacheError: The cache is damaged.
        DataError: It has no image of the gallery, or only augmented views.
    """
    cache = TeacherCache.open(path)
    if cache.description.augmentation is not None:
        raise DataError(
            f"The cache {path} holds augmented views, which say nothing about the images themselves.",
            hint="Make a cache without augmentation, or pass the teacher as --teacher.",
        )
    known = cache.rows_by_content()
    places = [known.get(sha256_of_file(image)) for image in gallery.paths]
    stored = gallery.only([place is not None for place in places], f"The cache {path.name} has no vector of it.")
    if not stored.keys:
        raise DataError(
            f"The cache {path} has a vector of none of the {len(gallery.keys)} images.",
            hint="Pass images that it was made from as --images.",
        )
    images = cache.vectors_at(place for place in places if place is not None)[:, 0]
    return stored, TeacherVectors(cache.description.teacher, images, queries=queries)


def read_labelled(source: Path, limit: int | None, templates: tuple[str, ...] = TEMPLATES) -> Gallery:
    """Images with classes: a folder for each class, or a CSV or TSV file.

    Args:
        source: ``CLASS/IMAGE`` in a folder (``_`` in a class name is a space; ImageNet's synset identifiers become
            CLIP's names of the classes), or a table with the columns ``image`` and ``label``; images are relative to
            its folder or to ``images/`` in it.
        limit: Number of images, at even distances. The classes are those of all images; two of ImageNet's with the same
            name (missile, sunglasses) are one.
        templates: Prompts with ``{}`` in place of a class.

    Raises:
        DataError: No usable image, or fewer than two classes.
    """
    skipped: list[Skipped] = []
    if not source.exists():
        raise DataError(f"{source} does not exist.", hint="Pass a folder with a folder for each class, or a table.")
    found = _labelled_folder(source, skipped) if source.is_dir() else _labelled_table(source, skipped)
    # All of them are to be told apart, also those of which no image is taken or can be decoded.
    classes = sorted({label for _, _, label in found})
    if limit is not None and len(found) > limit:
        found = [found[place * len(found) // limit] for place in range(limit)]
    usable = [one for one in found if _decodes(one[0], one[1], skipped)]
    if len(classes) < 2 or not usable:
        raise DataError(
            f"{source} has {len(usable)} usable images of {len(classes)} classes; zero-shot needs two or more.",
            hint="Put the images of each class into a folder with its name, or pass a table of image,label.",
        )
    return Gallery(
        tuple(key for key, _, _ in usable),
        tuple(path for _, path, _ in usable),
        skipped=tuple(skipped),
        labels=tuple(classes.index(label) for _, _, label in usable),
        classes=tuple(classes),
        templates=templates,
    )


def read_templates(path: Path | None) -> tuple[str, ...]:
    """Prompts with ``{}`` in place of a class, one a line; CLIP's first one without a file.

    Raises:
        DataError: The file cannot be read, or has no prompt.
        UsageError: A prompt has no ``{}``.
    """
    if path is None:
        return TEMPLATES
    lines = tuple(line.strip() for line in _read(path).splitlines() if line.strip())
    if not lines:
        raise DataError(f"{path} has no template.", hint='Write prompts such as "a photo of a {}", one a line.')
    for line in lines:
        if "{}" not in line:
            raise UsageError(f"The template {line!r} of {path} has no {{}} in place of the class.")
    return lines


def _read(path: Path) -> str:
    try:
        return read_text(path, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _labelled_folder(source: Path, skipped: list[Skipped]) -> list[_Labelled]:
    found = []
    for pair in read_folder(source, skipped):
        if "/" not in pair.key:
            skipped.append(Skipped(pair.key, "It is in no class's folder."))
        elif isinstance(pair.image, Path):
            found.append((pair.key, pair.image, pair.key.split("/", 1)[0].replace("_", " ")))
    if found and all(_SYNSET.fullmatch(label) for _, _, label in found):
        from mobileclip_kit.networks.imagenet import imagenet_names  # imports torch

        names = imagenet_names()
        if unknown := sorted({label for _, _, label in found} - set(names)):
            raise DataError(
                f"The folder {unknown[0]} of {source} is no class of ImageNet-1k.",
                hint="Name the folders for their classes, or pass a table of image,label.",
            )
        found = [(key, path, names[label]) for key, path, label in found]
    return found


def _labelled_table(source: Path, skipped: list[Skipped]) -> list[_Labelled]:
    delimiter = "\t" if source.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(_read(source), newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        image, label = _column(source, columns, IMAGE_COLUMNS), _column(source, columns, LABEL_COLUMNS)
        rows = [(reader.line_num, (row[image] or "").strip(), (row[label] or "").strip()) for row in reader]
    except csv.Error as error:
        raise DataError(f"{source} line {reader.reader.line_num} is not valid CSV: {error}.") from error
    found = []
    for line, name, kind in rows:
        place = find_image(source.parent, name)
        if place is None or not kind:
            reason = "there is no label" if place else f"the image {name!r} does not exist"
            skipped.append(Skipped(name, f"{source.name} line {line}: {reason}."))
            continue
        found.append((name, place[1], kind))
    return found


def _column(source: Path, columns: list[str], known: tuple[str, ...]) -> str:
    for name in known:
        if name in columns:
            return name
    raise DataError(
        f"{source} has the columns {', '.join(columns) or 'none'}, but none of {', '.join(known)}.",
        hint="Name the image's column `image` and the class's column `label`.",
    )


def _decodes(key: str, path: Path, skipped: list[Skipped]) -> bool:
    try:
        load_image(path)
    except ImageError as error:
        skipped.append(Skipped(key, error.message))
        return False
    return True


def read_dataset(name: str, root: Path, folder: Path, *, limit: int | None) -> Gallery:
    """Write the test images of a CLIP_benchmark data set as PNG files, with their classes and prompts.

    https://github.com/LAION-AI/CLIP_benchmark knows a hundred data sets. It is not a dependency: ``pip install
    clip-benchmark requests`` installs it, and it downloads the data set.

    Args:
        name: In CLIP_benchmark's words: ``cifar10``, ``wds/vtab/pets``.
        root: Folder of the data set, or where it is downloaded to.
        folder: An empty folder for the images; the caller removes it.
        limit: Number of images, from all classes: at even distances, or equally many of each class where the data set
            can only be read from its beginning.

    Raises:
        UsageError: The package is not installed.
        DataError: There is no such data set, it cannot be loaded, or it has no classes.
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
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise DataError(f"CLIP_benchmark cannot open the data set {name!r} in {root}: {reason}.") from error
    if isinstance(templates, dict) or not templates:
        raise DataError(f"The data set {name!r} has separate prompts for each class, which mckit does not read.")
    paths, labels = [], []
    for number, (image, label) in enumerate(_dataset_images(dataset, name, limit, len(classes))):
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
        templates=tuple(template.replace("{c}", "{}") for template in templates),
    )


def _dataset_images(dataset: Any, name: str, limit: int | None, classes: int) -> Iterator[tuple[Image.Image, int]]:
    """The images, or ``limit`` of them: test sets are often sorted, and the first ones would be of one class."""
    taken: Counter[int] = Counter()
    for image, label in dataset if limit is None else _spread(dataset, limit):
        if not isinstance(image, Image.Image):
            raise DataError(f"The data set {name!r} gives a {type(image).__name__} instead of an image.")
        if limit is None or taken[label] < math.ceil(limit / classes) or _is_indexed(dataset):
            yield image, label
            taken[label] += 1
        if taken.total() == limit:
            return


def _is_indexed(dataset: Any) -> bool:
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")


def _spread(dataset: Any, limit: int) -> Iterable[Any]:
    """Every item of a stream; of a data set with numbered items some at even distances."""
    if not _is_indexed(dataset):
        return dataset  # type: ignore[no-any-return]
    count = len(dataset)
    return (dataset[place * count // limit] for place in range(limit)) if limit < count else dataset
