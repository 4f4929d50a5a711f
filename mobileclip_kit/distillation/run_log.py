"""What a run says while it goes: one JSON line a step, and TensorBoard's events where that package is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOG_FILE = "log.jsonl"
EVENTS_FOLDER = "tensorboard"


class RunLog:
    """The log of a run, begun or continued.

    Args:
        folder: Where ``log.jsonl`` and the events' folder lie.
        step: Where the run goes on; what was logged from there on is dropped.

    Attributes:
        losses: Of the steps so far, those that are finite.
        last: The finite numbers that the last step logged; none before the first one.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / LOG_FILE
        self.losses, self.last = _trim(path, step)
        self._lines = path.open("a", encoding="utf-8")
        self._events: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder / EVENTS_FOLDER), purge_step=step)

    def write(self, step: int, parts: Mapping[str, float], seconds: float) -> None:
        """Log a step; numbers that are not finite become null."""
        finite = {name: value if math.isfinite(value) else None for name, value in parts.items()}
        self._lines.write(json.dumps({"step": step, **finite, "seconds": round(seconds, 3)}) + "\n")
        if self._events is not None:
            for name, value in finite.items():
                if value is not None:
                    self._events.add_scalar(name, value, step)
        if finite["loss"] is not None:
            self.losses.append(finite["loss"])

    def flush(self) -> None:
        """Bring everything to disk, as a checkpoint is about to rely on it."""
        self._lines.flush()
        if self._events is not None:
            self._events.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._lines.close()
        if self._events is not None:
            self._events.close()


def _trim(path: Path, steps: int) -> tuple[list[float], dict[str, float]]:
    """Keep the log's first ``steps`` lines, drop what was logged after the checkpoint.

    Returns:
        The losses kept, and the numbers of the last step kept.
    """
    lines = path.read_bytes().splitlines(keepends=True)[:steps] if path.is_file() else []
    if path.is_file():
        # Not written anew: a kill would leave half of it.
        os.truncate(path, sum(len(line) for line in lines))
    rows = [json.loads(line) for line in lines]
    ended = rows[-1] if rows else {}
    last = {name: value for name, value in ended.items() if name not in ("step", "seconds") and value is not None}
    return [row["loss"] for row in rows if row["loss"] is not None], last
