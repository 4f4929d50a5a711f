"""Encoders and workers without a network behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from mobileclip_kit.bench.worker import ModelWorker
from mobileclip_kit.cache.folder import CacheDescription
from mobileclip_kit.cache.writer import CacheWriter
from mobileclip_kit.errors import ModelError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec


class FakeEncoder:
    """Vectors are an image's mean colours; a text's vector is the colour that it names."""

    runtime, device = "fake", "cpu"
    COLOURS = {"red": (1.0, 0.1, 0.1), "green": (0.1, 1.0, 0.1), "blue": (0.1, 0.1, 1.0)}

    def __init__(self, *, text: bool = True, fail_after: int | None = None) -> None:
        self.spec = ModelSpec(
            name="fake", embedding_dim=3, image=ImageSpec(height=8, width=8), text=TextSpec() if text else None
        )
        self.calls, self.fail_after = 0, fail_after

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        """Mean colours."""
        self.calls += 1
        if self.fail_after is not None and self.calls > self.fail_after:
            raise ModelError("The fake is tired.")
        means = pixels.astype(np.float32).mean(axis=(1, 2)) + 1
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """The colours that the texts name."""
        rows = [next((rgb for name, rgb in self.COLOURS.items() if name in text), (1, 1, 1)) for text in texts]
        vectors = np.asarray(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class FakeProcess:
    """A worker that answers in this process."""

    def __init__(self, encoder: Encoder) -> None:
        self.worker = ModelWorker(lambda model, threads, device: encoder)
        self.asked: list[str] = []

    def ask(self, **request: Any) -> dict[str, Any]:
        """Answer at once."""
        self.asked.append(request["do"])
        answer = self.worker.answer(request)
        if "error" in answer:
            raise ModelError(answer["error"]["message"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def draw_images(folder: Path, count: int) -> list[Path]:
    """Small images of different colours."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        path = folder / f"{index:03}.png"
        Image.new("RGB", (12, 10), tuple(int(value) for value in rng.integers(0, 256, 3))).save(path)
        paths.append(path)
    return paths


def write_cache(folder: Path, paths: Sequence[Path], vectors: np.ndarray, **facts: Any) -> None:
    """A teacher cache of these images."""
    description = CacheDescription(
        teacher="master", teacher_hash=None, embedding_dim=vectors.shape[1], normalized=False, **facts
    )
    with CacheWriter(folder, description) as writer:
        hashes = [sha256_of_file(path) for path in paths]
        writer.add([path.name for path in paths], hashes, vectors[:, None, :].astype(np.float32))
