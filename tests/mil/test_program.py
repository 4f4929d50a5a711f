"""Reading packages: what is found, and what is refused with a name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileclip_kit.errors import ExportError
from mobileclip_kit.mil.graph import Image, Ref
from mobileclip_kit.mil.program import read_program

WEIGHT = np.random.default_rng(0).normal(size=(16, 3, 4, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def package(ct: Any, build: Any, save: Any) -> Path:
    """A convolution on an 8 × 12 image in BGR, with metadata."""
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 12))], opset_version=ct.target.iOS16)
    def program(image):
        return mb.conv(x=image, weight=WEIGHT, strides=[4, 4], name="patches")

    image_type = ct.ImageType(name="image", shape=(1, 3, 8, 12), scale=1 / 255, color_layout=ct.colorlayout.BGR)
    model = build(program, inputs=[image_type])
    model.author, model.license = "A. Nother", "MIT"
    model.user_defined_metadata["model_hash"] = "abc"
    return save(model)


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "copy.mlpackage"))


def _model_file(package: Path) -> Path:
    return next(package.rglob("model.mlmodel"))


def _edit(package: Path, change: Callable[[Any], None]) -> None:
    """Change the protobuf with coremltools' own classes."""
    from coremltools.proto import Model_pb2

    message = Model_pb2.Model()
    message.ParseFromString(_model_file(package).read_bytes())
    change(message)
    _model_file(package).write_bytes(message.SerializeToString())


def test_program_says_what_an_app_sees(package: Path) -> None:
    program = read_program(package)
    assert [(f.name, f.image) for f in program.inputs] == [("image", Image(height=8, width=12, color="BGR"))]
    assert [f.name for f in program.outputs] == ["patches"]
    assert program.specification_version == 7
    assert {key: program.metadata[key] for key in ("author", "license", "model_hash")} == {
        "author": "A. Nother",
        "license": "MIT",
        "model_hash": "abc",
    }


def test_operators_come_with_their_weights_and_names(package: Path) -> None:
    main = read_program(package).main
    assert main.operator_set == "CoreML6" and main.outputs == ("patches",)
    conv = next(operation for operation in main.operations if operation.type == "conv")
    assert conv.outputs[0].shape == (1, 16, 2, 3) and conv.outputs[0].dtype == "fp32"
    assert isinstance(conv.inputs["weight"], Ref)
    weight = next(operation for operation in main.operations if operation.name == conv.inputs["weight"].name)
    np.testing.assert_array_equal(weight.attributes["val"], WEIGHT)


def test_scale_of_the_image_is_an_operator_of_the_program(package: Path) -> None:
    """So a reader needs nothing but the pixels and the colour order."""
    types = [operation.type for operation in read_program(package).main.operations]
    assert types.index("mul") < types.index("conv")


def test_reading_imports_neither_torch_nor_coremltools(package: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from mobileclip_kit.mil.program import read_program;"
        f"read_program(Path({str(package)!r})); print(sorted({{'torch', 'coremltools'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.mlpackage").mkdir()
    (tmp_path / "file.mlpackage").write_bytes(b"not a package")
    for path in (tmp_path / "missing.mlpackage", tmp_path / "folder.mlpackage", tmp_path / "file.mlpackage"):
        with pytest.raises(ExportError, match=f"{path.name} is not a Core ML model package"):
            read_program(path)


def test_manifest_without_a_model_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "Manifest.json").read_text())
    (copy / "Manifest.json").write_text(json.dumps(manifest | {"rootModelIdentifier": "gone"}))
    with pytest.raises(ExportError, match=r"Manifest\.json does not name a model"):
        read_program(copy)


def test_manifest_that_points_outside_is_refused(copy: Path) -> None:
    outside = copy.parent / "outside.mlmodel"
    shutil.copyfile(_model_file(copy), outside)
    manifest = json.loads((copy / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../outside.mlmodel"
    (copy / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ExportError, match="does not hold"):
        read_program(copy)


def test_corrupted_protobuf_is_refused(copy: Path) -> None:
    _model_file(copy).write_bytes(_model_file(copy).read_bytes()[:-40] + b"\xff" * 40)
    with pytest.raises(ExportError, match=r"model\.mlmodel is not a readable Core ML model"):
        read_program(copy)


def test_empty_model_file_is_refused(copy: Path) -> None:
    _model_file(copy).write_bytes(b"")
    with pytest.raises(ExportError, match="a model of the kind none"):
        read_program(copy)


def test_neural_network_is_refused(copy: Path) -> None:
    _edit(copy, lambda message: message.neuralNetwork.layers.add())
    with pytest.raises(ExportError, match="the kind neuralNetwork, not an ML Program"):
        read_program(copy)


def test_newer_operator_set_is_refused(copy: Path) -> None:
    def change(message: Any) -> None:
        main = message.mlProgram.functions["main"]
        main.block_specializations["CoreML99"].CopyFrom(main.block_specializations[main.opset])
        main.opset = "CoreML99"

    _edit(copy, change)
    with pytest.raises(ExportError, match=r"operator set 'CoreML99'; this mckit reads up to CoreML9"):
        read_program(copy)


def test_unknown_element_type_is_refused(copy: Path) -> None:
    def change(message: Any) -> None:
        block = message.mlProgram.functions["main"].block_specializations["CoreML6"]
        block.operations[-1].outputs[0].type.tensorType.dataType = 41

    _edit(copy, change)
    with pytest.raises(ExportError, match="element type 41"):
        read_program(copy)


def test_missing_weights_are_refused(copy: Path) -> None:
    next(copy.rglob("weight.bin")).unlink()
    with pytest.raises(ExportError, match=r"weight\.bin cannot be read: No such file"):
        read_program(copy)


@pytest.mark.parametrize("kept", [0, 3, 100, 200, -4])
def test_short_weights_are_refused(copy: Path, kept: int) -> None:
    """Cut off in the header, in a record, in the data."""
    weights = next(copy.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ExportError, match=r"weight\.bin ends at byte"):
        read_program(copy)


def test_damaged_weight_record_is_refused(copy: Path) -> None:
    weights = next(copy.rglob("weight.bin"))
    data = weights.read_bytes()
    weights.write_bytes(data[:64] + b"\0" * 4 + data[68:])
    with pytest.raises(ExportError, match="no weight record at byte 64"):
        read_program(copy)


def test_weights_of_another_type_are_refused(copy: Path) -> None:
    weights = next(copy.rglob("weight.bin"))
    data = weights.read_bytes()
    weights.write_bytes(data[:68] + (4).to_bytes(4, "little") + data[72:])
    with pytest.raises(ExportError, match="stores type 4 at byte 64, but the program expects fp32"):
        read_program(copy)


def test_another_storage_version_is_refused(copy: Path) -> None:
    weights = next(copy.rglob("weight.bin"))
    data = weights.read_bytes()
    weights.write_bytes(data[:4] + (3).to_bytes(4, "little") + data[8:])
    with pytest.raises(ExportError, match="storage version 3"):
        read_program(copy)


def test_weights_outside_the_package_are_refused(copy: Path) -> None:
    def change(message: Any) -> None:
        for operation in message.mlProgram.functions["main"].block_specializations["CoreML6"].operations:
            if operation.type == "const" and operation.attributes["val"].WhichOneof("value") == "blobFileValue":
                operation.attributes["val"].blobFileValue.fileName = "@model_path/../../../../etc/passwd"

    _edit(copy, change)
    with pytest.raises(ExportError, match="outside its package"):
        read_program(copy)


def test_value_with_too_few_elements_is_refused(copy: Path) -> None:
    def change(message: Any) -> None:
        for operation in message.mlProgram.functions["main"].block_specializations["CoreML6"].operations:
            value = operation.attributes["val"] if operation.type == "const" else None
            if value is not None and value.immediateValue.tensor.ints.values:
                value.immediateValue.tensor.ints.values.pop()

    _edit(copy, change)
    with pytest.raises(ExportError, match="elements for the shape"):
        read_program(copy)


def test_values_that_are_none_are_refused(copy: Path) -> None:
    """A text without an element, a file name that no file can have, a constant that lost its value."""
    good = _model_file(copy).read_bytes()

    def blank(message: Any) -> None:
        for operation in message.mlProgram.functions["main"].block_specializations["CoreML6"].operations:
            value = operation.attributes["val"].immediateValue.tensor if operation.type == "const" else None
            if value is not None and value.strings.values:
                del value.strings.values[:]

    def odd(message: Any) -> None:
        for operation in message.mlProgram.functions["main"].block_specializations["CoreML6"].operations:
            if operation.type == "const" and operation.attributes["val"].WhichOneof("value") == "blobFileValue":
                operation.attributes["val"].blobFileValue.fileName = "@model_path/weights\0.bin"

    for change in (blank, odd):
        _model_file(copy).write_bytes(good)
        _edit(copy, change)
        with pytest.raises(ExportError, match=r"holds a value that cannot be read"):
            read_program(copy)
