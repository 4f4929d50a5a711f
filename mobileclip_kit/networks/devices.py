"""Where models can run on this machine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mobileclip_kit.errors import UsageError
from mobileclip_kit.model_names import check_device_name


def check_device(name: str) -> str:
    """Refuse a device that is not here.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the best one.

    Returns:
        The device to use.

    Raises:
        UsageError: The name is unknown or this machine has no such device.
    """
    check_device_name(name)
    here = ["cpu"]
    if torch.cuda.is_available():
        here.append("cuda")
    if torch.backends.mps.is_available():
        here.append("mps")
    if name == "auto":
        return here[-1]
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in here or (number and int(number) >= count):
        raise UsageError(
            f"torch {torch.__version__} has no device {name!r} here, only {', '.join(here)}.",
            hint="A graphics card of NVIDIA needs its driver and a torch that was built for CUDA."
            if kind == "cuda"
            else None,
        )
    return name


def teacher_batch(device: str) -> int:
    """Images or texts that a teacher gets at once: enough to keep a GPU busy, few enough for a laptop's memory."""
    return 256 if torch.device(device).type == "cuda" else 32


def half_precision(device: str) -> torch.autocast:
    """Matrix products in float16 on a CUDA device; elsewhere nothing changes."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.float16, enabled=kind == "cuda")


def encode_in_half(encode: Callable[[], Tensor], device: str) -> Tensor:
    """Vectors computed in :func:`half_precision`, or in float32 where float16 overflows.

    Args:
        encode: Computes them.
        device: Where.
    """
    with torch.inference_mode():
        with half_precision(device):
            vectors = encode()
        return vectors if bool(vectors.isfinite().all()) else encode()
