"""Where a Core ML tower loses its precision: every operator in float16 beside the same one in float32.

Executed by our own interpreter, so on any machine. Weights are the export's own in both, so what palettes or int8 cost
does not show here; what rounding activations to float16 costs does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from mobileclip_kit.errors import UsageError
from mobileclip_kit.exporting.aids import Aids
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.samples import ImageInputs, TextInputs
from mobileclip_kit.exporting.verify import THRESHOLDS
from mobileclip_kit.mil.divergence import Divergence, divergences
from mobileclip_kit.mil.interpreter import Finding, Interpreter
from mobileclip_kit.mil.program import read_program
from mobileclip_kit.networks.model import Model
from mobileclip_kit.spec import Tower

# Unit vectors whose cosine is c are √(2 − 2c) apart: the error that the float16 gate allows, 4.5 %.
TOLERANCE = math.sqrt(2 - 2 * THRESHOLDS["fp16"])


@dataclass(frozen=True)
class TowerTrace:
    """What float16 does to one tower.

    Attributes:
        tower: ``image`` or ``text``.
        operators: How many were compared.
        first: The first operator whose relative error exceeds :data:`TOLERANCE`, or None.
        worst: The operator of the greatest relative error.
        findings: Operators that overflow float16 or give NaN, over all inputs that were tried.
    """

    tower: Tower
    operators: int
    first: Divergence | None
    worst: Divergence
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """As one of the ``intermediates`` of ``mckit verify --json``; an infinite error is null."""
        found = asdict(self)
        for place in ("first", "worst"):
            if found[place] and math.isinf(found[place]["relative_error"]):
                found[place]["relative_error"] = None
        return {**found, "tolerance": TOLERANCE}


def trace_export(
    export: Export, model: Model, *, images: ImageInputs | None = None, texts: TextInputs | None = None
) -> list[TowerTrace]:
    """Compare every operator of every tower; a few of the inputs are looked at.

    Args:
        export: In Core ML.
        model: Whose preprocessing and tokenizer count.
        images: For the image tower; None draws some.
        texts: For the text tower; None takes built-in prompts.

    Raises:
        UsageError: The export is not in Core ML.
        ExportError: A program cannot be read or executed.
    """
    if export.format != "coreml":
        raise UsageError(
            f"--intermediates follows Core ML programs; {export.path} is {export.format}.", hint="Leave it out."
        )
    inputs = Aids(least_cosine=0.0, images=images, texts=texts)
    return [_trace(export, tower, inputs.probes(model, tower)) for tower in export.towers]


def _trace(export: Export, tower: Tower, rows: Sequence[Mapping[str, NDArray[Any]]]) -> TowerTrace:
    program = read_program(export.tower_path(tower))
    interpreter = Interpreter(program, precision="float16")
    for row in rows:
        interpreter.run(row)
    found = list(divergences(program, rows[0]))
    first = next((each for each in found if each.relative_error > TOLERANCE), None)
    worst = max(found, key=lambda each: each.relative_error)
    return TowerTrace(tower, len(found), first, worst, interpreter.findings)


def describe_trace(trace: TowerTrace) -> str:
    """Sentences for a person."""
    lines = [f"{trace.tower}: {trace.operators} operators in float16 beside float32"]
    if trace.first is None:
        lines.append(f"  none differs by more than {TOLERANCE:.1%}; most does {_named(trace.worst)}")
    else:
        lines.append(f"  first beyond {TOLERANCE:.1%}: {_named(trace.first)}; most: {_named(trace.worst)}")
    lines += [f"  {finding.describe()}" for finding in trace.findings]
    return "\n".join(lines)


def _named(found: Divergence) -> str:
    return f"{found.operation} ({found.type}), {found.relative_error:.2%}"
