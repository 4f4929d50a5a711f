"""LiteRT exports executed by Google's ``ai-edge-litert``, without torch."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError, first_line
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.extras import require
from mobileclip_kit.files import quiet_native_stderr
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import Tower

# The metadata entry that says what a file is.
METADATA = "mckit"
_AGAIN = "The file is damaged or needs a newer ai-edge-litert; export again or update."


class LiteRTEncoder(Encoder):
    """A LiteRT export as an encoder. A tower's file is loaded when it is first asked, once for each thread that asks.

    Args:
        export: Of the format ``litert``.
        threads: Of one operator; None takes all cores.
        brief: Few inputs are coming: a tower's SHA-256 may come from :mod:`mobileclip_kit.exporting.digests`'s memory.
    """

    runtime = "litert"

    def __init__(self, export: Export, *, threads: int | None = None, brief: bool = False) -> None:
        super().__init__(export.spec, tokenizer_file=export.tokenizer_file, batch_size=1, threads=threads)
        self._export, self._brief = export, brief
        self._sound: dict[Tower, Path] = {}
        # An interpreter holds the values of one run.
        self._local = threading.local()

    @contextlib.contextmanager
    def in_parallel(self) -> Iterator[tuple[Encoder, int]]:
        """See :meth:`Encoder.in_parallel`: an interpreter with one thread for each core."""
        if self.threads is not None:
            yield self, 1
        else:
            yield LiteRTEncoder(self._export, threads=1, brief=self._brief), os.cpu_count() or 1

    def _run_images(self, pixels: Pixels) -> Vectors:
        return self._runner("image")(as_signature_input("image", pixels))

    def _run_texts(self, ids: Ids) -> Vectors:
        return self._runner("text")(as_signature_input("text", ids))

    def _runner(self, tower: Tower) -> SignatureRunner:
        runners: dict[Tower, SignatureRunner] = self._local.__dict__.setdefault("runners", {})
        if tower not in runners:
            if tower not in self._sound:
                self._sound[tower] = self._export.sound_path(tower, from_memory=self._brief)
            runners[tower] = SignatureRunner(self._sound[tower], tower, threads=self.threads)
        return runners[tower]


class SignatureRunner:
    """A tower's signature in a LiteRT interpreter.

    Args:
        model: A ``.tflite``, or its bytes.
        tower: The signature's name: ``image`` or ``text``.
        threads: Of one operator; None takes all cores.

    Raises:
        ExportError: The file is damaged, foreign, or of a newer LiteRT.
        MissingExtraError: ``ai-edge-litert`` is not installed.
    """

    def __init__(self, model: Path | bytes, tower: Tower, *, threads: int | None = None) -> None:
        self._name = "a graph" if isinstance(model, bytes) else str(model)
        require(f"Executing {self._name}", "litert")
        from ai_edge_litert.interpreter import Interpreter

        given: dict[str, Any] = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        try:
            with quiet_native_stderr():
                self._interpreter = Interpreter(**given, num_threads=threads or os.cpu_count() or 1)
            signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError) as error:
            raise ExportError(
                f"LiteRT cannot load {self._name}: {first_line(error).rstrip('.')}.",
                hint=_AGAIN,
            ) from error
        if tower not in signatures:
            named = ", ".join(signatures) or "none"
            raise ExportError(f"{self._name} has no signature {tower!r}, only {named}: mckit did not write it.")
        try:
            with quiet_native_stderr():  # the delegate announces itself when tensors are first allocated
                self._interpreter.allocate_tensors()
                self._run = self._interpreter.get_signature_runner(tower)
        except (ValueError, RuntimeError) as error:  # an operator of a newer version is found here
            raise ExportError(f"LiteRT cannot prepare {self._name}: {first_line(error)}") from error

    def __call__(self, given: dict[str, NDArray[Any]]) -> Vectors:
        """The vector of one input, ``(1, d)`` float32."""
        try:
            found = self._run(**given)
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"{self._name} cannot be executed: {first_line(error)}") from error
        if "embedding" not in found:
            raise ExportError(f"{self._name} gives {', '.join(found) or 'nothing'}, no embedding.", hint=_AGAIN)
        return np.array(found["embedding"], np.float32)

    def operators(self) -> list[str]:
        """Names of the operators as they are executed, in order."""
        return [str(entry["op_name"]) for entry in self._interpreter._get_ops_details()]


def describe_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Facts about a ``.tflite``, and the entries that mckit wrote into it.

    Raises:
        ExportError: It is damaged, foreign, or of a newer LiteRT.
        MissingExtraError: ``ai-edge-litert`` is not installed.
    """
    require(f"Reading {path}", "litert")
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    try:
        with quiet_native_stderr():
            interpreter = Interpreter(str(path))
            runners = [interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()]
        graph = flatbuffer_utils.read_model(str(path))
    except (ValueError, RuntimeError, struct.error) as error:
        raise ExportError(f"LiteRT cannot load {path}: {first_line(error).rstrip('.')}.", hint=_AGAIN) from error
    entries = {}
    for entry in graph.metadata or ():
        if (entry.name or b"").decode() == METADATA:
            entries = json.loads(bytes(graph.buffers[entry.buffer].data))

    def shapes(kind: str) -> dict[str, list[int]]:
        """By the names that callers use: those of signatures, and of tensors where there are none."""
        named = [item for runner in runners for item in getattr(runner, kind)().items()]
        others = [(each["name"], each) for each in getattr(interpreter, kind)()]
        return {name: [int(side) for side in each["shape"]] for name, each in named or others}

    facts = {
        "description": (graph.description or b"").decode(),
        "signatures": list(interpreter.get_signature_list()),
        "inputs": shapes("get_input_details"),
        "outputs": shapes("get_output_details"),
        "operators": dict(Counter(str(each["op_name"]) for each in interpreter._get_ops_details()).most_common()),
    }
    return facts, {str(key): str(value) for key, value in entries.items()}


def as_signature_input(tower: Tower, given: Pixels | Ids) -> dict[str, NDArray[Any]]:
    """Pixels or token rows as a signature takes them: ``(n, height, width, 3)`` float32 in 0…1, or int32."""
    if tower == "text":
        return {"ids": given.astype(np.int32)}
    return {"image": given.astype(np.float32) / np.float32(255)}
