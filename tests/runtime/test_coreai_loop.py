"""The event loop that Core AI's runtime answers to; it needs no runtime."""

import asyncio
import threading
import time

from mobileclip_kit.runtime import coreai


def test_a_run_ends_only_when_the_thread_that_answered_has_left_the_loop(monkeypatch):
    left = threading.Event()

    class SlowToLeave(coreai.PatientLoop):
        def _write_to_self(self):
            super()._write_to_self()  # from here on the loop can go on
            if threading.current_thread().name == "answers":
                time.sleep(0.2)
                left.set()

    async def ask():
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        threading.Thread(target=loop.call_soon_threadsafe, args=(answer.set_result, 5), name="answers").start()
        return await answer

    monkeypatch.setattr(coreai, "PatientLoop", SlowToLeave)

    assert coreai.run_coroutine(ask()) == 5
    assert left.is_set()
