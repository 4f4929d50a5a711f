"""From a question to ranked rows: encoding, ranking, and remembering both.

:class:`Voice` turns words and images into vectors; :func:`rank` sorts the index. They run in threads of their own, so
that the page can show images while a model is still being opened.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import ImageError, MckitError, ModelError
from mobileclip_kit.images import load_pixels
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.search import combine, encode_queries
from mobileclip_kit.web.library import Library
from mobileclip_kit.web.question import Question

# Nobody looks at more, and a browser's page has to end somewhere.
MAX_RANKED = 10_000
# From so many images on, hits further down are looked for only when somebody scrolls there.
_RANK_AT_ONCE = 200_000
_FIRST_HITS = 300

K = TypeVar("K")
V = TypeVar("V")
OpenEncoder = Callable[[IndexReader], Encoder]


class Remembered(Generic[K, V]):
    """The last few values that were asked for. Any thread may ask."""

    def __init__(self, limit: int) -> None:
        self._limit, self._values, self._lock = limit, OrderedDict[K, V](), threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, and forget the one that nobody asked for the longest."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._limit:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._values.clear()


@dataclass(frozen=True)
class Ranking:
    """Rows in their order.

    Attributes:
        rows: ``(n,)``, best first.
        scores: Cosines, ``(n,)``; None when nothing was looked for and the order is that of time.
        among: Images that the filters let through; ``rows`` may be fewer.
        complete: Whether ``rows`` is all that will ever be shown, and not just a beginning.
    """

    rows: NDArray[np.int64]
    scores: Vectors | None
    among: int
    complete: bool


class Voice:
    """The model that answers, opened when it is first needed. For one thread.

    Args:
        open_encoder: Opens the model of an index.
        templates: See :func:`mobileclip_kit.search.encode_queries`.

    Attributes:
        encoder: None until it was opened, or when it could not be.
        trouble: Why it could not be opened.
    """

    def __init__(self, open_encoder: OpenEncoder, templates: Sequence[str] = ()) -> None:
        self._open_encoder, self._templates = open_encoder, tuple(templates)
        self.encoder: Encoder | None = None
        self.trouble: MckitError | None = None
        self._model_hash: str | None = None
        self._images: Remembered[str, Vectors] = Remembered(64)

    def open(self, index: IndexReader) -> None:
        """Open the model of an index, unless it is open already; what hinders it is kept in :attr:`trouble`."""
        if self.belongs_to(index):
            return
        self._model_hash = None
        self._images.clear()
        self.encoder, self.trouble = None, None
        try:
            self.encoder = self._open_encoder(index)
        except MckitError as error:
            self.trouble = error
        self._model_hash = index.spec.model_hash

    def belongs_to(self, index: IndexReader) -> bool:
        """Whether the model of this index has been opened, or tried. Any thread."""
        return self._model_hash == index.spec.model_hash

    def speak(self, words: str, beside: Vectors) -> Vectors:
        """The vector of words and of what is looked for beside them, ``(m, d)``: ``(d,)``.

        Raises:
            ModelError: The model cannot be opened or has no text tower.
            UsageError: The query is empty or cancels itself.
        """
        vector: Vectors = encode_queries(self._model(), [words], templates=self._templates, beside=beside)[0]
        return vector

    def look(self, image: bytes) -> str:
        """Encode an image and remember its vector for a while.

        Returns:
            What to call it in a question.

        Raises:
            ImageError: It cannot be decoded.
            ModelError: The model cannot be opened or has no image tower.
        """
        encoder = self._model()
        token = hashlib.blake2b(image, digest_size=16).hexdigest()
        if self._images.get(token) is None:
            try:
                pixels = load_pixels(image, encoder.spec.require_image())
            except ImageError as error:
                # Bytes have no name, and whoever dropped a file knows nothing of bytes.
                message = error.message.replace(f"An image of {len(image)} bytes", "What was handed in")
                raise ImageError(message, hint=error.hint) from error
            self._images.put(token, encoder.encode_images(pixels[None])[0])
        return token

    def seen(self, token: str) -> Vectors | None:
        """The vector of an image that :meth:`look` was shown, ``(d,)``; None when it is not remembered. Any thread."""
        return self._images.get(token)

    def _model(self) -> Encoder:
        if self.encoder is None:
            raise self.trouble or ModelError("The model is not open.")
        return self.encoder


def rank(library: Library, question: Question, vector: Vectors | None, depth: int) -> Ranking:
    """Sort the images that the question's filters let through.

    Args:
        library: With the index.
        question: Its filters count here.
        vector: What is looked for, ``(d,)``; None for the newest first.
        depth: Rows wanted; more are ranked where that costs little.

    Raises:
        DataError: The folder is not in the index.
        IndexFormatError: A vector that was found is damaged.
    """
    index = library.index
    folder = None if question.folder is None else library.folder_named(question.folder)
    allowed = index.allowed_rows(folder=folder, since_ns=question.since_ns, until_ns=question.until_ns)
    among = len(index.matrix) if allowed is None else int(np.count_nonzero(allowed))
    if vector is None:
        newest = library.facets.newest
        rows = newest if allowed is None else newest[allowed[newest]]
        return Ranking(rows[:MAX_RANKED], None, len(rows), complete=True)
    k = MAX_RANKED if among <= _RANK_AT_ONCE or depth > _FIRST_HITS else _FIRST_HITS
    scores, found = search_flat(index.matrix, vector[None], k, allowed=allowed)
    index.vectors(found[0])
    return Ranking(found[0], scores[0], among, complete=k == MAX_RANKED)


def without(ranking: Ranking, rows: Sequence[int]) -> Ranking:
    """The ranking less some rows: what others shall be like is not its own answer."""
    kept = ~np.isin(ranking.rows, list(rows))
    scores = None if ranking.scores is None else ranking.scores[kept]
    left_out = int(np.count_nonzero(~kept))
    return replace(ranking, rows=ranking.rows[kept], scores=scores, among=ranking.among - left_out)


def aim(beside: Vectors, dim: int) -> Vectors:
    """The vector of images alone, ``(m, d)`` → ``(d,)``; zero when there are none."""
    return combine([1.0] * len(beside), beside) if len(beside) else np.zeros(dim, np.float32)
