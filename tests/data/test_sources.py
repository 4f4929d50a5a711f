"""Sources: what is read, what is skipped and said, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mobileclip_kit.data import captions
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.errors import DataError


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path)
    return path


def read(path: Path) -> tuple[dict[str, tuple[str, ...]], list[Skipped]]:
    skipped: list[Skipped] = []
    return {pair.key: pair.captions for pair in open_source(path, skipped)}, skipped


def test_folder_gives_relative_keys_in_order(tmp_path: Path) -> None:
    draw(tmp_path / "b.png")
    draw(tmp_path / "a" / "deep" / "ü 猫.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    pairs, skipped = read(tmp_path)
    assert list(pairs) == ["a/deep/ü 猫.jpg", "b.png"]
    assert skipped == [Skipped("empty.png", "The file is empty.")]


def test_links_that_lead_nowhere_are_stated_skips(tmp_path: Path) -> None:
    draw(tmp_path / "x.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    skipped: list[Skipped] = []
    assert [pair.key for pair in open_source(tmp_path, skipped)] == ["x.png"]
    assert [skip.item for skip in skipped] == ["gone.png", "loop.png"]
    assert "No such file" in skipped[0].reason


def test_pair_points_to_the_file(tmp_path: Path) -> None:
    file = draw(tmp_path / "x.png")
    assert list(open_source(tmp_path)) == [Pair("x.png", file)]


@pytest.mark.parametrize("header", ["image,caption", "filepath,title", "caption,image", "\ufeffimage,caption"])
def test_table_reads_by_column_name(tmp_path: Path, header: str) -> None:
    draw(tmp_path / "a.png")
    image_first = header.lstrip("\ufeff").startswith(("image", "filepath"))
    row = 'a.png,"two cats, one dog"' if image_first else '"two cats, one dog",a.png'
    (tmp_path / "list.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert read(tmp_path / "list.csv") == ({"a.png": ("two cats, one dog",)}, [])


def test_tab_separated_tables_are_read(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    for name in ("list.tsv", "tabs.csv"):
        (tmp_path / name).write_text("filepath\ttitle\na.png\ta cat, asleep\n")
        assert read(tmp_path / name)[0] == {"a.png": ("a cat, asleep",)}


def test_jsonl_reads_one_caption_or_several(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    draw(tmp_path / "b.png")
    rows = [{"image": "a.png", "captions": ["one", "two"]}, {"image": "b.png", "caption": "three"}]
    (tmp_path / "list.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    assert read(tmp_path / "list.jsonl")[0] == {"images/a.png": ("one", "two"), "b.png": ("three",)}


def test_captions_cut_inside_a_character_are_skipped(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "list.jsonl").write_text(json.dumps({"image": "a.png", "captions": ["a \ud83d", "whole"]}))
    pairs, skipped = read(tmp_path / "list.jsonl")
    assert pairs == {"a.png": ("whole",)}
    assert [skip.reason for skip in skipped] == ["list.jsonl line 1: the caption holds half a character."]


def test_rows_of_one_image_are_joined(tmp_path: Path) -> None:
    """Whichever of its names the table uses."""
    draw(tmp_path / "images" / "a.png")
    draw(tmp_path / "b.png")
    (tmp_path / "list.csv").write_text("image,caption\nimages/a.png,one\nb.png,other\na.png,two\n")
    assert read(tmp_path / "list.csv")[0] == {"images/a.png": ("one", "two"), "b.png": ("other",)}


def test_folder_with_captions_is_read_as_a_table(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\nimages/a.png,a cat\n")
    assert read(tmp_path)[0] == {"images/a.png": ("a cat",)}


def test_unusable_rows_are_skipped_with_their_line(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(
        "image,caption\n"
        "a.png,a cat\n"
        "gone.png,a dog\n"
        "a.png,   \n"
        "a.png,a cat\n"
        "a.png,a cat, asleep\n"
        ",nobody\n"
        f"{'x' * 5000}.png,long\n"
        "a.png\n"
    )
    pairs, skipped = read(tmp_path / "list.csv")
    assert pairs == {"a.png": ("a cat",)}
    reasons = [skip.reason for skip in skipped]
    for reason, expected in zip(
        reasons,
        [
            "line 3: the image gone.png does not exist",
            "line 4: the caption is empty",
            "line 5: the image is listed again",
            "line 6 has more cells",
            "line 7: there is no image's name",
            "line 8: the image xxx",
            "line 9: the caption is empty",
        ],
        strict=True,
    ):
        assert expected in reason


def test_long_captions_are_kept(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(f"image,caption\na.png,{'word ' * 2000}\n")
    assert len(read(tmp_path / "list.csv")[0]["a.png"][0]) == 9_999


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"image,wnid\na.png,n1\n", "has the columns image, wnid, but none of caption"),
        ("x.csv", b"caption\na cat\n", "none of image"),
        ("x.csv", b"", "has no columns"),
        ("x.csv", b"image,caption\na.png,ok\na.png,caf\xe9\n", "line 3 is not UTF-8: byte 0xe9"),
        ("x.csv", b'image,caption\na.png,"open\n', "line 2 is not valid CSV"),
        ("x.csv", b"image,caption\n", "holds no usable image"),
        ("x.csv", b"image,caption\ngone.png,a\n", r"1 skipped; the first: x.csv line 2: the image gone.png"),
        ("x.jsonl", b'{"image": "a.png", "caption": "a"}\n{"image"\n', "line 2 is not valid JSON"),
        ("x.jsonl", b'["a.png"]\n', "line 1 holds a JSON list"),
        ("x.jsonl", b'{"image": "a.png"}\n', "line 1 has the columns image, but none of caption"),
        ("x.jsonl", b'{"image": 3, "caption": "a"}\n', "must be a text"),
        ("x.jsonl", b'{"image": "a.png", "captions": [1]}\n', "a caption is not a text"),
        ("x.parquet", b"PAR1", "is none of: a folder with captions.csv"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_missing_and_empty_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no usable image"):
        read(tmp_path)


def test_a_name_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(captions, "find_image", lambda folder, name: looked.append(name))
    (tmp_path / "a.csv").write_text("image,caption\n" + "a.png,x\n" * 5)
    assert list(captions.read_table(tmp_path / "a.csv", [])) == []
    assert looked == ["a.png"]


def test_captions_of_clip_benchmarks_flickr30k_may_hold_commas_and_quotes(tmp_path: Path) -> None:
    draw(tmp_path / "1.jpg")
    draw(tmp_path / "images" / "2.jpg")
    file = tmp_path / "flickr30k_test_karpathy.txt"
    file.write_text('image,caption\n1.jpg,A "dog", its ball\n1.jpg,Grass.\n2.jpg,x\nno name\n')
    pairs, skipped = read(file)
    assert pairs == {"1.jpg": ('A "dog", its ball', "Grass."), "images/2.jpg": ("x",)}
    assert [skip.reason for skip in skipped] == [
        "flickr30k_test_karpathy.txt line 5 does not start with the name of a .jpg file."
    ]
