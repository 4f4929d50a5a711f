"""ONNX towers to int8: static quantisation with quantise/dequantise pairs, by ONNX Runtime.

Weights are int8 with a scale for each output channel; activations are uint8 with ranges observed on calibration
inputs. Only products with weights (MatMul, Gemm, Conv) are reduced. LayerNorm, Softmax, GELU, residual sums and the L2
norm stay in float32: reducing them is what makes int8 transformers collapse (optimum issue 151). Quantisation comes
before any transformer fusion of ONNX Runtime, which hides the products.

Weights use 7 of their 8 bits. x86 processors without VNNI add two uint8 × int8 products in 16 bits, which saturate with
full-range weights: the same file would then give other vectors there (least cosine 0.96 in place of 0.9997 on the
vit-s6-h12 student). The last bit costs less than 0.0002 and makes a file that computes the same everywhere.

A text tower's embedding table, two thirds of its weights, becomes int8 with a scale for each token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mobileclip_kit.errors import ExportError, UsageError
from mobileclip_kit.export.metadata import first_line, quiet_converters
from mobileclip_kit.export.onnx import INPUTS, check, set_metadata
from mobileclip_kit.export.samples import spread
from mobileclip_kit.export.sensitivity import (
    QUANTIZED,
    Sensitivity,
    choose_float,
    keep_float,
    measure_sensitivity,
    read_sensitivities,
    write_sensitivities,
)
from mobileclip_kit.export.sensitivity import least_cosine as least_cosine_of
from mobileclip_kit.images import Pixels
from mobileclip_kit.runtime.towers import Ids
from mobileclip_kit.spec import ModelSpec, Tower

LEAST_CALIBRATION = 2
# Inputs that sensitivities are measured on, and as many others that a choice is checked on.
_CHECKED = 16
_SHARE_OF_BUDGET = 0.8
# Operators that carry arithmetic; the others move data and have no precision of their own.
_ARITHMETIC = frozenset(
    "Add Sub Mul Div Pow Sqrt Exp Erf Tanh Sigmoid Relu Gelu QuickGelu Softmax LayerNormalization BatchNormalization "
    "InstanceNormalization ReduceMean ReduceSum GlobalAveragePool AveragePool MatMul Gemm Conv HardSwish HardSigmoid "
    "Clip Attention".split()
)


def quantize_int8(
    tower: Tower,
    float_path: Path,
    path: Path,
    spec: ModelSpec,
    calibration: Pixels | Ids,
    *,
    least_cosine: float = 0.99,
) -> tuple[str, ...]:
    """Write an int8 version of a float32 ONNX tower.

    Where all products in int8 miss the budget on calibration inputs, each product's sensitivity is measured and written
    to ``int8-sensitivity-TOWER.json`` beside the file, and the most sensitive ones stay in float32, as few as possible.

    Args:
        tower: ``image`` or ``text``.
        float_path: From :func:`~mobileclip_kit.export.onnx.export_onnx`.
        path: The file to write.
        spec: Goes into the file's metadata.
        calibration: Pixels ``(n, height, width, 3)`` uint8 or token rows ``(n, context)``, of the kind that the model
            will meet.
        least_cosine: The budget: what each vector's cosine to the float32 one has to reach.

    Returns:
        What stays in float32: operators by type and number, then the products kept for the budget, by weight.

    Raises:
        UsageError: Fewer than two calibration inputs.
        ExportError: ONNX Runtime cannot quantise the tower, or no choice of operators meets the budget.
    """
    require_calibration(len(calibration), "pictures" if tower == "image" else "texts")
    inputs = _Inputs(tower, calibration)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        try:
            with quiet_converters():
                quant_pre_process(str(float_path), str(prepared), skip_symbolic_shape=True)
                _quantize_static(prepared, quantized, inputs)
        except Exception as error:  # the quantiser raises whatever its passes meet
            raise ExportError(f"ONNX Runtime cannot quantise {float_path.name}: {first_line(error)}") from error
        float_model, model = onnx.load(str(prepared)), onnx.load(str(quantized))
    table = path.with_name(f"int8-sensitivity-{tower}.json")
    model, chosen = _fit_budget(float_model, model, inputs, least_cosine, table)
    if tower == "text":
        _quantize_embedding(model.graph)
    set_metadata(model, tower, spec)
    check(model, path)
    path.write_bytes(model.SerializeToString())
    return (*kept_in_float(model.graph), *(f"{entry.operator} of {entry.weight}" for entry in chosen))


def _fit_budget(
    float_model: onnx.ModelProto, model: onnx.ModelProto, inputs: _Inputs, budget: float, table: Path
) -> tuple[onnx.ModelProto, tuple[Sensitivity, ...]]:
    # Pictures of another kind than the calibration's lose a little more.
    aim = 1 - (1 - budget) * _SHARE_OF_BUDGET
    checked = inputs.rows(1)
    if least_cosine_of(float_model, model, checked) >= aim:
        return model, ()
    measured = inputs.rows(0)
    write_sensitivities(table, measure_sensitivity(float_model, model, measured), f"{len(measured)} calibration inputs")
    chosen = choose_float(float_model, model, read_sensitivities(table), checked, least_cosine=aim)
    return keep_float(float_model, model, {entry.node for entry in chosen}), chosen


def require_calibration(count: int, what: str) -> None:
    """Refuse a calibration that shows no range of values.

    Raises:
        UsageError: Fewer than two inputs.
    """
    if count < LEAST_CALIBRATION:
        raise UsageError(
            f"int8 was to be calibrated with {count} {what}; observing ranges takes at least {LEAST_CALIBRATION}, "
            "and 100 are good.",
            hint="Pass more with --calibration.",
        )


def kept_in_float(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Arithmetic of a quantised graph that is still done in float32, by type and count: ``LayerNormalization ×13``."""
    makers = {output: node for node in graph.node for output in node.output}
    counts: dict[str, int] = {}
    for node in graph.node:
        reduced = node.op_type in QUANTIZED and all(
            makers[name].op_type == "DequantizeLinear" for name in node.input[:2] if name in makers
        )
        if node.op_type in _ARITHMETIC and not reduced:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return tuple(f"{kind} ×{count}" for kind, count in sorted(counts.items()))


def _quantize_static(source: Path, target: Path, inputs: CalibrationDataReader) -> None:
    quantize_static(
        str(source),
        str(target),
        inputs,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTIZED),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        reduce_range=True,
        # Products of two activations (attention) stay in float: they hold few of the operations and much of the error.
        extra_options={"MatMulConstBOnly": True, "WeightSymmetric": True, "ActivationSymmetric": False},
    )


def _quantize_embedding(graph: onnx.GraphProto) -> None:
    """Replace each float look-up table by int8 rows and one scale a row: ``Gather → Cast → Mul(Gather(scales))``."""
    tables = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        array = numpy_helper.to_array(table) if table is not None else np.zeros(0)
        if table is None or array.ndim != 2 or array.dtype != np.float32:
            nodes.append(node)
            continue
        scales = np.maximum(np.abs(array).max(axis=1, keepdims=True) / 127, 1e-12).astype(np.float32)
        rows, ids, out = np.rint(array / scales).astype(np.int8), node.input[1], node.output[0]
        graph.initializer.remove(table)
        graph.initializer.extend(
            [
                numpy_helper.from_array(rows, f"{table.name}_int8"),
                numpy_helper.from_array(scales, f"{table.name}_scale"),
            ]
        )
        nodes += [
            onnx.helper.make_node("Gather", [f"{table.name}_int8", ids], [f"{out}_int8"], f"{node.name}_int8"),
            onnx.helper.make_node(
                "Cast", [f"{out}_int8"], [f"{out}_float"], f"{node.name}_cast", to=onnx.TensorProto.FLOAT
            ),
            onnx.helper.make_node("Gather", [f"{table.name}_scale", ids], [f"{out}_scale"], f"{node.name}_scale"),
            onnx.helper.make_node("Mul", [f"{out}_float", f"{out}_scale"], [out], f"{node.name}_scaled"),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    """Calibration inputs one by one, as the graph takes them."""

    def __init__(self, tower: Tower, inputs: Pixels | Ids) -> None:
        self._name = INPUTS[tower]
        self._inputs = inputs
        self._left: Iterator[Any] = iter(inputs)
        self._is_image = tower == "image"

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        row = next(self._left, None)
        return None if row is None else self._feed(row)

    def rows(self, first: int) -> list[dict[str, np.ndarray[Any, Any]]]:
        """Some of the even (``first`` 0) or odd (1) inputs: one half to measure on, the other to choose by."""
        return [self._feed(row) for row in spread(list(self._inputs[first::2]), _CHECKED)]

    def _feed(self, row: Any) -> dict[str, np.ndarray[Any, Any]]:
        if not self._is_image:
            return {self._name: row[None].astype(np.int64)}
        return {self._name: row[None].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)}
