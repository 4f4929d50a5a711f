"""Progress on stderr: a moving line on a terminal, a line now and then in a log; or nothing, or a callback."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar, Union, cast

Thing = TypeVar("Thing")

# True shows progress on stderr, False nothing; a function receives the Progress whenever it moves.
ProgressOption = Union[bool, Callable[["Progress"], None]]  # noqa: UP007 (a class defined below)

_BRIEF_SECONDS = 2.0
_OPTION: ContextVar[ProgressOption] = ContextVar("progress", default=True)


@contextlib.contextmanager
def show_progress(where: ProgressOption) -> Iterator[None]:
    """Send the progress of what runs in the block to stderr, nowhere, or to a function.

    Args:
        where: See :data:`ProgressOption`.
    """
    token = _OPTION.set(where)
    try:
        yield
    finally:
        _OPTION.reset(token)


def say(sentence: str) -> None:
    """Say something on stderr, on a line of its own, where progress is shown there."""
    if _OPTION.get() is True:
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()


def track(things: Sequence[Thing], label: str, unit: str) -> Iterator[Thing]:
    """Yield each thing; if all of them take longer than two seconds, show how far it is.

    Args:
        things: Such as the batches of a loop.
        label: See :class:`Progress`.
        unit: What a thing is called: "files".
    """
    with Progress(label, total=len(things), unit=unit, after=_BRIEF_SECONDS) as progress:
        for thing in things:
            yield thing
            progress.advance()


class Waiting:
    """On a terminal, says how long a command has been silent: "working  0:12".

    Loading torch or converting a network takes a minute, and neither can be counted. The line appears two seconds after
    the last output and goes away before the next one. Nothing appears behind an unfinished line, such as a question.
    """

    _SECONDS = 2.0

    def __init__(self) -> None:
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._since, self._at_line_start, self._shown = time.monotonic(), True, False
        self._terminal: TextIO | None = None
        self._streams = sys.stdout, sys.stderr

    def __enter__(self) -> Self:
        """Start on a terminal; elsewhere do nothing."""
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            # A descriptor of its own: libraries are silenced by closing the usual one for a while.
            self._terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
            self._streams = sys.stdout, sys.stderr
            sys.stderr = cast(TextIO, _Watched(sys.stderr, self))
            if sys.stdout.isatty():
                sys.stdout = cast(TextIO, _Watched(sys.stdout, self))
            self._thread = threading.Thread(target=self._run, name="waiting", daemon=True)
            self._thread.start()
            _WAITING.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Show nothing from now on."""
        if self._terminal is not None and not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._erase()
            sys.stdout, sys.stderr = self._streams
            self._terminal.close()

    def write(self, stream: TextIO, text: str) -> int:
        """Write what is not ours, in place of the line."""
        with self._lock:
            self._erase()
            written = stream.write(text)
            stream.flush()
            self._since, self._at_line_start = time.monotonic(), text.endswith("\n") if text else self._at_line_start
        return written

    def _erase(self) -> None:
        if self._shown and self._terminal is not None:
            self._terminal.write("\r\x1b[2K")
            self._terminal.flush()
            self._shown = False

    def _run(self) -> None:
        while not self._stop.wait(self._SECONDS / 4):
            with self._lock:
                seconds = time.monotonic() - self._since
                if self._at_line_start and seconds >= self._SECONDS and self._terminal is not None:
                    self._shown = True
                    self._terminal.write(f"\r\x1b[2Kworking  {int(seconds // 60)}:{int(seconds % 60):02d}")
                    self._terminal.flush()


class _Watched:
    """A terminal's stream whose writer takes the waiting line away first."""

    def __init__(self, stream: TextIO, waiting: Waiting) -> None:
        self._stream, self._waiting = stream, waiting

    def write(self, text: str) -> int:
        return self._waiting.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_WAITING: ContextVar[Waiting | None] = ContextVar("waiting", default=None)


def end_waiting() -> None:
    """Take the waiting line of a command away for good: a server waits without working."""
    waiting = _WAITING.get()
    if waiting is not None:
        waiting.end()


class Progress:
    """Counts work done and shows how fast it goes.

    Args:
        label: The name of the step: "distil".
        total: Units of work in all, or None when unknown.
        unit: What is counted: "images".
        done: Units that an earlier, interrupted run has done.
        after: Seconds in which nothing is shown, so that quick work leaves no line.

    Attributes:
        detail: Further figures, such as the loss; empty for none.
    """

    _TERMINAL_SECONDS = 0.1
    _LOG_SECONDS = 10.0

    def __init__(self, label: str, *, total: int | None, unit: str, done: int = 0, after: float = 0.0) -> None:
        self.label, self.total, self.unit, self.detail = label, total, unit, ""
        self.done = self._done_before = done
        self._started = self._shown = time.monotonic()
        self._after = after
        self._option = _OPTION.get()
        self._live = not callable(self._option) and sys.stderr.isatty()
        self._shown_at: int | None = None  # the count in the last line of a log

    @property
    def per_second(self) -> float:
        """Units a second in this run."""
        return (self.done - self._done_before) / max(time.monotonic() - self._started, 1e-9)

    def advance(self, units: int = 1, detail: str = "") -> None:
        """Count work, and show it when enough time has passed."""
        self.done += units
        self.detail = detail or self.detail
        now = time.monotonic()
        if self._is_early(now):
            return
        often = self._live or callable(self._option)
        if now - self._shown >= (self._TERMINAL_SECONDS if often else self._LOG_SECONDS):
            self._shown = now
            self._show()

    def _is_early(self, now: float) -> bool:
        """Whether it is too early to show anything; a callback receives everything."""
        return not callable(self._option) and now - self._started < self._after

    def _show(self, end: str | None = None) -> None:
        self._shown_at = self.done
        if callable(self._option):
            self._option(self)
        elif self._option:
            sys.stderr.write(f"\r\x1b[2K{self}" + (end or "") if self._live else f"{self}\n")
            sys.stderr.flush()

    def __str__(self) -> str:
        share = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        line = f"{self.label}  {share} {self.unit}  {self.per_second:.1f} {self.unit}/s"
        if self.total and self.done < self.total and self.per_second > 0:
            seconds = (self.total - self.done) / self.per_second
            line += f"  {int(seconds // 60)}:{int(seconds % 60):02d} left"
        return f"{line}  {self.detail}" if self.detail else line

    def __enter__(self) -> Self:
        if self._live and not self._after:
            self._show()  # the first units may take long
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._is_early(time.monotonic()):
            return
        if self._live or self._shown_at != self.done:
            self._show(end="\n")
