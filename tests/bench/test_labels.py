from __future__ import annotations

import io
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.bench.evaluators import ImageEvaluator, TeacherVectors
from mobileclip_kit.bench.inputs import read_dataset, read_labelled, read_templates
from mobileclip_kit.errors import DataError, UsageError
from tests.bench.fakes import FakeEncoder, FakeProcess

COLOURS = {"red_thing": (250, 10, 10), "blue thing": (10, 10, 250)}


def draw(folder: Path, per_class: int = 3) -> Path:
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            Image.new("RGB", (9, 9), colour).save(folder / name / f"{number}.png")
    return folder


def evaluate(evaluator: ImageEvaluator, *, text: bool = True) -> dict[str, float]:
    encoder = FakeEncoder(text=text)
    process = FakeProcess(encoder)
    process.ask(do="open", model="m", threads=1)
    return evaluator.evaluate(process, ["image", "text"] if text else ["image"]).metrics  # type: ignore[arg-type]


def test_zero_shot_on_a_folder_of_classes(tmp_path: Path) -> None:
    gallery = read_labelled(draw(tmp_path / "x"), None)
    assert gallery.classes == ("blue thing", "red thing")
    assert gallery.labels == (0, 0, 0, 1, 1, 1)
    assert evaluate(ImageEvaluator(gallery)) == {"zero_shot_top1": 1.0}


def test_an_image_tower_alone_takes_the_teachers_classes(tmp_path: Path) -> None:
    gallery = read_labelled(draw(tmp_path / "x"), None)
    images = np.ones((6, 3), np.float32)
    wrong_way_round = FakeEncoder().encode_texts(["red", "blue"])
    teacher = TeacherVectors("t", images, classes=wrong_way_round)
    assert evaluate(ImageEvaluator(gallery, teacher), text=False)["zero_shot_top1"] == 0.0
    assert "zero_shot_top1" not in evaluate(ImageEvaluator(gallery, TeacherVectors("t", images)), text=False)


def test_a_limit_leaves_every_class(tmp_path: Path) -> None:
    gallery = read_labelled(draw(tmp_path / "x", per_class=10), 4)
    assert gallery.labels == (0, 0, 1, 1)


def test_all_classes_are_told_apart_however_few_images_are_taken(tmp_path: Path) -> None:
    """Of 20 classes a random model is right once in 20, also on the images of two."""
    for number in range(20):
        (tmp_path / "x" / f"kind {number:02d}").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "x" / f"kind {number:02d}" / "0.png")
    (tmp_path / "x" / "kind 19" / "0.png").write_text("no image")
    gallery = read_labelled(tmp_path / "x", 2)
    assert len(gallery.classes) == 20 and gallery.labels == (0, 10)
    assert len(read_labelled(tmp_path / "x", None).classes) == 20, "one has no image that can be decoded"


def test_a_table_of_labels(tmp_path: Path) -> None:
    draw(tmp_path / "images")
    (tmp_path / "labels.csv").write_text(
        "image,wnid,label\nred_thing/0.png,n1,red\n"
        'blue thing/0.png,n2,"blue, deep"\ngone.png,n3,x\nred_thing/1.png,n1,\n'
    )
    gallery = read_labelled(tmp_path / "labels.csv", None)
    assert gallery.classes == ("blue, deep", "red") and gallery.labels == (1, 0)
    assert [left.reason for left in gallery.skipped] == [
        "labels.csv line 4: the image 'gone.png' does not exist.",
        "labels.csv line 5: there is no label.",
    ]


def test_images_that_cannot_be_used_are_skipped(tmp_path: Path) -> None:
    draw(tmp_path / "x")
    (tmp_path / "x" / "red_thing" / "bad.png").write_text("no image")
    Image.new("RGB", (9, 9)).save(tmp_path / "x" / "lone.png")
    gallery = read_labelled(tmp_path / "x", None)
    assert {left.item for left in gallery.skipped} == {"red_thing/bad.png", "lone.png"}
    assert len(gallery.keys) == 6


def test_what_has_no_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one" / "a").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "one" / "a" / "0.png")
    with pytest.raises(DataError, match="1 classes"):
        read_labelled(tmp_path / "one", None)
    (tmp_path / "x.csv").write_text("image,caption\na,b\n")
    with pytest.raises(DataError, match="none of label"):
        read_labelled(tmp_path / "x.csv", None)
    with pytest.raises(DataError, match="does not exist"):
        read_labelled(tmp_path / "nowhere", None)


def test_templates(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a {}\n\nthe {} over there\n")
    assert read_templates(tmp_path / "t.txt") == ("a {}", "the {} over there")
    (tmp_path / "t.txt").write_text("a dog\n")
    with pytest.raises(UsageError, match="no {}"):
        read_templates(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("\n")
    with pytest.raises(DataError, match="no template"):
        read_templates(tmp_path / "t.txt")


def test_a_data_set_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clip_benchmark", None)
    with pytest.raises(UsageError, match="pip install clip-benchmark"):
        read_dataset("cifar10", tmp_path, tmp_path, limit=None)


def test_a_data_set_of_clip_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its builder's face, without its package: images with labels, names, prompts with {c}."""
    sizes = [1, 1]

    class Tiny(list):
        classes = ["red", "blue"]
        templates = ["a photo of {c}."]

    def build_dataset(name: str, **how: object) -> Tiny:
        if name != "tiny":
            raise ValueError(f"Unsupported dataset: {name}.")
        assert how["split"] == "test"
        red, grey = Image.new("RGB", (9, 9), COLOURS["red_thing"]), Image.new("L", (9, 9))
        return Tiny([(red, 0)] * sizes[0] + [(grey, 1)] * sizes[1])  # sorted by class, as ImageNet's files are

    builder = types.ModuleType("clip_benchmark.datasets.builder")
    builder.build_dataset = build_dataset  # type: ignore[attr-defined]
    for name in ("clip_benchmark", "clip_benchmark.datasets"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "clip_benchmark.datasets.builder", builder)
    gallery = read_dataset("tiny", tmp_path, tmp_path, limit=None)
    assert gallery.classes == ("red", "blue") and gallery.templates == ("a photo of {}.",)
    assert [path.suffix for path in gallery.paths] == [".png", ".png"]
    assert len(read_dataset("tiny", tmp_path, tmp_path, limit=1).keys) == 1
    sizes[:] = [20, 20]
    assert read_dataset("tiny", tmp_path, tmp_path, limit=4).labels == (0, 0, 1, 1)
    monkeypatch.setattr(Tiny, "__getitem__", property())  # a stream, as shards are
    assert read_dataset("tiny", tmp_path, tmp_path, limit=6).labels == (0, 0, 0, 1, 1, 1)
    with pytest.raises(DataError, match="Unsupported dataset: huge"):
        read_dataset("huge", tmp_path, tmp_path, limit=None)


@pytest.mark.filterwarnings("ignore:WebDataset:UserWarning")  # what CLIP_benchmark leaves for webdataset to choose
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its shards
def test_a_local_data_set_of_the_real_package(tmp_path: Path) -> None:
    """Shards in CLIP_benchmark's own layout, where it is installed."""
    pytest.importorskip("clip_benchmark.datasets.builder", exc_type=ImportError)
    shards = tmp_path / "test"
    shards.mkdir()
    (shards / "nshards.txt").write_text("1\n")
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a {c}\nthe {c}\n")
    with tarfile.open(shards / "0.tar", "w") as tar:
        for number, label in enumerate("10"):
            image = io.BytesIO()
            Image.new("RGB", (8, 8), (number, 0, 0)).save(image, "PNG")
            for suffix, content in (("png", image.getvalue()), ("cls", label.encode())):
                entry = tarfile.TarInfo(f"{number}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    out = tmp_path / "out"
    out.mkdir()
    gallery = read_dataset("wds/pets", tmp_path, out, limit=None)
    assert (gallery.labels, gallery.classes, gallery.templates) == ((1, 0), ("cat", "dog"), ("a {}", "the {}"))
    assert [Image.open(path).getpixel((0, 0)) for path in gallery.paths] == [(0, 0, 0), (1, 0, 0)]


def test_a_name_that_is_no_files_name_is_skipped(tmp_path: Path) -> None:
    draw(tmp_path / "images")
    rows = ["images/red_thing/0.png,red", "images/blue thing/0.png,blue", f"{'long' * 100}.png,red", "nul\0.png,blue"]
    (tmp_path / "table.csv").write_text("\n".join(["image,label", *rows]) + "\n", encoding="utf-8")
    gallery = read_labelled(tmp_path / "table.csv", None)
    assert gallery.classes == ("blue", "red")
    assert [skip.reason.rsplit(" ", 3)[1:] for skip in gallery.skipped] == [["does", "not", "exist."]] * 2


@pytest.mark.parametrize("row", [f'"{"x" * 200_000}",red', '"images/red_thing/0.png"x,red'])
def test_a_table_that_is_no_csv_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "table.csv").write_text(f"image,label\n{row}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2 is not valid CSV"):
        read_labelled(tmp_path / "table.csv", None)


def test_imagenets_folders_are_named_by_their_classes(tmp_path: Path) -> None:
    for synset, colour in (("n01440764", (9, 9, 200)), ("n01443537", (200, 90, 9))):
        (tmp_path / "val" / synset).mkdir(parents=True)
        Image.new("RGB", (9, 9), colour).save(tmp_path / "val" / synset / "1.png")
    assert read_labelled(tmp_path / "val", None).classes == ("goldfish", "tench")
    (tmp_path / "val" / "n01443537").rename(tmp_path / "val" / "n99999999")
    with pytest.raises(DataError, match="n99999999 of .* is no class of ImageNet-1k"):
        read_labelled(tmp_path / "val", None)
