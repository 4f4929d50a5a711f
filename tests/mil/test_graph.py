"""Which operators are known to leave the Neural Engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.mil.graph import Feature, Function, Operation, Program, Ref, Tensor, leaving_operators
from mobileclip_kit.mil.program import read_program


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


def test_dilations_that_are_constants_of_the_program_are_looked_up() -> None:
    def constant(name: str, value: list[int]) -> Operation:
        return Operation("const", name, {}, (Tensor(name, "int32", (2,)),), {"val": np.array(value)})

    found = leaving_operators(
        program(
            constant("one", [1, 1]),
            constant("two", [1, 2]),
            op("conv", "a", dilations=Ref("one")),
            op("conv", "b", dilations=Ref("two")),
        )
    )
    assert found == {"conv (dilated)": 1}


def test_a_converted_tower_has_no_dilation(coreml_export: Export) -> None:
    found = leaving_operators(read_program(coreml_export.tower_path("image")))
    assert not any("dilated" in reason for reason in found)
    assert found.get("mul (float32)") == 1  # the image's division by 255
