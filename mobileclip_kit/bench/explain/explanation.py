"""The figures of one model, from ``mckit bench --explain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.explain.embedding_map import embedding_map
from mobileclip_kit.bench.explain.figures import HUES, Named, draw_map, draw_sheet
from mobileclip_kit.bench.explain.gallery import Shown, choose, prompt, spread, texts_of
from mobileclip_kit.bench.explain.grad_cam import grad_cam
from mobileclip_kit.bench.quality import Gallery
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import DataError, ExportError, ShapeError, UsageError
from mobileclip_kit.exporting.folder import is_export, open_export
from mobileclip_kit.images import load_pixels
from mobileclip_kit.metrics import top_k, unit_rows
from mobileclip_kit.networks.model import Model, load_model
from mobileclip_kit.runtime.torch import TorchEncoder

GRAD_CAM_FILE = "grad_cam.png"
MAP_FILE = "tsne.png"
_HITS = 5
_GIVEN = 4


@dataclass(frozen=True)
class Example:
    """What a text finds.

    Attributes:
        text: The question.
        hits: Rows of the gallery and cosines, the best first.
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
    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...]


def explainable(models: Sequence[str]) -> str:
    """The first of some models whose gradients can be taken.

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
        gallery: Images, with captions or not.
        source: Where the gallery comes from, see :func:`~mobileclip_kit.bench.explain.gallery.choose`.
        out: The folder, which exists.
        ask: Texts of the heat maps; without them, the classes or captions of the images shown.
        teacher: A model in whose space an image-only model lives: its text tower speaks for it.
        queries: ``(q, d)`` vectors of texts that nobody can read here: the first of them are asked if need be.

    Raises:
        ModelError: The model cannot be loaded, or has no image tower.
    """
    model = load_model(name)
    shown = choose(gallery, source)
    reader, silence = _text_tower(model, teacher)
    figures, skipped = [], []
    examples: tuple[Example, ...] = ()
    images = TorchEncoder(model).encode_images([gallery.paths[row] for row in shown.mapped])
    try:
        texts, vectors = _questions(tuple(ask) or texts_of(gallery, shown), reader, silence, queries)
        examples = _examples(texts, vectors, images, shown)
        rows = shown.sheet if not ask else _found(examples, len(shown.sheet))
        _draw_heat(model, [gallery.paths[row] for row in rows], texts, vectors, out / GRAD_CAM_FILE)
        figures.append(GRAD_CAM_FILE)
    except (DataError, ShapeError) as error:
        skipped.append(Skipped(GRAD_CAM_FILE, str(error)))
    try:
        _draw_map(images, gallery, shown, reader, out / MAP_FILE)
        figures.append(MAP_FILE)
    except DataError as error:
        skipped.append(Skipped(MAP_FILE, str(error)))
    return Explanation(tuple(figures), examples, tuple(skipped))


def _questions(
    texts: Sequence[str], reader: TorchEncoder | None, silence: str, queries: Vectors | None
) -> tuple[Sequence[str], Vectors]:
    """Texts and their vectors, ``(q, d)``."""
    if reader is not None and texts:
        return texts, reader.encode_texts(list(texts))
    if reader is None and queries is not None and len(queries):
        asked = queries[:_GIVEN]
        return [f"query {number}" for number in range(1, len(asked) + 1)], asked
    if reader is None:
        raise DataError(silence, hint="Pass the model that it was distilled from as --teacher.")
    raise DataError("The images have neither captions nor classes.", hint="Ask something with --ask TEXT.")


def _draw_heat(model: Model, paths: Sequence[Path], texts: Sequence[str], vectors: Vectors, path: Path) -> None:
    spec = model.spec.require_image()
    pixels = np.stack([load_pixels(image, spec) for image in paths])
    draw_sheet(pixels, texts, grad_cam(model, pixels, vectors), path)


def _found(examples: Sequence[Example], most: int) -> tuple[int, ...]:
    """The first hits of all texts, then their second ones, and so on."""
    depth = max(len(one.hits) for one in examples)
    rows = [one.hits[place][0] for place in range(depth) for one in examples if place < len(one.hits)]
    return tuple(dict.fromkeys(rows))[:most]


def _draw_map(images: Vectors, gallery: Gallery, shown: Shown, reader: TorchEncoder | None, path: Path) -> None:
    stars, classes = _stars(gallery, shown)
    vectors = reader.encode_texts(stars) if reader is not None and len(stars) > 1 else None
    if vectors is None:
        stars, classes = [], []
    named = Named(
        labels=[shown.labels[row] for row in shown.mapped],
        written=[shown.written[row] for row in shown.mapped],
        texts=[name or star for star, name in zip(stars, classes, strict=True)],
        classes=classes,
    )
    draw_map(embedding_map(images, vectors), named, path)


def _stars(gallery: Gallery, shown: Shown) -> tuple[list[str], list[str]]:
    """Texts of the map and the class of each, as many as there are colours."""
    if shown.names:
        names = list(shown.names[: len(HUES)])
        return [prompt(name) for name in names], names
    rows = spread(len(gallery.captions), len(HUES))
    texts = list(dict.fromkeys(gallery.captions[row] for row in rows))
    return texts, [""] * len(texts)


def _examples(texts: Sequence[str], vectors: Vectors, images: Vectors, shown: Shown) -> tuple[Example, ...]:
    asked = unit_rows(vectors, "The texts")
    best = top_k(asked, images, min(_HITS, len(images)))
    return tuple(
        Example(text, tuple((shown.mapped[row], float(images[row] @ vector)) for row in rows))
        for text, vector, rows in zip(texts, asked, best, strict=True)
    )


def _text_tower(model: Model, teacher: str | None) -> tuple[TorchEncoder | None, str]:
    """Who reads texts for a model, or why nobody does."""
    if model.spec.text is not None:
        return TorchEncoder(model), ""
    if teacher is None or is_export(Path(teacher)):
        return None, f"{model.spec.name} has no text tower."
    other = load_model(teacher)
    if other.spec.text is None or other.spec.embedding_dim != model.spec.embedding_dim:
        return None, f"{model.spec.name} has no text tower, and that of {other.spec.name} does not fit it."
    return TorchEncoder(other), ""


def _origin(path: Path) -> str:
    """What the user knows the model of an export by."""
    try:
        spec = open_export(path).spec
    except ExportError:
        return f"the model of {path}"
    return f"{spec.name} (hash {spec.model_hash[:12]})"
