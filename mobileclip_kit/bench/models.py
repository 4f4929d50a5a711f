"""The models to measure: model folders, exports, indexes, open_clip names, or students with random weights."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.bench.macs import count_onnx, count_program
from mobileclip_kit.bench.results import BenchRow, with_unique_names
from mobileclip_kit.errors import ExportError, MckitError, ModelError
from mobileclip_kit.exporting.folder import Export, is_export, open_export
from mobileclip_kit.exporting.precisions import FORMATS
from mobileclip_kit.index.folder import INDEX_FILE, IndexHeader, is_index
from mobileclip_kit.resources import preset_names, tower_config
from mobileclip_kit.spec import MODEL_FILE, WEIGHTS_FILE, ImageSpec, read_spec, tower_of

# Imported by a worker before the clock starts for the model itself.
_TORCH = ("mobileclip_kit.runtime.open", "mobileclip_kit.networks.model", "mobileclip_kit.runtime.torch")
_EMBEDDING_DIM = 512
_RANDOM = "torch fp32, random weights"
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "logit_scale", "logit_bias")


@dataclass(frozen=True, kw_only=True)
class BenchModel:
    """A model before it is measured.

    Attributes:
        row: What its files tell; ``failure`` if the model cannot even be described.
        model: The path or name that a worker opens.
        imports: Modules that a worker imports first.
        is_index: Whether it answers queries instead of encoding images and texts.
    """

    row: BenchRow
    model: str
    imports: tuple[str, ...] = _TORCH
    is_index: bool = False

    @property
    def name(self) -> str:
        """Unique in the table."""
        return self.row.name


def describe_models(models: Iterable[str]) -> list[BenchModel]:
    """Describe models, with names that are unique even when a model is given twice.

    A damaged model has a ``failure`` in its row.
    """
    described: list[BenchModel] = []
    for model in models:
        try:
            described.append(_describe(model))
        except MckitError as error:
            row = BenchRow(name=short_name(model), kind="unknown", failure=str(error))
            described.append(BenchModel(row=row, model=model))
    rows = with_unique_names(tuple(one.row for one in described))
    return [replace(one, row=row) for one, row in zip(described, rows, strict=True)]


def random_students(names: Sequence[str], folder: Path) -> list[BenchModel]:
    """Students with random weights, written as model folders: their speed and size are real, their vectors are not.

    Args:
        names: Students: names of presets, or JSON files.
        folder: Where the model folders go; the caller removes it.
    """
    from mobileclip_kit.networks.model import describe, save_model
    from mobileclip_kit.networks.students import build_student, student_config

    students = []
    for name in names:
        try:
            config = student_config(name, embedding_dim=_EMBEDDING_DIM, image=ImageSpec())
            network = build_student(config, seed=0)
        except ModelError as error:
            students.append(BenchModel(row=BenchRow(name=name, kind=_RANDOM, failure=str(error)), model=name))
            continue
        (folder / name).mkdir()
        save_model(folder / name, network, config, describe(name, network, config))
        student = _describe(str(folder / name))
        students.append(replace(student, row=replace(student.row, name=name, kind=_RANDOM)))
    return students


def phone_students() -> list[str]:
    """The students for photos: those that take images of 224 pixels."""
    side = ImageSpec().height
    return [name for name in preset_names("student") if tower_config("student", name)["image_size"] == side]


def short_name(model: str) -> str:
    """The name of a model in the table: a folder's own name, since paths mean nothing on other machines."""
    path = Path(model)
    return path.resolve().name if path.exists() else model


def _describe(model: str) -> BenchModel:
    path = Path(model)
    if is_export(path):
        return _describe_export(open_export(path), model)
    if is_index(path):
        return _describe_index(path, model)
    weights, row = path / WEIGHTS_FILE, BenchRow(name=short_name(model), kind="torch fp32")
    if weights.is_file():
        spec = read_spec(path) if (path / MODEL_FILE).is_file() else None
        row = replace(
            row,
            size_bytes=weights.stat().st_size,
            parameters=_safetensors_parameters(weights, image_only=spec is not None and spec.text is None),
            model_hash=None if spec is None else spec.model_hash,
        )
    return BenchModel(row=row, model=model)


def _describe_index(path: Path, model: str) -> BenchModel:
    header = IndexHeader.read(path)
    matrix = sum(file.stat().st_size for file in path.glob("vectors*.f32"))
    # What a search reads: a derived file beside the matrix, and the names.
    others = sum(file.stat().st_size for file in path.iterdir() if file.suffix != ".f32" and file.name != INDEX_FILE)
    kind = f"index {'flat' if header.derived is None else header.derived.kind}"
    row = BenchRow(name=short_name(model), kind=kind, size_bytes=matrix + others)
    return BenchModel(row=row, model=model, imports=("mobileclip_kit.index.folder",), is_index=True)


def _describe_export(export: Export, model: str) -> BenchModel:
    measure = _MEASURES.get(export.format, _measure_notes)
    measured = {name: measure(export.tower_path(name), tower.notes) for name, tower in export.towers.items()}
    macs: dict[str, int] = {tower: count for tower, (_, count) in measured.items() if count is not None}
    row = BenchRow(
        name=short_name(model),
        kind=f"{export.format} {export.precision}",
        size_bytes=sum(tower.size_bytes for tower in export.towers.values()),
        parameters=sum(parameters for parameters, _ in measured.values()),
        multiply_accumulates=macs if len(macs) == len(measured) else None,
        model_hash=export.spec.model_hash,
    )
    runtimes = (name.partition(":")[0] for name in FORMATS[export.format].runtimes)
    return BenchModel(row=row, model=model, imports=("mobileclip_kit.runtime.open", *runtimes))


def _safetensors_parameters(path: Path, *, image_only: bool) -> int:
    """Weights counted from the file's header alone."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(length))
        return sum(
            math.prod(entry["shape"])
            for name, entry in header.items()
            if name != "__metadata__" and not name.endswith(_BUFFERS) and (tower_of(name) == "image" or not image_only)
        )
    except (struct.error, ValueError, OverflowError, MemoryError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}.", hint="The file is damaged; make the model again."
        ) from error


def _measure_onnx(path: Path, notes: Mapping[str, Any]) -> tuple[int, int | None]:
    """Stored weights, without the scales and zero points of a quantised model; and multiply-accumulates."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError, ValueError) as error:
        raise ExportError(f"{path} is not a readable ONNX model: {error}.", hint="Export the model again.") from error
    graph = model.graph
    quantization = {
        name for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear") for name in node.input[1:]
    }
    weights = sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.name not in quantization)
    return weights, count_onnx(model)


def _measure_program(path: Path, notes: Mapping[str, Any]) -> tuple[int, int | None]:
    """Stored weights of a Core ML program: its floating-point constants, decompressed; and multiply-accumulates."""
    from mobileclip_kit.mil.program import read_program

    total, program = 0, read_program(path)
    for operation in program.main.operations:
        if operation.type == "const" or operation.type.startswith("constexpr_"):
            for output in operation.outputs:
                if output.dtype in ("fp16", "fp32"):
                    total += int(np.prod([size or 1 for size in output.shape]))
    return total, count_program(program)


def _measure_notes(path: Path, notes: Mapping[str, Any]) -> tuple[int, int | None]:
    """What the exporter counted in the network: these files' readers are not needed to describe them."""
    return int(notes.get("parameters", 0)), notes.get("multiply_accumulates")


_MEASURES = {"onnx": _measure_onnx, "coreml": _measure_program}
