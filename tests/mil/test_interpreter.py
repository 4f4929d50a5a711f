"""Execution: rounding, findings, images, refusals; on programs written down by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.errors import ExportError, ShapeError, UnsupportedOpError
from mobileclip_kit.mil.graph import Feature, Function, Image, Operation, Program, Ref, Tensor
from mobileclip_kit.mil.interpreter import Divergence, Interpreter, NumericProblem, divergences, relative_error

FACE = Path("face.mlpackage")


def op(type: str, name: str, shape: tuple[int | None, ...] = (2,), of: str = "fp16", **inputs: Any) -> Operation:
    return Operation(type, name, inputs, (Tensor(name, of, shape),), {})


def const(name: str, value: Any) -> Operation:
    return Operation("const", name, {}, (Tensor(name, "fp16", np.shape(value)),), {"val": np.float16(value)})


def program(*operations: Operation, shape: tuple[int | None, ...] = (2,), dtype: str = "fp32",
            image: Image | None = None) -> Program:  # fmt: skip
    main = Function((Tensor("x", dtype, shape),), operations, (operations[-1].name,), "CoreML7")
    features = (Feature("x", image=image),), (Feature(operations[-1].name),)
    return Program(FACE, {"main": main}, "main", *features, 8, {})


X = Ref("x")
SQUARES = program(
    op("cast", "half", x=X, dtype="fp16"),
    op("mul", "square", x=Ref("half"), y=Ref("half")),
    op("sqrt", "root", x=Ref("square")),
)


def run(source: Program, values: Any, **how: Any) -> Any:
    return next(iter(Interpreter(source, **how).run({"x": np.float32(values)}).values()))


def test_float16_mode_rounds_after_every_operator() -> None:
    x = np.float32([0.1, 3.3])
    half = x.astype(np.float16)
    expected = np.sqrt((half.astype(np.float32) ** 2).astype(np.float16).astype(np.float32)).astype(np.float16)
    result = run(SQUARES, x)
    assert result.dtype == np.float16 and result.tolist() == expected.tolist()


def test_float32_mode_rounds_nothing() -> None:
    x = np.float32([0.1, 3.3])
    values: dict[str, Any] = {}
    Interpreter(SQUARES, arithmetic="float32").run(
        {"x": x}, lambda operation, out: values.update({operation.name: out[0]})
    )
    assert values["half"].tolist() == x.tolist()
    assert values["square"].tolist() == (x * x).tolist()


def test_what_the_program_types_as_float32_stays_float32() -> None:
    source = program(op("mul", "square", of="fp32", x=X, y=X))
    assert run(source, [0.1, 300.3]).tolist() == (np.float32([0.1, 300.3]) ** 2).tolist()


def test_rounding_equals_numpys_at_the_edges_of_float16() -> None:
    """Ties, subnormals, the largest number and what lies beyond it."""
    edges = np.float32(
        [1 + 2**-11, 1 + 3 * 2**-11, 2**-24, 2**-25, 1.5 * 2**-24, 6.1e-5, 65504, 65519.9, 65520, -1e9, 0]
    )
    scales = np.float32(10) ** np.repeat(np.arange(-9, 6), 300)
    many = np.random.default_rng(0).normal(size=scales.size).astype(np.float32) * scales
    for values in (edges, edges[:7], many, many[np.abs(many) < 6e4]):
        source = program(op("cast", "half", shape=(None,), x=X, dtype="fp16"), shape=(None,))
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(run(source, values), values.astype(np.float16))


def test_overflow_is_reported_with_the_operator() -> None:
    interpreter = Interpreter(SQUARES)
    interpreter.run({"x": np.float32([300, 2])})
    interpreter.run({"x": np.float32([300, 1000])})
    assert interpreter.problems == (NumericProblem("square", "mul", "overflow", 2, 1e6),)


def test_nothing_overflows_in_float32() -> None:
    interpreter = Interpreter(SQUARES, arithmetic="float32")
    assert interpreter.run({"x": np.float32([300, 1e6])})["root"].tolist() == [300, 1e6]
    assert interpreter.problems == ()


def test_infinite_constants_are_no_overflow() -> None:
    """A mask of minus infinity is infinite already."""
    source = program(
        const("mask", [0, -np.inf]), op("add", "masked", x=X, y=Ref("mask")), op("softmax", "share", x=Ref("masked"))
    )
    interpreter = Interpreter(source)
    assert interpreter.run({"x": np.float32([1, 1])})["share"].tolist() == [1, 0]
    assert interpreter.problems == ()


def test_nan_is_reported_where_it_arises_only() -> None:
    source = program(
        op("sqrt", "root", x=X),
        op("expand_dims", "moved", shape=(1, 2), x=Ref("root"), axes=np.array([0])),
        op("add", "sum", shape=(1, 2), x=Ref("moved"), y=Ref("moved")),
    )  # fmt: skip
    interpreter = Interpreter(source)
    interpreter.run({"x": np.float32([-1, 4])})
    assert interpreter.problems == (NumericProblem("root", "sqrt", "nan", 1, 2.0),)


def first_beyond(source: Program, inputs: Any, tolerance: float) -> Divergence | None:
    return next((found for found in divergences(source, inputs) if found.relative_error > tolerance), None)


def test_first_divergence_names_the_operator() -> None:
    """Around 1000 float16 knows halves only: of 0.123 and 0.456 remain 0 and 0.5."""
    source = program(
        op("cast", "half", x=X, dtype="fp16"),
        op("add", "lifted", x=Ref("half"), y=np.float32(1000)),
        op("sub", "lowered", x=Ref("lifted"), y=np.float32(1000)),
    )
    inputs = {"x": np.float32([0.123, 0.456])}
    found = first_beyond(source, inputs, 1e-2)
    assert found is not None and (found.operation, found.type) == ("lowered", "sub")
    assert found.relative_error == pytest.approx(np.hypot(0.123, 0.044) / np.hypot(0.123, 0.456), rel=1e-3)
    assert first_beyond(source, inputs, 1.0) is None
    assert [step.operation for step in divergences(source, inputs)] == ["half", "lifted", "lowered"]


def test_overflow_diverges_infinitely() -> None:
    found = first_beyond(SQUARES, {"x": np.float32([300, 2])}, 0.5)
    assert found is not None and (found.operation, found.relative_error) == ("square", float("inf"))


def test_relative_error_by_hand() -> None:
    assert relative_error(np.float32([3, 4]), np.float32([3, 4])) == 0
    assert relative_error(np.float32([3, 5]), np.float32([3, 4])) == pytest.approx(1 / 5)
    assert relative_error(np.float32([3, -np.inf]), np.float32([3, -np.inf])) == 0
    assert relative_error(np.float32([np.nan, 1]), np.float32([3, 1])) == float("inf")
    assert relative_error(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4])) == 0.25


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_image_goes_in_as_pixels(color: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    source = program(op("identity", "same", of="fp32", shape=(1, 3, 4, 6), x=X), shape=(1, 3, 4, 6),
                     image=Image(height=4, width=6, color=color))  # fmt: skip
    result = Interpreter(source).run({"x": pixels})["same"]
    ordered = pixels if color == "RGB" else pixels[..., ::-1]
    assert result.tolist() == ordered.transpose(2, 0, 1)[None].astype(np.float32).tolist()
    assert Interpreter(source).run({"x": pixels[None]})["same"].tolist() == result.tolist()


def test_inputs_of_other_names_or_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"takes the inputs x, not y"):
        Interpreter(SQUARES).run({"y": np.zeros(2, np.float32)})
    with pytest.raises(ShapeError, match=r"input x of face\.mlpackage is \(3,\), not \(2,\)"):
        Interpreter(SQUARES).run({"x": np.zeros(3, np.float32)})


def test_unknown_operators_are_all_named_before_anything_runs() -> None:
    source = program(op("warp", "a", x=X), op("relu", "b", x=Ref("a")), op("lstm", "c", x=Ref("b")))
    with pytest.raises(UnsupportedOpError, match=r"face\.mlpackage .* warp \(output a\), lstm \(output c\)"):
        Interpreter(source)


def test_unknown_parameters_are_named() -> None:
    with pytest.raises(UnsupportedOpError, match=r"relu \(output a: .*'slope'"):
        Interpreter(program(op("relu", "a", x=X, slope=np.float32(1))))


def test_operators_with_nested_blocks_are_refused() -> None:
    branch = Operation("relu", "a", {"x": X}, (Tensor("a", "fp16", (2,)),), {}, blocks=2)
    with pytest.raises(UnsupportedOpError, match=r"relu \(output a\)"):
        Interpreter(program(branch))


def test_failing_operator_is_named() -> None:
    with pytest.raises(ExportError, match=r"operator sum \(add\) of face\.mlpackage failed"):
        Interpreter(program(op("add", "sum", x=X, y=np.float32([1, 2, 3])))).run({"x": np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    "broken",
    [
        op("conv", "a", (1, 1, 2, 2), x=np.ones((1, 1, 4, 4), np.float32), weight=np.ones((1, 1, 2, 2), np.float32),
           strides=np.array([0, 2])),
        op("pad", "a", (4,), x=X, pad=np.array([1, 1]), mode="symmetric"),
        op("cast", "a", x=X, dtype=np.int32(3), of="no type"),
        op("relu", "a", x="words"),
        op("tile", "a", (1 << 60,), x=X, reps=np.array([1 << 59])),
    ],
    ids=["stride 0", "unknown padding", "unknown type", "no array", "more than memory"],
)  # fmt: skip
def test_a_damaged_program_fails_with_the_operators_name(broken: Operation) -> None:
    with pytest.raises(ExportError, match=r"The operator a \(\w+\) of face\.mlpackage failed"):
        Interpreter(program(broken)).run({"x": np.zeros(2, np.float32)})


def test_a_constant_without_a_value_is_refused() -> None:
    lost = Operation("const", "two", {}, (Tensor("two", "fp16", (2,)),), {})
    with pytest.raises(ExportError, match=r"The constant two of face\.mlpackage has no value"):
        Interpreter(program(lost, op("mul", "y", x=X, y=Ref("two"))))


def test_result_of_another_shape_than_the_program_says_is_refused() -> None:
    with pytest.raises(ExportError, match=r"gives the shape \(2,\) where the program says \(3,\)"):
        Interpreter(program(op("relu", "a", shape=(3,), x=X))).run({"x": np.zeros(2, np.float32)})


def test_values_are_freed_after_their_last_use() -> None:
    interpreter = Interpreter(SQUARES)
    steps = interpreter.steps({"x": np.zeros(2, np.float32)})
    for operation, _ in steps:
        held = steps.gi_frame.f_locals["values"]
        if operation.name == "root":
            assert set(held) == {"square", "root"}


def test_constant_output_and_repeated_runs() -> None:
    source = program(const("two", [2, 2]), op("mul", "y", x=X, y=Ref("two")))
    interpreter = Interpreter(source)
    assert [interpreter.run({"x": np.float32([n, 1])})["y"].tolist() for n in (1, 3)] == [[2, 2], [6, 2]]


def test_undefined_names_are_refused() -> None:
    with pytest.raises(ExportError, match=r"operator a of face\.mlpackage refers to gone, which nothing before it"):
        Interpreter(program(op("add", "a", x=X, y=Ref("gone"))))


def test_unknown_function_is_refused() -> None:
    with pytest.raises(ExportError, match=r"has no function 'other'; it has main"):
        Interpreter(SQUARES, function="other")


def test_unused_results_are_freed_at_once() -> None:
    source = program(
        Operation("split", "a", {"x": X, "num_splits": np.array(2), "axis": np.array(0)},
                  (Tensor("a", "fp32", (1,)), Tensor("b", "fp32", (1,))), {}),
        op("relu", "c", shape=(1,), x=Ref("b")),
    )  # fmt: skip
    assert run(source, [1, 2]).tolist() == [2]
