"""Towers to Core ML: an ML Program (``.mlpackage``) for iOS 16 and later, fixed batch 1.

The image goes in as an image: ``ImageType`` divides by 255, mean and standard deviation are the program's own first
operators (a scale for each channel on ``ImageType`` is a known trap). A text goes in as ``ids``, int32 ``(1,
context)``. Out comes ``embedding``, ``(1, d)``, a row of length 1. A flexible batch would keep the program off the
Neural Engine (coremltools issue 2022); apps batch with ``MLArrayBatchProvider``.

Smaller weights: palettes of 2ⁿ values, or int8 with a scale for each channel, and what is too sensitive stays in
float16 (:mod:`mobileclip_kit.exporting.weight_bits`). Activations stay float16; the phone expands the weights when it
computes.
"""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobileclip_kit import __version__
from mobileclip_kit.errors import ExportError, first_line
from mobileclip_kit.exporting import float16
from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.metadata import describe_tower, quiet_converters, replaced, short_description
from mobileclip_kit.exporting.palettes import find_palette
from mobileclip_kit.exporting.precisions import Precision
from mobileclip_kit.exporting.samples import probe_inputs
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.exporting.weight_bits import LEAST_ELEMENTS, choose_bits, only_found, set_weights, warn_of_others
from mobileclip_kit.files import size_bytes
from mobileclip_kit.mil.program import read_program
from mobileclip_kit.mil.values import FLOAT16_MAX
from mobileclip_kit.spec import ModelSpec, Tower

_INFINITE = 1e38
# Operators whose weights are reduced.
_REDUCED = ("linear", "matmul", "conv", "gather")
# An operator that is kept in float32 hands its large result on to the next, which the next round finds.
_ROUNDS = 4


def write_program(job: TowerJob) -> ExportedTower:
    """Write a tower in float32, or in float16 with operators in float32 where float16 does not suffice.

    Raises:
        ExportError: The tower cannot be converted.
    """
    if job.options.base is not None:
        if not job.options.row.from_default:
            raise ExportError(
                f"{job.options.row.name} cannot be made from another Core ML export.", hint="Export the model."
            )
        return _compress_base(job)
    return _convert_tower(job)


def write_compressed(job: TowerJob) -> ExportedTower:
    """Write a tower with float16 arithmetic and compressed weights.

    Raises:
        ExportError: The tower cannot be converted or compressed, or no choice of weights keeps the budget.
    """
    row = job.options.row
    more, kept = choose_bits(job, job.module)
    if more is None:
        compress = partial(compress_weights, precision=row)
        return _convert_tower(job, compress) if job.options.base is None else _compress_base(job)
    set_weights(job.module, row, more)
    made = _convert_tower(job, partial(compress_weights, precision=row, found=True), as_set=True)
    warn_of_others(job, job.module, more, _reduced_elements(job.path))
    return replace(made, kept_in_float=(*kept, *made.kept_in_float), notes={**made.notes, "bits": more})


def _convert_tower(
    job: TowerJob, compress: Callable[[Any], Any] = lambda model: model, *, as_set: bool = False
) -> ExportedTower:
    rows = probe_inputs(job.model, job.tower, job.options)
    kept: frozenset[str] = frozenset()
    kinds: dict[str, str] = {}
    first_size = None
    for attempt in range(_ROUNDS + 1):
        notes = export_coreml(job, keep_in_float=kept, compress=compress, as_set=as_set)
        if job.options.row.name == "fp32" or attempt == _ROUNDS:
            break
        probed = float16.probe(job.path, rows)
        found = float16.find_float32(probed, kept, job.module, least_cosine=job.options.least_cosine)
        if found <= kept:
            break
        kinds |= float16.kinds_by_name(probed)
        first_size = first_size or size_bytes(job.path)
        kept |= found
        shutil.rmtree(job.path)
    if first_size is not None:
        notes["float_costs_bytes"] = size_bytes(job.path) - first_size
    return ExportedTower.from_file(
        job.tower, job.path, kept_in_float=sorted(f"{kinds[name]} {name}" for name in kept), **notes
    )


def _compress_base(job: TowerJob) -> ExportedTower:
    """Write a package whose weights are another package's, compressed."""
    import coremltools as ct  # slow to import, and it writes to stderr where Apple's frameworks are missing

    assert job.options.base is not None
    source = job.options.base.tower_path(job.tower)
    try:
        with quiet_converters():
            model = ct.models.MLModel(str(source), skip_model_load=True)
    except Exception as error:  # coremltools raises whatever its reader meets
        raise ExportError(f"coremltools cannot read {source}: {first_line(error)}") from error
    _save(compress_weights(model, job.options.row), job.tower, job.model.spec, job.path)
    tower = job.options.base.towers[job.tower]
    return ExportedTower.from_file(job.tower, job.path, kept_in_float=tower.kept_in_float, **tower.notes)


def export_coreml(
    job: TowerJob,
    *,
    keep_in_float: Collection[str] = (),
    compress: Callable[[Any], Any] = lambda model: model,
    as_set: bool = False,
) -> dict[str, Any]:
    """Write one tower as an ``.mlpackage``.

    Args:
        job: The tower.
        keep_in_float: Names of operators that stay in float32 where the others compute in float16.
        compress: Reduces the weights of coremltools' ``MLModel``.
        as_set: Keep weights as they are: factors of channels stay beside the convolutions before them.

    Returns:
        Notes for the manifest: which way it was converted, and why if not the first one.

    Raises:
        ExportError: coremltools cannot convert or compress the tower.
    """
    tower, spec = job.tower, job.model.spec
    reasons: dict[str, str] = {}
    for converter, capture in _CAPTURES.items():
        try:
            with quiet_converters(), torch.no_grad():
                model = _convert(job, capture(job.module), keep_in_float, as_set=as_set)
            break
        except Exception as error:  # converters raise dozens of classes; all of them mean that it did not convert
            reasons[converter] = first_line(error)
    else:
        tried = "; ".join(f"{converter}: {reason}" for converter, reason in reasons.items())
        raise ExportError(f"coremltools cannot convert the {tower} tower of {spec.name}: {tried}")
    _save(compress(model), tower, spec, job.path)
    notes: dict[str, Any] = {"converter": converter, "minimum_target": "iOS16"}
    if job.options.ane:
        notes["layout"] = "(n, channels, 1, tokens)"
    return notes if not reasons else {**notes, "other_converters_failed": reasons}


def compress_weights(model: Any, precision: Precision, *, found: bool = False) -> Any:
    """A copy of a Core ML model whose large weights are compressed.

    Args:
        model: coremltools' ``MLModel``.
        precision: One that reduces weights.
        found: Whether weights consist of the values of their palettes or of steps already; others stay as they are.

    Raises:
        ExportError: coremltools refuses.
    """
    import coremltools.optimize.coreml as optimize
    from coremltools.optimize import _utils as inside

    left = dict.fromkeys(_other_constants(model))
    config = partial(optimize.OptimizationConfig, op_name_configs=left)
    try:
        with quiet_converters():
            if not precision.name.startswith("palette"):
                how = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=LEAST_ELEMENTS)
                compute = inside.compute_qparams_by_dtype
                with replaced(inside, "compute_qparams_by_dtype", only_found(compute) if found else compute):
                    return optimize.linear_quantize_weights(model, config(how))
            bits = precision.weight_bits
            mode = {"mode": "unique"} if found else {"mode": "custom", "lut_function": lambda w: find_palette(w, bits)}
            palettes = optimize.OpPalettizerConfig(**mode, weight_threshold=LEAST_ELEMENTS)
            return optimize.palettize_weights(model, config(palettes))
    except Exception as error:  # coremltools raises whatever its passes meet
        raise ExportError(
            f"coremltools cannot compress the weights to {precision.name}: {first_line(error)}"
        ) from error


def _other_constants(model: Any) -> list[str]:
    """The constants of a model that neither a product nor a look-up reads, such as tables of positions and masks."""
    operations = list(_operations(model))
    read = {given for kind, _, inputs in operations if kind.startswith(_REDUCED) for given in inputs}
    return sorted(name for kind, name, _ in operations if kind == "const" and name not in read)


def _operations(model: Any) -> Iterator[tuple[str, str, list[str]]]:
    """Type, name and inputs of each operator, by the names that coremltools' passes know.

    Those are of the program in memory, where the model was just converted; a file has other names.
    """
    if model._mil_program is None:
        for function in model.get_spec().mlProgram.functions.values():
            for block in function.block_specializations.values():
                for each in block.operations:
                    named = [part.name for given in each.inputs.values() for part in given.arguments]
                    yield each.type, each.outputs[0].name, named
        return
    for function in model._mil_program.functions.values():
        for each in function.operations:
            given = [
                var for part in each.inputs.values() for var in (part if isinstance(part, list | tuple) else [part])
            ]
            yield each.op_type, each.name, [var.op.name for var in given if var.op is not None]


def _reduced_elements(path: Path) -> int:
    """Elements that a package holds in fewer bits."""
    operations = [each for function in read_program(path).functions.values() for each in function.operations]
    shapes = [result.shape for each in operations if each.type.startswith("constexpr_") for result in each.outputs]
    return sum(math.prod(side or 1 for side in shape) for shape in shapes)


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


def _export(module: Any) -> Any:
    aten = torch.ops.aten
    # The masks of transformers' text encoders; coremltools has neither operator.
    others = {aten.__and__.Tensor: _and, aten.new_ones.default: _ones}
    return torch.export.export(module, (module.example,), strict=False).run_decompositions(others)


def _and(left: Any, right: Any) -> Any:
    both = torch.ops.aten.logical_and if left.dtype == torch.bool else torch.ops.aten.bitwise_and
    return both(left, right)


def _ones(given: Any, size: Any, *, dtype: Any = None, **_: Any) -> Any:
    return torch.ops.aten.full.default(size, 1, dtype=dtype or given.dtype)


def _trace(module: Any) -> Any:
    return torch.jit.trace(  # type: ignore[no-untyped-call]
        module, module.example, check_trace=False
    )


# Shapes are fixed and nothing branches on values, so a trace says it all, in a tenth of torch.export's time. Both give
# the same program, but torch.export takes the Neural Engine's products apart.
_CAPTURES = {"torch.jit.trace": _trace, "torch.export": _export}


def _convert(job: TowerJob, captured: Any, keep_in_float: Collection[str], *, as_set: bool) -> Any:
    import coremltools as ct  # slow to import, and it writes to stderr where Apple's frameworks are missing

    if job.tower == "image":
        image = job.model.spec.require_image()
        shape = (1, 3, image.height, image.width)
        given = ct.ImageType(name="image", shape=shape, scale=1 / 255, color_layout=ct.colorlayout.RGB)
    else:
        given = ct.TensorType(name="ids", shape=(1, job.model.spec.require_text().context_length), dtype=np.int32)
    kept = frozenset(keep_in_float)
    passes = ct.PassPipeline()
    if as_set:
        passes.remove_passes({"common::fuse_conv_scale"})
    compute = (
        # A program's names have no dots; those of a traced graph have, until it is written.
        ct.transform.FP16ComputePrecision(op_selector=lambda operation: re.sub(r"\W", "_", operation.name) not in kept)
        if job.options.row.name != "fp32"
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
                pass_pipeline=passes,
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
