"""Tags of an index: which images have them, where they are written, and how searches use them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mobileclip_kit.cli.entry import main
from mobileclip_kit.confidence.background import BACKGROUND_FILE
from mobileclip_kit.errors import DataError, IndexFormatError, OutputError, UsageError
from mobileclip_kit.index.folder import IndexHeader, open_writer
from mobileclip_kit.index.store import Item
from mobileclip_kit.index.tags import TAGS_FILE, Tags
from mobileclip_kit.search.index import Index
from tests.confidence.words import ANIMALS, WordEncoder, make_word_index


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_word_index(tmp_path_factory.mktemp("original") / "index")


@pytest.fixture
def index(original: Path, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(original, tmp_path / "index")
    return tmp_path / "index"


def kind(name: str) -> str:
    return name.split("/")[0]


def test_images_get_the_labels_that_describe_them(index: Path) -> None:
    with Index(index, WordEncoder()) as opened:
        report = opened.tag([*ANIMALS, "banana", "castle"], templates=["a {}"])
        assert report.labels.keys() == set(ANIMALS) and min(report.labels.values()) >= 25  # and no image is a banana
        assert all(list(tags) == [kind(name)] for name, tags in report.tags.items())
        assert all(0.5 <= sure <= 1 for tags in report.tags.values() for sure in tags.values())
        assert (report.tagged, report.images, report.device) == (sum(report.labels.values()), 240, "cpu")
        hits = opened.search("horse", k=300, tags="dog")
        assert len(hits) == report.labels["dog"] and {kind(hit.item) for hit in hits} == {"dog"}
        assert opened.search("horse", tags=["dog", "cat"]) == []
        with pytest.raises(DataError, match="No image was tagged with 'wolf'; the labels are dog, cat"):
            opened.search("horse", tags="wolf")


def test_an_image_has_a_label_if_a_synonym_describes_it(index: Path) -> None:
    with Index(index, WordEncoder()) as opened:
        report = opened.tag(["pet\tdog\tcat", "farm animal\tcow"], templates=["a {}"])
    assert {(label, kind(name)) for name, tags in report.tags.items() for label in tags} == {
        ("pet", "dog"), ("pet", "cat"), ("farm animal", "cow"),
    }  # fmt: skip


def test_a_higher_confidence_gives_fewer_tags(index: Path) -> None:
    with Index(index, WordEncoder()) as opened:
        every, few = (opened.tag(ANIMALS, min_confidence=least).tags for least in (0.0, 0.999))
        pairs = [{(name, label) for name, tags in found.items() for label in tags} for found in (every, few)]
    assert len(pairs[0]) > len(pairs[1]) and pairs[1] < pairs[0]


def test_tags_of_an_image_that_has_changed_no_longer_count(index: Path) -> None:
    with Index(index, WordEncoder()) as opened:
        before = opened.tag(["dog"]).tagged
        assert len(opened.search("dog", k=300, tags="dog")) == before
    with open_writer(index) as writer:
        old = writer.store.find("dog/000.png")
        assert old is not None
        writer.store.put(Item(name=old.name, row=old.row, sha256="ab" * 32))
        writer.commit()
    with Index(index, WordEncoder()) as opened:
        assert len(opened.search("dog", k=300, tags="dog")) == before - 1


def test_files_and_sidecars_hold_the_same_tags(index: Path, tmp_path: Path) -> None:
    with Index(index, WordEncoder()) as opened:
        report = opened.tag(["dog", "cat"], out=tmp_path / "tags.json", xmp=tmp_path / "sidecars")
        opened.tag(["dog", "cat"], out=tmp_path / "tags.csv")
    assert json.loads((tmp_path / "tags.json").read_text()) == report.tags
    with (tmp_path / "tags.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["item"], row["label"], float(row["confidence"])) for row in rows} == {
        (name, label, sure) for name, tags in report.tags.items() for label, sure in tags.items()
    }
    assert report.sidecars == report.tagged == len(list((tmp_path / "sidecars").rglob("*.xmp")))
    assert "<rdf:li>dog</rdf:li>" in (tmp_path / "sidecars" / "dog" / "000.png.xmp").read_text(encoding="utf-8")


def test_nothing_is_written_when_a_sidecar_cannot_be(index: Path, tmp_path: Path) -> None:
    (tmp_path / "sidecars" / "dog").mkdir(parents=True)
    (tmp_path / "sidecars" / "dog" / "000.png.xmp").write_text("<broken")
    with Index(index, WordEncoder()) as opened, pytest.raises(DataError, match="000.png.xmp is not well-formed"):
        opened.tag(["dog"], out=tmp_path / "tags.json", xmp=tmp_path / "sidecars")
    assert not (index / TAGS_FILE).exists() and not (tmp_path / "tags.json").exists()
    assert len(list((tmp_path / "sidecars").rglob("*.xmp"))) == 1


def test_an_index_without_background_says_how_to_make_it(index: Path) -> None:
    (index / BACKGROUND_FILE).unlink()
    with Index(index, WordEncoder()) as opened, pytest.raises(DataError, match="The next `mckit index` makes one"):
        opened.tag(["dog"])


def test_options_are_checked_before_the_model_is_opened(index: Path, tmp_path: Path) -> None:
    with Index(index) as opened:  # its model "words" does not exist
        with pytest.raises(UsageError, match="is neither .json nor .csv"):
            opened.tag(["dog"], out=tmp_path / "tags.xml")
        with pytest.raises(UsageError, match="min_confidence"):
            opened.tag(["dog"], min_confidence=1.5)
        with pytest.raises(DataError, match="knows no folder of images"):
            opened.tag(["dog"], xmp="beside")
        (tmp_path / "file").touch()
        with pytest.raises(OutputError):
            opened.tag(["dog"], out=tmp_path / "file" / "tags.csv")


def test_changed_and_newer_tag_files_are_refused(index: Path) -> None:
    Tags(labels=("dog",), min_confidence=0.5, model_hash="w0rd5", format_version=2).write(index)
    with pytest.raises(IndexFormatError, match="format version 2"):
        Tags.read(index)
    (index / TAGS_FILE).write_text((index / TAGS_FILE).read_text().replace("dog", "cat"))
    with pytest.raises(DataError, match="was changed"):
        Tags.read(index)


def test_names_that_are_not_utf_8_keep_their_tags(tmp_path: Path) -> None:
    from mobileclip_kit.index.tags import TaggedItem

    name = "odd\udcff\u202e.png"
    Tags(labels=("dog",), min_confidence=0.5, model_hash="x", items={name: TaggedItem(tags={"dog": 0.9})}).write(
        tmp_path
    )
    read = Tags.read(tmp_path)
    assert read is not None and list(read.items) == [name]


def test_the_command_prints_counts_and_search_filters(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.search.index.open_query_encoder", lambda *_, **__: WordEncoder())
    (tmp_path / "labels.txt").write_text("dog\tpuppy\ncat\n")
    with pytest.raises(SystemExit):
        main(["tag", str(index), "--labels", str(tmp_path / "labels.txt"), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["labels"].keys() == {"dog", "cat"} and document["tagged"] == sum(document["labels"].values())
    with pytest.raises(SystemExit):
        main(["search", str(index), "horse", "--tag", "cat", "-k", "100", "--json"])
    hits = json.loads(capsys.readouterr().out)["results"][0]["hits"]
    assert len(hits) == document["labels"]["cat"] and {kind(hit["item"]) for hit in hits} == {"cat"}
    assert IndexHeader.read(index).model == "words"
