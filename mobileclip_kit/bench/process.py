"""A :mod:`.worker` seen from the process that asks."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import ModelError

# Thread counts that the libraries below the runtimes read when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Asked(Protocol):
    """Whatever answers a worker's requests."""

    def ask(self, **request: Any) -> dict[str, Any]:
        """Answer one request.

        Raises:
            ModelError: The model failed.
        """
        ...


class WorkerProcess:
    """Starts a worker and asks it; ends it when the block ends.

    Args:
        threads: Of every library in it.
        timeout_seconds: Longest wait for one answer.
        command: What to start; a test starts something else.
    """

    def __init__(self, *, threads: int, timeout_seconds: float = 900.0, command: list[str] | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", "mobileclip_kit.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            encoding="utf-8",
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            ModelError: The model failed, its process died, or it did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self._timeout_seconds)
        except OSError:  # the pipe is closed: the process is gone
            line = ""
        except queue.Empty:
            raise ModelError(f"It did not answer within {self._timeout_seconds:.0f} s.") from None
        if not line:
            raise ModelError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ModelError(answer["error"]["message"], hint=answer["error"]["hint"])
        return answer

    def set_timeout(self, seconds: float) -> None:
        """Wait so long for each further answer."""
        self._timeout_seconds = seconds

    def close(self) -> None:
        """End the process, at once if it does not end by itself."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except OSError:
                pass  # already gone
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._answers.put(line)
        except ValueError:
            return  # closed while reading: nobody waits any more
        self._answers.put("")

    def _last_words(self) -> str:
        """Why the process is gone: its signal, or the last line that it wrote on stderr."""
        code = self._process.wait(timeout=10)
        if code < 0:
            reason = f"Its process was ended by {signal.Signals(-code).name}"
            return f"{reason}; memory may have run out." if -code == 9 else f"{reason}."
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", errors="replace").strip().splitlines()
        return f"Its process failed: {lines[-1] if lines else f'exit code {code}'}"


def encode_images(worker: Asked, paths: Sequence[Path]) -> Vectors:
    """Vectors of image files, ``(n, d)``; they travel as a file, not through the pipe."""
    with tempfile.TemporaryDirectory(prefix="mckit-bench-") as name:
        listed, out = Path(name) / "paths.json", Path(name) / "vectors.npy"
        listed.write_text(json.dumps([str(path) for path in paths]), encoding="utf-8")
        worker.ask(do="encode_images", paths_file=str(listed), out=str(out))
        vectors: Vectors = np.load(out, allow_pickle=False)
        return vectors


def encode_texts(worker: Asked, texts: Sequence[str]) -> Vectors:
    """Vectors of texts, ``(n, d)``."""
    with tempfile.TemporaryDirectory(prefix="mckit-bench-") as name:
        out = Path(name) / "vectors.npy"
        worker.ask(do="encode_texts", texts=list(texts), out=str(out))
        vectors: Vectors = np.load(out, allow_pickle=False)
        return vectors
