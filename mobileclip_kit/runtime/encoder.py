"""Encoders: images and texts in, float32 unit rows out, whatever executes the model."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arguments import listed_texts
from mobileclip_kit.arrays import Ids, Pixels, Vectors, parts_of
from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.model_names import DEVICES, check_device_name
from mobileclip_kit.spec import ImageSpec, ModelSpec, Tower
from mobileclip_kit.tokenizer import TextTokenizer, load_tokenizer

if TYPE_CHECKING:
    from PIL.Image import Image

    from mobileclip_kit.mil.interpreter import NumericProblem

    ImageLike = str | Path | Image | Pixels


_ON_ONNX = "An ONNX export runs on cpu, cuda, coreml and openvino: `mckit export MODEL --format onnx`."


class Encoder:
    """A model that turns images and texts into unit vectors of one space.

    :func:`mobileclip_kit.load` opens one. Each runtime is a subclass that executes a tower on one batch.

    Args:
        spec: What the model takes and returns.
        tokenizer_file: From :func:`~mobileclip_kit.tokenizer.find_tokenizer`.
        batch_size: The most inputs that are executed at once.
        threads: Of the runtime; None leaves the choice to it, and to :meth:`in_parallel`.

    Attributes:
        spec: What the model takes and returns: image size, context length, ``embedding_dim``, ``model_hash``.
        runtime: ``torch``, ``onnxruntime``, ``coreml``, ``mil``, ``coreai`` or ``litert``.
        devices: Where the runtime can compute, by the names of ``--device``; the first one if none is named.
        is_timed: Whether its time on this machine tells anything; not that of an interpreter that is made to be exact.
        model_path: The place that it was opened from, absolute if it is a folder; None for a model in memory.

    Example:
        >>> encoder = mckit.load(model)
        >>> encoder.encode_texts("a red star").shape
        (1, 16)
    """

    runtime = ""
    devices: tuple[str, ...] = ("cpu",)
    is_timed = True

    def __init__(
        self, spec: ModelSpec, *, tokenizer_file: Path | None = None, batch_size: int = 32, threads: int | None = None
    ) -> None:
        self.spec = spec
        self.batch_size = batch_size
        self.threads = threads
        self.model_path: str | None = None
        self._tokenizer_file = tokenizer_file

    @classmethod
    def is_available(cls) -> bool:
        """Whether this machine has the runtime."""
        return True

    @classmethod
    def check_device(cls, device: str | None, what: str) -> None:
        """Refuse a device on which this runtime cannot compute on this machine; nothing is loaded.

        Args:
            device: See :func:`mobileclip_kit.load`; None for the runtime's own.
            what: The model's place, for the message.

        Raises:
            UsageError: Names the devices that can be used, or the package that is missing.
        """
        if device is None:
            return
        check_device_name(device, DEVICES)
        if device.partition(":")[0] not in (*cls.devices, "auto"):
            hint = None if "openvino" in cls.devices else _ON_ONNX
            raise UsageError(f"{what} runs on {', '.join(cls.devices)}, not on {device!r}.", hint=hint)

    @property
    def device(self) -> str:
        """Where the model computes: a name of :attr:`devices`.

        Two names if its towers compute in different places. After the first vector, this is what really computed, also
        if ``auto`` was asked for.
        """
        return self.devices[0]

    def problems(self, tower: Tower) -> tuple[NumericProblem, ...]:
        """Operators of a tower that overflowed or became NaN in any run so far, as far as the runtime can tell."""
        return ()

    def expected_seconds(self, tower: Tower) -> float:
        """What one input is known to take at least, before it is executed; 0 where nothing is known."""
        return 0.0

    @functools.cached_property
    def tokenizer(self) -> TextTokenizer:
        """The text tower's tokenizer, read when it is first needed."""
        return load_tokenizer(self.spec.require_text(), self._tokenizer_file)

    def encode_images(self, images: ImageLike | Iterable[ImageLike]) -> Vectors:
        """Unit vectors of images.

        Files are decoded by several threads, a batch ahead of the model. Resizing, cropping and normalisation are the
        model's own.

        Args:
            images: One image or several: paths, PIL images, RGB arrays ``(height, width, 3)`` uint8 of any size, also
                mixed; or pixels that are resized and cropped already, ``(n, height, width, 3)`` uint8 of the model's
                size.

        Returns:
            ``(n, d)`` float32, rows of length 1, in the order of the images.

        Raises:
            ImageError: An image is missing or cannot be decoded.
            ModelError: The model has no image tower.
            ShapeError: An array has another shape or type.

        Example:
            >>> encoder = mckit.load(model)
            >>> encoder.encode_images([photo, np.zeros((480, 640, 3), np.uint8)]).shape
            (2, 16)
        """
        spec = self.spec.require_image()
        if isinstance(images, np.ndarray) and images.ndim != 3:
            wanted = (spec.height, spec.width, 3)
            if images.shape[1:] != wanted or images.dtype != np.uint8:
                raise ShapeError(f"Pixels must be (n, {', '.join(map(str, wanted))}) uint8, not {_kind(images)}.")
            starts = range(0, len(images), self.batch_size)
            return self._stack([self._run_images(images[start : start + self.batch_size]) for start in starts])
        return self._stack([self._run_images(pixels) for pixels in self._decoded(listed_images(images), spec)])

    def encode_texts(self, texts: str | Sequence[str]) -> Vectors:
        """Unit vectors of texts.

        Args:
            texts: One text or several. A single ``str`` is one text.

        Returns:
            ``(n, d)`` float32, rows of length 1.

        Raises:
            ModelError: The model has no text tower, or its tokenizer is not installed.
            UsageError: Something else than texts was given.

        Example:
            >>> encoder = mckit.load(model)
            >>> encoder.encode_texts(["a dog", "two cats on a table"]).shape
            (2, 16)
        """
        self.spec.require_text()
        return self.encode_ids(self.tokenizer(listed_texts("encode_texts", "texts", texts)))

    def encode_ids(self, ids: Ids) -> Vectors:
        """Unit vectors of texts that are tokenized already.

        Args:
            ids: ``(n, context_length)`` int64.

        Raises:
            ModelError: The model has no text tower.
            ShapeError: ``ids`` has another shape.
        """
        context = self.spec.require_text().context_length
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.shape[1] != context or ids.dtype.kind != "i":
            raise ShapeError(f"Token identifiers must be (n, {context}) integers, not {_kind(ids)}.")
        return self._stack([self._run_texts(chunk) for chunk in parts_of(ids, self.batch_size)])

    @contextlib.contextmanager
    def in_parallel(self) -> Iterator[tuple[Encoder, int]]:
        """The same model for several threads that each encode a batch of their own.

        With a batch on each core, no core waits for another one within a batch.

        Yields:
            An encoder and how many threads may use it at once: one a core, or 1 where the runtime shares the cores
            itself or its ``threads`` were given.
        """
        yield self, 1

    def _run_images(self, pixels: Pixels) -> Vectors:
        raise NotImplementedError

    def _run_texts(self, ids: Ids) -> Vectors:
        raise NotImplementedError

    def _decoded(self, images: Sequence[ImageLike], spec: ImageSpec) -> Iterator[Pixels]:
        """Batches of pixels, each decoded while the one before it is encoded."""
        from mobileclip_kit.images import decode_ahead, load_pixels  # words need no image decoder and no wait for it

        load = functools.partial(load_pixels, spec=spec)
        if len(images) == 1:
            yield load(images[0])[None]
            return
        with contextlib.closing(decode_ahead(load, parts_of(images, self.batch_size), ahead=1)) as decoded:
            for _, pixels in decoded:
                yield np.stack(pixels)

    def _stack(self, chunks: list[Vectors]) -> Vectors:
        if not chunks:
            return np.zeros((0, self.spec.embedding_dim), np.float32)
        return np.concatenate(chunks).astype(np.float32, copy=False)


def listed_images(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    """Images as a list; a single one is a list of one. Open files yield lines, so they are no lists of images."""
    if isinstance(images, str | bytes | os.PathLike | np.ndarray | io.IOBase) or not isinstance(images, Iterable):
        return [images]
    return list(images)


def _kind(array: NDArray[np.generic]) -> str:
    return f"{array.shape} {array.dtype}"
