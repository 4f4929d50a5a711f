"""Runs in processes of their own, killed as the power failing would kill them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

# Not fork: a test's process has run torch, whose threads a forked child would lack and whose locks it may find held.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["mobileclip_kit.distillation.run", "pytest"])


def _live(started: Event, run: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    started.set()
    run(*args, **options)


@contextmanager
def life(run: Callable[..., Any], *args: Any, **options: Any) -> Iterator[None]:
    """*run* has begun when the block is entered, and gets SIGKILL at its end unless it has finished before."""
    started = CONTEXT.Event()
    process = CONTEXT.Process(target=_live, args=(started, run, args, options))
    process.start()
    try:
        assert started.wait(120)
        yield
    finally:
        process.kill()
        process.join()
        process.close()


def appears(path: Path, seconds: float = 120.0) -> bool:
    """Whether a file or folder comes to be within so long; looked for often, since it may soon be gone again."""
    deadline = time.monotonic() + seconds
    while not (there := path.exists()) and time.monotonic() < deadline:
        time.sleep(0.002)
    return there
