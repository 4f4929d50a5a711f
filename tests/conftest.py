"""Fixtures shared by every room."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.exports import coreml_export, int8_export, onnx_export, tiny_model, tiny_model_folder  # noqa: F401

# Small tensors and two cores: threads cost more than they bring, and tests of several processes must not fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")


_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests leave in the cache folder (digests, vectors of background texts) is seen by no other test."""
    place = tmp_path_factory.getbasetemp() / f"cache-{next(_NUMBERS)}"  # made by whoever writes there
    monkeypatch.setattr("mobileclip_kit.exporting.digests.cache_folder", lambda: place)
    monkeypatch.setattr("mobileclip_kit.confidence.background.cache_folder", lambda: place)
