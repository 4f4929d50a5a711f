"""What is known before anything runs: whether all of a program can be executed, and when each value is done with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobileclip_kit.errors import ExportError, UnsupportedOpError
from mobileclip_kit.mil.graph import Argument, Constant, Function, Operation, Program, Ref
from mobileclip_kit.mil.ops_compressed import COMPRESSED
from mobileclip_kit.mil.ops_convolution import CONVOLUTION
from mobileclip_kit.mil.ops_elementwise import ELEMENTWISE
from mobileclip_kit.mil.ops_matrix import MATRIX
from mobileclip_kit.mil.ops_reductions import REDUCTIONS
from mobileclip_kit.mil.ops_shapes import SHAPES

# Every operator that can be executed, by its name in a program.
OPS: dict[str, Callable[..., Any]] = {**ELEMENTWISE, **REDUCTIONS, **SHAPES, **CONVOLUTION, **MATRIX, **COMPRESSED}


@dataclass(frozen=True)
class Step:
    """An operator ready to run.

    Attributes:
        operation: What the program says.
        function: Its entry in the table.
        constants: Parameters that are known already.
        references: Parameters with names to look up at run time.
        last_uses: Values that nobody needs after this step.
    """

    operation: Operation
    function: Callable[..., Any]
    constants: Mapping[str, Any]
    references: Mapping[str, Argument]
    last_uses: tuple[str, ...]

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, with the names looked up."""
        return {**self.constants, **{key: _look_up(argument, values) for key, argument in self.references.items()}}


def check_function(program: Program, function: Function) -> None:
    """Refuse what cannot be executed before any work is spent on it.

    Raises:
        UnsupportedOpError: Operators or parameters that are not in the table; all are listed.
        ExportError: A name that nothing defines, or a constant without a value.
    """
    unknown = [problem for operation in function.operations if (problem := _unsupported(operation))]
    if unknown:
        raise UnsupportedOpError(
            f"{program.path} uses operators that mckit cannot execute: {', '.join(unknown)}.",
            hint="It may still run on a Mac or a phone; compare it there.",
        )
    defined = {tensor.name for tensor in function.inputs}
    for operation in function.operations:
        if operation.type == "const" and "val" not in operation.attributes:
            raise ExportError(
                f"The constant {operation.name} of {program.path} has no value.",
                hint="The file is damaged; export again.",
            )
        missing = set(names_of(operation)) - defined
        if missing:
            raise ExportError(
                f"The operator {operation.name} of {program.path} refers to {', '.join(sorted(missing))}, which "
                "nothing before it defines.",
                hint="The file is damaged; export again.",
            )
        defined.update(tensor.name for tensor in operation.outputs)
    if not set(function.outputs) <= defined:
        raise ExportError(f"{program.path} does not compute its outputs.", hint="The file is damaged; export again.")


def last_uses(function: Function) -> list[tuple[str, ...]]:
    """For each operator the names of values that are needed no longer once it has run."""
    seen, uses = set(function.outputs), []
    for operation in reversed(function.operations):
        # A result that nobody uses is done with at once.
        named = dict.fromkeys([*names_of(operation), *(tensor.name for tensor in operation.outputs)])
        uses.append(tuple(name for name in named if name not in seen))
        seen.update(named)
    return uses[::-1]


def bind(argument: Argument, constants: Mapping[str, Any]) -> Argument:
    """An argument with every name replaced whose value is known already."""
    parts = [
        constants.get(part.name, part) if isinstance(part, Ref) else in_memory(part)
        for part in (argument if isinstance(argument, tuple) else (argument,))
    ]
    return tuple(parts) if isinstance(argument, tuple) else parts[0]


def is_known(argument: Argument) -> bool:
    """Whether no name is left in an argument."""
    return not any(isinstance(part, Ref) for part in (argument if isinstance(argument, tuple) else (argument,)))


def names_of(operation: Operation) -> Iterator[str]:
    """The names that an operator's inputs refer to."""
    for argument in operation.inputs.values():
        for part in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(part, Ref):
                yield part.name


def in_memory(constant: Constant) -> Any:
    """Floating-point constants as float32, everything else as it is."""
    if isinstance(constant, np.ndarray) and constant.dtype.kind == "f":
        return constant.astype(np.float32)
    return constant


def _unsupported(operation: Operation) -> str | None:
    if operation.type == "const":
        return None
    if operation.type not in OPS or operation.blocks:
        return f"{operation.type} (output {operation.name})"
    try:
        inspect.signature(OPS[operation.type]).bind(**operation.inputs, **operation.attributes)
    except TypeError as error:
        return f"{operation.type} (output {operation.name}: {error})"
    return None


def _look_up(argument: Argument, values: Mapping[str, Any]) -> Any:
    if isinstance(argument, tuple):
        return tuple(values[part.name] if isinstance(part, Ref) else part for part in argument)
    return values[argument.name] if isinstance(argument, Ref) else argument
