"""Core ML exports executed by Core ML itself: macOS only."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import Tower


def has_core_ml() -> bool:
    """Whether this machine can execute Core ML models."""
    return sys.platform == "darwin"


class CoreMLEncoder(Encoder):
    """A Core ML export as an encoder.

    Args:
        export: Of the format ``coreml``.
        threads: Ignored; Core ML chooses.
        brief: Few inputs are coming: a tower's SHA-256 may come from :mod:`mobileclip_kit.exporting.digests`'s memory.
        device: ``cpu``, or ``coreml`` for whatever compute units Core ML chooses.

    Raises:
        ExportError: This machine has no Core ML.
    """

    runtime = "coreml"
    devices = ("coreml", "cpu")

    @classmethod
    def is_available(cls) -> bool:
        """Whether this is macOS."""
        return has_core_ml()

    @property
    def device(self) -> str:
        """See :attr:`Encoder.device`."""
        return self._device

    def __init__(
        self, export: Export, *, threads: int | None = None, brief: bool = False, device: str | None = None
    ) -> None:
        super().__init__(export.spec, tokenizer_file=export.tokenizer_file, batch_size=1)
        if not has_core_ml():
            raise ExportError("Core ML runs on macOS only.", hint="The mil runtime executes the same export anywhere.")
        self._export, self._brief = export, brief
        self._device = "cpu" if device == "cpu" else "coreml"
        self._models: dict[Tower, Any] = {}

    def _run_images(self, pixels: Pixels) -> Vectors:
        return self._predict("image", {"image": Image.fromarray(pixels[0])})

    def _run_texts(self, ids: Ids) -> Vectors:
        return self._predict("text", {"ids": ids.astype(np.int32)})

    def _predict(self, tower: Tower, inputs: dict[str, Any]) -> Vectors:
        if tower not in self._models:
            import coremltools  # slow to import, and only needed here

            path = self._export.sound_path(tower, from_memory=self._brief)
            units = coremltools.ComputeUnit.CPU_ONLY if self._device == "cpu" else coremltools.ComputeUnit.ALL
            self._models[tower] = coremltools.models.MLModel(str(path), compute_units=units)
        return np.asarray(self._models[tower].predict(inputs)["embedding"], np.float32)
