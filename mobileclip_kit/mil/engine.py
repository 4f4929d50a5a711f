"""Operators that are known to leave Apple's Neural Engine.

Apple publishes no list. What is known comes from people who watched where Core ML ran a program: M. Hollemans and
contributors, "Which Core ML layers are not supported by the ANE?" (github.com/hollance/neural-engine,
docs/unsupported-layers.md), names recurrent layers, look-ups and dilated convolutions; Apple's coremltools guide
("Typed Execution") says that the engine computes in float16 alone. An operator that is not listed here may leave it all
the same: Core ML decides by device and system version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobileclip_kit.mil.graph import Function, Operation, Program, Ref

_LOOK_UPS = frozenset(["gather", "gather_nd", "gather_along_axis", "scatter", "scatter_nd", "scatter_along_axis"])
_RECURRENT = frozenset(["gru", "lstm", "rnn"])
_FREE = frozenset(["const", "cast"])


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
