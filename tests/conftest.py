"""Fixtures shared by every room."""

from __future__ import annotations

import os

from tests.exports import coreml_export, int8_export, onnx_export, tiny_model, tiny_model_folder  # noqa: F401

# Small tensors and two cores: threads cost more than they bring, and tests of several processes must not fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
