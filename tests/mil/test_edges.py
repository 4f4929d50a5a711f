"""Operators at their edges: values worked out by hand, through the table that programs are executed by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobileclip_kit.mil.plan import OPS

LINE = np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5)
TABLE = np.arange(6).reshape(2, 3)
NEGATIVE_INFINITY = np.full((2, 2), -np.inf, np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int32)


def f(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("op", "arguments", "expected"),
    [
        # An even kernel needs an odd number of zeros: "same" puts the last one behind, "same_lower" in front.
        ("conv", {"x": LINE, "weight": np.ones((1, 1, 1, 2), np.float32), "pad_type": "same"}, [[[[1, 3, 5, 7, 4]]]]),
        ("conv", {"x": LINE, "weight": np.ones((1, 1, 1, 2), np.float32), "pad_type": "same_lower"},
         [[[[0, 1, 3, 5, 7]]]]),
        ("max_pool", {"x": LINE - 9, "kernel_sizes": ints(1, 2), "strides": ints(1, 2), "pad_type": "same"},
         [[[[-8, -6, -5]]]]),
        ("avg_pool", {"x": LINE, "kernel_sizes": ints(1, 2), "strides": ints(1, 2), "pad_type": "same"},
         [[[[0.5, 2.5, 2]]]]),
        ("avg_pool", {"x": LINE, "kernel_sizes": ints(1, 2), "strides": ints(1, 2), "pad_type": "same",
                      "exclude_padding_from_average": True}, [[[[0.5, 2.5, 4]]]]),
        ("pad", {"x": f(1, 2, 3), "pad": ints(2, 1), "mode": "reflect"}, [3, 2, 1, 2, 3, 2]),
        ("pad", {"x": f(1, 2), "pad": ints(2, 1), "mode": "replicate"}, [1, 1, 1, 2, 2]),
        ("gather", {"x": TABLE, "indices": ints(-1, 0), "axis": -1}, [[2, 0], [5, 3]]),
        ("gather_along_axis", {"x": TABLE, "indices": ints(-1, 1)[:, None], "axis": -1}, [[2], [4]]),
        ("slice_by_index", {"x": TABLE, "begin": ints(0, -1), "end": ints(0, 0), "stride": ints(1, -2),
                            "begin_mask": [True, False], "end_mask": [True, True]}, [[2, 0], [5, 3]]),
        ("slice_by_index", {"x": TABLE, "begin": ints(0, 2), "end": ints(2, 2)}, [[], []]),
        ("slice_by_size", {"x": TABLE, "begin": ints(0, -2), "size": ints(-1, 1)}, [[1], [4]]),
        ("reduce_sum", {"x": TABLE, "axes": ints(-2), "keep_dims": True}, [[3, 5, 7]]),
        ("reduce_log_sum_exp", {"x": NEGATIVE_INFINITY, "axes": ints(-1)}, [-np.inf, -np.inf]),
        ("reduce_log_sum_exp", {"x": f(1000, 1000), "axes": ints(0)}, 1000 + np.log(2)),
        ("softmax", {"x": f(1000, 1000, -np.inf)}, [0.5, 0.5, 0]),
        ("layer_norm", {"x": f(-1, 1), "axes": ints(-1), "epsilon": f(0)[0]}, [-1, 1]),
        ("argsort", {"x": np.array([0, 255, 7], np.uint8), "ascending": False}, [1, 2, 0]),
        ("argsort", {"x": f(2, 3, 2), "ascending": False}, [1, 0, 2]),
        ("cumsum", {"x": TABLE, "axis": -1, "exclusive": True}, [[0, 0, 1], [0, 3, 7]]),
        ("concat", {"values": (TABLE, TABLE + 9), "axis": -2, "interleave": True},
         [[0, 1, 2], [9, 10, 11], [3, 4, 5], [12, 13, 14]]),
        ("one_hot", {"indices": ints(1, 0), "one_hot_vector_size": 2, "axis": 0}, [[0, 1], [1, 0]]),
        ("mod", {"x": f(-5, 5), "y": f(3, -3)}, [1, -1]),
        ("floor_div", {"x": f(-5, 5), "y": f(3, -3)}, [-2, -2]),
        ("round", {"x": f(0.5, 1.5, -2.5)}, [0, 2, -2]),
        ("cast", {"x": f(-1.9, 1.9), "dtype": "int32"}, [-1, 1]),
    ],
)  # fmt: skip
def test_edge(op: str, arguments: dict[str, Any], expected: Any) -> None:
    with np.errstate(all="ignore"):
        result = OPS[op](**arguments)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_padding_that_nobody_knows_is_no_reflection() -> None:
    with pytest.raises(ValueError, match="unknown pad mode 'symmetric'"):
        OPS["pad"](x=f(1, 2), pad=ints(1, 1), mode="symmetric")
