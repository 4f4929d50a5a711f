"""Files of labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobileclip_kit.errors import DataError
from mobileclip_kit.tagging.labels import Label, parse_labels, read_labels


def test_a_line_is_a_label_with_synonyms(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("dog\tpuppy\t \n\n  red   bicycle \ncat\tcat\n", encoding="utf-8-sig")
    assert read_labels(file) == [
        Label("dog", ("dog", "puppy")),
        Label("red bicycle", ("red bicycle",)),
        Label("cat", ("cat",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.txt holds no label."),
        (" \n\t\n", "labels.txt holds no label."),
        ("dog\ncat\nDog\n", "labels.txt, line 3: 'Dog' stands in line 1 already."),
        ("dog\nc\x01at\n", "labels.txt, line 2: 'c\\x01at' has a character that is no text."),
        ("dog\tpuppy\ncat\tpuppy\n", "labels.txt, line 2: 'puppy' stands in line 1 already."),
    ],
)
def test_files_that_make_no_sense_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(DataError) as refused:
        read_labels(tmp_path / "labels.txt")
    assert refused.value.message == f"{tmp_path}/{message}" and refused.value.hint


def test_a_missing_file_and_too_many_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none.txt"):
        read_labels(tmp_path / "none.txt")
    with pytest.raises(DataError, match="holds 10,001 labels; the limit is 10,000"):
        parse_labels(map(str, range(10_001)))
