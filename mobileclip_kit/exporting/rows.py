"""Calibration inputs as an ONNX graph takes them, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels
from mobileclip_kit.exporting.onnx import INPUTS
from mobileclip_kit.exporting.ranges import Rows
from mobileclip_kit.spec import Tower


def graph_rows(tower: Tower, inputs: Pixels | Ids) -> Rows:
    """Pixels or token rows one by one, as the graph takes them; made when they are asked for."""
    return _Rows(tower, inputs)


class _Rows(Sequence[Mapping[str, NDArray[Any]]]):
    """Calibration inputs as the graph takes them, made one at a time."""

    def __init__(self, tower: Tower, inputs: Pixels | Ids) -> None:
        self._tower, self._inputs = tower, inputs

    def __len__(self) -> int:
        return len(self._inputs)

    @overload
    def __getitem__(self, place: int) -> Mapping[str, NDArray[Any]]: ...

    @overload
    def __getitem__(self, place: slice) -> Rows: ...

    def __getitem__(self, place: int | slice) -> Mapping[str, NDArray[Any]] | Rows:
        if isinstance(place, slice):
            return _Rows(self._tower, self._inputs[place])
        row = self._inputs[place][None]
        if self._tower == "text":
            return {INPUTS["text"]: row.astype(np.int64)}
        return {INPUTS["image"]: row.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)}
