"""Job queues: limited concurrency, and no job for a client that has disconnected."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from mobileclip_kit.web.service import ClientDisconnected, JobQueue


def test_a_job_whose_client_disconnected_is_not_started() -> None:
    started: list[str] = []
    gate = threading.Event()

    def job(name: str) -> str:
        started.append(name)
        gate.wait(10)
        return name

    async def scene() -> list[object]:
        queue = JobQueue("test")
        disconnected = {"second"}

        async def ask(name: str) -> str:
            async def is_disconnected() -> bool:
                return name in disconnected

            return await queue.run(is_disconnected, job, name)

        asked = [asyncio.create_task(ask(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0.05)
        gate.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        queue.close()
        return found

    first, second, third = asyncio.run(scene())
    assert (first, third, started) == ("first", "third", ["first", "third"])
    assert isinstance(second, ClientDisconnected)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_jobs_run_at_once_than_there_are_threads(threads: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    async def scene() -> None:
        queue = JobQueue("test", threads)
        await asyncio.gather(*(queue.run(None, job) for _ in range(8)))
        queue.close()

    asyncio.run(scene())
    assert most == threads


def test_an_error_reaches_the_caller() -> None:
    def job() -> None:
        raise ValueError("no")

    async def scene() -> None:
        queue = JobQueue("test")
        with pytest.raises(ValueError, match="no"):
            await queue.run(None, job)
        assert await queue.run(None, int, "7") == 7
        queue.close()

    asyncio.run(scene())
