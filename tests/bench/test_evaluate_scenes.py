"""Figures of the synthetic scenes, from encoders whose answers are known by construction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bench.evaluators import evaluate_scenes
from mobileclip_kit.errors import DataError
from mobileclip_kit.scenes import COLOURS, KINDS, Truth
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.truth import Objects, Word
from mobileclip_kit.spec import ImageSpec, ModelSpec
from mobileclip_kit.textness.gallery import EncodedGallery, encode_gallery

BOX = (0.0, 0.0, 0.5, 0.5)
NAMES = list(KINDS)
AXES = {name: axis for axis, name in enumerate([*KINDS, *COLOURS, "written"])}


def thing(image: str, kind: str, colour: str) -> Truth:
    group = Objects(kind=kind, colour=colour, size="big", boxes=(BOX,))
    return Truth(image=image, form="thing", objects=(group,), relation=None, background="plain", word=None)


def word(image: str, text: str) -> Truth:
    written = Word(text=text, typeface="sans", colour="red", angle=0.0, box=BOX)
    return Truth(image=image, form="word", objects=(), relation=None, background="plain", word=written)


class WordsAreThings:
    """Takes a written name for the thing, and more strongly than the thing itself: CLIP's weakness to the full."""

    runtime = "fake"
    spec = ModelSpec(name="fake", embedding_dim=len(AXES), image=ImageSpec(height=16, width=16), text=None)

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        return np.tile(np.eye(1, len(AXES), dtype=np.float32), (len(pixels), 1))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([_vector({name: 1.0 for name in AXES if name in text.split()}
                                 | ({"written": 1.0} if "word" in text else {})) for text in texts])  # fmt: skip

    def vector(self, truth: Truth) -> np.ndarray:
        parts = {name: 1.0 for group in truth.objects for name in (group.kind, group.colour)}
        return _vector(parts | ({truth.word.text: 1.0, "written": 0.2} if truth.word else {}))


def _vector(parts: dict[str, float]) -> np.ndarray:
    row = np.zeros(len(AXES), np.float32)
    for name, value in parts.items():
        row[AXES[name]] = value
    return row / np.linalg.norm(row)


def gallery(rows: list[Truth]) -> EncodedGallery:
    return EncodedGallery(rows, np.stack([WordsAreThings().vector(row) for row in rows]))


def test_a_perfect_reader_with_the_weakness() -> None:
    """Things by kind and colour are found, words are read, and every bare name finds its word first."""
    first, second = NAMES[:2]
    rows = [thing("a", first, "red"), thing("b", second, "blue"), word("c", first), word("d", second)]
    figures = evaluate_scenes(WordsAreThings(), gallery(rows), gallery(rows))
    assert figures["precision_at_1"] == 1.0
    assert figures["reading_precision_at_1"] == 1.0
    assert figures["typographic_error_rate"] == 1.0
    assert "relation_precision_at_1" not in figures  # nothing to ask


def test_without_words_there_is_no_weakness() -> None:
    rows = [thing("a", NAMES[0], "red"), thing("b", NAMES[1], "blue")]
    figures = evaluate_scenes(WordsAreThings(), gallery(rows), gallery(rows))
    assert set(figures) <= {"precision_at_1", "precision_at_1_unseen"}


def test_gallery_rows_and_selection() -> None:
    rows = [thing("a", NAMES[0], "red"), word("b", NAMES[0])]
    found = gallery(rows)
    assert found.rows(frozenset({"b", "elsewhere"})) == {1}
    assert [row.image for row in found.where(lambda truth: truth.word is None).truth] == ["a"]


def test_folder_is_encoded_in_order(tmp_path: Path) -> None:
    write_scenes(tmp_path, SceneSet(items=3, seed=0, size=16, split="test"))
    found = encode_gallery(tmp_path, WordsAreThings())
    assert found.vectors.shape == (3, len(AXES))
    assert [row.image for row in found.truth] == [f"images/{index:06d}.png" for index in range(3)]


def test_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        encode_gallery(tmp_path, WordsAreThings())
