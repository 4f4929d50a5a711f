"""Where an ONNX export's time goes: ONNX Runtime's own profile, by kinds of work."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

_CALLS = 8
# What a kernel's name says it does; the first that it contains counts.
_KINDS = {
    "Quantize": "between integers and floats",
    "Dequantize": "between integers and floats",
    "LayerNorm": "norms, softmax, GELU, sums",
    "Conv": "products",
    "Gemm": "products",
    "MatMul": "products",
    "Transpose": "moving data",
    "Reshape": "moving data",
    "Gather": "moving data",
    "Split": "moving data",
    "Concat": "moving data",
}
_REST = "norms, softmax, GELU, sums"


def where_time_goes(export: Path, side: int, batch: int = 1) -> dict[str, Any]:
    """Shares of the kernels' time by kind of work, from each kernel's least time in several calls, one thread.

    Args:
        export: Folder with ``image.onnx``.
        side: Pixels of the input.
        batch: Images in one call.

    Returns:
        ``kernels_ms`` in all, and ``shares`` of it by kind.
    """
    with tempfile.TemporaryDirectory(prefix="mckit-profile-") as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling = 1, True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(export / "image.onnx"), options, providers=["CPUExecutionProvider"])
        pixels = np.random.default_rng(0).random((batch, 3, side, side), dtype=np.float32)
        for _ in range(_CALLS):
            session.run(None, {"image": pixels})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    least: dict[tuple[str, str], float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["name"], event["args"]["op_name"])
            least[key] = min(least.get(key, float("inf")), event["dur"] / 1000)
    kinds: dict[str, float] = defaultdict(float)
    for (_, operator), milliseconds in least.items():
        kinds[next((kind for part, kind in _KINDS.items() if part in operator), _REST)] += milliseconds
    total = sum(kinds.values())
    shares = {kind: value / total for kind, value in sorted(kinds.items(), key=lambda item: -item[1])}
    return {"kernels_ms": total, "shares": shares}
