from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bench.process import WorkerProcess, encode_images, encode_texts
from mobileclip_kit.bench.worker import ModelWorker
from mobileclip_kit.errors import ModelError
from tests.bench.fakes import FakeEncoder, FakeProcess, draw_images

# Answers one request well, then goes wrong in the way that its argument says.
_BAD_CHILD = """
import json, os, signal, sys, time
sys.stdin.readline()
print(json.dumps({"fine": True}), flush=True)
sys.stdin.readline()
how = sys.argv[1]
if how == "killed": os.kill(os.getpid(), signal.SIGKILL)
if how == "crash": raise RuntimeError("the tensor is upside down")
if how == "hang": time.sleep(60)
"""


def test_open_says_what_the_model_has() -> None:
    worker = ModelWorker(lambda model, threads, device: FakeEncoder(text=False))
    answer = worker.answer({"do": "open", "model": "x", "threads": 1})
    assert answer["towers"] == ["image"]
    assert answer["load_ms"] >= 0
    assert answer["spec"]["embedding_dim"] == 3


def test_the_first_call_of_a_turn_does_not_count() -> None:
    encoder = FakeEncoder()
    worker = ModelWorker(lambda model, threads, device: encoder)
    worker.answer({"do": "open", "model": "x", "threads": 1})
    before = encoder.calls
    answer = worker.answer({"do": "calls", "tower": "image", "batch": 2, "seconds": 0})
    assert len(answer["times_ms"]) == 1
    assert encoder.calls - before == 2


def test_peak_memory_is_this_process_own() -> None:
    worker = ModelWorker(lambda model, threads, device: FakeEncoder())
    before = worker.answer({"do": "memory"})["peak_memory_bytes"]
    ballast = np.ones(60_000_000, dtype=np.uint8)
    after = worker.answer({"do": "memory"})["peak_memory_bytes"]
    assert after >= before > 1_000_000
    assert after < before + 2 * ballast.nbytes


def test_vectors_come_back_in_order(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    process = FakeProcess(encoder)
    process.ask(do="open", model="x", threads=1)
    paths = draw_images(tmp_path, 20)  # more than are encoded at once
    vectors = encode_images(process, paths)
    assert vectors.shape == (20, 3)
    np.testing.assert_array_equal(vectors[19:], encode_images(process, paths[19:]))
    np.testing.assert_array_equal(encode_texts(process, ["a red cat"]), encoder.encode_texts(["red"]))


def test_an_error_of_ours_is_an_answer() -> None:
    worker = ModelWorker(lambda model, threads, device: FakeEncoder(fail_after=0))
    answer = worker.answer({"do": "open", "model": "x", "threads": 1})
    assert answer == {"error": {"kind": "ModelError", "message": "The fake is tired.", "hint": None}}


def test_memory_that_runs_out_is_an_answer() -> None:
    def hungry(model: str, threads: int, device: str | None) -> FakeEncoder:
        raise MemoryError

    answer = ModelWorker(hungry).answer({"do": "open", "model": "x", "threads": 1})
    assert "memory" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("how", "words"), [("killed", "SIGKILL"), ("crash", "upside down"), ("hang", "did not answer within 1 s")]
)
def test_a_process_that_dies_says_why(how: str, words: str) -> None:
    command = [sys.executable, "-c", _BAD_CHILD, how]
    with WorkerProcess(threads=1, timeout_seconds=10, command=command) as process:
        assert process.ask(do="open") == {"fine": True}
        process.set_timeout(1 if how == "hang" else 10)
        with pytest.raises(ModelError, match=words):
            process.ask(do="memory")


def test_thread_counts_reach_the_process() -> None:
    code = "import json, os, sys; sys.stdin.readline(); print(json.dumps(dict(os.environ)), flush=True)"
    with WorkerProcess(threads=3, command=[sys.executable, "-c", code]) as process:
        answer = process.ask(do="open")
    assert answer["OMP_NUM_THREADS"] == answer["OPENBLAS_NUM_THREADS"] == "3"


def test_stray_prints_do_not_reach_the_answers() -> None:
    code = (
        "import json\n"
        "from mobileclip_kit.bench.worker import serve\n"
        "class Loud:\n"
        "    def answer(self, request):\n"
        "        print('loading…')\n"
        "        return {'got': request['do']}\n"
        "serve(Loud())\n"
    )
    with WorkerProcess(threads=1, timeout_seconds=30, command=[sys.executable, "-c", code]) as process:
        assert process.ask(do="open") == {"got": "open"}
        assert json.loads(json.dumps(process.ask(do="memory"))) == {"got": "memory"}
