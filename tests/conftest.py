"""Fixtures shared by every room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.exports import coreml_export, int8_export, onnx_export, tiny_model, tiny_model_folder  # noqa: F401

# Small tensors and two cores: threads cost more than they bring, and tests of several processes must not fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests that tests compute are not remembered among the user's."""
    places: list[Path] = []

    def cache_folder() -> Path:
        if not places:
            places.append(tmp_path_factory.mktemp("cache"))
        return places[0]

    monkeypatch.setattr("mobileclip_kit.exporting.digests.cache_folder", cache_folder)
