"""Copies of the same photo: exact and near ones, which is kept, and what is none."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter

from mobileclip_kit.cli.duplicates import command
from mobileclip_kit.duplicates import DuplicateGroup, even_sample, find_duplicates
from mobileclip_kit.errors import IndexFormatError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.indexing.update import update_index
from mobileclip_kit.phash import differing_bits, perceptual_hash
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.search.index import Index
from mobileclip_kit.spec import ImageSpec, ModelSpec
from mobileclip_kit.web.library import Library
from mobileclip_kit.web.ranking import Ranking
from tests.index.older import age


class LayoutEncoder(Encoder):
    """Vectors are the image itself at 4×4 pixels, less their mean."""

    runtime = "fake"

    def __init__(self) -> None:
        super().__init__(
            ModelSpec(name="layout", embedding_dim=48, image=ImageSpec(height=64, width=64), text=None, model_hash="1a")
        )

    def _run_images(self, pixels: np.ndarray) -> np.ndarray:
        """``(n, 48)``."""
        small = pixels.reshape(len(pixels), 4, 16, 4, 16, 3).mean(axis=(2, 4)).reshape(len(pixels), 48)
        small = small - small.mean(axis=1, keepdims=True) + 1e-3
        return (small / np.linalg.norm(small, axis=1, keepdims=True)).astype(np.float32)


def photo(seed: int, side: int = 160) -> Image.Image:
    """Soft random patches: an image with a layout of its own."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine photos; copies of three of them, and a view of another one's scene."""
    folder = tmp_path_factory.mktemp("duplicates")
    photos = folder / "photos"
    photos.mkdir()
    for seed in range(9):
        photo(seed).save(photos / f"photo{seed}.png")
    photo(0).resize((80, 80)).save(photos / "a-smaller.png")
    photo(0).save(photos / "a-worse.jpg", quality=30)
    photo(0).crop((4, 4, 156, 156)).save(photos / "a-cropped.png")
    shutil.copy(photos / "photo1.png", photos / "same.png")
    photo(2, 320).filter(ImageFilter.GaussianBlur(2)).save(photos / "larger.png")
    photo(3).crop((0, 0, 110, 110)).save(photos / "view.png")
    os.utime(photos / "same.png", (1, 1))
    update_index(photos, LayoutEncoder(), folder / "index", IndexOptions(workers=1))
    return folder / "index"


def test_copies_are_grouped_with_the_best_first(index: Path) -> None:
    with Index(index) as opened:
        groups = opened.duplicates()
    photos = index.parent / "photos"
    assert [group.items for group in groups] == [
        ("larger.png", "photo2.png"),  # most pixels first
        ("photo0.png", "a-worse.jpg", "a-cropped.png", "a-smaller.png"),
        ("same.png", "photo1.png"),  # the older one of two equal files first
    ]
    assert [group.exact for group in groups] == [False, False, True]
    same = (photos / "same.png", photos / "photo1.png")
    assert groups[2] == DuplicateGroup(("same.png", "photo1.png"), (True, True), same)


def test_the_command_lists_what_to_keep(index: Path) -> None:
    document = json.loads(CliRunner().invoke(command, [str(index), "--json"]).output)
    assert (document["images"], document["copies"]) == (15, 5)
    assert document["groups"][2] == {"keep": "same.png", "copies": ["photo1.png"], "kinds": ["same file"],
                                     "exact": True}  # fmt: skip
    said = CliRunner().invoke(command, [str(index)]).output
    assert "larger.png\n    near copy  photo2.png" in said
    assert "same.png\n    same file  photo1.png" in said
    assert "3 groups; 5 of 15 images are copies" in said


def test_equal_files_and_near_copies_of_one_photo_are_told_apart(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    photo(0).save(photos / "first.png")
    photo(0).resize((80, 80)).save(photos / "smaller.png")
    os.utime(photos / "smaller.png", (1, 1))  # the last one where the newest come first
    shutil.copy2(photos / "first.png", photos / "other.png")
    update_index(photos, LayoutEncoder(), tmp_path / "index", IndexOptions(workers=1))
    (group,) = json.loads(CliRunner().invoke(command, [str(tmp_path / "index"), "--json"]).output)["groups"]
    assert group == {"keep": "first.png", "copies": ["other.png", "smaller.png"], "kinds": ["same file", "near copy"],
                     "exact": False}  # fmt: skip
    said = CliRunner().invoke(command, [str(tmp_path / "index")]).output
    assert said.startswith("first.png\n    same file  other.png\n    near copy  smaller.png\n")
    library = Library(tmp_path / "index")
    try:
        while library.copies is None:
            time.sleep(0.01)
        ranking = Ranking(library.summary.newest, None, 3, complete=True).fold(library.copies, library.contents)
    finally:
        library.close()
    assert (ranking.folded.tolist(), ranking.same.tolist()) == ([2], [1])


def test_an_older_index_finds_exact_copies_and_those_of_nearly_equal_vectors(index: Path, tmp_path: Path) -> None:
    shutil.copytree(index, tmp_path / "older")
    age(tmp_path / "older", 3)
    with Index(tmp_path / "older") as opened:
        found = {frozenset(group.items) for group in opened.duplicates()}
    assert frozenset({"same.png", "photo1.png"}) in found
    assert not any("view.png" in group or "photo5.png" in group for group in found)


def test_a_chain_of_small_steps_does_not_join_photos_that_differ(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    strip = Image.fromarray(np.random.default_rng(5).integers(0, 256, (9, 27, 3), np.uint8)).resize((640, 213))
    for step in range(12):
        strip.crop((step * 8, 0, step * 8 + 213, 213)).save(photos / f"{step:02d}.png")
    update_index(photos, LayoutEncoder(), tmp_path / "index", IndexOptions(workers=1))
    with Index(tmp_path / "index") as opened:
        groups = opened.duplicates()
    steps = [[int(item[:2]) for item in group.items] for group in groups]
    assert groups and all(abs(step - group[0]) < 6 for group in steps for step in group)


@pytest.mark.parametrize("count", [0, 1, 2, 400, 401, 799, 800, 12_345])
def test_the_sample_of_images_reaches_from_the_first_to_the_last(count: int) -> None:
    sample = even_sample(count)
    assert len(sample) == len(set(sample.tolist())) == min(count, 400)
    assert not count or (sample[0], sample[-1]) == (0, count - 1)


def test_the_typical_distance_is_that_of_images_from_the_whole_index(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more images than are sampled, but fewer than twice as many, it was that of the first ones."""
    monkeypatch.setattr("mobileclip_kit.duplicates._SAMPLE", 8)
    read = []
    with IndexReader(index) as reader:
        monkeypatch.setattr(reader, "vectors", lambda rows: read.append(rows) or IndexReader.vectors(reader, rows))
        find_duplicates(reader)
    assert read[0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]


def test_a_folder_of_copies_alone_is_one_group(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for side in (160, 120, 80):
        photo(0).resize((side, side)).save(tmp_path / "photos" / f"{side}.jpg", quality=50 + side // 4)
        update_index(tmp_path / "photos", LayoutEncoder(), tmp_path / "index", IndexOptions(workers=1))
    with IndexReader(tmp_path / "index") as index:
        assert [[item.name for item in group] for group in find_duplicates(index)] == [["160.jpg", "120.jpg", "80.jpg"]]


def test_a_photo_takes_all_its_copies_however_many(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(40):
        photo(0, 100 + number).save(tmp_path / "photos" / f"{number:02}.png")
    update_index(tmp_path / "photos", LayoutEncoder(), tmp_path / "index", IndexOptions(workers=1))
    with IndexReader(tmp_path / "index") as index:
        assert [len(group) for group in find_duplicates(index)] == [40]


def test_a_damaged_vector_is_refused_before_its_image_is_listed(index: Path, tmp_path: Path) -> None:
    shutil.copytree(index, tmp_path / "damaged")
    [matrix] = (tmp_path / "damaged").glob("vectors*.f32")
    with IndexReader(tmp_path / "damaged") as reader:
        vectors = np.memmap(matrix, np.float32, "r+", shape=reader.matrix.shape)
        vectors[-1] *= 2
        vectors.flush()
        with pytest.raises(IndexFormatError, match="damaged"):
            find_duplicates(reader)


def test_images_in_other_blocks_are_compared_too(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with IndexReader(index) as reader:
        whole = find_duplicates(reader)
        monkeypatch.setattr("mobileclip_kit.duplicates._FIRST", 2)
        monkeypatch.setattr("mobileclip_kit.duplicates._SECOND", 3)
        assert find_duplicates(reader) == whole


def test_an_index_without_images_or_of_one_has_no_copies(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo(0).save(tmp_path / "photos" / "a.png")
    update_index(tmp_path / "photos", LayoutEncoder(), tmp_path / "index")
    with Index(tmp_path / "index") as opened:
        assert opened.duplicates() == []


def test_hashes_of_copies_are_close_and_of_other_images_far() -> None:
    first = perceptual_hash(np.asarray(photo(0)))
    smaller = perceptual_hash(np.asarray(photo(0).resize((50, 50))))
    others = np.array([perceptual_hash(np.asarray(photo(seed))) for seed in range(1, 30)], np.int64)
    assert -(2**63) <= first < 2**63
    assert differing_bits(np.array([first]), np.array([smaller]))[0] <= 4
    distances = differing_bits(np.full(len(others), first), others)
    assert distances.min() > 16 and 26 < distances.mean() < 38
    assert differing_bits(np.array([0, -1]), np.array([-1, -1])).tolist() == [64, 0]


def test_an_image_without_structure_has_no_near_copies(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for shade in (10, 11, 12, 200):
        Image.new("RGB", (40, 40), (shade, shade, shade)).save(tmp_path / "photos" / f"{shade}.png")
    shutil.copy(tmp_path / "photos" / "10.png", tmp_path / "photos" / "equal.png")
    update_index(tmp_path / "photos", LayoutEncoder(), tmp_path / "index", IndexOptions(workers=1))
    with Index(tmp_path / "index") as opened:
        assert [set(group.items) for group in opened.duplicates()] == [{"10.png", "equal.png"}]


def test_the_hash_is_stored_with_the_vector(index: Path) -> None:
    with IndexReader(index) as reader:
        hashes = {item.name: item.facts.phash for item in reader.store.items() if item.facts is not None}
    assert hashes["same.png"] == hashes["photo1.png"] != hashes["photo2.png"]


def test_a_long_comparison_says_how_far_it_is_but_not_in_the_page(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mobileclip_kit.progress._BRIEF_SECONDS", 0.0)
    with IndexReader(index) as reader:
        find_duplicates(reader)
    assert capsys.readouterr().err.startswith("compare  1/1 blocks")
    library = Library(index)
    try:
        while library.copies is None:
            time.sleep(0.01)
    finally:
        library.close()
    assert capsys.readouterr().err == ""


def test_a_link_is_never_kept_in_place_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo(1).save(tmp_path / "photos" / "photo.png")
    (tmp_path / "photos" / "a-link.png").symlink_to("photo.png")
    update_index(tmp_path / "photos", LayoutEncoder(), tmp_path / "index", IndexOptions(workers=1))
    said = CliRunner().invoke(command, [str(tmp_path / "index")]).output
    assert said.splitlines() == [
        "photo.png",
        "    link       a-link.png",
        f"{tmp_path / 'index'}: 1 group; 1 of 2 images are copies.",
    ]
    said = CliRunner().invoke(command, [str(tmp_path / "index"), "--json"]).output
    assert json.loads(said)["groups"][0]["kinds"] == ["link"]
