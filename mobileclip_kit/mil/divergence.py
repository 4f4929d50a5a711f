"""Where float16 leaves float32: the same program in both modes, compared operator by operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.mil.graph import Program
from mobileclip_kit.mil.interpreter import Interpreter

Array = NDArray[Any]


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


def divergences(program: Program, inputs: Mapping[str, Array]) -> Iterator[Divergence]:
    """The error of every operator, in the order of execution. Errors accumulate from operator to operator."""
    half = Interpreter(program, precision="float16").steps(inputs)
    full = Interpreter(program, precision="float32").steps(inputs)
    for (operation, half_values), (_, full_values) in zip(half, full, strict=True):
        error = max(relative_error(a, b) for a, b in zip(half_values, full_values, strict=True))
        yield Divergence(operation.name, operation.type, error)


def first_divergence(program: Program, inputs: Mapping[str, Array], tolerance: float) -> Divergence | None:
    """The first operator whose relative error exceeds ``tolerance``, or None."""
    return next((found for found in divergences(program, inputs) if found.relative_error > tolerance), None)


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
