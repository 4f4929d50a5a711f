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
from mobileclip_kit.progress import say
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.mapped_onnx import without_weights
from mobileclip_kit.runtime.providers import automatic_devices, check_present, check_taken, profiled, provider_list
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
        device: ``cpu``, ``cuda``, ``coreml`` or ``openvino``, on request with a part of it (``cuda:1``,
            ``openvino:GPU``); ``auto`` for the first of
            :func:`~mobileclip_kit.runtime.providers.automatic_devices` that executes the tower.
    """

    runtime = "onnxruntime"
    devices = ("cpu", "cuda", "coreml", "openvino")

    @classmethod
    def check_device(cls, device: str | None, what: str) -> None:
        """See :meth:`Encoder.check_device`."""
        super().check_device(device, what)
        if device not in (None, "auto"):
            check_present(device)

    def __init__(
        self,
        export: Export,
        *,
        threads: int | None = None,
        batch_size: int = 16,
        brief: bool = False,
        device: str | None = None,
    ) -> None:
        super().__init__(export.spec, tokenizer_file=export.tokenizer_file, batch_size=batch_size, threads=threads)
        self.check_device(device, str(export.path))
        self._export = export
        self._brief = brief
        self._wanted = device or "cpu"
        self._sessions: dict[Tower, Any] = {}
        self._computes_on: dict[Tower, str] = {}

    @property
    def device(self) -> str:
        """See :attr:`Encoder.device`."""
        return ", ".join(sorted(set(self._computes_on.values()))) or self._wanted

    @contextlib.contextmanager
    def in_parallel(self) -> Iterator[tuple[Encoder, int]]:
        """See :meth:`Encoder.in_parallel`: a second session with one thread, used by one thread a core."""
        if self._wanted == "auto":
            self._session("image" if self.spec.image is not None else "text")  # decides
        if self.threads is not None or self.device != "cpu":
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
        session = self._session(tower)
        try:
            vectors: Vectors = session.run(["embedding"], {name: batch})[0]
        except _ort_errors() as error:
            raise ExportError(f"{self._export.tower_path(tower)} cannot be executed: {_first_line(error)}") from error
        return vectors

    def _session(self, tower: Tower) -> Any:
        """The session of a tower, on the device that was asked for or the first one that executes it."""
        if tower not in self._sessions:
            path = self._export.sound_path(tower, from_memory=self._brief)
            *others, last = automatic_devices() if self._wanted == "auto" else [self._wanted]
            for device in others:
                try:
                    self._open(tower, path, device)
                    return self._sessions[tower]
                except ExportError as error:
                    say(f"{error.message} Trying the next device.")
            self._open(tower, path, last)
        return self._sessions[tower]

    def _open(self, tower: Tower, path: Path, device: str) -> None:
        # Stored int8, computed with as float32: spread out once, when the file is loaded, not at every call.
        spread = self._export.row.spread_weights
        self._sessions[tower] = open_session(
            path, threads=self.threads, spread_weights=spread, brief=self._brief, device=device
        )
        self._computes_on[tower] = device


def open_session(
    model: Path | bytes,
    *,
    threads: int | None = None,
    spread_weights: bool = False,
    brief: bool = False,
    device: str = "cpu",
) -> Any:
    """An ONNX Runtime session.

    Args:
        model: A file, or its bytes.
        threads: Of one operator; None lets ONNX Runtime choose.
        spread_weights: Turn int8 weights into float32 when the graph is loaded; products of integers become products
            of floats.
        brief: Compute with the weights as they lie in the file. Packing them first makes each run a quarter quicker and
            opening cost as much as two runs; threads that wait by spinning cost as much again.
        device: A name of :data:`~mobileclip_kit.runtime.providers.PROVIDERS`.

    Raises:
        ExportError: The file is not an ONNX model, is damaged, or needs a newer ONNX Runtime; or the device does not
            execute it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; warnings of the optimiser speak to its developers
    if threads is not None:
        options.intra_op_num_threads = threads
    if spread_weights:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    providers = provider_list(device, threads)
    what = "a graph" if isinstance(model, bytes) else model
    try:
        if device != "cpu":
            source = model if isinstance(model, bytes) else str(model)
            with profiled(options):
                session = ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
                check_taken(session, device, what)
            return session
        if brief:
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return ort.InferenceSession(_mapped(model, options), options, providers=providers)
    except _ort_errors() as error:
        again = "The file is damaged or needs a newer onnxruntime; export again or update."
        raise ExportError(
            f"ONNX Runtime {ort.__version__} cannot load {what}{'' if device == 'cpu' else f' on {device}'}: "
            f"{_first_line(error)}",
            hint=again if device == "cpu" else "Take --device cpu, or auto for the CPU wherever another device cannot.",
        ) from error


def _mapped(model: Path | bytes, options: ort.SessionOptions) -> str | bytes:
    """A model as a session on the CPU takes it: its large weights mapped into memory where that is possible."""
    if isinstance(model, Path) and model.is_file():
        # Links are followed first: the runtime refuses weights whose file is a link out of the folder.
        file = model.resolve()
        mapped = without_weights(file)
        if mapped is not None:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(file.parent))
            return mapped
    return model if isinstance(model, bytes) else str(model)


def _ort_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime raises one class for each status code, all beside RuntimeError, none below another."""
    found = ort.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented", "NoModel",
             "ModelLoaded", "RuntimeException", "EPFail")  # fmt: skip
    return (RuntimeError, ValueError, *(getattr(found, name) for name in names if hasattr(found, name)))


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return " ".join(_PLACE.sub(" ", _CODE.sub("", line)).split()).removesuffix(".") + "."
