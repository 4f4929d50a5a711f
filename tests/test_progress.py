"""Progress lines in a log."""

from __future__ import annotations

import pytest

from mobileclip_kit.progress import Progress, track


def test_log_ends_with_one_line_of_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("index", total=3, unit="images") as progress:
        for _ in range(3):
            progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("index  3/3 images")


def test_last_line_is_not_said_twice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "_LOG_SECONDS", 0.0)
    with Progress("index", total=2, unit="images") as progress:
        progress.advance(2)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_speed_counts_this_run_alone() -> None:
    """What an interrupted run did before is progress, not speed."""
    progress = Progress("train", total=100, unit="images", done=90)
    assert progress.done == 90
    assert progress.per_second == 0.0


def test_quick_work_leaves_no_line_and_long_work_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(track([1, 2, 3], "check", "files")) == [1, 2, 3]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("mobileclip_kit.progress._BRIEF_SECONDS", 0.0)
    assert list(track([1, 2, 3], "check", "files")) == [1, 2, 3]
    assert capsys.readouterr().err.startswith("check  3/3 files")
