"""Operators of a float16 program that leave float16's range, found by executing it: they have to stay in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mobileclip_kit.mil.graph import Operation, Ref
from mobileclip_kit.mil.interpreter import Interpreter
from mobileclip_kit.mil.program import read_program

# What coremltools appends to an operator's name when it turns it into float16.
_FLOAT16_SUFFIX = "_cast_fp16"


def find_overflows(path: Path, inputs: Sequence[Mapping[str, NDArray[Any]]]) -> frozenset[str]:
    """Operators that overflow or become NaN in float16, and those that read their results.

    A reader has to stay in float32 too, or the value would be rounded to infinity on its way in. When its own result
    overflows in turn, the next round finds it.

    Args:
        path: An ``.mlpackage``.
        inputs: As :meth:`Interpreter.run` takes them.

    Returns:
        Names as the converter knows them, for ``keep_in_float`` of
        :func:`~mobileclip_kit.export.coreml.export_coreml`; empty when nothing overflowed.
    """
    program = read_program(path)
    interpreter = Interpreter(program, precision="float16")
    for row in inputs:
        interpreter.run(row)
    broken = {finding.operation for finding in interpreter.findings}
    readers: dict[str, list[Operation]] = {}
    for operation in program.main.operations:
        for name in _read_names(operation):
            readers.setdefault(name, []).append(operation)
    by_name = {operation.name: operation for operation in program.main.operations}
    found: set[str] = set()
    waiting = [by_name[name] for name in broken if name in by_name]
    while waiting:
        operation = waiting.pop()
        if operation.type != "cast":
            found.add(operation.name)
        for output in operation.outputs:
            for reader in readers.get(output.name, ()):
                if reader.type == "cast" and operation.type != "cast":
                    waiting.append(reader)
                elif reader.type != "cast":
                    found.add(reader.name)
    return frozenset(name.removesuffix(_FLOAT16_SUFFIX) for name in found)


def _read_names(operation: Operation) -> set[str]:
    names = set()
    for argument in operation.inputs.values():
        for value in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(value, Ref):
                names.add(value.name)
    return names
