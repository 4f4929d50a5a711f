"""Work that must not hold up the server's one event loop, in threads of its own and in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Gone = Callable[[], Awaitable[bool]]


class Abandoned(Exception):  # noqa: N818 (no error: nobody waits for the answer any more)
    """The one who asked has left before it was their turn."""


class Worker:
    """A few threads, and the requests that wait for them.

    A person who types asks faster than a slow model answers, and a browser drops the requests that it no longer needs:
    what was dropped before its turn is never begun.

    Args:
        name: Of the threads.
        threads: How many jobs run at once.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns = asyncio.Semaphore(threads)

    async def run(self, gone: Gone | None, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``job`` when it is its turn, and wait for what it gives.

        Raises:
            Abandoned: ``gone`` says that nobody waits any more.
        """
        async with self._turns:
            if gone is not None and await gone():
                raise Abandoned
            return await asyncio.get_running_loop().run_in_executor(self._pool, partial(job, *args, **kwargs))

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(cancel_futures=True)
