"""``mckit bench --explain``: heat maps of one model, a map of its vectors, and what it finds first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.evaluators import Gallery, spread
from mobileclip_kit.bench.models import short_name
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import DataError, ExportError, MckitError, ShapeError, UsageError
from mobileclip_kit.explain.embedding_map import embedding_map
from mobileclip_kit.explain.grad_cam import grad_cam
from mobileclip_kit.explain.plots import HUES, PointNames, draw_map, draw_sheet, short
from mobileclip_kit.exporting.folder import is_export, open_export
from mobileclip_kit.images import load_pixels
from mobileclip_kit.metrics import top_k, unit_rows
from mobileclip_kit.networks.model import Model, load_model
from mobileclip_kit.reports.html import ImageRow, Thumbnail
from mobileclip_kit.runtime.torch import TorchEncoder
from mobileclip_kit.scenes.captions import noun_phrase
from mobileclip_kit.scenes.truth import TRUTH_FILE, Truth, read_truth

FOLDER = "explain"
GRAD_CAM_FILE = "grad_cam.png"
MAP_FILE = "tsne.png"
_KEYS = {GRAD_CAM_FILE: "grad_cam", MAP_FILE: "tsne"}
_HITS = 5
_QUERIES = 4
_SHEET_IMAGES = 5
_MAP_IMAGES = 600


@dataclass(frozen=True)
class FoundRows:
    """What a text finds.

    Attributes:
        text: The query.
        hits: Rows of the gallery and cosines, best first.
    """

    text: str
    hits: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Explanation:
    """What was drawn.

    Attributes:
        figures: Names of the files, in the folder that was filled.
        examples: What the texts of the heat maps find.
        skipped: What could not be drawn, with reasons.
    """

    figures: tuple[str, ...]
    examples: tuple[FoundRows, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Selection:
    """The images of the figures.

    Attributes:
        sheet: Rows of the gallery that the heat maps show.
        mapped: Rows of the gallery that the map shows.
        labels: A class for each row of the gallery, ``""`` if unknown.
        written: Whether a row shows the class's name alone, and not the thing.
        names: The classes whose names serve as texts, the most frequent first; empty if captions say more.
    """

    sheet: tuple[int, ...]
    mapped: tuple[int, ...]
    labels: tuple[str, ...]
    written: tuple[bool, ...]
    names: tuple[str, ...]


def explainable(models: Sequence[str]) -> str:
    """The first of some models that has gradients.

    Raises:
        UsageError: All are exports, which have none; the message says which models they were made of.
    """
    wanted = []
    for model in models:
        path = Path(model)
        if not is_export(path) and path.suffix not in (".onnx", ".mlpackage", ".mlmodel"):
            return model
        wanted.append(_origin(path))
    if not wanted:
        raise UsageError("--explain needs a model.", hint="Name a model folder.")
    raise UsageError(
        f"An export has no gradients, and {', '.join(models)} {'is one' if len(models) == 1 else 'are all exports'}.",
        hint=f"Name the model folder as well: {', '.join(dict.fromkeys(wanted))}.",
    )


def explain_for_report(
    name: str,
    gallery: Gallery,
    source: Path,
    report: Path,
    *,
    ask: Sequence[str] = (),
    teacher: str | None = None,
    queries: Vectors | None = None,
) -> tuple[dict[str, Any], list[ImageRow]]:
    """Fill ``explain/`` in a report's folder; if the model fails, the report says so and is otherwise complete.

    Args:
        name: A model folder or open_clip name.
        gallery: Images.
        source: Where they come from.
        report: The folder, which exists.
        ask: See :func:`explain`.
        teacher: See :func:`explain`.
        queries: See :func:`explain`.

    Returns:
        The document's ``explain`` (``model``; ``grad_cam`` and ``tsne``: files in the report's folder, or None;
        ``examples``; ``skipped``), and what each text finds, for the page.
    """
    folder = report / FOLDER
    folder.mkdir()
    try:
        done = explain(name, gallery, source, folder, ask=ask, teacher=teacher, queries=queries)
    except MckitError as error:
        done = Explanation((), (), tuple(Skipped(item, error.words) for item in _KEYS))
    document = {
        "model": short_name(name),
        **{key: f"{FOLDER}/{file}" if file in done.figures else None for file, key in _KEYS.items()},
        "examples": [
            {
                "text": one.text,
                "hits": [
                    {"rank": rank, "item": gallery.keys[row], "score": cosine}
                    for rank, (row, cosine) in enumerate(one.hits, start=1)
                ],
            }
            for one in done.examples
        ],
        "skipped": [asdict(left) for left in done.skipped],
    }
    rows: list[ImageRow] = [
        (short(one.text, 100), [Thumbnail(gallery.paths[row], f"{cosine:.3f}") for row, cosine in one.hits])
        for one in done.examples
    ]
    return document, rows


def explain(
    name: str,
    gallery: Gallery,
    source: Path,
    out: Path,
    *,
    ask: Sequence[str] = (),
    teacher: str | None = None,
    queries: Vectors | None = None,
) -> Explanation:
    """Draw the heat maps and the map of one model into a folder.

    The heat maps show images of as many classes as possible, or what ``ask`` finds.

    Args:
        name: A model folder or open_clip name.
        gallery: Images, with or without captions.
        source: Where the gallery comes from, see :func:`select`.
        out: The folder, which exists.
        ask: Texts of the heat maps; without them, the classes or captions of the images shown.
        teacher: A model in whose space an image-only model lives: its text tower encodes the texts.
        queries: ``(q, d)`` text vectors; the first of them are used if there is no text tower.

    Raises:
        ModelError: The model cannot be loaded, or has no image tower.
    """
    model = load_model(name)
    shown = select(gallery, source)
    reader, reason = _text_tower(model, teacher)
    figures, skipped = [], []
    examples: tuple[FoundRows, ...] = ()
    images = TorchEncoder(model).encode_images([gallery.paths[row] for row in shown.mapped])
    try:
        texts, vectors = _text_vectors(tuple(ask) or texts_of(gallery, shown), reader, reason, queries)
        examples = _examples(texts, vectors, images, shown)
        rows = shown.sheet if not ask else _found(examples, len(shown.sheet))
        spec = model.spec.require_image()
        pixels = np.stack([load_pixels(gallery.paths[row], spec) for row in rows])
        draw_sheet(pixels, texts, grad_cam(model, pixels, vectors), out / GRAD_CAM_FILE)
        figures.append(GRAD_CAM_FILE)
    except (DataError, ShapeError) as error:
        skipped.append(Skipped(GRAD_CAM_FILE, error.words))
    try:
        _draw_map(images, gallery, shown, reader, out / MAP_FILE)
        figures.append(MAP_FILE)
    except DataError as error:
        skipped.append(Skipped(MAP_FILE, error.words))
    return Explanation(tuple(figures), examples, tuple(skipped))


def select(gallery: Gallery, source: Path) -> Selection:
    """Choose images of as many classes as fit, the same ones every time.

    Args:
        gallery: All images.
        source: Where they come from. A folder of the synthetic scenes says what each image shows; elsewhere the class
            of an image is its folder, if there are several.
    """
    in_scenes = (source / TRUTH_FILE).is_file()
    labels, written = _labels_of_scenes(gallery, source) if in_scenes else _labels_of_folders(gallery)
    things = ["" if alone else label for label, alone in zip(labels, written, strict=True)]
    counts = Counter(label for label in things if label)
    ordered = tuple(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    names = ordered if in_scenes or not gallery.captions else ()
    if names:
        firsts = [things.index(name) for name in names[:_SHEET_IMAGES]]
        sheet = tuple(firsts + [row for row in range(len(labels)) if row not in firsts][: _SHEET_IMAGES - len(firsts)])
    else:
        sheet = spread(len(gallery.keys), _SHEET_IMAGES)
    return Selection(sheet, spread(len(gallery.keys), _MAP_IMAGES), labels, written, names)


def texts_of(gallery: Gallery, shown: Selection) -> tuple[str, ...]:
    """A text for each image of the sheet: its class if classes are known, else its first caption."""
    if shown.names:
        return tuple(
            dict.fromkeys(prompt(shown.labels[row]) for row in shown.sheet if shown.labels[row] in shown.names)
        )
    firsts = {owner: text for owner, text in zip(reversed(gallery.owners), reversed(gallery.captions), strict=True)}
    return tuple(dict.fromkeys(firsts[row] for row in shown.sheet if row in firsts))


def prompt(name: str) -> str:
    """``star`` → ``a photo of a star``."""
    return f"a photo of {noun_phrase(name)}"


def _labels_of_scenes(gallery: Gallery, source: Path) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    truth = {row.image: row for row in read_truth(source)}
    known = [truth.get(key) for key in gallery.keys]
    labels = tuple("" if row is None else _thing_or_word(row) for row in known)
    return labels, tuple(row is not None and row.alone for row in known)


def _labels_of_folders(gallery: Gallery) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    folders = [Path(key).parent.name.replace("_", " ").strip() for key in gallery.keys]
    several = len(set(folders) - {""}) > 1
    return tuple(name if several else "" for name in folders), (False,) * len(folders)


def _thing_or_word(row: Truth) -> str:
    """The first thing that an image shows, or the word alone."""
    if row.objects:
        return row.objects[0].kind
    return "" if row.word is None else row.word.text


def _text_vectors(
    texts: Sequence[str], reader: TorchEncoder | None, reason: str, queries: Vectors | None
) -> tuple[Sequence[str], Vectors]:
    """Texts and their vectors, ``(q, d)``."""
    if reader is not None and texts:
        return texts, reader.encode_texts(list(texts))
    if reader is None and queries is not None and len(queries):
        used = queries[:_QUERIES]
        return [f"query {number}" for number in range(1, len(used) + 1)], used
    if reader is None:
        raise DataError(reason, hint="Pass the model that it was distilled from as --teacher.")
    raise DataError("The images have neither captions nor classes.", hint="Add a text with --ask TEXT.")


def _found(examples: Sequence[FoundRows], most: int) -> tuple[int, ...]:
    """The first hits of all texts, then their second ones, and so on."""
    depth = max(len(one.hits) for one in examples)
    rows = [one.hits[place][0] for place in range(depth) for one in examples if place < len(one.hits)]
    return tuple(dict.fromkeys(rows))[:most]


def _draw_map(images: Vectors, gallery: Gallery, shown: Selection, reader: TorchEncoder | None, path: Path) -> None:
    stars, classes = _stars(gallery, shown)
    vectors = reader.encode_texts(stars) if reader is not None and len(stars) > 1 else None
    if vectors is None:
        stars, classes = [], []
    named = PointNames(
        labels=[shown.labels[row] for row in shown.mapped],
        written=[shown.written[row] for row in shown.mapped],
        texts=[name or star for star, name in zip(stars, classes, strict=True)],
        classes=classes,
    )
    draw_map(embedding_map(images, vectors), named, path)


def _stars(gallery: Gallery, shown: Selection) -> tuple[list[str], list[str]]:
    """Texts of the map and the class of each, as many as there are colours."""
    if shown.names:
        names = list(shown.names[: len(HUES)])
        return [prompt(name) for name in names], names
    rows = spread(len(gallery.captions), len(HUES))
    texts = list(dict.fromkeys(gallery.captions[row] for row in rows))
    return texts, [""] * len(texts)


def _examples(texts: Sequence[str], vectors: Vectors, images: Vectors, shown: Selection) -> tuple[FoundRows, ...]:
    queries = unit_rows(vectors, "The texts")
    best = top_k(queries, images, min(_HITS, len(images)))
    return tuple(
        FoundRows(text, tuple((shown.mapped[row], float(images[row] @ vector)) for row in rows))
        for text, vector, rows in zip(texts, queries, best, strict=True)
    )


def _text_tower(model: Model, teacher: str | None) -> tuple[TorchEncoder | None, str]:
    """The text encoder for a model, or why there is none."""
    if model.spec.text is not None:
        return TorchEncoder(model), ""
    if teacher is None or is_export(Path(teacher)):
        return None, f"{model.spec.name} has no text tower."
    other = load_model(teacher)
    if other.spec.text is None or other.spec.embedding_dim != model.spec.embedding_dim:
        return None, f"{model.spec.name} has no text tower, and that of {other.spec.name} does not fit it."
    return TorchEncoder(other), ""


def _origin(path: Path) -> str:
    """The name of an export's model."""
    try:
        spec = open_export(path).spec
    except ExportError:
        return f"the model of {path}"
    return f"{spec.name} (hash {spec.model_hash[:12]})"
