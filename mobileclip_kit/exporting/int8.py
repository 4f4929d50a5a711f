"""ONNX towers to int8: static quantisation with quantise/dequantise pairs, by ONNX Runtime.

Weights are int8 with a scale for each output channel; activations are uint8 with ranges observed on calibration
inputs. Only products with weights (MatMul, Gemm, Conv) are reduced. LayerNorm, attention, GELU, residual sums and the
L2 norm stay in float32: reducing them is what makes int8 transformers collapse (optimum issue 151). Quantisation comes
before any transformer fusion of ONNX Runtime, which hides the products.

Ranges come from :mod:`~mobileclip_kit.exporting.ranges`. Weights use 7 of 8 bits. x86 processors without VNNI add two
uint8 × int8 products in 16 bits, which saturate with full-range weights: the same file would then give other vectors
there (least cosine 0.96 in place of 0.9997 on the vit-s6-h12 student). The last bit costs less than 0.0002 and makes a
file that computes the same everywhere.

A text tower's embedding table, two thirds of its weights, becomes int8 with a scale for each token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from mobileclip_kit.arrays import Ids, Pixels
from mobileclip_kit.errors import ExportError, MckitError, first_line
from mobileclip_kit.exporting.budget import Budget, Quantized, budget_of, fit_budget, split_calibration
from mobileclip_kit.exporting.folder import ExportedTower
from mobileclip_kit.exporting.metadata import quiet_converters
from mobileclip_kit.exporting.onnx import TowerFeeds, copy_message, float_graph, save_graph
from mobileclip_kit.exporting.ranges import observe_ranges
from mobileclip_kit.exporting.request import CalibrationMethod, require_calibration
from mobileclip_kit.exporting.samples import tokenize_texts
from mobileclip_kit.exporting.sensitivity import QUANTIZED, table_path
from mobileclip_kit.exporting.smoothing import smooth_norms
from mobileclip_kit.exporting.towers import TowerJob
from mobileclip_kit.spec import ModelSpec

# Operators that carry arithmetic; the others move data and have no precision of their own.
_ARITHMETIC = frozenset(
    "Add Sub Mul Div Pow Sqrt Exp Erf Tanh Sigmoid Relu Gelu QuickGelu Softmax LayerNormalization BatchNormalization "
    "InstanceNormalization ReduceMean ReduceSum GlobalAveragePool AveragePool MatMul Gemm Conv HardSwish HardSigmoid "
    "Clip Attention".split()
)


def write_int8(job: TowerJob) -> ExportedTower:
    """Write a tower whose products are int8, calibrated.

    Raises:
        ExportError: The tower cannot be converted or quantised, or no choice of operators meets the budget.
    """
    options = job.options
    inputs: Pixels | Ids
    if job.tower == "image":
        assert options.calibration is not None, "checked before any work"
        inputs, source = options.calibration.pixels, options.calibration.source
    else:
        texts = options.calibration_texts or tokenize_texts(job.model, None)
        inputs, source = texts.ids, texts.source
    with float_graph(job) as (float_path, notes):
        kept = quantize_int8(
            float_path, job.path, job.model.spec, inputs, budget_of(job),
            method=options.calibration_method, measured=None if options.measured is None else options.measured.path,
        )  # fmt: skip
    notes |= {"weight_bits": options.row.weight_bits, "calibration": source}
    notes["calibration_method"] = options.calibration_method
    return ExportedTower.from_file(job.tower, job.path, kept_in_float=kept, **notes)


def quantize_int8(
    float_path: Path,
    path: Path,
    spec: ModelSpec,
    calibration: Pixels | Ids,
    budget: Budget,
    *,
    method: CalibrationMethod = "minmax",
    measured: Path | None = None,
) -> tuple[str, ...]:
    """Write an int8 version of a float32 ONNX tower.

    Where all products in int8 miss the budget, each product's sensitivity is measured on calibration inputs and written
    to ``int8-sensitivity-TOWER.json`` beside the file. The most sensitive ones, as few as possible, keep float32
    arithmetic; their weights are float16.

    Args:
        float_path: From :func:`~mobileclip_kit.exporting.onnx.export_onnx`.
        path: The file to write.
        spec: Goes into the file's metadata.
        calibration: Pixels ``(n, height, width, 3)`` uint8 or token rows ``(n, context)``, of the kind that the model
            will meet.
        budget: The tower, and what each vector's cosine to the float32 one has to reach.
        method: How ranges are chosen from what was observed.
        measured: A folder with the sensitivities that an earlier export measured; what it lacks is measured anew.

    Returns:
        What is computed in float32: operators by type and number, then the products kept for the budget, by weight.

    Raises:
        UsageError: Fewer than two calibration inputs.
        ExportError: ONNX Runtime cannot quantise the tower, no choice of operators meets the budget, or the
            sensitivities are of another graph.
    """
    require_calibration(len(calibration), "images" if budget.tower == "image" else "texts")
    rows = TowerFeeds(budget.tower, calibration)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            with quiet_converters():
                quant_pre_process(str(float_path), str(prepared), skip_symbolic_shape=True)
                float_model = smooth_norms(onnx.load(str(prepared)), rows)
                watched, parts = _activations(float_model), split_calibration(rows)
                whole, trial = (
                    insert_pairs(float_model, observe_ranges(float_model, watched, seen, method=method))
                    for seen in (rows, parts.ranging)
                )
        except MckitError:
            raise
        except Exception as error:  # the quantiser raises whatever its passes meet
            raise ExportError(f"ONNX Runtime cannot quantise {float_path.name}: {first_line(error)}") from error
    quantized = Quantized(float_model, whole, trial, parts)
    model, chosen = fit_budget(quantized, budget, table_path(path.parent, budget.tower), measured)
    save_graph(model, budget.tower, spec, path)
    budget.keep(model)
    return (*kept_in_float(model.graph), *chosen)


def insert_pairs(model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]]) -> onnx.ModelProto:
    """A copy of a float32 graph with quantise/dequantise pairs around its products with weights.

    Args:
        model: Its nodes keep their names.
        ranges: Of every activation that a product with a weight takes or makes.
    """
    copied = copy_message(model)
    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    quantizer = QDQQuantizer(
        copied,
        True,  # per_channel
        True,  # reduce_range
        quantization.QuantType.QInt8,
        quantization.QuantType.QUInt8,
        TensorsData(quantization.CalibrationMethod.MinMax, data),
        [],
        # Products of two activations (attention) stay in float: they hold a fiftieth of the operations, and the Softmax
        # between them is faster in float.
        [node.name for node in model.graph.node if node.op_type in QUANTIZED and not _has_weight(node, model)],
        list(QUANTIZED),
        {
            "WeightSymmetric": True,
            "ActivationSymmetric": False,
            # What follows a product (GELU, a residual sum) is float: it takes the product's own sums, unrounded. A
            # convolution has no such form in ONNX Runtime.
            "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model_proto: onnx.ModelProto = quantizer.model.model
    return model_proto


def _has_weight(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    return any(tensor.name in node.input[:2] for tensor in model.graph.initializer)


def _activations(model: onnx.ModelProto) -> set[str]:
    """What products take and make. Those of two activations stay in float, but the quantiser asks for their ranges."""
    weights = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in QUANTIZED]
    return {name for node in products for name in (*node.input, *node.output) if name and name not in weights}


def kept_in_float(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Arithmetic of a quantised graph that is still done in float32, by type and count: ``LayerNormalization ×13``."""
    makers = {output: node for node in graph.node for output in node.output}
    counts: dict[str, int] = {}
    for node in graph.node:
        # A graph's own input and a float weight have no maker.
        reduced = node.op_type in QUANTIZED and all(
            name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input[:2]
        )
        if node.op_type in _ARITHMETIC and not reduced:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return tuple(f"{kind} ×{count}" for kind, count in sorted(counts.items()))
