"""Learning a textness vector from a folder of images, or from vectors that another program computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from mobileclip_kit.arrays import Pixels, Vectors
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import DataError, ShapeError, UsageError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.images import list_images
from mobileclip_kit.index.folder import IndexHeader
from mobileclip_kit.index.npy import load_matrix
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.options import Option
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.files import encode_files
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness.fit import FitOptions, fit_textness
from mobileclip_kit.textness.gallery import read_pairs
from mobileclip_kit.textness.lettering import pair_pixels
from mobileclip_kit.textness.vector import Textness


@dataclass(frozen=True, kw_only=True)
class TextnessRequest(FitOptions):
    """The inputs of a textness vector: images and a model, or vectors that another program computed.

    Attributes:
        images: A folder. A folder drawn by ``mckit scenes --split pairs`` already has copies with words that models of
            the scenes can read; nothing is drawn then, and ``copies`` has no effect.
        model: The model, as for :func:`mobileclip_kit.runtime.open.open_encoder`.
        text_images: A folder of real photos with words.
        clean_vectors: A ``.npy`` matrix, ``(n, d)``, instead of images.
        text_vectors: Vectors of the same images with words, row by row.
        for_index: The index whose model computed those vectors. Without it and without a model, the result records the
            hash of the vectors' file in place of the model hash.
        limit: Maximum number of images, spread evenly over the folder.
        copies: Number of copies of each image, each with other words.
        threads: Threads of the runtime of the model.
    """

    images: Annotated[Path | None, Option("A folder of images.", names=("images",), metavar="[IMAGES]")] = None
    model: Annotated[
        str | None, Option("The model: a model folder, an export or an open_clip name.", names=("-m", "--model"))
    ] = None
    text_images: Annotated[
        Path | None, Option("A folder of real photos with words: further positives of the probe.")
    ] = None
    clean_vectors: Annotated[Path | None, Option("A .npy matrix for clean images, from another program.")] = None
    text_vectors: Annotated[Path | None, Option("Vectors of the same images with words, row by row.")] = None
    for_index: Annotated[Path | None, Option("The index whose model computed those vectors.")] = None
    limit: Annotated[int | None, Option("Use at most N of IMAGES, spread evenly.", metavar="N", at_least=1)] = None
    copies: Annotated[int, Option("Copies of each image, each with other words.", at_least=1)] = 1
    threads: Annotated[int | None, Option("Threads of the model's runtime.", at_least=1)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clean_vectors is not None or self.text_vectors is not None:
            together = self.clean_vectors is not None and self.text_vectors is not None
            if not together or self.images is not None or self.text_images is not None:
                raise UsageError("--clean-vectors and --text-vectors belong together, without images.")
        elif self.images is None or self.model is None:
            raise UsageError("Images or a model are missing.", hint="mckit textness fit IMAGES --model M -o FILE")


def learn_textness(request: TextnessRequest) -> tuple[Textness, list[Skipped]]:
    """Learn a textness vector.

    Returns:
        The textness vector and the images that were left out.

    Raises:
        DataError: There are too few images, none of them can be decoded, or a file of vectors cannot be used.
        ModelError: The model cannot be opened.
        ShapeError: The shapes of vectors differ, or the width is not the model's.
    """
    from mobileclip_kit.runtime.open import open_encoder

    if request.clean_vectors is not None and request.text_vectors is not None:
        spec = None
        if request.for_index is not None:
            spec = IndexHeader.read(request.for_index).spec
        elif request.model is not None:
            spec = open_encoder(request.model, threads=request.threads).spec
        return _learn_from_vectors(request.clean_vectors, request.text_vectors, spec, request), []
    assert request.images is not None and request.model is not None
    for folder in (request.images, request.text_images):
        if folder is not None:
            _list(folder)  # refuses a wrong folder before the model is opened
    return _learn_from_images(request.images, open_encoder(request.model, threads=request.threads), request)


def _learn_from_images(images: Path, encoder: Encoder, request: TextnessRequest) -> tuple[Textness, list[Skipped]]:
    """Draw words on copies of images, or use the copies of a folder of pairs; encode both and fit."""
    failed: list[Skipped] = []
    extra_files = [] if request.text_images is None else _list(request.text_images)
    drawn = read_pairs(images)
    notes: dict[str, object]
    if drawn is not None:
        places = _spread(len(drawn) // 2, request.limit)
        files = [images / drawn[row].image for place in places for row in (2 * place, 2 * place + 1)]
        vectors = encode_files(encoder, files, label="textness")
        clean, text, copies, notes = vectors[0::2], vectors[1::2], 1, {"source": "pairs of synthetic scenes"}
    else:
        listed = _list(images)
        files = [listed[place] for place in _spread(len(listed), request.limit)]
        copies = request.copies
        clean, text = _encode_pairs(files, encoder, copies=copies, seed=request.seed, failed=failed)
        notes = {"copies": copies}
    extra = encode_files(encoder, extra_files, failed=failed, label="text images") if extra_files else None
    images_of = np.arange(len(clean)) // copies
    return fit_textness(clean, text, encoder.spec, request, extra_text=extra, images=images_of, notes=notes), failed


def _spread(count: int, limit: int | None) -> list[int]:
    """At most ``limit`` numbers below ``count``, the first and the last among them."""
    chosen = count if limit is None else min(count, limit)
    return [round(place) for place in np.linspace(0, count - 1, chosen).tolist()]


def _encode_pairs(
    files: list[Path], encoder: Encoder, *, copies: int, seed: int, failed: list[Skipped]
) -> tuple[Vectors, Vectors]:
    """Vectors of the images, repeated for each copy, and of the copies with words, each ``(n · copies, d)``."""
    spec = encoder.spec.require_image()

    def load(number: int) -> Pixels:
        rngs = [np.random.default_rng([seed, number, copy]) for copy in range(copies)]
        return pair_pixels(files[number], spec, rngs)

    vectors = encode_files(encoder, files, failed=failed, load=load, batch_size=16, label="textness")
    if not len(vectors):
        raise DataError(f"None of {len(files)} images can be used: {failed[0].reason}")
    return np.repeat(vectors[:, 0], copies, axis=0), vectors[:, 1:].reshape(len(vectors) * copies, -1)


def _learn_from_vectors(clean: Path, text: Path, spec: ModelSpec | None, options: FitOptions) -> Textness:
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
    return fit_textness(rows[0], rows[1], spec, options)


def _list(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder." if folder.exists() else f"{folder} does not exist.")
    found = list(list_images(folder))
    if not found:
        raise DataError(f"There are no images in {folder}.")
    return found
