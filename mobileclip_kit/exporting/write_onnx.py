"""One tower as an ONNX file in any of ONNX's precisions; all of them start from the float32 graph."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from mobileclip_kit.exporting.aids import Aids
from mobileclip_kit.exporting.folder import ExportedTower, Precision
from mobileclip_kit.exporting.int8 import quantize_int8
from mobileclip_kit.exporting.onnx import check, export_onnx, set_metadata
from mobileclip_kit.exporting.onnx_weights import halve_weights, quantize_weights
from mobileclip_kit.networks.model import Model
from mobileclip_kit.spec import Tower


def write_onnx_tower(
    model: Model, tower: Tower, module: nn.Module | None, path: Path, precision: Precision, aids: Aids
) -> ExportedTower:
    """Write one tower.

    Args:
        model: Whose tower it is.
        tower: ``image`` or ``text``.
        module: The tower in its exported form; None where ``aids.base`` is an export to start from.
        path: The file.
        precision: One of ONNX's.
        aids: See :class:`~mobileclip_kit.exporting.aids.Aids`.

    Raises:
        ExportError: The tower cannot be converted or reduced.
    """
    source = path if precision == "fp32" else path.with_name(f"{tower}-float.onnx")
    notes = _write_float(model, tower, module, source, aids)
    if precision == "fp32":
        return ExportedTower.from_file(tower, path, **notes)
    if precision == "int8":
        inputs, described = aids.calibration_of(model, tower)
        kept = quantize_int8(
            tower, source, path, model.spec, inputs,
            least_cosine=aids.least_cosine, method=aids.method, judge=aids.judge, measured=aids.measured,
        )  # fmt: skip
        notes |= {"weight_bits": 7, "calibration": described, "calibration_method": aids.method}
    else:
        full = onnx.load(str(source))
        smaller, kept = halve_weights(full) if precision == "fp16" else (quantize_weights(full), ())
        set_metadata(smaller, tower, model.spec)
        check(smaller, path)
        path.write_bytes(smaller.SerializeToString())
        notes["weight_bits"] = 16 if precision == "fp16" else 8
    source.unlink()
    return ExportedTower.from_file(tower, path, kept_in_float=kept, **notes)


def _write_float(model: Model, tower: Tower, module: nn.Module | None, path: Path, aids: Aids) -> dict[str, Any]:
    if aids.base is not None:
        shutil.copyfile(aids.base.tower_path(tower), path)
        return dict(aids.base.towers[tower].notes)
    assert module is not None, "without a base there is a network to convert"
    return export_onnx(tower, module, path, model.spec)
