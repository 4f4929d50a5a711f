"""Ctrl-C and a polite kill, as a wish that is granted after the current step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """Turns the first SIGINT or SIGTERM into :attr:`asked`; the second one stops at once.

    Attributes:
        asked: Whether the run is to stop.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Listen while the block runs. Signals reach the main thread alone, so elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask_to_stop(number: int, _: object) -> None:
            self.asked = True
            signal.signal(number, signal.default_int_handler)

        before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
