"""int8 under a budget: what stays in float so that vectors, and a search by them, lose no more than allowed.

Two steps with a file between (:mod:`mobileclip_kit.export.sensitivity`): what each product costs is measured and
written down, then the fewest are chosen from that file, which may also be an earlier export's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mobileclip_kit.errors import ExportError
from mobileclip_kit.export.onnx_weights import quantize_tables
from mobileclip_kit.export.ranges import Rows
from mobileclip_kit.export.recall import RecallJudge
from mobileclip_kit.export.rows import graph_rows
from mobileclip_kit.export.samples import spread
from mobileclip_kit.export.sensitivity import (
    choose_float,
    keep_float,
    least_cosine,
    measure_sensitivity,
    quantized_products,
    read_sensitivities,
    run_graph,
    table_path,
    write_sensitivities,
)
from mobileclip_kit.spec import Tower

# Inputs that sensitivities are measured on, and as many others that a choice is checked on.
_CHECKED = 16
_SHARE_OF_BUDGET = 0.8


class Budget:
    """What a choice of operators has to keep.

    Args:
        tower: ``image`` or ``text``.
        cosine: What each vector's cosine to the float32 one has to reach.
        judge: Keeps a budget of recall besides; None for cosines alone.
    """

    def __init__(self, tower: Tower, cosine: float, judge: RecallJudge | None) -> None:
        # Pictures of another kind than the calibration's lose a little more.
        self.asked, self.cosine = cosine, 1 - (1 - cosine) * _SHARE_OF_BUDGET
        self.tower, self._judge = tower, judge

    def accepts(self, model: onnx.ModelProto) -> bool:
        """Whether a graph keeps the budget of recall, if there is one."""
        return self._judge is None or self._judge.accepts(self.tower, self.vectors, model)

    def vectors(self, model: onnx.ModelProto) -> NDArray[np.float32]:
        """A graph's vectors of the captioned pictures, or of the captions."""
        assert self._judge is not None
        captioned = self._judge.budget.captioned
        given = captioned.pixels if self.tower == "image" else captioned.ids
        return run_graph(model, graph_rows(self.tower, given)).astype(np.float32)


def fit_budget(
    float_model: onnx.ModelProto,
    model: onnx.ModelProto,
    rows: Rows,
    budget: Budget,
    table: Path,
    measured: Path | None,
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Keep as little in float as the budget allows.

    Args:
        float_model: The graph that was quantised.
        model: The same with quantise/dequantise pairs, its look-up tables still in float.
        rows: Calibration inputs.
        budget: What has to be kept.
        table: The file for the sensitivities; not written when int8 everywhere keeps the budget.
        measured: A folder with sensitivities to choose from; None measures them.

    Returns:
        The finished graph, and what stayed in float for the budget: ``MatMul of WEIGHT``.

    Raises:
        ExportError: No choice keeps the budget, or the sensitivities are of another graph.
    """
    # One half of the inputs to measure on, the other to choose by.
    measuring, checked = (spread(rows[half::2], _CHECKED) for half in (0, 1))
    # What the look-up tables lose counts too; where that is too much, they stay in float as well.
    finishes = (_with_int8_tables, _as_it_is) if budget.tower == "text" else (_as_it_is,)
    whole = finishes[0](model)
    if least_cosine(float_model, whole, checked) >= budget.cosine and budget.accepts(whole):
        return whole, ()
    before = None if measured is None else table_path(measured, budget.tower)
    if before is None or not before.is_file():
        found = measure_sensitivity(float_model, model, measuring)
        write_sensitivities(table, found, f"{len(measuring)} calibration inputs")
    else:
        _require_same_products(before, float_model, model)
        shutil.copyfile(before, table)
    return _choose(float_model, model, table, checked, budget, finishes)


def _choose(
    float_model: onnx.ModelProto,
    model: onnx.ModelProto,
    table: Path,
    checked: Rows,
    budget: Budget,
    finishes: Sequence[Callable[[onnx.ModelProto], onnx.ModelProto]],
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    for finish in finishes:
        try:
            chosen = choose_float(
                float_model, model, read_sensitivities(table), checked,
                least_cosine=budget.cosine, also=budget.accepts, finish=finish,
            )  # fmt: skip
        except ExportError as error:
            missed = error
            continue
        mixed = finish(keep_float(float_model, model, {entry.node for entry in chosen}))
        tables = _int8_tables(model)[1] if finish is not finishes[0] else ()
        return mixed, tuple([f"{entry.operator} of {entry.weight}" for entry in chosen] + list(tables))
    raise ExportError(
        f"The {budget.tower} tower as int8 misses its budget (least cosine {budget.asked:g}, a fifth of the loss left "
        "to other inputs) even with every product in float32.",
        hint="Ask for less, or export in fp32.",
    ) from missed


def _int8_tables(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy with its look-up tables in int8, and which they are."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied, tuple(f"Gather of {name}" for name in quantize_tables(copied.graph))


def _with_int8_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    return _int8_tables(model)[0]


def _as_it_is(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def _require_same_products(table: Path, float_model: onnx.ModelProto, int8_model: onnx.ModelProto) -> None:
    measured = {entry.node for entry in read_sensitivities(table)}
    products = quantized_products(float_model, int8_model).keys()
    if measured != products:
        raise ExportError(
            f"{table} measured {len(measured)} products, {len(measured & products)} of which are among the "
            f"{len(products)} of this model.",
            hint="Measure again: leave --sensitivity out.",
        )
