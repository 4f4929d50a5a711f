"""The formats and precisions that models are exported in: one table that everything else reads.

A row of :data:`PRECISIONS` says how a precision is written, which least cosine it has to reach and which flag names it
on the command line; a row of :data:`FORMATS` says what executes a format's files. The command line, verification,
comparison, inspection and the runtimes have no lists of their own. Neither torch nor a converter is imported here:
writers and runtimes are named as ``module:name`` and imported when they are used. How to add a row is shown in
docs/architecture.md.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mobileclip_kit.errors import UsageError

Format = Literal["onnx", "coreml", "coreai", "litert"]


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """One file format.

    Attributes:
        suffix: Of a tower's file.
        title: The format's name in sentences.
        runtimes: What executes it, as ``module:class``; the one that is available on every machine comes first, the
            one that a user's application has comes last.
        batches: Sizes of the first batches that verification passes; the last one repeats. A graph whose batch is not
            truly dynamic fails at one of them.
        extra: The extra of the package that the runtimes need; None for the base installation.
        converter: The extra of the package that writing it needs.
        neural_engine: Whether ``--ane`` applies.
        gpu_layout: Whether ``--gpu-layout`` applies.
        twins: What verification executes in place of a program that is too slow for all inputs here, as
            ``module:function``; see :func:`~mobileclip_kit.exporting.coreai.execute_twins`.
        seconds: For executing a tower on the inputs of a verification; at least one input is executed unless it alone
            would take longer.
    """

    suffix: str
    title: str
    runtimes: tuple[str, ...]
    batches: tuple[int, ...] = (1,)
    extra: str | None = None
    converter: str = "export"
    neural_engine: bool = False
    gpu_layout: bool = False
    twins: str | None = None
    seconds: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Precision:
    """One precision of one format.

    Attributes:
        format: The format's name.
        name: As in ``export.json`` and in folder names.
        write: Writes one tower: a function of a :class:`~mobileclip_kit.exporting.towers.TowerJob`, or its name.
        threshold: The least cosine to the model's vectors that an export has to reach.
        flag: The command line's option; several formats may share it.
        value: The option's value where it takes one.
        help: What is reduced, for the command line's help.
        weight_bits: Of each stored weight.
        from_default: Whether it can be made from an export in the format's default precision, without the network.
        calibrated: Whether it needs calibration inputs.
        budgeted: Whether what stays in float is chosen by measured sensitivities: ``--max-recall-drop`` and
            ``--sensitivity`` apply.
        spread_weights: Whether stored weights are turned into float32 when a runtime opens the file.
    """

    format: str
    name: str
    write: str | Callable[..., Any]
    threshold: float
    flag: str
    value: str | None = None
    help: str
    weight_bits: int
    from_default: bool = True
    calibrated: bool = False
    budgeted: bool = False
    spread_weights: bool = False


_EXPORT, _RUNTIME = "mobileclip_kit.exporting", "mobileclip_kit.runtime"

FORMATS: dict[str, ExportFormat] = {
    "onnx": ExportFormat(suffix=".onnx", title="ONNX", runtimes=(f"{_RUNTIME}.onnx:OnnxEncoder",), batches=(1, 3, 17)),
    "coreml": ExportFormat(suffix=".mlpackage", title="Core ML", extra="export", neural_engine=True,
                           runtimes=(f"{_RUNTIME}.mil:MilEncoder", f"{_RUNTIME}.coreml:CoreMLEncoder")),
    "coreai": ExportFormat(suffix=".aimodel", title="Core AI", extra="coreai", converter="coreai", neural_engine=True,
                           runtimes=(f"{_RUNTIME}.coreai:CoreAIEncoder",), seconds=30.0,
                           twins=f"{_EXPORT}.coreai:execute_twins"),
    "litert": ExportFormat(suffix=".tflite", title="LiteRT", extra="litert", converter="litert", gpu_layout=True,
                           runtimes=(f"{_RUNTIME}.litert:LiteRTEncoder",)),
}  # fmt: skip

_PALETTES = "weights from a palette of 2^N values, the most sensitive ones 8 bits or float16"
_INTEGERS = "int8 weights, the most sensitive ones float16"

# A format's first row is its default.
PRECISIONS: list[Precision] = [
    Precision(format="onnx", name="fp32", write=f"{_EXPORT}.onnx:write_float32", threshold=0.999, flag="--fp32",
              help="float32", weight_bits=32),
    Precision(format="onnx", name="fp16", write=f"{_EXPORT}.onnx_weights:write_half_weights", threshold=0.999,
              flag="--fp16", help="float16 weights", weight_bits=16),
    Precision(format="onnx", name="int8-weights", write=f"{_EXPORT}.int8_weights:write_int8_weights", threshold=0.99,
              flag="--int8-weights", help=f"{_INTEGERS}; float32 arithmetic", weight_bits=8, budgeted=True,
              spread_weights=True),
    Precision(format="onnx", name="int8", write=f"{_EXPORT}.int8:write_int8", threshold=0.99, flag="--int8",
              help="int8 weights and activations (needs --calibration)", weight_bits=7, calibrated=True, budgeted=True),
    Precision(format="coreml", name="fp16", write=f"{_EXPORT}.coreml:write_program", threshold=0.999, flag="--fp16",
              help="float16", weight_bits=16),
    Precision(format="coreml", name="fp32", write=f"{_EXPORT}.coreml:write_program", threshold=0.999, flag="--fp32",
              help="float32", weight_bits=32, from_default=False),
    Precision(format="coreml", name="int8", write=f"{_EXPORT}.coreml:write_compressed", threshold=0.99, flag="--int8",
              help=_INTEGERS, weight_bits=8, budgeted=True),
    *(Precision(format="coreml", name=f"palette{bits}", write=f"{_EXPORT}.coreml:write_compressed", threshold=0.99,
                flag="--palettize", value=str(bits), help=_PALETTES, weight_bits=bits, budgeted=True)
      for bits in (8, 6, 4)),
    Precision(format="coreai", name="fp16", write=f"{_EXPORT}.coreai:write_program", threshold=0.999, flag="--fp16",
              help="float16", weight_bits=16),
    Precision(format="coreai", name="fp32", write=f"{_EXPORT}.coreai:write_program", threshold=0.999, flag="--fp32",
              help="float32", weight_bits=32, from_default=False),
    Precision(format="coreai", name="int8", write=f"{_EXPORT}.coreai:write_compressed", threshold=0.99, flag="--int8",
              help=_INTEGERS, weight_bits=8, budgeted=True),
    Precision(format="coreai", name="int4", write=f"{_EXPORT}.coreai:write_compressed", threshold=0.97, flag="--int4",
              help="int4 weights in blocks of 32, the most sensitive ones int8 or float16", weight_bits=4,
              budgeted=True),
    *(Precision(format="coreai", name=f"palette{bits}", write=f"{_EXPORT}.coreai:write_compressed",
                threshold=0.97 if bits == 4 else 0.99, flag="--palettize", value=str(bits),
                help=_PALETTES, weight_bits=bits, budgeted=True)
      for bits in (8, 6, 4)),
    Precision(format="litert", name="fp32", write=f"{_EXPORT}.litert:write_float32", threshold=0.999, flag="--fp32",
              help="float32", weight_bits=32),
    Precision(format="litert", name="fp16", write=f"{_EXPORT}.litert:write_reduced", threshold=0.999, flag="--fp16",
              help="float16 weights", weight_bits=16),
    Precision(format="litert", name="int8-weights", write=f"{_EXPORT}.litert_int8:write_integers", threshold=0.99,
              flag="--int8-weights", help=f"{_INTEGERS}; float32 arithmetic", weight_bits=8, budgeted=True),
    Precision(format="litert", name="int8-dynamic", write=f"{_EXPORT}.litert_int8:write_integers", threshold=0.99,
              flag="--int8-dynamic", help="int8 products, ranges computed at run time", weight_bits=8, budgeted=True),
    Precision(format="litert", name="int8", write=f"{_EXPORT}.litert_int8:write_integers", threshold=0.99,
              flag="--int8", help="int8 weights and activations (needs --calibration)", weight_bits=8,
              calibrated=True, budgeted=True),
    Precision(format="litert", name="int4", write=f"{_EXPORT}.litert_int8:write_integers", threshold=0.97,
              flag="--int4", help="int4 weights, the most sensitive ones int8 or float16", weight_bits=4,
              budgeted=True),
]  # fmt: skip


def precisions_of(format: str) -> tuple[Precision, ...]:
    """A format's rows, its default first."""
    return tuple(row for row in PRECISIONS if row.format == format)


def find_precision(format: str, name: str | None = None) -> Precision:
    """The row of a precision; of the format's default without a name.

    Raises:
        UsageError: There is no such format, or it has no such precision.
    """
    rows = precisions_of(format)
    if format not in FORMATS or not rows:
        raise UsageError(f"There is no export format {format!r}.", hint=f"Known are {', '.join(FORMATS)}.")
    found = rows[0] if name is None else next((row for row in rows if row.name == name), None)
    if found is None:
        raise UsageError(
            f"{format} exports are written in {', '.join(row.name for row in rows)}, not in {name}.",
            hint="Omit the precision to use the format's default.",
        )
    return found


def flags() -> Mapping[str, list[Precision]]:
    """The rows behind each option of the command line."""
    found: dict[str, list[Precision]] = {}
    for row in PRECISIONS:
        found.setdefault(row.flag, []).append(row)
    return found


def load(name: str | Callable[..., Any]) -> Any:
    """The writer or the runtime that ``module:name`` names."""
    if not isinstance(name, str):
        return name
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
