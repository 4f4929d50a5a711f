from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mobileclip_kit.bench.evaluators import Gallery, find_examples
from mobileclip_kit.bench.report import draw_examples
from mobileclip_kit.bench.results import Example, ExampleHit
from tests.bench.rows import row

KEYS = ("a.png", "b.png", "c.png")
PATHS = tuple(Path(key) for key in KEYS)
# Images on three axes, not of length 1.
IMAGES = np.diag([2.0, 3.0, 4.0]).astype(np.float32)


def test_a_captions_own_image_is_marked_and_others_may_be_right() -> None:
    gallery = Gallery(KEYS, PATHS, ("of b", "of a"), (1, 0))
    texts = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 5.0]], np.float32)
    first, second = find_examples(IMAGES, gallery, texts=texts, classes=None)
    hits = (ExampleHit("b.png", 0.8, True), ExampleHit("a.png", 0.6), ExampleHit("c.png", 0.0))
    assert first == Example("of b", hits)
    assert second.hits[0].item == "c.png"
    assert {hit.item: hit.right for hit in second.hits} == {"a.png": True, "b.png": None, "c.png": None}


def test_of_classes_it_is_known_who_belongs() -> None:
    gallery = Gallery(KEYS, PATHS, labels=(0, 1, 1), classes=("cat", "dog"))
    [cat, dog] = find_examples(IMAGES, gallery, texts=None, classes=np.eye(3, dtype=np.float32)[:2])
    assert (cat.text, dog.text) == ("cat", "dog")
    assert {hit.item: hit.right for hit in dog.hits} == {"a.png": False, "b.png": True, "c.png": True}


def test_nothing_to_ask_gives_no_examples() -> None:
    assert find_examples(IMAGES, Gallery(KEYS, PATHS), texts=None, classes=None) == ()


def test_models_stand_below_one_another_and_images_that_went_are_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9), (200, 10, 10)).save(tmp_path / "a.png")
    hits = [{"item": key, "score": 0.5, "right": None} for key in ("a.png", "gone.png", "unknown.png")]
    asked = [{"text": text, "hits": hits} for text in ("one", "two")]
    rows = [row("m", examples=asked), row("phone"), row("n", examples=asked[:1])]
    drawn = draw_examples(rows, {"a.png": tmp_path / "a.png", "gone.png": tmp_path / "gone.png"})
    assert [title for title, _ in drawn] == ["one · m", "one · n", "two · m"]
    assert [len(images) for _, images in drawn] == [1, 1, 1]
    (tmp_path / "a.png").unlink()
    assert drawn[0][1][0].text == "0.500"
    assert isinstance(drawn[0][1][0].source, bytes)
