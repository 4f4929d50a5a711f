"""LiteRT towers whose products are integers, under a budget: what misses it stays in float32.

Three precisions: int8 with ranges observed on calibration inputs, int8 with ranges found at each run, and int4 weights.
In the last one the products that are too sensitive take int8 weights in place of float32.

Measuring, choosing and the table between are those of ONNX int8 (:mod:`mobileclip_kit.exporting.budget`,
:mod:`mobileclip_kit.exporting.sensitivity`).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.budget import Budget, misses_budget
from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.litert import (
    calibrate,
    float_model,
    notes_of,
    product_scopes,
    products_recipe,
    quantize,
    save_model,
)
from mobileclip_kit.exporting.request import require_calibration
from mobileclip_kit.exporting.samples import ImageInputs, TextInputs, draw_images, spread, tokenize_texts
from mobileclip_kit.exporting.sensitivity import (
    Sensitivity,
    choose_float,
    read_sensitivities,
    table_path,
    write_sensitivities,
)
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.runtime.litert import SignatureRunner, as_signature_input
from mobileclip_kit.spec import Tower

_MEASURED, _CHECKED = 8, 32


def write_integers(job: TowerJob) -> ExportedTower:
    """Write a tower whose products are integers.

    Raises:
        ExportError: The tower cannot be converted or quantised, or no choice of products meets the budget.
    """
    options = job.options
    given = _inputs(job)
    rows = given.pixels if isinstance(given, ImageInputs) else given.ids
    if options.row.calibrated:
        require_calibration(len(rows), "images" if job.tower == "image" else "texts")
    tower = IntegerTower(job, float_model(job), rows)
    budget = Budget(job.tower, options.least_cosine, job.judge, partial(execute, job.tower))
    measured = None if options.measured is None else options.measured.path
    model, kept = fit_budget(tower, budget, table_path(job.path.parent, job.tower), measured)
    save_model(model, job.tower, job.model.spec, job.path)
    budget.keep(model)
    notes = {**notes_of(job), "calibration" if options.row.calibrated else "measured_on": given.source}
    return ExportedTower.from_file(job.tower, job.path, kept_in_float=kept, **notes)


class IntegerTower:
    """A float32 tower and its forms with products in integers.

    Args:
        job: Says which precision.
        model: In float32.
        rows: Inputs of the kind that the model will meet. Where ranges are observed, a trial form takes them from half
            of the rows, and the others measure and check it; the form that is kept takes them from all.
    """

    def __init__(self, job: TowerJob, model: bytes, rows: Pixels | Ids) -> None:
        self._row, self._tower, self._model = job.options.row, job.tower, model
        self._all, self._trial = rows, rows[::2] if self._row.calibrated else rows
        others = rows[1::2] if self._row.calibrated and len(rows) > 1 else rows
        self.measuring, self.checking = _spread(others, _MEASURED), _spread(others, _CHECKED)

    @property
    def names(self) -> tuple[str, str]:
        """The precision, and that of products that are kept."""
        return self._row.name, "int8" if self._row.weight_bits == 4 else "float32"

    @cached_property
    def products(self) -> dict[str, tuple[str, str]]:
        """Operator and weight of each product by its scope."""
        return product_scopes(self._model)

    @cached_property
    def wanted(self) -> tuple[Vectors, Vectors]:
        """The float32 vectors of what is measured and checked on."""
        return tuple(execute(self._tower, self._model, rows) for rows in (self.measuring, self.checking))  # type: ignore[return-value]

    def form(self, kept: Collection[str], *, trial: bool) -> bytes:
        """The tower with some products as they were."""
        if len(kept) == len(self.products) and self._row.weight_bits == 8:
            return self._model
        calibrated = (self._trial_ranges if trial else self._ranges) if self._row.calibrated else None
        return quantize(self._model, products_recipe(self._row, kept), calibrated)

    def measure(self) -> list[Sensitivity]:
        """What each product costs when it alone is in integers, the greatest first."""
        found = []
        for scope, (operator, weight) in self.products.items():
            alone = self.form(self.products.keys() - {scope}, trial=True)
            vectors = execute(self._tower, alone, self.measuring)
            found.append(Sensitivity(scope, operator, weight, 1 - float(row_cosines(self.wanted[0], vectors).min())))
        return sorted(found, key=lambda entry: -entry.loss)

    def keeps(self, budget: Budget, kept: Collection[str]) -> bool:
        """Whether a choice keeps the budget."""
        forms = [self.form(kept, trial=True), *([self.form(kept, trial=False)] if self._row.calibrated else [])]
        for form in forms:
            vectors = execute(self._tower, form, self.checking)
            if row_cosines(self.wanted[1], vectors).min() < budget.cosine:
                return False
        return budget.accepts(forms[-1])

    @cached_property
    def _ranges(self) -> Any:
        return self._calibrate(self._all)

    @cached_property
    def _trial_ranges(self) -> Any:
        return self._calibrate(self._trial)

    def _calibrate(self, rows: Pixels | Ids) -> Any:
        inputs = [as_signature_input(self._tower, row[None]) for row in rows]
        return calibrate(self._model, products_recipe(self._row, ()), self._tower, inputs)


def fit_budget(
    tower: IntegerTower, budget: Budget, table: Path, measured: Path | None
) -> tuple[bytes, tuple[str, ...]]:
    """Keep as few products in a higher precision as the budget allows.

    Args:
        tower: What may be reduced.
        budget: What has to be kept.
        table: The file for the sensitivities; not written when reducing everything keeps the budget.
        measured: A folder with sensitivities to choose from; None measures them.

    Returns:
        The model, and what was kept: ``FULLY_CONNECTED of WEIGHT``.

    Raises:
        ExportError: No choice keeps the budget, or the sensitivities are of another tower.
    """
    if tower.keeps(budget, ()):
        return tower.form((), trial=False), ()
    before = None if measured is None else table_path(measured, budget.tower)
    found = tower.measure() if before is None or not before.is_file() else read_sensitivities(before)
    if {entry.node for entry in found} != tower.products.keys():
        raise ExportError(f"{before} measured other products than this tower has.", hint="Omit --sensitivity.")
    write_sensitivities(table, found, f"{len(tower.measuring)} inputs")
    chosen = choose_float(found, partial(tower.keeps, budget))
    if chosen is None:
        raise misses_budget(budget, *tower.names)
    kept = [entry.node for entry in chosen]
    return tower.form(kept, trial=False), tuple(f"{entry.operator} of {short_name(entry.weight)}" for entry in chosen)


def execute(tower: Tower, model: bytes, rows: Pixels | Ids) -> Vectors:
    """A model's vectors of pixels or token rows, ``(n, d)``."""
    runner = SignatureRunner(model, tower)
    return np.concatenate([runner(as_signature_input(tower, row[None])) for row in rows])


def short_name(weight: str) -> str:
    """``visual.transformer.0.attn`` of the converter's name, which names the class of each module as well."""
    parts = weight.split(";")[0].split("/")[2:]
    return ".".join(part.rpartition(".")[2].partition("_")[2] or part for part in parts) or weight


def _inputs(job: TowerJob) -> ImageInputs | TextInputs:
    options, spec = job.options, job.model.spec
    if job.tower == "image":
        return options.calibration or options.images or draw_images(spec.require_image())
    return options.calibration_texts or options.texts or tokenize_texts(job.model, None)


def _spread(rows: Pixels | Ids, count: int) -> Pixels | Ids:
    return rows[spread(range(len(rows)), count)]
