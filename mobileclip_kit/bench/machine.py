"""What the figures were measured on: without it a latency says nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil

# What decides how fast a model runs, besides the machine.
_LIBRARIES = ("mobileclip-kit", "numpy", "torch", "open_clip_torch", "timm", "onnxruntime", "coremltools", "faiss-cpu")


def describe_machine() -> dict[str, Any]:
    """CPU, memory, system, and the versions of the libraries that compute.

    Returns:
        ``cpu``, ``architecture``, ``cores`` (physical), ``usable_cores`` (logical, granted to this process),
        ``memory_bytes``, ``os``, ``python``, ``versions`` and ``load`` (cores that were busy during half a second
        in which this process waited).
    """
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": _versions(),
        # Not the system's load average: over a minute it counts what this process itself did before.
        "load": round(psutil.cpu_percent(0.5) / 100 * (psutil.cpu_count() or 1), 2),
    }


def usable_cores() -> int:
    """Cores that this process may run on (a container or ``taskset`` may grant fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_bytes() -> int:
    """The most memory that this process has held at one time (resident set)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: Linux keeps its maximum across exec, so a child would report its big parent's.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return int(info.peak_wset)
    import resource  # Unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if platform.system() == "Darwin" else peak * 1024)


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine() or "unknown"
