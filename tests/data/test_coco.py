"""COCO's annotation files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobileclip_kit.data.pair import Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError
from tests.data.test_sources import draw, read

IMAGES = [{"id": 7, "file_name": "000007.jpg"}, {"id": 9, "file_name": "000009.jpg"}]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO's own layout, two images of the split val2017."""
    for image in IMAGES:
        draw(tmp_path / "val2017" / str(image["file_name"]))
    (tmp_path / "annotations").mkdir()
    return tmp_path / "annotations"


def write(folder: Path, name: str, annotations: list[dict[str, Any]], **other: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({"images": IMAGES, "annotations": annotations, **other}))
    return path


def test_captions_belong_to_their_images(coco: Path) -> None:
    path = write(coco, "captions_val2017.json", [
        {"image_id": 9, "caption": "A dog. "}, {"image_id": 7, "caption": "A cat"}, {"image_id": 9, "caption": "Two"},
        {"image_id": 9, "caption": "Two"}, {"image_id": 7, "caption": "  "},
    ])  # fmt: skip
    pairs, skipped = read(path)
    assert pairs == {"000007.jpg": ("A cat",), "000009.jpg": ("A dog.", "Two")}
    assert [skip.reason.endswith("annotation 4: the caption is empty.") for skip in skipped] == [True]


def test_captions_cut_inside_a_character_are_skipped(coco: Path) -> None:
    path = write(coco, "captions_val2017.json", [{"image_id": 9, "caption": "A \ud83d"}])
    pairs, skipped = read(path)
    assert pairs["000009.jpg"] == () and "half a character" in skipped[0].reason


def test_instances_name_their_categories_the_commonest_first(coco: Path) -> None:
    path = write(coco, "instances_val2017.json",
                 [{"image_id": 7, "category_id": 18}, *[{"image_id": 7, "category_id": 1}] * 2],
                 categories=[{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}])  # fmt: skip
    assert read(path)[0] == {"000007.jpg": ("person, dog",), "000009.jpg": ()}


def test_clip_benchmarks_file_finds_cocos_folder(tmp_path: Path) -> None:
    """Its file is called for Karpathy; the images' names say which of COCO's folders they are in."""
    name = "COCO_val2014_000000000042.jpg"
    draw(tmp_path / "val2014" / name)
    annotations = [{"image_id": 42, "caption": "A cat"}]
    path = tmp_path / "coco_test_karpathy.json"
    path.write_text(json.dumps({"images": [{"id": 42, "file_name": name}], "annotations": annotations}))
    assert read(path)[0] == {name: ("A cat",)}


@pytest.mark.parametrize("place", ["images", "images/val2017", "val2017", "."])
def test_images_may_lie_in_several_places(tmp_path: Path, place: str) -> None:
    for image in IMAGES:
        draw(tmp_path / place / str(image["file_name"]))
    path = write(tmp_path, "captions_val2017.json", [{"image_id": 7, "caption": "x"}])
    assert len(list(open_source(path))) == 2


def test_missing_images_are_skipped(coco: Path) -> None:
    (coco.parent / "val2017" / "000009.jpg").unlink()
    skipped: list[Skipped] = []
    assert len(list(open_source(write(coco, "captions_val2017.json", []), skipped))) == 1
    assert [skip.item for skip in skipped] == ["000009.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a COCO annotation file"),
        ('{"images": [], "annotations": 3}', "is not a COCO annotation file"),
        ('{"images": [{"id": 1}], "annotations": []}', "entry 0 lacks file_name"),
        ('{"images": [], "annotations": [{"caption": "x"}]}', "entry 0 lacks image_id"),
        ('{"images": [], "annotations": [{"image_id": 3, "caption": "x"}]}', "the image 3, which images lacks"),
        ('{"images": [], "annotations": [{"image_id": 3, "category_id": 4}]}', "neither a caption nor a known"),
        ('{"images": [], "annotations": []}', "holds no usable image"),
        ('{"images": [], "annotations": [], "categories": [5]}', "is not a COCO annotation file"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "entry 0 lacks name"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": [1], "name": "x"}]}',
            r"has the id \[1\]; it must be",
        ),
        ('{"images": [], "annotations": [{"image_id": {}, "caption": "x"}]}', "has the image_id {}; it must be"),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": [4]}]}', "has the category_id"),
        ('{"images": [{"id": [1], "file_name": "x"}], "annotations": []}', "has the id"),
        (f'{{"images": [{{"id": 1, "file_name": "{"x" * 5000}"}}], "annotations": []}}', "holds no usable image"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=message):
        list(open_source(tmp_path / "x.json"))


def test_karpathys_test_split_with_its_five_captions(tmp_path: Path) -> None:
    """``filepath`` names COCO's folder; Flickr30k has none and keeps its images in ``flickr30k-images``."""
    for name in ("val2014/a.jpg", "flickr30k-images/b.jpg"):
        draw(tmp_path / name)

    def entry(name: str, split: str, **more: str) -> dict[str, Any]:
        return {"filename": name, "split": split, "sentences": [{"raw": f"{name} {k}"} for k in range(5)], **more}

    path = tmp_path / "dataset_coco.json"
    images = [entry("a.jpg", "test", filepath="val2014"), entry("gone.jpg", "test"), entry("c.jpg", "restval")]
    path.write_text(json.dumps({"dataset": "coco", "images": images}))
    pairs, skipped = read(path)
    assert pairs == {"a.jpg": tuple(f"a.jpg {k}" for k in range(5))}
    assert [(skip.item, skip.reason.split(" ")[0]) for skip in skipped] == [
        ("dataset_coco.json", "1"), ("gone.jpg", "The")
    ]  # fmt: skip
    draw(tmp_path / "train2014" / "t.jpg")
    draw(tmp_path / "val2014" / "c.jpg")
    images = [entry("no.jpg", "val"), *images[::2], entry("t.jpg", "train", filepath="train2014")]
    images[2]["filepath"] = "val2014"
    path.write_text(json.dumps({"dataset": "coco", "images": images}))
    skipped = []
    assert [pair.key for pair in open_source(path, skipped, split="train")] == ["c.jpg", "t.jpg"]
    draw(tmp_path / "no.jpg")
    assert [pair.key for pair in open_source(path, split="all")] == ["c.jpg", "t.jpg", "no.jpg", "a.jpg"]
    assert "2 images of other splits than train and restval, which are for training" in skipped[0].reason
    assert list(read(path)[0]) == ["a.jpg"]
    path = tmp_path / "dataset_flickr30k.json"
    path.write_text(json.dumps({"dataset": "flickr30k", "images": [entry("b.jpg", "test")]}))
    assert list(read(path)[0]) == ["b.jpg"]
    path.write_text(json.dumps({"dataset": "flickr30k", "images": [entry("../b.jpg", "test")]}))
    with pytest.raises(DataError, match="holds no usable image"):
        read(path)
