"""Progress on stderr: a moving line on a terminal, a line now and then in a log; or nothing, or a callback."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Self, TypeVar, Union

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
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._is_early(time.monotonic()):
            return
        if self._live or self._shown_at != self.done:
            self._show(end="\n")
