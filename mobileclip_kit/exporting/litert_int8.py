"""LiteRT towers whose products are integers, under a budget: what misses it has float16 weights and float32 arithmetic.

Four precisions: int8 with ranges observed on calibration inputs, int8 with ranges found at each run, int4 weights, and
int8 weights that are spread out before they are used. :mod:`mobileclip_kit.exporting.mixed_bits` chooses what is kept
in more bits.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.litert import (
    FOUR_BITS,
    calibrate,
    float_model,
    notes_of,
    product_scopes,
    products_recipe,
    quantize,
    save_model,
    weights_recipe,
)
from mobileclip_kit.exporting.mixed_bits import MixedTower, fit_budget, inputs_of, rows_of
from mobileclip_kit.exporting.request import require_calibration
from mobileclip_kit.exporting.sensitivity import Sensitivity
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.runtime.litert import SignatureRunner, as_signature_input


def write_integers(job: TowerJob) -> ExportedTower:
    """Write a tower whose products are integers.

    Raises:
        ExportError: The tower cannot be converted or quantised, or no choice of products meets the budget.
    """
    options = job.options
    given = inputs_of(job)
    rows = rows_of(given)
    if options.row.calibrated:
        require_calibration(len(rows), "images" if job.tower == "image" else "texts")
    model, kept = fit_budget(IntegerTower(job, float_model(job), rows), job)
    save_model(model, job.tower, job.model.spec, job.path)
    notes = {**notes_of(job), "calibration" if options.row.calibrated else "measured_on": given.source}
    return ExportedTower.from_file(job.tower, job.path, kept_in_float=kept, **notes)


class IntegerTower(MixedTower):
    """A float32 tower and its forms with products in integers.

    Args:
        job: Says which precision.
        model: In float32.
        rows: Inputs of the kind that the model will meet. Where ranges are observed, a trial form takes them from half
            of the rows, and the others measure and check it; the form that is kept takes them from all.
    """

    kinds = ("int8", "float16")

    def __init__(self, job: TowerJob, model: bytes, rows: Pixels | Ids) -> None:
        calibrated = job.options.row.calibrated
        super().__init__(job.options.row, rows[1::2] if calibrated and len(rows) > 1 else rows)
        self._tower, self._model = job.tower, model
        self._spread = job.options.row.name == "int8-weights"
        self._all, self._trial = rows, rows[::2] if calibrated else rows

    @cached_property
    def products(self) -> dict[str, tuple[str, str]]:
        """Operator and weight of each product and look-up by its scope."""
        return product_scopes(self._model)

    def form(self, kept: Collection[Sensitivity], *, trial: bool = False) -> bytes:
        """See :meth:`MixedTower.form`."""
        in_half = {entry.node for entry in kept if entry.bits == 8}
        if self._spread or len(in_half) == len(self.products):
            return quantize(self._model, weights_recipe(in_half))
        calibrated = (self._trial_ranges if trial else self._ranges) if self.row.calibrated else None
        in_int8 = {entry.node for entry in kept}
        return quantize(self._model, products_recipe(self.row, in_half, in_int8), calibrated)

    def run(self, form: bytes | None, rows: Pixels | Ids) -> Vectors:
        """See :meth:`MixedTower.run`."""
        runner = SignatureRunner(self._model if form is None else form, self._tower)
        return np.concatenate([runner(as_signature_input(self._tower, row[None])) for row in rows])

    def size(self, form: bytes) -> int:
        """See :meth:`MixedTower.size`."""
        return len(form)

    def has_fewer(self, product: str) -> bool:
        """See :meth:`MixedTower.has_fewer`."""
        return self.mixes and self.products[product][0] in FOUR_BITS

    @cached_property
    def _ranges(self) -> Any:
        return self._calibrate(self._all)

    @cached_property
    def _trial_ranges(self) -> Any:
        return self._calibrate(self._trial)

    def _calibrate(self, rows: Pixels | Ids) -> Any:
        inputs = [as_signature_input(self._tower, row[None]) for row in rows]
        return calibrate(self._model, products_recipe(self.row, ()), self._tower, inputs)
