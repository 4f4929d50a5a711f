"""Captions and text banks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.distillation.captions import RunTexts, read_bank, sample
from mobileclip_kit.errors import DataError

SEED = 3


def test_every_text_is_numbered_once() -> None:
    texts = RunTexts.collect([["a", "b"], [], ["b"]], ["c", "a", "c"])
    assert texts.texts == ("a", "b", "c")
    assert [rows.tolist() for rows in texts.captions] == [[0, 1], [], [1]]
    assert texts.bank.tolist() == [2, 0]


def test_an_image_shows_all_its_captions_in_time_and_always_the_same_ones_again() -> None:
    texts = RunTexts.collect([["a"], ["b", "c", "d"]], [])
    rows = np.array([0, 1])
    chosen = [texts.caption_rows(rows, seed=SEED, epoch=epoch).tolist() for epoch in range(30)]
    assert {first for first, _ in chosen} == {0}
    assert {second for _, second in chosen} == {1, 2, 3}
    assert texts.caption_rows(rows, seed=SEED, epoch=7).tolist() == chosen[7]
    assert texts.caption_rows(rows[1:], seed=SEED, epoch=7).tolist() == chosen[7][1:]


def test_a_part_of_the_bank_changes_with_the_step() -> None:
    texts = RunTexts.collect([], [str(number) for number in range(50)])
    parts = [sample(texts.bank, 10, seed=SEED, step=step).tolist() for step in range(40)]
    assert all(len(set(part)) == 10 for part in parts)
    assert len({row for part in parts for row in part}) == 50
    assert sample(texts.bank, 10, seed=SEED, step=5).tolist() == parts[5]
    for most in (None, 50):
        assert sample(texts.bank, most, seed=SEED, step=0).tolist() == list(range(50))


def test_a_bank_is_names_times_templates(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\n dog \ncat\n", encoding="utf-8")
    (tmp_path / "templates.txt").write_text("a photo of a {}\n{}, drawn\n", encoding="utf-8")
    assert read_bank(tmp_path / "names.txt") == ["cat", "dog"]
    assert read_bank(tmp_path / "names.txt", tmp_path / "templates.txt") == [
        "a photo of a cat",
        "a photo of a dog",
        "cat, drawn",
        "dog, drawn",
    ]


def test_unusable_banks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", encoding="utf-8")
    (tmp_path / "names.txt").write_text("cat", encoding="utf-8")
    (tmp_path / "none.txt").write_text("a photo", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="holds no text"):
        read_bank(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="holds no template"):
        read_bank(tmp_path / "names.txt", tmp_path / "empty.txt")
    with pytest.raises(DataError, match="'a photo' needs exactly one"):
        read_bank(tmp_path / "names.txt", tmp_path / "none.txt")
    with pytest.raises(DataError, match="does not exist"):
        read_bank(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="not UTF-8"):
        read_bank(tmp_path / "latin.txt")
