"""Read a Core ML program (``.mlpackage``) into plain dataclasses, on any machine.

A package is a folder: ``Manifest.json`` names the model file, a protobuf whose ``mlProgram`` is a graph in static
single assignment form. An operator's inputs are names of earlier outputs or values written in place; large values lie
in ``weights/weight.bin``.

An image input reaches the program as float32 ``(1, channels, height, width)`` in 0…255 and in the colour order of its
description. Scale and bias of coremltools' ``ImageType`` are the program's own first operators, not part of the
description, so nothing else has to be known to feed it an image.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mobileclip_kit.errors import DataError, ExportError
from mobileclip_kit.extras import missing_extra
from mobileclip_kit.files import read_json
from mobileclip_kit.mil.graph import (
    Argument,
    Color,
    Constant,
    Feature,
    Function,
    Image,
    Operation,
    Program,
    Ref,
    Tensor,
)
from mobileclip_kit.mil.values import ELEMENT_TYPES, ElementType, WeightFile, decode

__all__ = ["Feature", "Function", "Image", "Operation", "Program", "Ref", "Tensor", "read_program"]

# Operator sets are named after the Core ML release that brought them: 5 is iOS 15 … 8 is iOS 18, 9 is iOS 26.
NEWEST_OPERATOR_SET = 9
_MODEL_ROOT = "@model_path/"
_COLORS: dict[int, Color] = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE"}


def read_program(path: Path) -> Program:
    """Read a package.

    Raises:
        ExportError: Not a model package, no ML Program, an operator set newer than this reader knows, a damaged file.
    """
    model_file = _model_file(path)
    model = _parse(model_file)
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        raise ExportError(
            f"{path} holds a model of the kind {kind or 'none'}, not an ML Program.",
            hint='Convert it with convert_to="mlprogram".',
        )
    values = _Values(model_file.parent)
    try:
        functions = {name: _function(proto, values, path) for name, proto in model.mlProgram.functions.items()}
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise ExportError(
            f"{model_file} holds a value that cannot be read: {error}.", hint="The file is damaged; export again."
        ) from error
    default = model.description.defaultFunctionName or "main"
    if default not in functions:
        raise ExportError(f"{model_file} has no function {default!r}.", hint="The file is damaged; export again.")
    face = next((f for f in model.description.functions if f.name == default), model.description)
    return Program(
        path=path,
        functions=functions,
        default_function=default,
        inputs=tuple(map(_feature, face.input)),
        outputs=tuple(map(_feature, face.output)),
        specification_version=model.specificationVersion,
        metadata=_metadata(model.description.metadata),
    )


def _model_file(path: Path) -> Path:
    if not path.is_dir() or not (path / "Manifest.json").is_file():
        raise ExportError(
            f"{path} is not a Core ML model package.", hint="Pass an .mlpackage folder, which holds a Manifest.json."
        )
    try:
        manifest = read_json(path / "Manifest.json")
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        model_file: Path = path / "Data" / entry["path"]
    except (DataError, KeyError, TypeError) as error:
        raise ExportError(f"{path / 'Manifest.json'} does not name a model: {error}.") from error
    if not model_file.resolve().is_relative_to(path.resolve()) or not model_file.is_file():
        raise ExportError(f"{path / 'Manifest.json'} names {entry['path']}, which the package does not hold.")
    return model_file


def _parse(model_file: Path) -> Any:
    from google.protobuf.message import DecodeError

    message = _protobuf("Model").Model()
    try:
        message.ParseFromString(model_file.read_bytes())
    except DecodeError as error:
        raise ExportError(
            f"{model_file} is not a readable Core ML model: {error}.", hint="The file is damaged; export again."
        ) from error
    return message


def _protobuf(name: str) -> ModuleType:
    """The protobuf classes of coremltools without the rest of it.

    Its ``__init__`` imports torch (seconds) and complains on stderr wherever Apple's frameworks are missing; the
    message classes need neither, so they are imported as a package of their own.
    """
    package = "mobileclip_kit.mil._coreml_proto"
    if package not in sys.modules:
        spec = importlib.util.find_spec("coremltools")
        if spec is None or not spec.submodule_search_locations:
            raise missing_extra("Reading a Core ML program", "export")
        proto = ModuleType(package)
        proto.__path__ = [str(Path(place) / "proto") for place in spec.submodule_search_locations]
        sys.modules[package] = proto
    return importlib.import_module(f"{package}.{name}_pb2")


def _function(proto: Any, values: _Values, path: Path) -> Function:
    number = proto.opset.removeprefix("CoreML")
    if not number.isdigit() or int(number) > NEWEST_OPERATOR_SET or proto.opset not in proto.block_specializations:
        raise ExportError(
            f"{path} uses the operator set {proto.opset!r}; this mckit reads up to CoreML{NEWEST_OPERATOR_SET}.",
            hint="Update mckit, or export for an older iOS.",
        )
    block = proto.block_specializations[proto.opset]
    return Function(
        inputs=tuple(map(_tensor, proto.inputs)),
        operations=tuple(_operation(operation, values) for operation in block.operations),
        outputs=tuple(block.outputs),
        operator_set=proto.opset,
    )


def _operation(proto: Any, values: _Values) -> Operation:
    inputs: dict[str, Argument] = {}
    for key, argument in proto.inputs.items():
        found = tuple(
            Ref(binding.name) if binding.WhichOneof("binding") == "name" else values.read(binding.value)
            for binding in argument.arguments
        )
        inputs[key] = found[0] if len(found) == 1 else found
    outputs = tuple(map(_tensor, proto.outputs))
    return Operation(
        type=proto.type,
        name=outputs[0].name if outputs else proto.type,
        inputs=inputs,
        outputs=outputs,
        attributes={key: values.read(value) for key, value in proto.attributes.items() if key != "name"},
        blocks=len(proto.blocks),
    )


def _tensor(proto: Any) -> Tensor:
    if proto.type.WhichOneof("type") != "tensorType":
        return Tensor(proto.name, proto.type.WhichOneof("type") or "", ())
    element, shape = _tensor_type(proto.type.tensorType)
    return Tensor(proto.name, element.name, shape)


def _tensor_type(proto: Any) -> tuple[ElementType, tuple[int | None, ...]]:
    if proto.dataType not in ELEMENT_TYPES:
        raise ExportError(f"The program uses the element type {proto.dataType}, which this mckit does not read.")
    shape = (d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in proto.dimensions)
    return ELEMENT_TYPES[proto.dataType], tuple(shape)


class _Values:
    """Turns protobuf values into arrays, strings and dictionaries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, WeightFile] = {}

    def read(self, proto: Any) -> Constant:
        kind = proto.type.WhichOneof("type")
        if kind == "dictionaryType":
            pairs = proto.immediateValue.dictionary.values
            return {str(self.read(pair.key)): self.read(pair.value) for pair in pairs}
        if kind == "listType":
            return np.array([self.read(value) for value in proto.immediateValue.list.values])
        element, shape = _tensor_type(proto.type.tensorType)
        if None in shape:
            raise ExportError(f"A stored value in {self._folder} has no fixed shape.")
        sizes = tuple(size for size in shape if size is not None)
        if proto.WhichOneof("value") == "blobFileValue":
            return self._file(proto.blobFileValue.fileName).read(proto.blobFileValue.offset, element, sizes)
        return _immediate(proto.immediateValue.tensor, element, sizes, str(self._folder))

    def _file(self, name: str) -> WeightFile:
        if name not in self._files:
            path = self._folder / name.removeprefix(_MODEL_ROOT)
            if not name.startswith(_MODEL_ROOT) or not path.resolve().is_relative_to(self._folder.resolve()):
                raise ExportError(f"A program in {self._folder} refers to the weights {name!r}, outside its package.")
            self._files[name] = WeightFile(path)
        return self._files[name]


def _immediate(proto: Any, element: ElementType, shape: tuple[int, ...], source: str) -> Constant:
    field = proto.WhichOneof("value")
    if field is None:
        raise ExportError(f"A value in {source} is empty.")
    stored = getattr(proto, field).values
    if field == "bytes":
        return decode(stored, element, shape, f"A value in {source}")
    if field == "strings" and not shape:
        return str(stored[0])
    array = np.array(stored, element.dtype)
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise ExportError(f"A value in {source} holds {array.size} elements for the shape {shape}.") from error


def _feature(proto: Any) -> Feature:
    image = None
    if proto.type.WhichOneof("Type") == "imageType":
        kind = proto.type.imageType
        image = Image(height=kind.height, width=kind.width, color=_COLORS.get(kind.colorSpace, "RGB"))
    return Feature(proto.name, proto.shortDescription, image)


def _metadata(proto: Any) -> dict[str, str]:
    return dict(_entries(proto, ("shortDescription", "versionString", "author", "license"))) | dict(proto.userDefined)


def _entries(proto: Any, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((name, getattr(proto, name)) for name in names if getattr(proto, name))
