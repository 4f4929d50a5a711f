"""A few texts and the images that each model finds for them: what the figures mean to one's own eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.explain.gallery import short, spread
from mobileclip_kit.bench.page import Thumbnail, thumbnail
from mobileclip_kit.bench.quality import Gallery
from mobileclip_kit.errors import ImageError
from mobileclip_kit.metrics import top_k, unit_rows

ImageRows = list[tuple[str, list[Thumbnail]]]

_TEXTS, _HITS = 4, 6
# One below the other they can still be compared; the document has those of every model.
_MODELS = 6


def find_examples(
    images: Vectors, gallery: Gallery, *, texts: Vectors | None, classes: Vectors | None
) -> list[dict[str, Any]]:
    """What a model finds for some of a gallery's captions, or for some of its classes where it has no captions.

    Args:
        images: ``(n, d)``, the model's vectors of the gallery.
        gallery: The images.
        texts: ``(m, d)``, vectors of the gallery's captions.
        classes: ``(classes, d)``, vectors of its classes.

    Returns:
        For each text ``text`` and ``hits``, the best first, each with ``item``, ``score`` (cosine) and ``right``:
        whether the text was written for it, or its class is the one; None for an image that a caption may fit too.
    """
    if texts is not None and len(texts):
        chosen = spread(len(texts), _TEXTS)
        names, vectors = [gallery.captions[row] for row in chosen], texts[list(chosen)]
        right = [{gallery.owners[row]: True} for row in chosen]
    elif classes is not None and gallery.labels:
        chosen = spread(len(classes), _TEXTS)
        names, vectors = [gallery.classes[row] for row in chosen], classes[list(chosen)]
        right = [{row: label == one for row, label in enumerate(gallery.labels)} for one in chosen]
    else:
        return []
    asked, shown = unit_rows(vectors, "The texts"), unit_rows(images, "The images")
    best = top_k(asked, shown, min(_HITS, len(shown)))
    return [
        {
            "text": text,
            "hits": [
                {"item": gallery.keys[row], "score": round(float(shown[row] @ vector), 4), "right": known.get(int(row))}
                for row in rows
            ],
        }
        for text, vector, rows, known in zip(names, asked, best, right, strict=True)
    ]


def draw_examples(rows: Sequence[Mapping[str, Any]], paths: Mapping[str, Path]) -> ImageRows:
    """The examples of a bench's rows as rows of small images: text by text, the models one below the other.

    Args:
        rows: Of the bench's document.
        paths: Files of the images by their names. They are read here and not needed afterwards.
    """
    shown = [row for row in rows if row.get("examples")][:_MODELS]
    thumbnails: dict[str, bytes] = {}
    drawn: ImageRows = []
    for place in range(max((len(row["examples"]) for row in shown), default=0)):
        for row in shown:
            if place < len(row["examples"]):
                example = row["examples"][place]
                images = [_image(hit, paths, thumbnails) for hit in example["hits"]]
                drawn.append((f"{short(example['text'], 100)} · {row['name']}", [one for one in images if one]))
    return drawn


def _image(hit: Mapping[str, Any], paths: Mapping[str, Path], thumbnails: dict[str, bytes]) -> Thumbnail | None:
    """One hit; None when its file has gone since it was encoded."""
    item = hit["item"]
    if item not in thumbnails:
        with suppress(ImageError, KeyError):
            thumbnails[item] = thumbnail(paths[item])
    return Thumbnail(thumbnails[item], f"{hit['score']:.3f}", right=hit["right"]) if item in thumbnails else None
