"""Execute a Core ML program with numpy.

Two modes. ``float32`` computes everything in float32 from the weights as they are stored: what the program means.
``float16`` emulates a phone: whatever the program types as float16 is rounded to float16 after each operator, while an
operator itself computes in float32. Real hardware differs inside operators (order and width of its sums), so the
emulation shows the error that the program's types cause, not the last bit of one chip.

In memory all floating-point values are float32 arrays, in float16 mode with values that float16 can hold: numpy
multiplies float16 matrices many times slower, and the result after rounding is the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import ExportError, ShapeError, UnsupportedOpError
from mobileclip_kit.mil.graph import Constant, Feature, Function, Operation, Program, Ref, Tensor
from mobileclip_kit.mil.half import FLOAT16_MAX, round_to_half
from mobileclip_kit.mil.ops import OPS
from mobileclip_kit.mil.ops_shapes import SHAPES
from mobileclip_kit.mil.values import ELEMENT_TYPES

Array = NDArray[Any]
Precision = Literal["float32", "float16"]
Observer = Callable[[Operation, tuple[Array, ...]], None]

_FLOATS = ("fp16", "fp32", "fp64")
_MEMORY_TYPES = {e.name: np.dtype(np.float32) if e.name in _FLOATS else e.dtype for e in ELEMENT_TYPES.values()}


@dataclass(frozen=True)
class Finding:
    """An operator whose result left the numbers.

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


@dataclass(frozen=True)
class _Step:
    """An operator ready to run: constants in place, names to fill in, values that nobody needs afterwards."""

    operation: Operation
    function: Callable[..., Any]
    constants: Mapping[str, Any]
    references: Mapping[str, str | tuple[Any, ...]]
    last_uses: tuple[str, ...]


class Interpreter:
    """Executes one function of a program.

    Args:
        program: From :func:`mobileclip_kit.mil.program.read_program`.
        precision: ``float16`` or ``float32``, see the module.
        function: Its name, or None for the default one.

    Attributes:
        precision: As given.
        findings: Operators that overflowed or became NaN, over all runs so far, in order of first appearance.

    Raises:
        UnsupportedOpError: The program uses operators or parameters that are not in the table; all are listed.
    """

    def __init__(self, program: Program, *, precision: Precision = "float16", function: str | None = None) -> None:
        self.program = program
        self.precision = precision
        self._function: Function = program.functions[function or program.default_function]
        self._features = {feature.name: feature for feature in program.inputs}
        self._findings: dict[tuple[str, str], Finding] = {}
        self._constants: dict[str, Any] = {}
        _check_operators(program, self._function)
        self._steps = self._prepare()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Operators that overflowed or became NaN in any run so far."""
        return tuple(self._findings.values())

    def run(self, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
        """Execute the program once.

        Args:
            inputs: By name. A picture may be passed as uint8 RGB ``(height, width, 3)`` or ``(n, height, width, 3)``;
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
            arguments = {key: _look_up(names, values) for key, names in step.references.items()}
            outputs = self._execute(step, arguments, not_numbers)
            values.update(zip((tensor.name for tensor in step.operation.outputs), outputs, strict=True))
            yield step.operation, outputs
            for name in step.last_uses:
                del values[name]
        if results is not None:
            results.update({name: self._output(name, values) for name in self._function.outputs})

    def _output(self, name: str, values: Mapping[str, Any]) -> Array:
        array: Array = values[name] if name in values else self._constants[name]
        tensors = (tensor for op in self._function.operations for tensor in op.outputs if tensor.name == name)
        half = self.precision == "float16" and any(tensor.dtype == "fp16" for tensor in tensors)
        return array.astype(np.float16) if half else array

    def _prepare(self) -> tuple[_Step, ...]:
        steps, uses = [], {name: -1 for name in self._function.outputs}
        for operation in reversed(self._function.operations):
            uses.update({name: id(operation) for name in _names(operation) if name not in uses})
        for operation in self._function.operations:
            if operation.type == "const":
                self._constants[operation.name] = _in_memory(operation.attributes["val"])
                continue
            constants, references = self._arguments(operation)
            mine = tuple(name for name in dict.fromkeys(_names(operation))
                         if uses[name] == id(operation) and name not in self._constants)  # fmt: skip
            unused = tuple(tensor.name for tensor in operation.outputs if tensor.name not in uses)
            step = _Step(operation, OPS[operation.type], constants, references, mine + unused)
            if operation.type.startswith("constexpr_"):
                outputs = self._execute(step, {}, set())
                self._constants.update(zip((tensor.name for tensor in operation.outputs), outputs, strict=True))
            else:
                steps.append(step)
        return tuple(steps)

    def _arguments(self, operation: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
        constants: dict[str, Any] = {key: _in_memory(value) for key, value in operation.attributes.items()}
        references: dict[str, Any] = {}
        for key, argument in operation.inputs.items():
            parts = argument if isinstance(argument, tuple) else (argument,)
            known = [
                self._constants.get(part.name, part) if isinstance(part, Ref) else _in_memory(part) for part in parts
            ]
            if any(isinstance(part, Ref) for part in known):
                references[key] = tuple(known) if isinstance(argument, tuple) else known[0]
            else:
                constants[key] = tuple(known) if isinstance(argument, tuple) else known[0]
        return constants, references

    def _execute(self, step: _Step, arguments: Mapping[str, Any], not_numbers: set[str]) -> tuple[Array, ...]:
        operation = step.operation
        try:
            with np.errstate(all="ignore"):  # overflow and NaN are reported as findings, by operator
                found = step.function(**step.constants, **arguments)
                results = found if isinstance(found, tuple) else (found,)
                stained = not not_numbers.isdisjoint(_names(operation))
                return tuple(
                    self._keep(operation, tensor, np.asarray(result), not_numbers, stained)
                    for tensor, result in zip(operation.outputs, results, strict=True)
                )
        except (ValueError, IndexError, TypeError) as error:
            raise ExportError(
                f"The operator {operation.name} ({operation.type}) of {self.program.path} failed: {error}."
            ) from error

    def _keep(self, operation: Operation, tensor: Tensor, value: Array, not_numbers: set[str], stained: bool) -> Array:
        """A result as it is stored: element type, rounding, findings."""
        if len(value.shape) != len(tensor.shape) or any(
            want not in (None, have) for have, want in zip(value.shape, tensor.shape, strict=True)
        ):
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
        if tensor.dtype != "fp16" or self.precision == "float32":
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
        before = self._findings.get((operation.name, problem))
        if before is not None:
            elements, largest = max(elements, before.elements), max(largest, before.largest)
        self._findings[operation.name, problem] = Finding(operation.name, operation.type, problem, elements, largest)

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
                value = _picture(value, feature)
            if len(value.shape) != len(tensor.shape) or any(
                want not in (None, have) for have, want in zip(value.shape, tensor.shape, strict=True)
            ):
                raise ShapeError(
                    f"The input {tensor.name} of {self.program.path} is {value.shape}, not {tensor.shape}."
                )
            value = value.astype(_MEMORY_TYPES[tensor.dtype], copy=False)
            if tensor.dtype == "fp16" and self.precision == "float16":
                value = value.astype(np.float16).astype(np.float32)
            bound[tensor.name] = value
        return bound


def _picture(pixels: Array, feature: Feature) -> Array:
    """uint8 pixels ``(h, w, c)`` or ``(n, h, w, c)``, RGB, as the float32 ``(n, c, h, w)`` that Core ML passes."""
    batch = pixels if pixels.ndim == 4 else pixels[None]
    if feature.image is not None and feature.image.color == "BGR":
        batch = batch[..., ::-1]
    return np.ascontiguousarray(np.moveaxis(batch, -1, 1)).astype(np.float32)


def _check_operators(program: Program, function: Function) -> None:
    unknown = []
    for operation in function.operations:
        if operation.type == "const":
            continue
        if operation.type not in OPS or operation.blocks:
            unknown.append(f"{operation.type} (output {operation.name})")
            continue
        try:
            inspect.signature(OPS[operation.type]).bind(**operation.inputs, **operation.attributes)
        except TypeError as error:
            unknown.append(f"{operation.type} (output {operation.name}: {error})")
    if unknown:
        raise UnsupportedOpError(
            f"{program.path} uses operators that mckit cannot execute: {', '.join(unknown)}.",
            hint="It may still run on a Mac or a phone; compare it there.",
        )


def _names(operation: Operation) -> Iterator[str]:
    for argument in operation.inputs.values():
        for part in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(part, Ref):
                yield part.name


def _look_up(names: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(names, tuple):
        return tuple(values[part.name] if isinstance(part, Ref) else part for part in names)
    return values[names.name]


def _in_memory(constant: Constant) -> Any:
    """Floating-point constants as float32, everything else as it is."""
    if isinstance(constant, np.ndarray) and constant.dtype.kind == "f":
        return constant.astype(np.float32)
    return constant
