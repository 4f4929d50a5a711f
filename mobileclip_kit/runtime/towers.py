"""What the runtimes share: checking what comes in, tokenizing, batches."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ShapeError
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.tokenizer import TextTokenizer, load_tokenizer


class TowerEncoder:
    """An :class:`~mobileclip_kit.runtime.encoder.Encoder` whose runtime only has to execute a tower on one batch.

    Args:
        spec: What it is fed and gives.
        merges: The tokenizer's ``merges.txt``; None for the standard merges.
        batch_size: The most inputs that are executed at once.
    """

    runtime = ""

    def __init__(self, spec: ModelSpec, *, merges: Path | None = None, batch_size: int = 32) -> None:
        self.spec = spec
        self.batch_size = batch_size
        self._merges = merges

    @functools.cached_property
    def tokenizer(self) -> TextTokenizer:
        """The text tower's tokenizer, read when it is first needed."""
        return load_tokenizer(self.spec.require_text(), self._merges)

    def encode_images(self, pixels: Pixels) -> Vectors:
        """See :meth:`Encoder.encode_images <mobileclip_kit.runtime.encoder.Encoder.encode_images>`."""
        image = self.spec.require_image()
        wanted = (image.height, image.width, 3)
        if pixels.ndim != 4 or pixels.shape[1:] != wanted or pixels.dtype != np.uint8:
            raise ShapeError(f"Pixels must be (n, {', '.join(map(str, wanted))}) uint8, not {_kind(pixels)}.")
        chunks = (pixels[start : start + self.batch_size] for start in range(0, len(pixels), self.batch_size))
        return self._stack([self._run_images(chunk) for chunk in chunks])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """See :meth:`Encoder.encode_texts <mobileclip_kit.runtime.encoder.Encoder.encode_texts>`."""
        self.spec.require_text()
        return self.encode_ids(self.tokenizer(list(texts)))

    def encode_ids(self, ids: Ids) -> Vectors:
        """Unit vectors of texts that are tokenized already.

        Args:
            ids: ``(n, context_length)`` int64.

        Raises:
            ModelError: The model has no text tower.
            ShapeError: ``ids`` has another shape.
        """
        context = self.spec.require_text().context_length
        if ids.ndim != 2 or ids.shape[1] != context or ids.dtype.kind != "i":
            raise ShapeError(f"Token identifiers must be (n, {context}) integers, not {_kind(ids)}.")
        chunks = (ids[start : start + self.batch_size] for start in range(0, len(ids), self.batch_size))
        return self._stack([self._run_texts(chunk) for chunk in chunks])

    def _run_images(self, pixels: Pixels) -> Vectors:
        raise NotImplementedError

    def _run_texts(self, ids: Ids) -> Vectors:
        raise NotImplementedError

    def _stack(self, chunks: list[Vectors]) -> Vectors:
        if not chunks:
            return np.zeros((0, self.spec.embedding_dim), np.float32)
        return np.concatenate(chunks).astype(np.float32, copy=False)


def _kind(array: NDArray[np.generic]) -> str:
    return f"{array.shape} {array.dtype}"
