"""Teachers on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mobileclip_kit.networks import devices


def test_a_gpu_gets_larger_batches() -> None:
    assert (devices.teacher_batch("cpu"), devices.teacher_batch("cuda:1")) == (32, 256)


def test_a_cpu_computes_in_float32() -> None:
    rows = torch.rand(4, 8)
    with devices.half_precision("cpu"):
        assert (rows @ rows.T).dtype == torch.float32


def test_a_gpu_computes_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(devices.torch, "autocast", lambda *given, enabled: asked.append((*given, enabled)))
    for device in ("cuda:1", "cpu"):
        devices.half_precision(device)
    assert asked == [("cuda", torch.float16, True), ("cpu", torch.float16, False)]


def test_vectors_that_overflow_float16_are_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of SigLIP's size exceed 65,504; the CPU's autocast stands in for a GPU's."""
    monkeypatch.setattr(devices, "half_precision", lambda device: torch.autocast("cpu", torch.float16))
    small, large = torch.ones(2, 8), torch.full((2, 8), 1000.0)
    kinds = []

    def encode(rows: torch.Tensor) -> torch.Tensor:
        found = rows @ rows.T
        kinds.append(found.dtype)
        return found.float()

    torch.testing.assert_close(devices.encode_in_half(lambda: encode(small), "cpu"), torch.full((2, 2), 8.0))
    torch.testing.assert_close(devices.encode_in_half(lambda: encode(large), "cpu"), torch.full((2, 2), 8e6))
    assert kinds == [torch.float16, torch.float16, torch.float32]
