"""Where models can run on this machine."""

from __future__ import annotations

import torch

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
        raise UsageError(f"The device {name!r} is not on this machine; it has {', '.join(here)}.")
    return name
