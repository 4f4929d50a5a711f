"""ONNX exports executed by ONNX Runtime, without torch."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.mapped_onnx import without_weights
from mobileclip_kit.spec import Tower

# What stands in ONNX Runtime's messages before the sentence: a code, and a place in its own source.
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"(?:[A-Za-z]:)?[/\\]\S+\.(?:cc|h):\d+ [^(]*\(.*?\)(?: const)? ")


class OnnxEncoder(Encoder):
    """An ONNX export as an encoder. A tower's file is loaded when it is first asked.

    Args:
        export: Of the format ``onnx``.
        threads: Of one operator; None lets ONNX Runtime choose.
        batch_size: The most inputs that are executed at once.
        brief: Few inputs are coming, then the process ends; see :func:`open_session`. A tower's SHA-256 may then come
            from the memory of :mod:`mobileclip_kit.exporting.digests`.
    """

    runtime = "onnxruntime"

    def __init__(
        self, export: Export, *, threads: int | None = None, batch_size: int = 16, brief: bool = False
    ) -> None:
        super().__init__(export.spec, tokenizer_file=export.tokenizer_file, batch_size=batch_size, threads=threads)
        self._export = export
        self._brief = brief
        self._sessions: dict[Tower, Any] = {}

    @contextlib.contextmanager
    def in_parallel(self) -> Iterator[tuple[Encoder, int]]:
        """See :meth:`Encoder.in_parallel`: a second session with one thread, used by one thread a core."""
        if self.threads is not None:
            yield self, 1
        else:
            yield OnnxEncoder(self._export, threads=1, batch_size=self.batch_size), os.cpu_count() or 1

    def _run_images(self, pixels: Pixels) -> Vectors:
        image = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
        image /= np.float32(255)
        return self._run("image", "image", image)

    def _run_texts(self, ids: Ids) -> Vectors:
        return self._run("text", "ids", ids.astype(np.int64, copy=False))

    def _run(self, tower: Tower, name: str, batch: np.ndarray[Any, Any]) -> Vectors:
        if tower not in self._sessions:
            # Stored int8, computed with as float32: spread out once, when the file is loaded, not at every call.
            spread = self._export.row.spread_weights
            path = self._export.sound_path(tower, from_memory=self._brief)
            self._sessions[tower] = open_session(path, threads=self.threads, spread_weights=spread, brief=self._brief)
        try:
            vectors: Vectors = self._sessions[tower].run(["embedding"], {name: batch})[0]
        except _ort_errors() as error:
            raise ExportError(f"{self._export.tower_path(tower)} cannot be executed: {_first_line(error)}") from error
        return vectors


def open_session(
    model: Path | bytes, *, threads: int | None = None, spread_weights: bool = False, brief: bool = False
) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        model: A file, or its bytes.
        threads: Of one operator; None lets ONNX Runtime choose.
        spread_weights: Turn int8 weights into float32 when the graph is loaded; products of integers become products
            of floats.
        brief: Compute with the weights as they lie in the file. Packing them first makes each run a quarter quicker and
            opening cost as much as two runs; threads that wait by spinning cost as much again.

    Raises:
        ExportError: The file is not an ONNX model, is damaged, or needs a newer ONNX Runtime.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; warnings of the optimiser speak to its developers
    if threads is not None:
        options.intra_op_num_threads = threads
    if spread_weights:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if brief:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source: str | bytes = model if isinstance(model, bytes) else str(model)
    if isinstance(model, Path) and model.is_file():
        # Links are followed first: the runtime refuses weights whose file is a link out of the folder.
        file = model.resolve()
        mapped = without_weights(file)
        if mapped is not None:
            source = mapped
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(file.parent))
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except _ort_errors() as error:
        what = "a graph" if isinstance(model, bytes) else model
        raise ExportError(
            f"ONNX Runtime {ort.__version__} cannot load {what}: {_first_line(error)}",
            hint="The file is damaged or needs a newer onnxruntime; export again or update.",
        ) from error


def _ort_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime raises one class for each status code, all beside RuntimeError, none below another."""
    found = ort.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented", "NoModel",
             "ModelLoaded", "RuntimeException", "EPFail")  # fmt: skip
    return (RuntimeError, ValueError, *(getattr(found, name) for name in names if hasattr(found, name)))


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return " ".join(_PLACE.sub(" ", _CODE.sub("", line)).split()).removesuffix(".") + "."
