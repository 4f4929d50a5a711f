"""From a folder of images, or from vectors made elsewhere, to a textness vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.images import list_images
from mobileclip_kit.index.npy import load_matrix
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness.fit import fit_textness
from mobileclip_kit.textness.pairs import encode_files, encode_pairs
from mobileclip_kit.textness.scenes import encode_scene_pairs, is_pair_scenes
from mobileclip_kit.textness.vector import Textness


def learn_from_images(
    images: Path,
    encoder: Encoder,
    *,
    text_images: Path | None = None,
    limit: int | None = None,
    copies: int = 1,
    seed: int = 0,
    **options: Any,
) -> tuple[Textness, list[tuple[Path, str]]]:
    """Draw words on copies of images, encode both and fit.

    Args:
        images: A folder. A synthetic scenes of the split ``pairs`` brings its own copies with words, in the words that
            its models can read: then nothing is drawn, and ``copies`` is not asked for.
        encoder: With an image tower.
        text_images: A folder of real photos with words.
        limit: Use so many images, spread evenly over the folder.
        copies: Copies with different words made of each image.
        seed: Of the words and of the held-out images.
        options: ``method``, ``l2`` and ``held_out`` of :func:`mobileclip_kit.textness.fit.fit_textness`.

    Returns:
        The vector, and the images that were left out, each with its reason.

    Raises:
        DataError: There are too few images, or none that can be decoded.
    """
    if is_pair_scenes(images):
        clean, text = encode_scene_pairs(images, encoder, limit=limit)
        extra, failed = _extra(text_images, encoder)
        notes = {"source": "pairs of synthetic scenes"}
        return fit_textness(clean, text, encoder.spec, extra_text=extra, seed=seed, notes=notes, **options), failed
    found = _list(images)
    if limit is not None and limit < len(found):
        found = [found[number] for number in np.linspace(0, len(found) - 1, limit).round().astype(int)]
    pairs = encode_pairs(found, encoder, seed=seed, copies=copies)
    extra, failed = _extra(text_images, encoder)
    textness = fit_textness(
        pairs.clean,
        pairs.text,
        encoder.spec,
        extra_text=extra,
        images=np.arange(len(pairs.clean)) // copies,
        seed=seed,
        notes={"copies": copies},
        **options,
    )
    return textness, pairs.failed + failed


def _extra(text_images: Path | None, encoder: Encoder) -> tuple[Vectors | None, list[tuple[Path, str]]]:
    if text_images is None:
        return None, []
    photos = encode_files(_list(text_images), encoder)
    return photos.text, photos.failed


def learn_from_vectors(clean: Path, text: Path, spec: ModelSpec | None, *, seed: int = 0, **options: Any) -> Textness:
    """Fit on vectors that somebody else computed, row by row of the same images.

    Args:
        clean: A ``.npy`` matrix, ``(n, d)``.
        text: The same images with words.
        spec: The model that made them; None binds the result to the clean file itself.
        seed: Of the held-out images.
        options: As in :func:`learn_from_images`.

    Raises:
        DataError: A file cannot be used, or a vector is zero or not finite.
        ShapeError: The shapes differ, or the width is not the model's.
    """
    rows: list[Vectors] = []
    for path in (clean, text):
        vectors, bad = scale_rows(load_matrix(path))
        if bad.any():
            raise DataError(f"Vector {int(np.flatnonzero(bad)[0])} of {path} is zero or not finite.")
        rows.append(vectors)
    dim = rows[0].shape[1]
    if spec is None:
        digest = f"vectors:{sha256_of_file(clean)}"
        spec = ModelSpec(name=clean.name, embedding_dim=dim, image=None, text=None, model_hash=digest)
    if spec.embedding_dim != dim:
        raise ShapeError(f"{clean} holds vectors of {dim} numbers; those of {spec.name} have {spec.embedding_dim}.")
    return fit_textness(rows[0], rows[1], spec, seed=seed, **options)


def _list(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder." if folder.exists() else f"{folder} does not exist.")
    found = list(list_images(folder))
    if not found:
        raise DataError(f"There are no images in {folder}.")
    return found
