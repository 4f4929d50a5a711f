"""Workers: one job after the other, and none for those who have left."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from mobileclip_kit.web.worker import Abandoned, Worker


def test_what_was_dropped_before_its_turn_is_never_begun() -> None:
    begun: list[str] = []
    gate = threading.Event()

    def job(name: str) -> str:
        begun.append(name)
        gate.wait(10)
        return name

    async def scene() -> list[object]:
        worker = Worker("test")
        left = {"second"}

        async def ask(name: str) -> str:
            async def gone() -> bool:
                return name in left

            return await worker.run(gone, job, name)

        asked = [asyncio.create_task(ask(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0.05)
        gate.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        worker.close()
        return found

    first, second, third = asyncio.run(scene())
    assert (first, third, begun) == ("first", "third", ["first", "third"])
    assert isinstance(second, Abandoned)


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
        worker = Worker("test", threads)
        await asyncio.gather(*(worker.run(None, job) for _ in range(8)))
        worker.close()

    asyncio.run(scene())
    assert most == threads


def test_an_error_reaches_the_one_who_asked() -> None:
    def job() -> None:
        raise ValueError("no")

    async def scene() -> None:
        worker = Worker("test")
        with pytest.raises(ValueError, match="no"):
            await worker.run(None, job)
        assert await worker.run(None, int, "7") == 7
        worker.close()

    asyncio.run(scene())
