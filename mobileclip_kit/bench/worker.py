"""One model in a process of its own, which answers requests on stdin, a JSON object a line each way.

A process a model keeps peak memory its own, keeps two runtimes' thread pools from fighting, and lets a model that
crashes or exhausts memory fail alone. Run as ``python -m mobileclip_kit.bench.worker``.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Pixels
from mobileclip_kit.bench.index_benchmark import IndexBenchmark
from mobileclip_kit.bench.machine import peak_memory_bytes
from mobileclip_kit.errors import MckitError
from mobileclip_kit.images import load_pixels
from mobileclip_kit.index.npy import save_matrix
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.files import encode_files

Request = Mapping[str, Any]
Answer = dict[str, Any]

_TEXTS = ("a photo of a dog", "two red stars left of a blue house", "the word car", "people on a beach at sunset")
_IMAGES_AT_ONCE = 16


class ModelWorker:
    """Opens one model and measures it when asked.

    Args:
        open_model: Path or name, threads and device in, encoder out.
    """

    def __init__(self, open_model: Callable[[str, int, str | None], Encoder]) -> None:
        self._open_model = open_model
        self._encoder: Encoder | None = None
        self._index: IndexBenchmark | None = None
        self._pixels: Pixels = np.zeros((0, 1, 1, 3), np.uint8)
        self._actions: dict[str, Callable[[Request], Answer]] = {
            "open": self._open,
            "open_index": self._open_index,
            "recall_of_exact": self._recall_of_exact,
            "calls": self._calls,
            "memory": self._memory,
            "macs": self._macs,
            "encode_images": self._encode_images,
            "encode_texts": self._encode_texts,
        }

    def answer(self, request: Request) -> Answer:
        """Do what ``request["do"]`` says; an error of ours becomes ``{"error": {…}}``."""
        try:
            return self._actions[request["do"]](request)
        except MckitError as error:
            return {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}
        except MemoryError:
            return {"error": {"kind": "MemoryError", "message": "There is not enough memory for it.", "hint": None}}

    @property
    def encoder(self) -> Encoder:
        """The opened model."""
        assert self._encoder is not None, "ask for open first"
        return self._encoder

    def _open(self, request: Request) -> Answer:
        """Load the runtime, then the model, then wait for its first vector."""
        started = time.perf_counter()
        for module in request.get("imports", ()):
            importlib.import_module(module)
        imported = time.perf_counter()
        self._encoder = self._open_model(request["model"], request["threads"], request.get("device"))
        spec = self._encoder.spec
        answer: Answer = {"towers": list(spec.towers), "runtime": self._encoder.runtime, "spec": spec.to_json()}
        opened = time.perf_counter()
        if spec.image is not None:
            self._pixels = _pixels(spec.image, [Path(name) for name in request.get("images", ())])
        drawn = time.perf_counter()
        for tower in spec.towers:
            self._call(tower, 1, 0)
        done = time.perf_counter()
        load_ms = 1000 * (opened - imported + done - drawn)
        device = self._encoder.device  # known for certain after the first vectors
        return {**answer, "device": device, "import_ms": 1000 * (imported - started), "load_ms": load_ms}

    def _open_index(self, request: Request) -> Answer:
        """Open an index and wait for its first answer; ``queries`` is a file of vectors, or None."""
        started = time.perf_counter()
        for module in request.get("imports", ()):
            importlib.import_module(module)
        imported = time.perf_counter()
        queries = request.get("queries")
        self._index = IndexBenchmark(Path(request["model"]), None if queries is None else Path(queries))
        self._call("search", 1, 0)
        opened = time.perf_counter()
        answer = {"towers": ["search"], "runtime": "faiss", **self._index.describe()}
        return {**answer, "import_ms": 1000 * (imported - started), "load_ms": 1000 * (opened - imported)}

    def _recall_of_exact(self, _: Request) -> Answer:
        assert self._index is not None, "ask for open_index first"
        return {"recall_of_exact": self._index.recall_of_exact()}

    def _calls(self, request: Request) -> Answer:
        """Time calls of ``batch`` inputs until ``seconds`` have passed, after one that does not count."""
        tower, batch, seconds = request["tower"], int(request["batch"]), float(request["seconds"])
        self._call(tower, batch, 0)
        times_ms: list[float] = []
        until = time.perf_counter() + seconds
        while not times_ms or time.perf_counter() < until:
            started = time.perf_counter()
            self._call(tower, batch, len(times_ms))
            times_ms.append(1000 * (time.perf_counter() - started))
        return {"times_ms": times_ms}

    def _memory(self, _: Request) -> Answer:
        return {"peak_memory_bytes": peak_memory_bytes()}

    def _macs(self, _: Request) -> Answer:
        """Multiply-accumulates of one input of each tower; None where the runtime cannot count them."""
        if self.encoder.runtime != "torch":
            return {"multiply_accumulates": None}
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        from mobileclip_kit.runtime.torch import TorchEncoder

        assert isinstance(self.encoder, TorchEncoder)
        # The counter attaches gradient hooks to whatever requires gradients, which inference has none of.
        self.encoder.network.requires_grad_(False)
        # The fused attention of inference hides its matrix products from the counter.
        torch.backends.mha.set_fastpath_enabled(False)
        counted = {}
        for tower in self.encoder.spec.towers:
            with FlopCounterMode(display=False) as counter:
                self._call(tower, 1, 0)
            counted[tower] = counter.get_total_flops() // 2
        torch.backends.mha.set_fastpath_enabled(True)
        return {"multiply_accumulates": counted}

    def _encode_images(self, request: Request) -> Answer:
        """Vectors of the images listed in ``paths_file`` (a JSON list), saved to ``out``."""
        paths = [Path(name) for name in json.loads(Path(request["paths_file"]).read_text(encoding="utf-8"))]
        save_matrix(Path(request["out"]), encode_files(self.encoder, paths, batch_size=_IMAGES_AT_ONCE))
        return {"images": len(paths)}

    def _encode_texts(self, request: Request) -> Answer:
        """Vectors of ``texts``, saved to ``out``."""
        save_matrix(Path(request["out"]), self.encoder.encode_texts(request["texts"]))
        return {"texts": len(request["texts"])}

    def _call(self, tower: str, batch: int, turn: int) -> None:
        if tower == "search":
            assert self._index is not None, "ask for open_index first"
            self._index.call(batch, turn)
        elif tower == "image":
            rows = (np.arange(batch) + turn * batch) % len(self._pixels)
            self.encoder.encode_images(self._pixels[rows])
        else:
            self.encoder.encode_texts([_TEXTS[(turn * batch + place) % len(_TEXTS)] for place in range(batch)])


def serve(worker: ModelWorker) -> None:
    """Answer until stdin ends, which it also does when the asking process dies."""
    # Libraries print on stdout; the answers must stay alone there.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        answers.flush()


def _pixels(spec: Any, images: list[Path]) -> Pixels:
    """Input for timing: real images if there are any, else the same noise for everybody."""
    if images:
        return np.stack([load_pixels(path, spec) for path in images])
    return np.random.default_rng(0).integers(0, 256, (4, spec.height, spec.width, 3), dtype=np.uint8)


def _open(model: str, threads: int, device: str | None) -> Encoder:
    from mobileclip_kit.runtime.open import open_encoder

    return open_encoder(model, threads=threads, device=device)


if __name__ == "__main__":
    # Ctrl-C reaches the whole process group; the asking process ends this one in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(ModelWorker(_open))
