"""Calibration: three ways to choose a range, on activations whose distribution is known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mobileclip_kit.errors import ExportError, UsageError
from mobileclip_kit.exporting.ranges import METHODS, observe_ranges


def doubling() -> onnx.ModelProto:
    """``twice = 2x``, ``embedding = -twice``."""
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Neg", ["twice"], ["embedding"])]
    face = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "embedding")]
    graph = helper.make_graph(nodes, "doubling", face[:1], face[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def rows(*arrays: object) -> list[dict[str, np.ndarray]]:
    return [{"x": np.asarray(array, np.float32)} for array in arrays]


def test_minmax_takes_everything_and_zero_and_leaves_headroom_behind_the_input() -> None:
    found = observe_ranges(doubling(), ["twice", "x"], rows([1, 3], [2, 5]))
    assert found == {"twice": (0.0, 12.0), "x": (0.0, 5.0)}


def test_percentile_leaves_a_giant_out() -> None:
    """One of 100,001 values is 100 times larger than the rest."""
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 100_000), 100.0)
    low, high = observe_ranges(doubling(), ["twice"], rows(values), method="percentile")["twice"]
    # A bin of the histogram is 202 / 2048 wide.
    assert low == pytest.approx(-2, abs=0.2)
    assert high == pytest.approx(2, abs=0.2)


def test_entropy_keeps_an_even_spread_and_cuts_a_long_tail() -> None:
    random = np.random.default_rng(1)
    even = observe_ranges(doubling(), ["x"], rows(random.uniform(-1, 1, 50_000)), method="entropy")["x"]
    tail = random.standard_normal(50_000)
    cut = observe_ranges(doubling(), ["x"], rows(np.append(tail, [-40, 40])), method="entropy")["x"]
    assert even == pytest.approx((-1, 1), abs=0.1)
    assert cut[1] < 20 and cut[0] > -20


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_zero_has_a_range(method: str) -> None:
    low, high = observe_ranges(doubling(), ["twice"], rows([0, 0]), method=method)["twice"]  # type: ignore[arg-type]
    assert low <= 0 <= high


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_values_that_are_no_numbers_are_named(value: float) -> None:
    with pytest.raises(ExportError, match="twice is not finite"):
        observe_ranges(doubling(), ["twice"], rows([1, value]))


def test_unknown_method() -> None:
    with pytest.raises(UsageError, match="minmax, percentile, entropy, not 'mean'"):
        observe_ranges(doubling(), ["x"], rows([1]), method="mean")  # type: ignore[arg-type]
