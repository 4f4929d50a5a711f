"""Query vectors from words and images, with the index's model, which is opened when it is first needed."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import ImageError, MckitError, ModelError
from mobileclip_kit.images import load_pixels
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.search.queries import combine, encode_judged
from mobileclip_kit.spec import Tower

# 200 MB as Pillow stores them. Images of the library may be larger: the user has indexed them.
MAX_UPLOAD_PIXELS = 50_000_000
MAX_UPLOAD_SIDE = 20_000

K = TypeVar("K")
V = TypeVar("V")
OpenEncoder = Callable[[IndexReader], Encoder]


class LeastRecentlyUsed(Generic[K, V]):
    """A cache of limited size that any thread may use."""

    def __init__(self, limit: int) -> None:
        self._limit, self._values, self._lock = limit, OrderedDict[K, V](), threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Store a value, and discard the least recently used one when the cache is full."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._limit:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Discard all values."""
        with self._lock:
            self._values.clear()


class QueryEncoder:
    """The model of an index, for one thread.

    Args:
        open_encoder: Opens the model of an index.
        templates: See :func:`mobileclip_kit.search.queries.encode_queries`.

    Attributes:
        encoder: None until the model is opened, and if it cannot be opened.
        problem: Why it cannot be opened, or None.
    """

    def __init__(self, open_encoder: OpenEncoder, templates: Sequence[str] = ()) -> None:
        self._open_encoder, self._templates = open_encoder, tuple(templates)
        self.encoder: Encoder | None = None
        self.problem: MckitError | None = None
        self._model_hash: str | None = None
        self._images: LeastRecentlyUsed[str, Vectors] = LeastRecentlyUsed(64)

    def open(self, index: IndexReader) -> None:
        """Open the model of an index unless it is open; an error is kept in :attr:`problem`."""
        if self.is_opened_for(index):
            return
        self._model_hash = None
        self._images.clear()
        self.encoder, self.problem = None, None
        try:
            self.encoder = self._open_encoder(index)
        except MckitError as error:
            self.problem = error
        self._model_hash = index.spec.model_hash

    def is_opened_for(self, index: IndexReader) -> bool:
        """Whether the model of this index has been opened, or failed to. Any thread may call this."""
        return self._model_hash == index.spec.model_hash

    def why_not(self, tower: Tower) -> str | None:
        """Why this tower cannot be used; None when it can, or when the model is not opened yet."""
        if self.problem is not None:
            hint = "Start mckit serve with --model M to search by words and by your own images."
            return f"{self.problem.message} {hint}"
        if self.encoder is None or tower in self.encoder.spec.towers:
            return None
        kind = "words" if tower == "text" else "images"
        return f"The model {self.encoder.spec.name} of this index cannot encode {kind}: it has no {tower} tower."

    def encode_words(self, words: str, images: Vectors) -> tuple[Vectors, Vectors | None]:
        """The query vector of words and of images beside them.

        Args:
            words: A query in the syntax of :func:`mobileclip_kit.search.queries.parse_query`.
            images: ``(m, d)``.

        Returns:
            ``(d,)``, and the vector that confidences are computed from; None beside images.

        Raises:
            ModelError: The model cannot be opened or has no text tower.
            UsageError: The query is empty, or its parts cancel each other.
        """
        (vector,), (judged,) = encode_judged(self._require(), [words], templates=self._templates, beside=images)
        return vector, None if len(images) else judged

    def encode_image(self, image: bytes) -> str:
        """Encode an image file and keep its vector for a while.

        Returns:
            The token by which a search request names the image.

        Raises:
            ImageError: The image cannot be decoded.
            ModelError: The model cannot be opened or has no image tower.
        """
        encoder = self._require()
        token = hashlib.blake2b(image, digest_size=16).hexdigest()
        if self._images.get(token) is None:
            try:
                spec = encoder.spec.require_image()
                pixels = load_pixels(image, spec, max_pixels=MAX_UPLOAD_PIXELS, max_side=MAX_UPLOAD_SIDE)
            except ImageError as error:
                # The decoder knows no file name here, only a number of bytes, which means nothing to the user.
                message = error.message.replace(f"An image of {len(image)} bytes", "The uploaded file")
                raise ImageError(message, hint=error.hint) from error
            self._images.put(token, encoder.encode_images(pixels[None])[0])
        return token

    def vector_of(self, token: str) -> Vectors | None:
        """The vector of an uploaded image, ``(d,)``; None when it is no longer kept. Any thread may call this."""
        return self._images.get(token)

    def _require(self) -> Encoder:
        if self.encoder is None:
            raise self.problem or ModelError("The model is not open.")
        return self.encoder


def query_vector(images: Vectors) -> Vectors:
    """The query vector of images alone, ``(m, d)`` to ``(d,)``; zero when there are none."""
    return combine([1.0] * len(images), images) if len(images) else np.zeros(images.shape[1], np.float32)
