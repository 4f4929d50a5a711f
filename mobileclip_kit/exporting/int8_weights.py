"""ONNX towers with int8 weights under a budget: the weights that are too sensitive for 8 bits have 16."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np
import onnx

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.mixed_bits import MixedTower, fit_budget, inputs_of, rows_of
from mobileclip_kit.exporting.onnx import TowerFeeds, run_graph
from mobileclip_kit.exporting.onnx_weights import halve_weights, quantize_weights, reducible, write_reduced
from mobileclip_kit.exporting.sensitivity import Sensitivity
from mobileclip_kit.exporting.towers import TowerJob


def write_int8_weights(job: TowerJob) -> ExportedTower:
    """Write a tower with int8 weights.

    Raises:
        ExportError: The tower cannot be converted, or no choice of weights keeps the budget.
    """
    return write_reduced(job, lambda graph: fit_budget(Int8WeightTower(job, graph), job))


class Int8WeightTower(MixedTower):
    """A float32 graph and its forms with weights in 8 and 16 bits.

    Args:
        job: The tower and the options.
        model: In float32.
    """

    kinds = ("int8", "float16")

    def __init__(self, job: TowerJob, model: onnx.ModelProto) -> None:
        super().__init__(job.options.row, rows_of(inputs_of(job)))
        self._tower, self._model = job.tower, model

    @cached_property
    def products(self) -> dict[str, tuple[str, str]]:
        """Operator and weight by the weight's name."""
        return {name: (operator, name) for name, operator in reducible(self._model).items()}

    def form(self, kept: Collection[Sensitivity], *, trial: bool = False) -> onnx.ModelProto:
        """See :meth:`MixedTower.form`."""
        names = {entry.node for entry in kept}
        return halve_weights(quantize_weights(self._model, names), names)[0]

    def run(self, form: onnx.ModelProto | None, rows: Pixels | Ids) -> Vectors:
        """See :meth:`MixedTower.run`."""
        return run_graph(form or self._model, TowerFeeds(self._tower, rows)).astype(np.float32)

    def size(self, form: onnx.ModelProto) -> int:
        """See :meth:`MixedTower.size`."""
        return int(form.ByteSize())
