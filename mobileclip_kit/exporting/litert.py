"""Towers to LiteRT (``.tflite``, Android and iOS), by Google's ``litert-torch`` and ``ai-edge-quantizer``.

The signature ``image`` takes ``image``, RGB in 0…1, ``(1, height, width, 3)`` float32, which is how Android's buffers
lie; the signature ``text`` takes ``ids``, ``(1, context)`` int32. Both give ``embedding``, ``(1, d)`` float32, a row of
length 1, in every precision: recipes name the products to reduce and leave the rest in float32, also the L2 norm. (A
recipe for all operators turns the ends into int8 too and gives vectors of length 1.08.)

A file says what it is in the metadata entry ``mckit``. The quantiser drops such entries, so it is written last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ExportError, first_line
from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.metadata import describe_tower, quiet_converters, replaced, short_description
from mobileclip_kit.exporting.precisions import Precision
from mobileclip_kit.exporting.ranges import HEADROOM
from mobileclip_kit.exporting.towers import TowerJob, count_tower
from mobileclip_kit.files import quiet_native_stderr
from mobileclip_kit.runtime.litert import METADATA
from mobileclip_kit.spec import ModelSpec, Tower

# Products with weights: what precisions reduce.
PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
FOUR_BITS = ("FULLY_CONNECTED", "CONV_2D")
_TABLES = ("EMBEDDING_LOOKUP",)


def write_float32(job: TowerJob) -> ExportedTower:
    """Write a tower in float32.

    Raises:
        ExportError: The tower cannot be converted.
    """
    save_model(float_model(job), job.tower, job.model.spec, job.path, named=True)
    return ExportedTower.from_file(job.tower, job.path, **notes_of(job))


def write_reduced(job: TowerJob) -> ExportedTower:
    """Write a tower with float16 weights and float32 arithmetic.

    Raises:
        ExportError: The tower cannot be converted or reduced.
    """
    made = quantize(float_model(job), weights_recipe())
    save_model(made, job.tower, job.model.spec, job.path)
    return ExportedTower.from_file(job.tower, job.path, **notes_of(job))


def float_model(job: TowerJob) -> bytes:
    """The tower in float32: converted, or that of an export."""
    if job.options.base is not None:
        return job.options.base.tower_path(job.tower).read_bytes()
    return convert(job)


def convert(job: TowerJob) -> bytes:
    """Convert a tower.

    Raises:
        ExportError: litert-torch has no lowering for an operator, or fails.
    """
    with quiet_converters():
        import litert_torch

    module = (_ImageSignature if job.tower == "image" else _TextSignature)(job.module).eval()
    # torch's fused attention would hide the multiplications from the converter.
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with quiet_converters(), quiet_native_stderr(), torch.no_grad():
            made = litert_torch.signature(job.tower, module, sample_kwargs=module.sample).convert()
            content: bytes = bytes(made.model_content())
            return content
    except Exception as error:  # converters raise dozens of classes; all of them mean that it did not convert
        named = ", ".join(operators_without_lowering(module))
        reason = f"it has no lowering for {named}" if named else first_line(error)
        raise ExportError(f"litert-torch cannot convert the {job.tower} tower: {reason}.") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


def operators_without_lowering(module: Any) -> list[str]:
    """The operators of a tower that litert-torch does not know: its own error names the first one, or none.

    Args:
        module: A signature.

    Returns:
        For example ``aten.linalg_inv_ex.default (in visual.head)``; empty if there is none, or torch cannot say.
    """
    try:
        with quiet_converters(), torch.no_grad():
            from litert_torch.backend import lowerings
            from litert_torch.fx_infra import decomp

            program = torch.export.export(module, (), module.sample).run_decompositions(decomp.pre_lower_decomp())
    except Exception:  # noqa: BLE001 (whatever hinders it hindered the conversion, which says so)
        return []
    found: dict[str, str] = {}
    for node in program.graph.nodes:
        # The converter removes assertions.
        known = "_assert" in str(node.target) or lowerings.lookup(node.target) is not None
        if isinstance(node.target, torch._ops.OpOverload) and not known:
            place = [path for path, _ in node.meta.get("nn_module_stack", {}).values()][-1:]
            inside = f" (in {place[0].removeprefix('tower.')})" if place and place[0] else ""
            found.setdefault(str(node.target), f"{node.target}{inside}")
    return list(found.values())


def notes_of(job: TowerJob) -> dict[str, Any]:
    """What the manifest says of every precision."""
    notes: dict[str, Any] = {"converter": "litert-torch", "weight_bits": job.options.row.weight_bits}
    base = job.options.base
    counted = count_tower(job.module) if base is None else base.towers[job.tower].notes
    notes |= {key: counted[key] for key in ("parameters", "multiply_accumulates")}
    if job.options.ane:
        notes["layout"] = "(n, channels, 1, tokens)"
    return notes


def weights_recipe(in_half: Collection[str] | None = None) -> Any:
    """The quantiser's recipe for weights that are spread out before they are used.

    Args:
        in_half: Scopes of operators that have float16 weights where the others have int8, from :func:`product_scopes`;
            None for float16 everywhere.
    """
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    for name in (*PRODUCTS, *_TABLES):
        if in_half is not None:
            manager.add_weight_only_config(".*", name, 8)
    _halve(manager, in_half)
    return manager.get_quantization_recipe()


def products_recipe(row: Precision, in_half: Collection[str], in_int8: Collection[str] = ()) -> Any:
    """The recipe for products in integers.

    Args:
        row: The precision.
        in_half: Scopes of operators that have float16 weights and float32 arithmetic, from :func:`product_scopes`.
        in_int8: Scopes of operators that have int8 weights and float32 arithmetic where the precision has 4 bits:
            trained activations lose more in 8 bits than weights do.
    """
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    for name in PRODUCTS:
        # A later entry takes the place of an earlier one.
        if row.weight_bits == 4:
            manager.add_weight_only_config(_all_but(in_half), name, 8)
            if name in FOUR_BITS:
                manager.add_dynamic_config(f"^{_all_but({*in_half, *in_int8})}", name, 4)
        elif row.calibrated:
            manager.add_static_config(_all_but(in_half), name, 8, 8)
        else:
            manager.add_dynamic_config(_all_but(in_half), name, 8)
    for name in _TABLES:
        manager.add_dynamic_config(_all_but(in_half), name, 8)
    _halve(manager, in_half)
    return manager.get_quantization_recipe()


def _halve(manager: Any, scopes: Collection[str] | None) -> None:
    """Let some operators have float16 weights, or all of them."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    if scopes is None or scopes:
        where = ".*" if scopes is None else f"^{_one_of(scopes)}$"
        for name in (*PRODUCTS, *_TABLES):
            manager.add_weight_only_config(where, name, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)


def _all_but(scopes: Collection[str]) -> str:
    return f"^(?!{_one_of(scopes)}$)" if scopes else ".*"


def _one_of(scopes: Collection[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, sorted(scopes)))})"


def quantize(model: bytes, recipe: Any, calibrated: Any = None) -> bytes:
    """A quantised copy.

    Args:
        model: In float32.
        recipe: The quantiser's.
        calibrated: From :func:`calibrate`, for recipes with ranges of activations.

    Raises:
        ExportError: The quantiser fails.
    """
    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as tensors
    from ai_edge_quantizer.quantizer import Quantizer

    in_rows = _in_rows(tensors.uniform_quantize)
    try:
        with quiet_converters(), quiet_native_stderr(), replaced(tensors, "uniform_quantize", in_rows):
            made = Quantizer(bytearray(model), recipe).quantize(
                calibrated, enable_progress_bar=False, enable_progress_report=False
            )
    except Exception as error:  # the quantiser raises whatever its passes meet
        raise ExportError(f"ai-edge-quantizer cannot reduce the tower: {first_line(error)}") from error
    return bytes(made.quantized_model)


def _in_rows(quantize_tensor: Callable[..., Any]) -> Callable[..., Any]:
    """The quantiser's function for one tensor, with convolutions' weights as a row of numbers for each filter.

    From 32 MiB on it lays out a weight in rows itself, but not the scales, and fails (0.10.0).
    """

    def call(weight: Any, how: Any, *more: Any) -> Any:
        if weight.ndim < 3 or how.quantized_dimension != 0:
            return quantize_tensor(weight, how, *more)
        rows = (len(weight), -1)
        flat = replace(how, scale=how.scale.reshape(rows), zero_point=how.zero_point.reshape(rows))
        return quantize_tensor(weight.reshape(rows), flat, *more).reshape(weight.shape)

    return call


def calibrate(model: bytes, recipe: Any, tower: Tower, rows: Any) -> Any:
    """The ranges of activations on some inputs, each as a signature takes it, and a fifth more at each end."""
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils import qsv_utils

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    try:
        with quiet_converters(), quiet_native_stderr():
            # The quantiser's own call averages the ranges of the inputs, and clips the others.
            calibrator = Calibrator(bytearray(model), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
            calibrator.calibrate({tower: rows}, manager)
            found = calibrator.get_model_qsvs()
    except Exception as error:  # the quantiser raises whatever its passes meet
        raise ExportError(f"ai-edge-quantizer cannot calibrate the tower: {first_line(error)}") from error
    return {name: {end: value * HEADROOM for end, value in ends.items()} for name, ends in found.items()}


def product_scopes(model: bytes) -> dict[str, tuple[str, str]]:
    """The products and look-ups: operator and part of the tower by the scope that recipes know them by.

    Args:
        model: In float32.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as utils

    graph = utils.read_model(model)
    codes = {getattr(schema.BuiltinOperator, name): name for name in (*PRODUCTS, *_TABLES)}
    found = {}
    for part in graph.subgraphs:
        for operator in part.operators:
            tensors = [part.tensors[index] for index in operator.inputs if index >= 0]
            name = codes.get(graph.operatorCodes[operator.opcodeIndex].builtinCode, "")
            if name and len(tensors) > 1 and graph.buffers[tensors[1].buffer].data is not None:
                scope = utils.get_op_scope(operator, part.tensors)
                # The weight may be called after an operator that was folded into it, or be an ``arith.constant``.
                found[scope] = (name, short_name(scope))
    return found


def short_name(weight: str) -> str:
    """``visual.transformer.0.attn`` of a converter's scope, which names the class of each module as well."""
    signature, *parts = weight.split(";")[0].split("/")
    # A weight of the tower itself is called ``tower``.
    return ".".join(part.rpartition(".")[2].partition("_")[2] or part for part in parts[1:] or parts) or signature


def save_model(model: bytes, tower: Tower, spec: ModelSpec, path: Path, *, named: bool = False) -> None:
    """Write a file with mckit's metadata.

    Args:
        model: In any precision.
        tower: ``image`` or ``text``.
        spec: Of the model.
        path: The file to write.
        named: Whether tensors inside keep the converter's names, which recipes need that are applied to the file. They
            are 1 % of a file in int8.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    graph = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph.description = short_description(tower, spec)
    for part in graph.subgraphs if not named else ():
        ends = {*part.inputs, *part.outputs}
        for place, tensor in enumerate(part.tensors):
            if place not in ends:
                tensor.name = None
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = METADATA, len(graph.buffers)
    buffer.data = json.dumps(describe_tower(tower, spec), ensure_ascii=False).encode()
    graph.metadata = [*(graph.metadata or ()), entry]
    graph.buffers.append(buffer)
    for part in graph.buffers:
        # What is no array is packed byte by byte in Python: minutes for a hundred megabytes.
        part.data = None if part.data is None else np.frombuffer(part.data, np.uint8)
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(graph)))


class _ImageSignature(nn.Module):
    """A tower as a signature: channels last, a named output."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.sample = {"image": tower.example.permute(0, 2, 3, 1).contiguous()}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(1, height, width, 3)`` to ``(1, d)``."""
        return {"embedding": self.tower(image.permute(0, 3, 1, 2))}


class _TextSignature(nn.Module):
    """A tower as a signature: a named output."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.sample = {"ids": tower.example}

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        """``(1, context)`` to ``(1, d)``."""
        return {"embedding": self.tower(ids)}
