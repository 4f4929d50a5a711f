"""A Core ML program as plain data: functions, operators, their types, and what an app sees of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Color = Literal["RGB", "BGR", "GRAYSCALE"]

# Operators that are known to leave Apple's Neural Engine. Apple publishes no list; these come from people who watched
# where Core ML ran a program: M. Hollemans and contributors, "Which Core ML layers are not supported by the ANE?"
# (github.com/hollance/neural-engine, docs/unsupported-layers.md), names recurrent layers, look-ups and dilated
# convolutions; Apple's coremltools guide ("Typed Execution") says that the engine computes in float16 alone. Other
# operators may leave it too: Core ML decides by device and system version.
_LOOK_UPS = frozenset(["gather", "gather_nd", "gather_along_axis", "scatter", "scatter_nd", "scatter_along_axis"])
_RECURRENT = frozenset(["gru", "lstm", "rnn"])
_FREE = frozenset(["const", "cast"])


@dataclass(frozen=True)
class Ref:
    """The value that an earlier operator or a program input gave this name."""

    name: str


Constant = NDArray[Any] | str | Mapping[str, Any]
Argument = Ref | Constant | tuple[Ref | Constant, ...]


@dataclass(frozen=True)
class Tensor:
    """Type of a named value.

    Attributes:
        name: Unique within a function.
        dtype: An element type's name: ``fp16``, ``int32``.
        shape: None for a dimension that is only known at run time.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Operation:
    """One operator.

    Attributes:
        type: ``linear``, ``const``, ``constexpr_lut_to_dense``.
        name: Its first output's name.
        inputs: Parameter name to value; several values make a tuple.
        outputs: What it defines.
        attributes: Parameters that are no inputs: a constant's ``val``, and, before iOS 18, compressed weights.
        blocks: How many nested blocks it has (loops and branches).
    """

    type: str
    name: str
    inputs: Mapping[str, Argument]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Constant]
    blocks: int = 0


@dataclass(frozen=True)
class Function:
    """One function: inputs, operators in an order in which they can be executed, names of the outputs."""

    inputs: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    operator_set: str


@dataclass(frozen=True)
class Image:
    """A program input that is an image: ``height`` × ``width`` pixels in the colour order ``color``."""

    height: int
    width: int
    color: Color


@dataclass(frozen=True)
class Feature:
    """An input or output as the model's description shows it to an app; ``image`` is None for arrays."""

    name: str
    description: str = ""
    image: Image | None = None


@dataclass(frozen=True)
class Program:
    """A Core ML program.

    Attributes:
        path: The package, for messages.
        functions: By name; a package without several has ``main``.
        default_function: The one that runs when none is named.
        inputs: What an app passes.
        outputs: What it gets.
        specification_version: 6 for iOS 15 … 9 for iOS 18.
        metadata: ``author``, ``license``, ``shortDescription``, ``versionString`` and the user's own entries.
    """

    path: Path
    functions: Mapping[str, Function]
    default_function: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    specification_version: int
    metadata: Mapping[str, str]

    @property
    def main(self) -> Function:
        """The default function."""
        return self.functions[self.default_function]


def leaving_operators(program: Program) -> dict[str, int]:
    """Operators of a program that are known to leave the engine, by kind and reason, with their number.

    Returns:
        For example ``{"gather (look-up)": 1, "linear (float32)": 2}``; empty when none is known to.
    """
    main: Function = program.main
    constants = {each.name: each.attributes.get("val") for each in main.operations if each.type == "const"}
    reasons = ((operation, _reason(operation, constants)) for operation in main.operations)
    return dict(Counter(f"{operation.type} ({reason})" for operation, reason in reasons if reason).most_common())


def _reason(operation: Operation, constants: Mapping[str, Any]) -> str | None:
    if operation.type in _LOOK_UPS:
        return "look-up"
    if operation.type in _RECURRENT:
        return "recurrent"
    if operation.type == "conv":
        dilations: Any = operation.inputs.get("dilations", 1)
        # Programs write parameters in place or as constants before.
        steps = constants.get(dilations.name) if isinstance(dilations, Ref) else dilations
        if steps is not None and np.any(np.asarray(steps) != 1):
            return "dilated"
    if operation.type not in _FREE and any(output.dtype == "fp32" for output in operation.outputs):
        return "float32"
    return None
