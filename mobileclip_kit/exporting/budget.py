"""int8 under a budget: what stays in float so that vectors, and a search by them, lose no more than allowed.

A cosine of 0.99 may cost a search nothing or a lot. The second budget is mean recall: the share of captions whose image
is among the first 1, 5 and 10, text to image, and the mean of the three.

Two steps with a file between (:mod:`mobileclip_kit.exporting.sensitivity`): what each product costs is measured and
written down, then the fewest are chosen from that file, which may also be an earlier export's.

Inputs that set the ranges fit into them, and so lose less than any others will. So a trial graph takes its ranges from
half of the calibration inputs; products are measured in it on a quarter of them, and the choice is checked on the last
quarter. The graph that is kept has the ranges of all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.onnx import Feeds, TowerFeeds, copy_message, run_graph
from mobileclip_kit.exporting.onnx_weights import halve_weights, quantize_tables, reducible
from mobileclip_kit.exporting.samples import Captioned, spread
from mobileclip_kit.exporting.sensitivity import (
    Sensitivity,
    choose_float,
    keep_float,
    measure_sensitivity,
    quantized_products,
    read_sensitivities,
    table_path,
    write_sensitivities,
)
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.metrics import RECALL_DEPTHS, first_right_ranks, row_cosines
from mobileclip_kit.spec import Tower

GraphPass = Callable[[onnx.ModelProto], onnx.ModelProto]
Run = Callable[[Any, Pixels | Ids], Vectors]

# Inputs that sensitivities are measured on, and others that a choice is checked on.
_MEASURED = 16
_CHECKED = 64
# The least of more inputs, and of inputs of another kind, is less.
_SHARE_OF_BUDGET = 0.8
# The image tower may use so much of the budget; the text tower is judged together with it.
_IMAGE_SHARE = 0.5


@dataclass(frozen=True)
class RecallBudget:
    """How much mean recall a precision may cost.

    Attributes:
        captioned: What recall is measured on.
        max_drop: Greatest loss, 0…1.
    """

    captioned: Captioned
    max_drop: float


class RecallJudge:
    """Measures candidates for one tower, the other tower's vectors held fixed.

    Args:
        budget: The images, the captions and the greatest loss.
        images: The float32 model's vectors of the images, ``(n, d)``.
        texts: The float32 model's vectors of the captions, ``(m, d)``.
    """

    def __init__(self, budget: RecallBudget, images: Vectors, texts: Vectors) -> None:
        self.budget = budget
        self._images, self._texts = images, texts
        self.before = self.measure()

    def accepts(self, tower: Tower, vectors: Vectors) -> bool:
        """Whether a candidate's vectors of the tower's inputs keep the budget."""
        images, texts = (vectors, self._texts) if tower == "image" else (self._images, vectors)
        found = mean_recall(images, texts, self.budget.captioned.image_of)
        return self.before - found <= self.budget.max_drop * (_IMAGE_SHARE if tower == "image" else 1.0)

    def measure(self) -> float:
        """Mean recall with the vectors that are held now."""
        return mean_recall(self._images, self._texts, self.budget.captioned.image_of)

    def keep(self, tower: Tower, vectors: Vectors) -> None:
        """Go on with a finished tower's vectors in place of the model's."""
        if tower == "image":
            self._images = vectors
        else:
            self._texts = vectors


def mean_recall(images: Vectors, texts: Vectors, image_of: NDArray[np.int64]) -> float:
    """Mean of recall at 1, 5 and 10, text to image.

    Args:
        images: Unit rows, ``(n, d)``.
        texts: Unit rows, ``(m, d)``.
        image_of: For each text its image's row, ``(m,)``.

    Returns:
        0…1. Equal scores count as ranked behind: vectors that collapsed into one find nothing.
    """
    ranks = first_right_ranks(texts, images, image_of[:, None], ties_behind=True)
    return float(np.mean([(ranks < k).mean() for k in RECALL_DEPTHS]))


class Budget:
    """What a choice of operators has to keep.

    Args:
        tower: ``image`` or ``text``.
        cosine: What each vector's cosine to the float32 one has to reach.
        judge: Keeps a budget of recall besides; None for cosines alone.
        run: Executes a candidate on pixels or token rows; None for an ONNX graph.
    """

    def __init__(self, tower: Tower, cosine: float, judge: RecallJudge | None, run: Run | None = None) -> None:
        self.run: Run = run or self._run_graph
        self.asked, self.cosine = cosine, 1 - (1 - cosine) * _SHARE_OF_BUDGET
        self.tower, self._judge = tower, judge

    def accepts(self, model: Any) -> bool:
        """Whether a candidate keeps the budget of recall, if there is one."""
        return self._judge is None or self._judge.accepts(self.tower, self.vectors(model))

    def keep(self, model: Any) -> None:
        """Measure recall with a finished tower from now on."""
        if self._judge is not None:
            self._judge.keep(self.tower, self.vectors(model))

    def vectors(self, model: Any) -> Vectors:
        """A candidate's vectors of the captioned images, or of the captions."""
        assert self._judge is not None
        captioned = self._judge.budget.captioned
        given = captioned.pixels if self.tower == "image" else captioned.ids
        return self.run(model, given)

    def _run_graph(self, model: onnx.ModelProto, given: Pixels | Ids) -> Vectors:
        return run_graph(model, TowerFeeds(self.tower, given)).astype(np.float32)


def budget_of(job: TowerJob, run: Run | None = None) -> Budget:
    """What an export asks of a tower's choice.

    Args:
        job: The tower and the options.
        run: As in :class:`Budget`.
    """
    options = job.options
    cosine = options.least_cosine if options.choice_cosine is None else options.choice_cosine
    return Budget(job.tower, cosine, job.judge, run)


@dataclass(frozen=True)
class Parts:
    """Calibration inputs in three parts: a trial graph's ranges, the measuring of products, the check of a choice.

    Attributes:
        ranging: Half of them.
        measuring: Up to 16 others.
        checking: Up to 64 others; with two or three inputs the same as ``measuring``.
    """

    ranging: Feeds
    measuring: Feeds
    checking: Feeds


def split_calibration(rows: Feeds) -> Parts:
    """Part calibration inputs, at least two, so that each part is spread over all of them."""
    measuring = spread(rows[1::4], _MEASURED)
    return Parts(rows[::2], measuring, spread(rows[3::4], _CHECKED) or measuring)


@dataclass(frozen=True)
class Quantized:
    """A float32 graph and its forms with quantise/dequantise pairs, their look-up tables still in float.

    Attributes:
        source: The float32 graph.
        whole: With the ranges of all calibration inputs: what is kept.
        trial: With the ranges of ``inputs.ranging``.
        inputs: The calibration, in its parts.
    """

    source: onnx.ModelProto
    whole: onnx.ModelProto
    trial: onnx.ModelProto
    inputs: Parts

    def mixed(self, kept: Collection[str], graph_pass: GraphPass) -> onnx.ModelProto:
        """The finished graph with some products in float."""
        return graph_pass(keep_float(self.source, self.whole, kept))

    @cached_property
    def wanted(self) -> NDArray[np.float64]:
        """The float32 graph's vectors of the inputs that are checked, ``(n, d)``."""
        return run_graph(self.source, self.inputs.checking)

    def keeps(self, budget: Budget, graph_pass: GraphPass, kept: Collection[str]) -> bool:
        """Whether it keeps the budget: in both forms the cosines, as it is the recall."""
        if not self._reaches(budget, graph_pass(keep_float(self.source, self.trial, kept))):
            return False
        mixed = self.mixed(kept, graph_pass)
        return self._reaches(budget, mixed) and budget.accepts(mixed)

    def _reaches(self, budget: Budget, model: onnx.ModelProto) -> bool:
        return bool(row_cosines(self.wanted, run_graph(model, self.inputs.checking)).min() >= budget.cosine)


def fit_budget(
    model: Quantized, budget: Budget, table: Path, measured: Path | None
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Keep as little in float as the budget allows.

    Args:
        model: What may be kept of it in int8.
        budget: What has to be kept.
        table: The file for the sensitivities; not written when int8 everywhere keeps the budget.
        measured: A folder with sensitivities to choose from; None measures them.

    Returns:
        The finished graph, and what stayed in float for the budget: ``MatMul of WEIGHT``.

    Raises:
        ExportError: No choice keeps the budget, or the sensitivities are of another graph.
    """
    # What the look-up tables lose counts too; where that is too much, they are float16 as well.
    passes = (_with_int8_tables, _in_half) if budget.tower == "text" else (_in_half,)
    if model.keeps(budget, passes[0], ()):
        return model.mixed((), passes[0]), ()
    before = None if measured is None else table_path(measured, budget.tower)
    if before is None or not before.is_file():
        found = measure_sensitivity(model.source, model.trial, model.inputs.measuring)
        write_sensitivities(table, found, f"{len(model.inputs.measuring)} calibration inputs")
    else:
        _require_same_products(before, model)
        shutil.copyfile(before, table)
    return _choose(model, table, budget, passes)


def _choose(
    model: Quantized, table: Path, budget: Budget, passes: Sequence[GraphPass]
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    sensitivities = read_sensitivities(table)
    for graph_pass in passes:
        chosen = choose_float(sensitivities, partial(_keeps_without, model, budget, graph_pass))
        if chosen is not None:
            tables = _int8_tables(model.whole)[1] if graph_pass is not passes[0] else ()
            stays = [f"{entry.operator} of {entry.weight}" for entry in chosen]
            return model.mixed([entry.node for entry in chosen], graph_pass), (*stays, *tables)
    raise misses_budget(budget, "int8", "even with every product in float")


def _keeps_without(model: Quantized, budget: Budget, graph_pass: GraphPass, kept: Sequence[Sensitivity]) -> bool:
    return model.keeps(budget, graph_pass, {entry.node for entry in kept})


class MissedBudget(ExportError):
    """No choice keeps a budget."""


def misses_budget(budget: Budget, precision: str, how: str) -> MissedBudget:
    """The error where no choice keeps a budget."""
    return MissedBudget(
        f"The {budget.tower} tower as {precision} misses its budget (least cosine {budget.asked:.7g}, a fifth of the "
        f"loss left to other inputs) {how}.",
        hint="Ask for less, or export in a higher precision.",
    )


def _int8_tables(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy with its look-up tables in int8, and which they are."""
    copied: onnx.ModelProto = copy_message(model)
    return copied, tuple(f"Gather of {name}" for name in quantize_tables(copied.graph))


def _with_int8_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    return _in_half(_int8_tables(model)[0])


def _in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the weights and tables that are not int8 are float16; arithmetic with them stays float32."""
    return halve_weights(model, reducible(model))[0]


def _require_same_products(table: Path, model: Quantized) -> None:
    measured = {entry.node for entry in read_sensitivities(table)}
    products = quantized_products(model.source, model.whole).keys()
    if measured != products:
        raise ExportError(
            f"{table} measured {len(measured)} products, {len(measured & products)} of which are among the "
            f"{len(products)} of this model.",
            hint="Measure again: omit --sensitivity.",
        )
