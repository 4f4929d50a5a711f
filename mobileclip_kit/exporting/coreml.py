"""Towers to Core ML: an ML Program (``.mlpackage``) for iOS 16 and later, fixed batch 1.

The image goes in as an image: ``ImageType`` divides by 255, mean and standard deviation are the program's own first
operators (a scale for each channel on ``ImageType`` is a known trap). A text goes in as ``ids``, int32 ``(1,
context)``. Out comes ``embedding``, ``(1, d)``, a row of length 1. A flexible batch would keep the program off the
Neural Engine (coremltools issue 2022); apps batch with ``MLArrayBatchProvider``.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobileclip_kit import __version__
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.compress import COMPRESSED, compress_weights
from mobileclip_kit.exporting.folder import Precision
from mobileclip_kit.exporting.metadata import describe_tower, first_line, quiet_converters, short_description
from mobileclip_kit.mil.half import FLOAT16_MAX
from mobileclip_kit.spec import ModelSpec, Tower

_INFINITE = 1e38


def export_coreml(
    tower: Tower,
    module: nn.Module,
    path: Path,
    spec: ModelSpec,
    *,
    precision: Precision = "fp16",
    keep_in_float: Collection[str] = (),
    ane: bool = False,
) -> dict[str, Any]:
    """Write one tower as an ``.mlpackage``.

    Args:
        tower: ``image`` or ``text``.
        module: An :class:`~mobileclip_kit.exporting.towers.ImageTower` or ``TextTower``.
        path: The package to write.
        spec: Goes into the package's metadata.
        precision: ``fp32``, or ``fp16`` for computing and storing in float16; the others compute in float16 and store
            weights as :func:`~mobileclip_kit.exporting.compress.compress_weights` says.
        keep_in_float: Names of operators that stay in float32 all the same.
        ane: The tower has the Neural Engine's layout, which the notes say.

    Returns:
        Notes for the manifest: which way it was converted, and why if not the first one.

    Raises:
        ExportError: coremltools cannot convert the tower.
    """
    reasons: dict[str, str] = {}
    for converter, capture in _CAPTURES.items():
        try:
            with quiet_converters(), torch.no_grad():
                model = _convert(tower, capture(module), spec, precision, keep_in_float)
            break
        except Exception as error:  # converters raise dozens of classes; all of them mean that it did not convert
            reasons[converter] = first_line(error)
    else:
        tried = "; ".join(f"{converter}: {reason}" for converter, reason in reasons.items())
        raise ExportError(f"coremltools cannot convert the {tower} tower of {spec.name}: {tried}")
    if precision in COMPRESSED:
        model = compress_weights(model, precision)
    _save(model, tower, spec, path)
    notes: dict[str, Any] = {"converter": converter, "minimum_target": "iOS16"}
    if ane:
        notes["layout"] = "(n, channels, 1, tokens)"
    return notes if not reasons else {**notes, "other_converters_failed": reasons}


def compress_coreml(source: Path, path: Path, tower: Tower, spec: ModelSpec, precision: Precision) -> None:
    """Write a package whose weights are another package's, compressed.

    Raises:
        ExportError: The source cannot be read, or coremltools refuses.
    """
    import coremltools as ct  # slow to import, and it writes to stderr where Apple's frameworks are missing

    try:
        with quiet_converters():
            model = ct.models.MLModel(str(source), skip_model_load=True)
    except Exception as error:  # coremltools raises whatever its reader meets
        raise ExportError(f"coremltools cannot read {source}: {first_line(error)}") from error
    _save(compress_weights(model, precision), tower, spec, path)


def _save(model: Any, tower: Tower, spec: ModelSpec, path: Path) -> None:
    _set_metadata(model, tower, spec)
    try:
        with quiet_converters():
            model.save(str(path))
    except OSError as error:
        raise ExportError(f"{path.name} cannot be written: {_reason(error)}.") from error


def _reason(error: OSError) -> str:
    """What the system said; a package is copied file by file, and shutil gathers a text for each that failed."""
    if not isinstance(error, shutil.Error):
        return error.strerror or str(error)
    _, _, text = error.args[0][0]  # "[Errno 28] No space left on device: 'from' -> 'to'"
    return str(text).partition("] ")[2].partition(": ")[0] or str(text)


def _export(module: nn.Module) -> Any:
    return torch.export.export(module, (module.example,), strict=False).run_decompositions({})


def _trace(module: nn.Module) -> Any:
    return torch.jit.trace(  # type: ignore[no-untyped-call]
        module, module.example, check_trace=False
    )


# Shapes are fixed and nothing branches on values, so a trace says it all, in a tenth of torch.export's time. Both give
# the same program, but torch.export takes the Neural Engine's products apart.
_CAPTURES = {"torch.jit.trace": _trace, "torch.export": _export}


def _convert(tower: Tower, captured: Any, spec: ModelSpec, precision: str, keep_in_float: Collection[str]) -> Any:
    import coremltools as ct  # slow to import, and it writes to stderr where Apple's frameworks are missing

    if tower == "image":
        image = spec.require_image()
        shape = (1, 3, image.height, image.width)
        given = ct.ImageType(name="image", shape=shape, scale=1 / 255, color_layout=ct.colorlayout.RGB)
    else:
        given = ct.TensorType(name="ids", shape=(1, spec.require_text().context_length), dtype=np.int32)
    kept = frozenset(keep_in_float)
    compute = (
        # A program's names have no dots; those of a traced graph have, until it is written.
        ct.transform.FP16ComputePrecision(op_selector=lambda operation: re.sub(r"\W", "_", operation.name) not in kept)
        if precision != "fp32"
        else ct.precision.FLOAT32
    )
    # torch's fused attention would hide the multiplications from the converter.
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _lighter_passes():
            return ct.convert(
                captured,
                inputs=[given],
                outputs=[ct.TensorType(name="embedding", dtype=np.float32)],
                convert_to="mlprogram",
                compute_precision=compute,
                minimum_deployment_target=ct.target.iOS16,
                compute_units=ct.ComputeUnit.ALL,
                skip_model_load=True,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


@contextlib.contextmanager
def _lighter_passes() -> Iterator[None]:
    """Spare coremltools two checks that take a third of a conversion's time and half of its memory.

    It validates the whole program after each of its hundred passes, which guards against errors in passes; here the
    result is executed. Its search for constants beyond float16 writes out the index of every element.
    """
    from coremltools.converters.mil.mil import Program
    from coremltools.converters.mil.mil.passes.defs.quantization import FP16ComputePrecision

    validate, overflow = Program.validate, FP16ComputePrecision.fp16_overflow
    Program.validate = lambda *_, **__: None
    FP16ComputePrecision.fp16_overflow = staticmethod(_reads_beyond_float16)
    try:
        yield
    finally:
        Program.validate, FP16ComputePrecision.fp16_overflow = validate, staticmethod(overflow)


def _reads_beyond_float16(operation: Any) -> bool:
    """Whether an operator reads float32 constants of finite values beyond float16, as coremltools asks it."""
    for given in operation.inputs.values():
        for var in given if isinstance(given, list | tuple) else (given,):
            if var.op is None or var.op.op_type != "const" or not var.is_tensor_or_scalar_of(dtype="fp32"):
                continue
            values = np.asarray(var.op.val.val)
            if max(values.max(initial=0.0), -values.min(initial=0.0)) <= FLOAT16_MAX:
                continue
            magnitudes = np.abs(values)
            # Like coremltools, infinities and what stands for them may become infinite.
            if magnitudes[magnitudes < _INFINITE].max(initial=0.0) > FLOAT16_MAX:
                return True
    return False


def _set_metadata(model: Any, tower: Tower, spec: ModelSpec) -> None:
    entries = describe_tower(tower, spec)
    model.author = "mckit"
    model.license = entries["licence"]
    model.version = __version__
    model.short_description = short_description(tower, spec)
    model.user_defined_metadata.update(entries)
    name = "image" if tower == "image" else "ids"
    model.input_description[name] = "RGB image" if tower == "image" else "token identifiers, start and end included"
    model.output_description["embedding"] = f"vector of length 1, {spec.embedding_dim} numbers"
