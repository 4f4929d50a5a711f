"""Progress lines in a log and on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import pytest

from mobileclip_kit.progress import Progress, Waiting, end_waiting, track


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


def on_terminal(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> str:
    """What a terminal receives of work whose stderr it is, without a limit of two seconds."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    ours, theirs = pty.openpty()
    monkeypatch.setattr(Waiting, "_SECONDS", 0.04)
    monkeypatch.setenv("TERM", "xterm")
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with Waiting():
            work()
        assert sys.stderr is terminal
        received = os.read(ours, 65536).decode()
    os.close(ours)
    return received


def test_a_silent_command_says_on_a_terminal_that_it_works_until_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        time.sleep(0.2)
        sys.stderr.write("done\n")

    received = on_terminal(monkeypatch, work)
    assert received.startswith("\r\x1b[2Kworking  0:00")
    assert received.endswith("\r\x1b[2Kdone\r\n")


def test_nothing_appears_behind_a_question_a_progress_line_or_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> None:
        sys.stderr.write("Forget them? [y/N]: ")
        time.sleep(0.2)

    def count() -> None:
        with Progress("index", total=2, unit="images") as progress:
            time.sleep(0.2)
            progress.advance(2)

    def serve() -> None:
        sys.stderr.write("http://127.0.0.1:8765\n")
        end_waiting()
        time.sleep(0.2)

    assert on_terminal(monkeypatch, ask) == "Forget them? [y/N]: "
    counted = on_terminal(monkeypatch, count)
    assert "working" not in counted and counted.startswith("\r\x1b[2Kindex  0/2 images")
    assert on_terminal(monkeypatch, serve) == "http://127.0.0.1:8765\r\n"
