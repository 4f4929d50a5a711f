"""What is measured: a model folder, an export, an index, an open_clip name, or a student's bare architecture."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.bench.operations import count_onnx, count_program
from mobileclip_kit.errors import ExportError, MckitError, ModelError
from mobileclip_kit.exporting.folder import Export, is_export, open_export
from mobileclip_kit.index.folder import INDEX_FILE, IndexHeader, is_index
from mobileclip_kit.resources import preset_names, tower_config
from mobileclip_kit.spec import MODEL_FILE, WEIGHTS_FILE, ImageSpec, read_spec

# Imported by a worker before its clock starts to run for the model itself.
_TORCH = ("mobileclip_kit.runtime.open", "mobileclip_kit.networks.model", "mobileclip_kit.runtime.torch")
_RUNTIMES = {
    "onnx": ("mobileclip_kit.runtime.open", "mobileclip_kit.runtime.onnx"),
    "coreml": ("mobileclip_kit.runtime.open", "mobileclip_kit.runtime.coreml", "mobileclip_kit.runtime.mil"),
}
_EMBEDDING_DIM = 512
_RANDOM = "torch fp32, random weights"
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "logit_scale", "logit_bias")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row of the bench before anything is measured.

    Attributes:
        name: Unique in the table.
        model: What a worker opens.
        kind: ``torch fp32``, ``onnx int8``, …
        size_bytes: Of the weights on disk, both towers; None for a model that is known by name only.
        parameters: Stored weights of both towers; None when they cannot be counted.
        multiply_accumulates: Of one input of each tower, where the file tells; None where a runtime may count them.
        model_hash: Whose export it is; empty when unknown.
        imports: Modules that a worker imports first.
        failure: Why it cannot even be described.
        is_index: Whether it is asked queries in place of images and texts.
    """

    name: str
    model: str
    kind: str
    size_bytes: int | None = None
    parameters: int | None = None
    model_hash: str = ""
    imports: tuple[str, ...] = ()
    failure: str | None = None
    multiply_accumulates: Mapping[str, int] | None = None
    is_index: bool = False


def describe_candidates(models: Iterable[str]) -> list[Candidate]:
    """Describe each, with names that are unique even when a model is named twice.

    A damaged model becomes a candidate with a ``failure``; its row says so.
    """
    candidates: list[Candidate] = []
    for model in models:
        try:
            candidate = _describe(model)
        except MckitError as error:
            candidate = Candidate(name=_short(model), model=model, kind="unknown", failure=str(error))
        taken = {other.name for other in candidates}
        name = next(name for name in _names(candidate.name) if name not in taken)
        candidates.append(replace(candidate, name=name))
    return candidates


def random_students(names: Sequence[str], folder: Path) -> list[Candidate]:
    """Students with random weights, written as model folders: their speed and size are real, their vectors are not.

    Args:
        names: Students: presets' names, or JSON files.
        folder: Where the model folders go; the caller removes it.
    """
    from mobileclip_kit.networks.model import describe, save_model
    from mobileclip_kit.networks.students import build_student, student_config

    candidates = []
    for name in names:
        try:
            config = student_config(name, embedding_dim=_EMBEDDING_DIM, image=ImageSpec())
            network = build_student(config, seed=0)
        except ModelError as error:
            candidates.append(Candidate(name=name, model=name, kind=_RANDOM, failure=str(error)))
            continue
        (folder / name).mkdir()
        save_model(folder / name, network, config, describe(name, network, config))
        candidates.append(replace(_describe(str(folder / name)), name=name, kind=_RANDOM))
    return candidates


def phone_students() -> list[str]:
    """The students that take images of 224 pixels: those meant for photos."""
    side = ImageSpec().height
    return [name for name in preset_names("student") if tower_config("student", name)["image_size"] == side]


def _describe(model: str) -> Candidate:
    path = Path(model)
    if is_export(path):
        return _describe_export(open_export(path), model)
    if is_index(path):
        return _describe_index(path, model)
    if (path / WEIGHTS_FILE).is_file():
        towers = read_spec(path).towers if (path / MODEL_FILE).is_file() else ("image", "text")
        weights = path / WEIGHTS_FILE
        return Candidate(
            name=_short(model),
            model=model,
            kind="torch fp32",
            size_bytes=weights.stat().st_size,
            parameters=_safetensors_parameters(weights, image_only="text" not in towers),
            model_hash=read_spec(path).model_hash if (path / MODEL_FILE).is_file() else "",
            imports=_TORCH,
        )
    return Candidate(name=_short(model), model=model, kind="torch fp32", imports=_TORCH)


def _describe_index(path: Path, model: str) -> Candidate:
    header = IndexHeader.read(path)
    matrix = sum(file.stat().st_size for file in path.glob("vectors*.f32"))
    # What a search reads: a derived file beside the matrix, and the names.
    others = sum(file.stat().st_size for file in path.iterdir() if file.suffix != ".f32" and file.name != INDEX_FILE)
    return Candidate(
        name=_short(model),
        model=model,
        kind=f"index {'flat' if header.derived is None else header.derived.kind}",
        size_bytes=matrix + others,
        imports=("mobileclip_kit.index.folder",),
        is_index=True,
    )


def _describe_export(export: Export, model: str) -> Candidate:
    measure = _measure_onnx if export.format == "onnx" else _measure_program
    measured = {tower: measure(export.tower_path(tower)) for tower in export.towers}
    operations: dict[str, int] = {tower: count for tower, (_, count) in measured.items() if count is not None}
    return Candidate(
        name=_short(model),
        model=model,
        kind=f"{export.format} {export.precision}",
        size_bytes=sum(tower.size_bytes for tower in export.towers.values()),
        parameters=sum(parameters for parameters, _ in measured.values()),
        multiply_accumulates=operations if len(operations) == len(measured) else None,
        model_hash=export.spec.model_hash,
        imports=_RUNTIMES[export.format],
    )


def _short(model: str) -> str:
    """A folder's own name: reports travel, and other people's folders mean nothing there."""
    path = Path(model)
    return path.resolve().name if path.exists() else model


def _names(name: str) -> Iterable[str]:
    yield name
    yield from (f"{name} ({number})" for number in range(2, 1000))


def _safetensors_parameters(path: Path, *, image_only: bool) -> int:
    """Weights counted from the file's header alone."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(length))
        return sum(
            math.prod(entry["shape"])
            for name, entry in header.items()
            if name != "__metadata__" and not name.endswith(_BUFFERS) and (name.startswith("visual.") or not image_only)
        )
    except (struct.error, ValueError, OverflowError, MemoryError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}.", hint="The file is damaged; make the model again."
        ) from error


def _measure_onnx(path: Path) -> tuple[int, int | None]:
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


def _measure_program(path: Path) -> tuple[int, int | None]:
    """Stored weights of a Core ML program: its floating-point constants, decompressed; and multiply-accumulates."""
    from mobileclip_kit.mil.program import read_program

    total, program = 0, read_program(path)
    for operation in program.main.operations:
        if operation.type == "const" or operation.type.startswith("constexpr_"):
            for output in operation.outputs:
                if output.dtype in ("fp16", "fp32"):
                    total += int(np.prod([size or 1 for size in output.shape]))
    return total, count_program(program)
