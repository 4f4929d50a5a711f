"""A model whose texts and images are sums of random vectors of words, and an index of such images."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.confidence.background import refresh_background
from mobileclip_kit.index.folder import IndexHeader, create_index, open_writer
from mobileclip_kit.index.store import Item
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec

DIM = 64
_ARTICLES = {"a", "an", "the", "of"}
ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "bird")


class WordEncoder(Encoder):
    """A text is the sum of its words' vectors.

    Attributes:
        encoded: Texts encoded so far.
    """

    runtime = "fake"

    def __init__(self) -> None:
        text = TextSpec()
        image = ImageSpec(height=8, width=8)
        super().__init__(ModelSpec(name="words", embedding_dim=DIM, image=image, text=text, model_hash="w0rd5"))
        self.encoded, self.model_path = 0, "words"

    def encode_texts(self, texts: str | Sequence[str]) -> NDArray[np.float32]:
        """Unit rows, ``(n, 64)``."""
        texts = [texts] if isinstance(texts, str) else texts
        self.encoded += len(texts)
        return _unit(np.stack([_sum(text) for text in texts]))


def make_word_index(folder: Path, count: int = 240, *, encoder: WordEncoder | None = None) -> Path:
    """An index of images of one animal each; ``dog/003.png`` is an image of a dog."""
    random = np.random.default_rng(0)
    names = [f"{ANIMALS[number % len(ANIMALS)]}/{number:03d}.png" for number in range(count)]
    rows = np.stack([_sum(name.split("/")[0]) for name in names]) + 0.08 * random.normal(size=(count, DIM))
    encoder = encoder or WordEncoder()
    create_index(folder, IndexHeader(spec=encoder.spec, model="words"))
    with open_writer(folder) as writer:
        first = writer.matrix.append(_unit(rows))
        for offset, name in enumerate(names):
            writer.store.put(Item(name=name, row=first + offset))
        writer.commit()
        refresh_background(writer, encoder, encoder.spec.model_hash)
    return folder


def _sum(text: str) -> NDArray[np.float64]:
    return np.sum([_vector(word) for word in text.split() if word not in _ARTICLES] or [_vector(text)], axis=0)


@functools.cache
def _vector(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
    own = np.random.default_rng(seed).normal(size=DIM)
    common = np.random.default_rng(1).normal(size=DIM)  # no two texts are unrelated, as in CLIP
    return own + 1.2 * common


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled
