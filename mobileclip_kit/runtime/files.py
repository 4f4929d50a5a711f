"""Vectors of image files, where one damaged file must not end the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import Pixels, Vectors
from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.errors import ImageError
from mobileclip_kit.images import decode_ahead, load_pixels
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.encoder import Encoder


def encode_files(
    encoder: Encoder,
    files: Sequence[Path],
    *,
    failed: list[Skipped] | None = None,
    load: Callable[[int], Pixels] | None = None,
    batch_size: int = 32,
    label: str | None = None,
) -> Vectors:
    """Encode image files; threads decode them ahead of the model.

    Args:
        encoder: With an image tower.
        files: The images.
        failed: Takes the files that cannot be decoded, which then have no row. None to raise their error.
        load: Gives the pixels of the n-th file in place of :func:`mobileclip_kit.images.load_pixels`; several versions
            of an image, ``(versions, height, width, 3)``, are encoded together.
        batch_size: Files encoded at once.
        label: The name of this step on the progress line; None shows no progress.

    Returns:
        Unit rows in the order of the files, ``(n, d)`` float32, or ``(n, versions, d)`` as ``load`` gives them.

    Raises:
        ImageError: A file cannot be decoded, and ``failed`` is None.
        ModelError: The model has no image tower.
    """
    spec = encoder.spec.require_image()
    get_pixels = load or (lambda number: load_pixels(files[number], spec))

    def decode(number: int) -> Pixels | ImageError:
        try:
            return get_pixels(number)
        except ImageError as error:
            if failed is None:
                raise
            return error

    starts = range(0, len(files), batch_size)
    batches = (range(start, min(start + batch_size, len(files))) for start in starts)
    rows = []
    with closing(decode_ahead(decode, batches)) as decoded, _progress(label, len(files)) as progress:
        for numbers, results in decoded:
            pixels = [result for result in results if not isinstance(result, ImageError)]
            for number, result in zip(numbers, results, strict=True):
                if isinstance(result, ImageError) and failed is not None:
                    failed.append(Skipped(str(files[number]), result.message))
            if pixels:
                stacked = np.stack(pixels)  # (n, height, width, 3) or (n, versions, height, width, 3)
                vectors = encoder.encode_images(stacked.reshape(-1, *stacked.shape[-3:]))
                rows.append(vectors.reshape(*stacked.shape[:-3], -1))
            if progress is not None:
                progress.advance(len(numbers))
    return np.concatenate(rows) if rows else np.zeros((0, encoder.spec.embedding_dim), np.float32)


def _progress(label: str | None, files: int) -> AbstractContextManager[Progress | None]:
    return nullcontext() if label is None else Progress(label, total=files, unit="images")
