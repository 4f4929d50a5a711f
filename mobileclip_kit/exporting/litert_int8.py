"""LiteRT towers whose products are integers, under a budget: what misses it stays in float32.

Three precisions: int8 with ranges observed on calibration inputs, int8 with ranges found at each run, and int4 weights.
In the last one the products that are too sensitive take int8 weights, and those that are too sensitive for these stay
in float32; where that leaves a file no smaller than int8, int4 is refused.

Measuring, choosing and the table between are those of ONNX int8 (:mod:`mobileclip_kit.exporting.budget`,
:mod:`mobileclip_kit.exporting.sensitivity`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.budget import Budget, misses_budget
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
    def name(self) -> str:
        """The precision."""
        return self._row.name

    @property
    def has_four_bits(self) -> bool:
        """Whether products that are kept take int8 first."""
        return self._row.weight_bits == 4

    @cached_property
    def products(self) -> dict[str, tuple[str, str]]:
        """Operator and weight of each product by its scope."""
        return product_scopes(self._model)

    @cached_property
    def wanted(self) -> tuple[Vectors, Vectors]:
        """The float32 vectors of what is measured and checked on."""
        return tuple(execute(self._tower, self._model, rows) for rows in (self.measuring, self.checking))  # type: ignore[return-value]

    def form(self, kept: Collection[Sensitivity], *, trial: bool = False) -> bytes:
        """The tower without some reductions: a product that is not to have 4 bits has 8, and not 8, float32."""
        in_float = {entry.node for entry in kept if entry.bits == 8}
        if len(in_float) == len(self.products):
            return self._model
        calibrated = (self._trial_ranges if trial else self._ranges) if self._row.calibrated else None
        in_int8 = {entry.node for entry in kept}
        return quantize(self._model, products_recipe(self._row, in_float, in_int8), calibrated)

    def measure(self, *, eight: bool) -> list[Sensitivity]:
        """What each product costs when it alone is in integers, the greatest first.

        Args:
            eight: Whether to measure what 8 bits cost where the precision has 4.
        """
        whole = [Sensitivity(scope, *known, 0.0) for scope, known in self.products.items()]
        found = []
        for entry in whole:
            others = [other for other in whole if other is not entry]
            widths = [4] if self.has_four_bits and entry.operator in FOUR_BITS else []
            for bits in [*widths, *([8] if eight or not self.has_four_bits else [])]:
                kept = others if bits == 4 or not widths else [*others, replace(entry, bits=4)]
                vectors = execute(self._tower, self.form(kept, trial=True), self.measuring)
                loss = 1 - float(row_cosines(self.wanted[0], vectors).min())
                found.append(replace(entry, loss=loss, bits=bits))
        return sorted(found, key=lambda entry: -entry.loss)

    def keeps(self, budget: Budget, kept: Collection[Sensitivity]) -> bool:
        """Whether a choice keeps the budget."""
        forms = [self.form(kept, trial=True), *([self.form(kept)] if self._row.calibrated else [])]
        return all(self.least_cosine(form) >= budget.cosine for form in forms) and budget.accepts(forms[-1])

    def least_cosine(self, model: bytes) -> float:
        """Of a form's vectors, on the inputs that choices are checked on."""
        return float(row_cosines(self.wanted[1], execute(self._tower, model, self.checking)).min())

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
        ExportError: No choice keeps the budget, 4 bits keep it only in a file that is no smaller than one with 8 bits,
            or the sensitivities are of another tower.
    """
    if tower.keeps(budget, ()):
        return tower.form(()), ()
    in_int8 = [Sensitivity(scope, *known, 0.0, bits=4) for scope, known in tower.products.items()]
    eight = tower.has_four_bits and not tower.keeps(budget, in_int8)
    before = None if measured is None else table_path(measured, budget.tower)
    found = tower.measure(eight=eight) if before is None or not before.is_file() else read_sensitivities(before)
    if {entry.node for entry in found} - tower.products.keys():
        raise ExportError(f"{before} measured other products than this tower has.", hint="Omit --sensitivity.")
    write_sensitivities(table, found, f"{len(tower.measuring)} inputs")
    chosen = choose_float(found, partial(tower.keeps, budget))
    if chosen is None:
        raise misses_budget(budget, tower.name, "even with every product in float32")
    made = tower.form(chosen)
    if tower.has_four_bits and len(made) >= len(tower.form(in_int8)):
        whole = tower.least_cosine(tower.form(()))
        raise misses_budget(
            budget, tower.name, f"with {whole:.4f} when all weights have 4 bits, and with so many products in more "
            "bits that the file would not be smaller than one in int8",
        )  # fmt: skip
    return made, _told(chosen, four=tower.has_four_bits)


def _told(chosen: Collection[Sensitivity], *, four: bool) -> tuple[str, ...]:
    """What was kept, each product once, with its type where there are two."""
    in_float = {entry.node for entry in chosen if entry.bits == 8}
    kept = {entry.node: entry for entry in chosen}
    kinds = {node: f" ({'float32' if node in in_float else 'int8'})" if four else "" for node in kept}
    return tuple(f"{entry.operator} of {short_name(entry.weight)}{kinds[node]}" for node, entry in kept.items())


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
