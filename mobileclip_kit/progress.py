"""Progress on stderr: a moving line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self


def say(sentence: str) -> None:
    """Say something on stderr, on a line of its own."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


class Progress:
    """Counts work done and shows how fast it goes.

    Args:
        label: What is being done: "distil".
        total: Units of work in all, or None when unknown.
        unit: What is counted: "images".
        done: Units that an earlier, interrupted run has done.
    """

    _TERMINAL_SECONDS = 0.1
    _LOG_SECONDS = 10.0

    def __init__(self, label: str, *, total: int | None, unit: str, done: int = 0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._done_before = done
        self._started = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()
        self._detail = ""
        self._shown_at: int | None = None  # what the last line in a log said

    @property
    def per_second(self) -> float:
        """Units a second in this run."""
        return (self.done - self._done_before) / max(time.monotonic() - self._started, 1e-9)

    def advance(self, units: int = 1, detail: str = "") -> None:
        """Count work, and show it when enough time has passed."""
        self.done += units
        self._detail = detail or self._detail
        now = time.monotonic()
        if now - self._shown >= (self._TERMINAL_SECONDS if self._live else self._LOG_SECONDS):
            self._shown = now
            self._show()

    def _show(self, end: str | None = None) -> None:
        share = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        self._shown_at = self.done
        line = f"{self.label}  {share} {self.unit}  {self.per_second:.1f} {self.unit}/s"
        if self.total and self.done < self.total and self.per_second > 0:
            seconds = (self.total - self.done) / self.per_second
            line += f"  {int(seconds // 60)}:{int(seconds % 60):02d} left"
        if self._detail:
            line += f"  {self._detail}"
        if self._live:
            sys.stderr.write(f"\r\x1b[2K{line}" + (end or ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._live or self._shown_at != self.done:
            self._show(end="\n")
