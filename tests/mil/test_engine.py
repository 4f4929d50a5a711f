"""Which operators are known to leave the Neural Engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mobileclip_kit.mil.engine import leaving_operators
from mobileclip_kit.mil.graph import Feature, Function, Operation, Program, Ref, Tensor


def program(*operations: Operation) -> Program:
    main = Function((Tensor("x", "fp16", (1, 2)),), operations, (operations[-1].name,), "CoreML7")
    return Program(Path("p"), {"main": main}, "main", (Feature("x"),), (Feature(operations[-1].name),), 7, {})


def op(kind: str, name: str, dtype: str = "fp16", **inputs: object) -> Operation:
    return Operation(kind, name, {"x": Ref("x"), **inputs}, (Tensor(name, dtype, (1, 2)),), {})  # type: ignore[dict-item]


def test_look_ups_dilations_and_float32_are_counted_by_reason() -> None:
    found = leaving_operators(
        program(
            op("gather", "a"),
            op("gather", "b"),
            op("conv", "c", dilations=np.array([2, 2])),
            op("conv", "d", dilations=np.array([1, 1])),
            op("linear", "e", "fp32"),
            op("cast", "f", "fp32"),
            op("lstm", "g"),
            op("relu", "h"),
        )
    )
    assert found == {"gather (look-up)": 2, "conv (dilated)": 1, "linear (float32)": 1, "lstm (recurrent)": 1}


def test_a_program_without_them_lists_none() -> None:
    assert leaving_operators(program(op("conv", "a"), op("relu", "b"))) == {}
