"""Execute a Core ML program with numpy.

Two modes. ``float32`` computes everything in float32 from the weights as they are stored: what the program means.
``float16`` emulates a phone: whatever the program types as float16 is rounded to float16 after each operator, while an
operator itself computes in float32. Real hardware differs inside operators (order and width of its sums), so the
emulation shows the error that the program's types cause, not the last bit of one chip.

In memory all floating-point values are float32 arrays, in float16 mode with values that float16 can hold: numpy
multiplies float16 matrices many times slower, and the result after rounding is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import ExportError, ShapeError
from mobileclip_kit.mil.graph import Feature, Function, Operation, Program, Tensor
from mobileclip_kit.mil.ops_shapes import SHAPES
from mobileclip_kit.mil.plan import OPS, Step, bind, check_function, in_memory, is_known, last_uses, names_of
from mobileclip_kit.mil.values import ELEMENT_TYPES, FLOAT16_MAX, round_to_half

Array = NDArray[Any]
Arithmetic = Literal["float32", "float16"]
Observer = Callable[[Operation, tuple[Array, ...]], None]

_FLOATS = ("fp16", "fp32", "fp64")
_MEMORY_TYPES = {e.name: np.dtype(np.float32) if e.name in _FLOATS else e.dtype for e in ELEMENT_TYPES.values()}


@dataclass(frozen=True)
class NumericProblem:
    """An operator whose result overflowed or became NaN.

    Attributes:
        operation: The name of its output.
        type: The operator.
        problem: ``overflow``: finite in float32, beyond 65,504 and so infinite in float16. ``nan``: not a number, while
            its inputs were numbers.
        elements: How many elements, in the worst run.
        largest: The largest magnitude before rounding, over all runs; NaN elements aside.
    """

    operation: str
    type: str
    problem: Literal["overflow", "nan"]
    elements: int
    largest: float

    def describe(self) -> str:
        """A clause for a person: which operator does what, how often and how far."""
        what = "overflows float16's 65,504" if self.problem == "overflow" else "gives NaN"
        return f"{self.operation} ({self.type}) {what}: {self.elements} elements, up to {self.largest:g}"


@dataclass(frozen=True)
class Divergence:
    """How far one operator's float16 result is from its float32 result.

    Attributes:
        operation: The name of its output.
        type: The operator.
        relative_error: ``‖float16 − float32‖ / ‖float32‖``; infinite after an overflow or NaN. For integers and
            booleans, the share of elements that differ.
    """

    operation: str
    type: str
    relative_error: float


class Interpreter:
    """Executes one function of a program.

    Args:
        program: From :func:`mobileclip_kit.mil.program.read_program`.
        arithmetic: ``float16`` or ``float32``, see the module.
        function: Its name, or None for the default one.
        exact: Names of operators whose results are not rounded to float16: as if they were float32.

    Raises:
        UnsupportedOpError: The program uses operators or parameters that are not in the table; all are listed.
        ExportError: The program has no such function, or compressed weights that do not fit together.
    """

    def __init__(
        self,
        program: Program,
        *,
        arithmetic: Arithmetic = "float16",
        function: str | None = None,
        exact: Collection[str] = (),
    ) -> None:
        name = function or program.default_function
        if name not in program.functions:
            raise ExportError(f"{program.path} has no function {name!r}; it has {', '.join(program.functions)}.")
        self.program = program
        self.arithmetic = arithmetic
        self._exact = frozenset(exact)
        self._function: Function = program.functions[name]
        self._features = {feature.name: feature for feature in program.inputs}
        self._problems: dict[tuple[str, str], NumericProblem] = {}
        self._constants: dict[str, Any] = {}
        check_function(program, self._function)
        self._steps = self._prepare()

    @property
    def problems(self) -> tuple[NumericProblem, ...]:
        """Operators that overflowed or became NaN, over all runs so far, in order of first appearance."""
        return tuple(self._problems.values())

    def run(self, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
        """Execute the program once.

        Args:
            inputs: By name. An image may be passed as uint8 RGB ``(height, width, 3)`` or ``(n, height, width, 3)``;
                every other array has the program's shape.
            observe: Called after each operator with the operator and its results.

        Returns:
            The outputs by name, in the program's element types; float32 for float16 in ``float32`` mode.

        Raises:
            ShapeError: An input is missing, unknown or of another shape.
            ExportError: An operator cannot be executed with the shapes or values that reach it.
        """
        results: dict[str, Array] = {}
        for operation, values in self.steps(inputs, results):
            if observe is not None:
                observe(operation, values)
        return results

    def steps(self, inputs: Mapping[str, Array], results: dict[str, Array] | None = None
              ) -> Iterator[tuple[Operation, tuple[Array, ...]]]:  # fmt: skip
        """Execute operator by operator; ``results`` receives the program's outputs at the end."""
        values: dict[str, Any] = self._bind(inputs)
        not_numbers: set[str] = set()
        for step in self._steps:
            outputs = self._execute(step, values, not_numbers)
            values.update(zip((tensor.name for tensor in step.operation.outputs), outputs, strict=True))
            yield step.operation, outputs
            for name in step.last_uses:
                del values[name]
        if results is not None:
            results.update({name: self._output(name, values) for name in self._function.outputs})

    def _prepare(self) -> tuple[Step, ...]:
        """Constants are converted and decompressed once, here."""
        steps = []
        for operation, done in zip(self._function.operations, last_uses(self._function), strict=True):
            if operation.type == "const":
                self._constants[operation.name] = in_memory(operation.attributes["val"])
                continue
            arguments = {key: bind(argument, self._constants) for key, argument in operation.inputs.items()}
            known = {key: argument for key, argument in arguments.items() if is_known(argument)}
            known |= {key: in_memory(value) for key, value in operation.attributes.items()}
            waiting = {key: argument for key, argument in arguments.items() if key not in known}
            freed = tuple(name for name in done if name not in self._constants)
            step = Step(operation, OPS[operation.type], known, waiting, freed)
            if operation.type.startswith("constexpr_"):
                outputs = self._execute(step, {}, set())
                self._constants.update(zip((tensor.name for tensor in operation.outputs), outputs, strict=True))
            else:
                steps.append(step)
        return tuple(steps)

    def _execute(self, step: Step, values: Mapping[str, Any], not_numbers: set[str]) -> tuple[Array, ...]:
        operation = step.operation
        try:
            with np.errstate(all="ignore"):  # overflow and NaN are reported as problems, by operator
                found = step.function(**step.arguments(values))
                results = found if isinstance(found, tuple) else (found,)
                stained = not not_numbers.isdisjoint(names_of(operation))
                return tuple(
                    self._keep(operation, tensor, np.asarray(result), not_numbers, stained)
                    for tensor, result in zip(operation.outputs, results, strict=True)
                )
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
            raise ExportError(
                f"The operator {operation.name} ({operation.type}) of {self.program.path} failed: {error}."
            ) from error

    def _keep(self, operation: Operation, tensor: Tensor, value: Array, not_numbers: set[str], stained: bool) -> Array:
        """A result as it is stored: element type, rounding, problems."""
        if not _fits(value.shape, tensor.shape):
            raise ValueError(f"it gives the shape {value.shape} where the program says {tensor.shape}")
        value = value.astype(_MEMORY_TYPES[tensor.dtype], copy=False)
        if operation.type in SHAPES:  # moved values are rounded already
            if stained:
                not_numbers.add(tensor.name)
            return value
        if value.dtype != np.float32 or value.size == 0:
            return value
        peak = float(max(value.max(), -value.min()))
        if np.isnan(peak):
            not_numbers.add(tensor.name)
            if not stained:
                self._report(operation, "nan", int(np.isnan(value).sum()), value)
        if tensor.dtype != "fp16" or self.arithmetic == "float32" or operation.name in self._exact:
            return value
        if peak <= FLOAT16_MAX:
            return round_to_half(value)
        rounded = value.astype(np.float16).astype(np.float32)
        fresh = int((np.isinf(rounded) & np.isfinite(value)).sum())
        if fresh:
            self._report(operation, "overflow", fresh, value)
        return rounded

    def _report(self, operation: Operation, problem: Literal["overflow", "nan"], elements: int, value: Array) -> None:
        finite = np.abs(value[np.isfinite(value)])
        largest = float(finite.max()) if finite.size else 0.0
        before = self._problems.get((operation.name, problem))
        if before is not None:
            elements, largest = max(elements, before.elements), max(largest, before.largest)
        self._problems[operation.name, problem] = NumericProblem(
            operation.name, operation.type, problem, elements, largest
        )

    def _bind(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        wanted = [tensor.name for tensor in self._function.inputs]
        if set(inputs) != set(wanted):
            raise ShapeError(
                f"{self.program.path} takes the inputs {', '.join(wanted)}, not {', '.join(inputs) or 'none'}."
            )
        bound = {}
        for tensor in self._function.inputs:
            value = np.asarray(inputs[tensor.name])
            feature = self._features.get(tensor.name)
            if feature is not None and feature.image is not None and value.dtype == np.uint8:
                value = _image(value, feature)
            if not _fits(value.shape, tensor.shape):
                raise ShapeError(
                    f"The input {tensor.name} of {self.program.path} is {value.shape}, not {tensor.shape}."
                )
            value = value.astype(_MEMORY_TYPES[tensor.dtype], copy=False)
            if tensor.dtype == "fp16" and self.arithmetic == "float16":
                with np.errstate(over="ignore"):
                    value = value.astype(np.float16).astype(np.float32)
            bound[tensor.name] = value
        return bound

    def _output(self, name: str, values: Mapping[str, Any]) -> Array:
        array: Array = values[name] if name in values else self._constants[name]
        tensors = (tensor for op in self._function.operations for tensor in op.outputs if tensor.name == name)
        half = self.arithmetic == "float16" and any(tensor.dtype == "fp16" for tensor in tensors)
        return array.astype(np.float16) if half else array


def divergences(program: Program, inputs: Mapping[str, Array]) -> Iterator[Divergence]:
    """The error of every operator, in the order of execution. Errors accumulate from operator to operator."""
    half = Interpreter(program, arithmetic="float16").steps(inputs)
    full = Interpreter(program, arithmetic="float32").steps(inputs)
    for (operation, half_values), (_, full_values) in zip(half, full, strict=True):
        error = max(relative_error(a, b) for a, b in zip(half_values, full_values, strict=True))
        yield Divergence(operation.name, operation.type, error)


def relative_error(value: Array, reference: Array) -> float:
    """``‖value − reference‖ / ‖reference‖``; infinite where one of them is not finite and the other differs."""
    if value.size == 0:
        return 0.0
    if value.dtype.kind != "f":
        return float(np.mean(value != reference))
    same = value == reference
    if same.all():
        return 0.0
    if not (np.isfinite(value[~same]).all() and np.isfinite(reference[~same]).all()):
        return float("inf")
    difference = np.where(same, 0, value.astype(np.float64) - np.where(same, 0, reference))
    length = np.linalg.norm(reference[np.isfinite(reference)].astype(np.float64))
    return float(np.linalg.norm(difference[np.isfinite(difference)]) / length) if length else float("inf")


def _image(pixels: Array, feature: Feature) -> Array:
    """uint8 pixels ``(h, w, c)`` or ``(n, h, w, c)``, RGB, as the float32 ``(n, c, h, w)`` that Core ML passes."""
    batch = pixels if pixels.ndim == 4 else pixels[None]
    if feature.image is not None and feature.image.color == "BGR":
        batch = batch[..., ::-1]
    return np.ascontiguousarray(np.moveaxis(batch, -1, 1)).astype(np.float32)


def _fits(shape: Sequence[int], declared: Sequence[int | None]) -> bool:
    return len(shape) == len(declared) and all(want in (None, have) for have, want in zip(shape, declared, strict=True))
