"""Operators of a float16 program that have to stay in float32, found by executing it.

Some leave float16's range. Others stay in it and lose so many digits (a small difference of large numbers) that the
vectors miss their cosine although nothing overflowed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mobileclip_kit.errors import ExportError
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.mil.graph import Operation, Program, Ref
from mobileclip_kit.mil.interpreter import Interpreter, NumericProblem
from mobileclip_kit.mil.ops_shapes import SHAPES
from mobileclip_kit.mil.program import read_program

Rows = Sequence[Mapping[str, NDArray[Any]]]

# What coremltools appends to an operator's name when it turns it into float16.
_FLOAT16_SUFFIX = "_cast_fp16"
# Operators that round nothing of their own.
_MOVERS = frozenset(SHAPES) | {"cast", "const"}
# An operator that alone costs less than this part of what is allowed is not looked at more closely.
_SHARE = 8


@dataclass(frozen=True)
class Probed:
    """A program that was executed in float16.

    Attributes:
        program: Read once for all questions.
        inputs: As :meth:`Interpreter.run` takes them.
        vectors: What it gave for each.
        problems: Operators that overflowed or gave NaN.
    """

    program: Program
    inputs: Rows
    vectors: tuple[NDArray[Any], ...]
    problems: tuple[NumericProblem, ...]


def find_float32(probed: Probed, kept: frozenset[str], module: nn.Module, *, least_cosine: float) -> frozenset[str]:
    """Operators that have to stay in float32, beside those that do already.

    Args:
        probed: From :func:`probe`.
        kept: Names of operators that are in float32 already.
        module: The tower in its exported form.
        least_cosine: What every vector has to reach.

    Returns:
        Names as the converter knows them, for ``keep_in_float`` of
        :func:`~mobileclip_kit.exporting.coreml.export_coreml`; a subset of ``kept`` when nothing is missing.
    """
    found = find_overflows(probed)
    if found <= kept and _least_cosine(probed, module) < least_cosine:
        return find_imprecise(probed, least_cosine=least_cosine)
    return found


def _least_cosine(probed: Probed, module: nn.Module) -> float:
    """Of the program's vectors to the network's: cheap, compared with a search for the operators that cost it."""
    wanted = []
    with torch.no_grad():
        for row in probed.inputs:
            (given,) = (torch.from_numpy(value) for value in row.values())
            wanted.append(module(given.permute(0, 3, 1, 2) / 255 if given.ndim == 4 else given).numpy())
    return float(row_cosines(np.concatenate(probed.vectors), np.concatenate(wanted)).min())


def probe(path: Path, inputs: Rows) -> Probed:
    """Execute an ``.mlpackage`` in float16.

    Args:
        path: The package.
        inputs: As :meth:`Interpreter.run` takes them.
    """
    program = read_program(path)
    interpreter = Interpreter(program, arithmetic="float16")
    vectors = tuple(interpreter.run(row)["embedding"] for row in inputs)
    return Probed(program, inputs, vectors, interpreter.problems)


def kinds_by_name(probed: Probed) -> dict[str, str]:
    """The kind of each operator by its name as the converter knows it."""
    return {_converter_name(operation.name): operation.type for operation in probed.program.main.operations}


def find_overflows(probed: Probed) -> frozenset[str]:
    """Operators that overflow or become NaN in float16, and those that read their results.

    A reader has to stay in float32 too, or the value would be rounded to infinity on its way in. When its own result
    overflows in turn, the next round finds it.

    Args:
        probed: From :func:`probe`.

    Returns:
        Names as the converter knows them; empty when nothing overflowed.
    """
    main = probed.program.main
    broken = {problem.operation for problem in probed.problems}
    readers: dict[str, list[Operation]] = {}
    for operation in main.operations:
        for name in _read_names(operation):
            readers.setdefault(name, []).append(operation)
    by_name = {operation.name: operation for operation in main.operations}
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
    return frozenset(map(_converter_name, found))


def find_imprecise(probed: Probed, *, least_cosine: float) -> frozenset[str]:
    """The fewest operators that bring a program's vectors to a least cosine when they are not rounded to float16.

    Operators are ranked by the cosine that they cost when they alone are rounded; how many of them it takes is found by
    bisection, each candidate executed.

    Args:
        probed: From :func:`probe`.
        least_cosine: What every vector has to reach, compared with the program in float32.

    Returns:
        Names as the converter knows them; empty when float16 suffices.

    Raises:
        ExportError: Not even all operators in float32 reach it.
    """
    program, inputs = probed.program, probed.inputs
    full = Interpreter(program, arithmetic="float32")
    wanted = [full.run(row)["embedding"] for row in inputs]

    def loss_of(vectors: Sequence[NDArray[Any]]) -> float:
        return 1 - float(row_cosines(np.concatenate(vectors), np.concatenate(wanted)).min())

    def loss(exact: Collection[str]) -> float:
        half = Interpreter(program, arithmetic="float16", exact=exact)
        return loss_of([half.run(row)["embedding"] for row in inputs])

    allowed = 1 - least_cosine
    if loss_of(probed.vectors) <= allowed:
        return frozenset()
    computing = [operation.name for operation in program.main.operations if operation.type not in _MOVERS]
    chosen = fewest_exact(computing, loss, allowed)
    if chosen is None:
        raise ExportError(
            f"No choice of float32 operators brings {program.path.name} to a least cosine of {least_cosine:g}."
        )
    return frozenset(map(_converter_name, chosen))


def fewest_exact(
    computing: Sequence[str], loss: Callable[[Collection[str]], float], allowed: float
) -> tuple[str, ...] | None:
    """The fewest operators, by what each costs alone, that bring a loss down when they are not rounded.

    Args:
        computing: The names of all operators that round.
        loss: Of the program when these operators are not rounded.
        allowed: The greatest loss.

    Returns:
        None if not even all of them are enough.
    """
    alone = dict(_costly(computing, lambda rounded: loss(set(computing) - set(rounded)), allowed / _SHARE))
    ranked = sorted(computing, key=lambda name: -alone.get(name, 0.0))
    if loss(ranked) > allowed:
        return None
    low, high = 1, len(ranked)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(ranked[:middle]) <= allowed else (middle + 1, high)
    return tuple(ranked[:low])


def _costly(
    group: Sequence[str], loss_of: Callable[[Sequence[str]], float], least: float
) -> Iterator[tuple[str, float]]:
    """Operators that cost more than ``least`` when they alone are rounded, found by halving groups that do."""
    loss = loss_of(group)
    if loss <= least:
        return
    if len(group) == 1:
        yield group[0], loss
        return
    middle = len(group) // 2
    yield from _costly(group[:middle], loss_of, least)
    yield from _costly(group[middle:], loss_of, least)


def _converter_name(name: str) -> str:
    return name.removesuffix(_FLOAT16_SUFFIX)


def _read_names(operation: Operation) -> set[str]:
    names = set()
    for argument in operation.inputs.values():
        for value in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(value, Ref):
                names.add(value.name)
    return names
