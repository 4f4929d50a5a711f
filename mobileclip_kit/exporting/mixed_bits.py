"""Towers whose weights have as few bits as a budget allows: measuring, choosing, and the table between.

A precision of fewer than 8 bits gives the weights that are too sensitive 8 bits, and leaves those that are too
sensitive for these in float; where that makes a file no smaller than one with 8 bits everywhere, it is refused. A
precision of 8 bits leaves what is too sensitive in float.

What a format brings is a :class:`MixedTower`: LiteRT's integers (:mod:`mobileclip_kit.exporting.litert_int8`), and the
weights of Core ML and Core AI (:mod:`mobileclip_kit.exporting.weight_bits`) and those of ONNX
(:mod:`mobileclip_kit.exporting.int8_weights`). The budget and the table are those of ONNX
int8 (:mod:`mobileclip_kit.exporting.budget`, :mod:`mobileclip_kit.exporting.sensitivity`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.budget import Budget, MissedBudget, budget_of, misses_budget
from mobileclip_kit.exporting.precisions import Precision
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
from mobileclip_kit.progress import track

_MEASURED, _CHECKED = 8, 32
_ALL = slice(None)
# Fewer bits than 8 that save less than this share are not worth what they lose.
_HARDLY_LESS = 0.9


class MixedTower(ABC):
    """A tower and its forms in which each weight has a number of bits of its own.

    Args:
        row: The precision.
        rows: Inputs of the kind that the model will meet, for measuring and checking.

    Attributes:
        row: As given.
        measuring: Inputs that sensitivities are measured on.
        checking: Inputs that choices are checked on.
    """

    # What a weight has that is not reduced to the precision's bits, and one that is not reduced at all.
    kinds: tuple[str, str]

    def __init__(self, row: Precision, rows: Pixels | Ids) -> None:
        self.row = row
        self.measuring, self.checking = _spread(rows, _MEASURED), _spread(rows, _CHECKED)

    @property
    @abstractmethod
    def products(self) -> Mapping[str, tuple[str, str]]:
        """Operator and weight of each product by a name of its own."""

    @abstractmethod
    def form(self, kept: Collection[Sensitivity], *, trial: bool = False) -> Any:
        """The tower without some reductions: a product that is not to have fewer than 8 bits has 8; not 8, float."""

    @abstractmethod
    def run(self, form: Any, rows: Pixels | Ids) -> Vectors:
        """A form's vectors, ``(n, d)``; those of the tower in float32 where it is None."""

    @abstractmethod
    def size(self, form: Any) -> int:
        """Bytes of a form."""

    def worth(self, entry: Sensitivity) -> float:
        """What it gains to keep a product; the greatest come first."""
        return entry.loss

    def has_fewer(self, product: str) -> bool:
        """Whether a product can have fewer than 8 bits here."""
        return self.mixes

    @property
    def mixes(self) -> bool:
        """Whether products that are kept take 8 bits first."""
        return self.row.weight_bits < 8

    @cached_property
    def wanted(self) -> tuple[Vectors, Vectors]:
        """The float32 vectors of what is measured and checked on."""
        return self.run(None, self.measuring), self.run(None, self.checking)

    @property
    def in_eight(self) -> list[Sensitivity]:
        """What to keep for 8 bits everywhere."""
        return [Sensitivity(name, *known, 0.0, bits=self.row.weight_bits) for name, known in self.products.items()]

    def measure(self, *, eight: bool) -> list[Sensitivity]:
        """What each product costs when it alone is reduced, the greatest first.

        Args:
            eight: Whether to measure what 8 bits cost where the precision has fewer; of what has 8 bits in any case it
                is always measured.
        """
        whole = [Sensitivity(name, *known, 0.0) for name, known in self.products.items()]
        found, wanted = [], self.widths(eight=eight)
        for entry in track(whole, f"{self.row.name}, one product alone", "products"):
            others = [other for other in whole if other is not entry]
            fewer = replace(entry, bits=self.row.weight_bits)
            for kind in dict.fromkeys((fewer, entry)):  # one where the precision has 8 bits
                if (kind.node, kind.bits) not in wanted:
                    continue
                kept = [*others, fewer] if kind is entry and self.has_fewer(entry.node) else others
                vectors = self.run(self.form(kept, trial=True), self.measuring)
                found.append(replace(kind, loss=1 - float(row_cosines(self.wanted[0], vectors).min())))
        return sorted(found, key=lambda entry: -entry.loss)

    def widths(self, *, eight: bool) -> set[tuple[str, int]]:
        """The products and bits that :meth:`measure` measures."""
        fewer = {name for name in self.products if self.has_fewer(name)}
        in_eight = self.products.keys() - (set() if eight else fewer)
        return {(name, self.row.weight_bits) for name in fewer} | {(name, 8) for name in in_eight}

    def keeps(self, budget: Budget, kept: Collection[Sensitivity]) -> bool:
        """Whether a choice keeps the budget."""
        forms = [self.form(kept, trial=True), *([self.form(kept)] if self.row.calibrated else [])]
        return all(self._reaches(form, budget.cosine) for form in forms) and budget.accepts(forms[-1])

    def _reaches(self, form: Any, cosine: float) -> bool:
        # A form that is not good enough rarely needs all inputs to show it.
        parts = slice(0, _MEASURED), slice(_MEASURED, len(self.checking))
        return all(self.least_cosine(form, part) >= cosine for part in parts if part.start < part.stop)

    def least_cosine(self, form: Any, part: slice = _ALL) -> float:
        """Of a form's vectors, on the inputs that choices are checked on, or on part of them."""
        return float(row_cosines(self.wanted[1][part], self.run(form, self.checking[part])).min())


def fit_budget(tower: MixedTower, job: TowerJob) -> tuple[Any, tuple[str, ...]]:
    """Keep as few products in a higher precision as the budget allows.

    The file for the sensitivities is beside the tower's; it is not written when reducing everything keeps the budget.

    Args:
        tower: What may be reduced.
        job: Says which budget to keep, and which measurements to choose from.

    Returns:
        The form, and what was kept: ``FULLY_CONNECTED of WEIGHT``. Everything is reduced where no choice keeps the
        budget and failed exports are kept: verification says what is missing.

    Raises:
        ExportError: No choice keeps the budget, or only one whose file is no smaller than one with 8 bits, or the
            sensitivities are of another tower.
    """
    budget = budget_of(job, tower.run)
    try:
        form, kept = _fit(tower, budget, job)
    except MissedBudget:
        if not job.options.keep_failed:
            raise
        form, kept = tower.form(()), ()
    budget.keep(form)
    return form, kept


def _fit(tower: MixedTower, budget: Budget, job: TowerJob) -> tuple[Any, tuple[str, ...]]:
    if tower.keeps(budget, ()):
        return tower.form(()), ()
    eight = tower.mixes and not tower.keeps(budget, tower.in_eight)
    measured = job.options.measured
    before = None if measured is None else table_path(measured.path, job.tower)
    found = [] if before is None or not before.is_file() else read_sensitivities(before)
    if {entry.node for entry in found} - tower.products.keys():
        raise ExportError(f"{before} measured other products than this tower has.", hint="Omit --sensitivity.")
    # Where 8 bits kept a budget, nobody measured what they cost; older tables of LiteRT lack the look-ups.
    if not tower.widths(eight=eight) <= {(entry.node, entry.bits) for entry in found}:
        found = tower.measure(eight=eight)
    write_sensitivities(table_path(job.path.parent, job.tower), found, f"{len(tower.measuring)} inputs")
    chosen = choose_kept(tower, budget, found)
    if chosen is None:
        raise misses_budget(budget, tower.row.name, f"even with every product in {tower.kinds[-1]}")
    made = tower.form(chosen)
    if tower.mixes:
        _require_smaller(tower, made, [entry for entry in found if entry.bits == 8] if eight else [], budget, job)
    return made, _told(chosen, tower)


def _require_smaller(
    tower: MixedTower, made: Any, in_float: Collection[Sensitivity], budget: Budget, job: TowerJob
) -> None:
    """Refuse a form that is no smaller than one with 8 bits and what that keeps; say where it is hardly smaller."""
    # An export in 8 bits need not be chosen again because this one is.
    asked = Budget(job.tower, job.options.least_cosine, job.judge, tower.run)
    whole = choose_kept(tower, asked, in_float, tower.in_eight)
    if whole is None:
        return
    share, bits = tower.size(made) / tower.size(tower.form(whole)), tower.row.weight_bits
    if share >= 1:
        how = f"with {tower.least_cosine(tower.form(())):.4f} when all weights have {bits} bits, and with so many "
        how += "products in more bits that the file would not be smaller than one with 8 bits"
        raise misses_budget(budget, tower.row.name, how)
    if share > _HARDLY_LESS:
        job.options.report(f"warning: the {job.tower} tower as {tower.row.name} has {share:.1%} of the bytes that it "
                           "would have with 8 bits: too many products need those, or more.")  # fmt: skip


def choose_kept(
    tower: MixedTower, budget: Budget, found: Collection[Sensitivity], always: Sequence[Sensitivity] = ()
) -> tuple[Sensitivity, ...] | None:
    """What to keep in more bits, beside what always has them; None if not even everything keeps the budget.

    What is worth most comes first, so that the last ones may make the first ones needless: those that lose the least
    are left out again, as many as can be.
    """

    @cache
    def keeps(kept: frozenset[Sensitivity]) -> bool:
        return tower.keeps(budget, (*always, *kept))

    def accepts(kept: Sequence[Sensitivity]) -> bool:
        return keeps(frozenset(kept))

    first = choose_float(sorted(found, key=tower.worth, reverse=True), accepts)
    if first is None:
        return None
    left = choose_float(sorted(first, key=lambda entry: -entry.loss), accepts)
    return (*always, *(first if left is None else left))


def inputs_of(job: TowerJob) -> ImageInputs | TextInputs:
    """What a tower is measured on: the calibration's, or what verification takes."""
    options, spec = job.options, job.model.spec
    if job.tower == "image":
        return options.calibration or options.images or draw_images(spec.require_image())
    return options.calibration_texts or options.texts or tokenize_texts(job.model, None)


def rows_of(given: ImageInputs | TextInputs) -> Pixels | Ids:
    """The pixels or the token rows of some inputs."""
    return given.pixels if isinstance(given, ImageInputs) else given.ids


def _told(chosen: Collection[Sensitivity], tower: MixedTower) -> tuple[str, ...]:
    """What was kept, each product once, with its type where there are two."""
    in_float = {entry.node for entry in chosen if entry.bits == 8}
    kept = {entry.node: entry for entry in chosen}
    kinds = {node: f" ({tower.kinds[node in in_float]})" if tower.mixes else "" for node in kept}
    return tuple(f"{entry.operator} of {entry.weight}{kinds[node]}" for node, entry in kept.items())


def _spread(rows: Pixels | Ids, count: int) -> Pixels | Ids:
    return rows[spread(range(len(rows)), count)]
