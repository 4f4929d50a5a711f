"""Execution providers: where ONNX Runtime executes a graph, and whether it really does.

ONNX Runtime falls back to the CPU without an error: for the whole graph where a provider does not start, and operator
by operator where a provider does not know one. A session for another device is therefore profiled while it executes one
input, and refused if the provider did not execute every matrix product and convolution.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mobileclip_kit.errors import ExportError, UsageError

_REPLACING = "ONNX Runtime's packages replace each other: uninstall onnxruntime first."
_COSTLY = ("Conv", "MatMul", "Gemm", "Attention")


@dataclass(frozen=True, kw_only=True)
class Provider:
    """An execution provider.

    Attributes:
        name: ONNX Runtime's name of it.
        package: What installs it.
        setting: The provider's option for what follows the colon of a device's name: ``cuda:1``, ``openvino:GPU``.
        threads: The provider's option for the number of threads, if it has one.
        options: Other options that it is given.
        automatic: Whether ``auto`` tries it.
    """

    name: str
    package: str
    setting: str | None = None
    threads: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    automatic: bool = True


# In the order in which ``auto`` tries them.
PROVIDERS = {
    "cuda": Provider(name="CUDAExecutionProvider", package="onnxruntime-gpu", setting="device_id"),
    "coreml": Provider(name="CoreMLExecutionProvider", package="onnxruntime (on macOS)"),
    # On processors that know bfloat16, OpenVINO's default would round to it. On a CPU it was slower than ONNX Runtime's
    # own provider (docs/performance.md), and "auto" cannot know what else it would find.
    "openvino": Provider(
        name="OpenVINOExecutionProvider", package="onnxruntime-openvino", setting="device_type",
        threads="num_of_threads", options={"precision": "ACCURACY"}, automatic=False,
    ),
    "cpu": Provider(name="CPUExecutionProvider", package="onnxruntime"),
}  # fmt: skip


def present_devices() -> list[str]:
    """The devices whose provider the installed ONNX Runtime has, in the order of :data:`PROVIDERS`."""
    available = ort.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider.name in available]


def automatic_devices() -> list[str]:
    """The devices that ``auto`` tries, in this order; the last one is the CPU."""
    return [device for device in present_devices() if PROVIDERS[device].automatic]


def check_present(device: str) -> None:
    """Refuse a device whose provider is not installed.

    Raises:
        UsageError: Names the package.
    """
    kind, _, setting = device.partition(":")
    provider = PROVIDERS[kind]
    if kind not in present_devices():
        raise UsageError(
            f"The device {device!r} needs the package {provider.package}, which is not installed "
            f"(ONNX Runtime {ort.__version__} has {', '.join(present_devices())}).",
            hint=None if kind == "coreml" else _REPLACING,
        )
    if setting and provider.setting is None:
        raise UsageError(f"The device {device!r} has no parts: name it {kind!r}.")


def provider_list(device: str, threads: int | None) -> list[tuple[str, dict[str, str]]]:
    """The argument ``providers`` of a session on one device."""
    kind, _, setting = device.partition(":")
    provider = PROVIDERS[kind]
    options = dict(provider.options)
    if setting and provider.setting is not None:
        options[provider.setting] = setting
    if threads is not None and provider.threads is not None:
        options[provider.threads] = str(threads)
    return [(provider.name, options)]


@contextlib.contextmanager
def profiled(options: ort.SessionOptions) -> Iterator[None]:
    """Profile the session that is made with these options in the block; :func:`check_taken` belongs into it too."""
    with tempfile.TemporaryDirectory(prefix="mckit-profile-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        yield


def check_taken(session: Any, device: str, what: object) -> None:
    """Execute one input of zeros and refuse a session that computes elsewhere.

    Args:
        session: Made in :func:`profiled`.
        device: Where it should compute.
        what: The graph's file, for messages.

    Raises:
        ExportError: The provider did not start, or left matrix products or convolutions to the CPU.
    """
    name = PROVIDERS[device.partition(":")[0]].name
    hint = "Take --device cpu, or auto for the CPU wherever another device cannot."
    if session.get_providers()[:1] != [name]:
        raise ExportError(
            f"ONNX Runtime {ort.__version__} has {name}, but cannot start it on this machine; its driver or a library "
            "is missing.",
            hint=hint,
        )
    session.run(None, {given.name: _zeros(given) for given in session.get_inputs()})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event["args"] for event in events if "op_name" in event.get("args", {}) and "provider" in event["args"]]
    elsewhere = [node["op_name"] for node in nodes if node["provider"] != name]
    costly = [kind for kind in elsewhere if any(part in kind for part in _COSTLY)]
    if costly or len(elsewhere) == len(nodes):
        raise ExportError(
            f"{name} does not execute all of {what}: {len(costly) or len(elsewhere)} operators "
            f"({', '.join(sorted(set(costly or elsewhere))[:3])}) are left to the CPU.",
            hint=hint,
        )


def _zeros(given: Any) -> np.ndarray[Any, Any]:
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    return np.zeros(shape, np.int64 if given.type == "tensor(int64)" else np.float32)
