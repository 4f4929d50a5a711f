"""``mckit index`` and ``mckit search`` with a real ONNX export, in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobileclip_kit.exporting.folder import Export, ExportedTower
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec
from tests.indexing.fakes import COLOURS, draw

SIDE, DIM, CONTEXT, VOCABULARY = 16, 3, 77, 49408

RUN = """
import sys
from mobileclip_kit.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "open_clip", "timm", "coremltools", "matplotlib", "scipy", "onnx"} & set(sys.modules)
    print("imported", sorted(heavy), file=sys.stderr)
"""


def write_tower(
    path: Path, nodes: list[onnx.NodeProto], given: onnx.ValueInfoProto, *constants: onnx.TensorProto
) -> None:
    """A graph whose last value ``sum`` is scaled to length 1."""
    unit = helper.make_node("LpNormalization", ["sum"], ["embedding"], axis=1, p=2)
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", DIM])
    graph = helper.make_graph([*nodes, unit], "tower", [given], [result], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images become their mean colour; a text becomes the sum of its tokens' rows, which name red, green and blue."""
    folder = tmp_path_factory.mktemp("export")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    mean = helper.make_node("ReduceMean", ["image"], ["sum"], axes=[2, 3], keepdims=0)
    write_tower(folder / "image.onnx", [mean], image)

    from mobileclip_kit.tokenizer import load_tokenizer

    table = np.full((VOCABULARY, DIM), 1e-4, np.float32)
    tokenizer = load_tokenizer(TextSpec(), None)
    for axis, word in enumerate(COLOURS):
        table[tokenizer([word])[0, 1], axis] = 1
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", CONTEXT])
    rows = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axes"], ["sum"], keepdims=0),
    ]
    constants = numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")
    write_tower(folder / "text.onnx", rows, ids, *constants)
    spec = ModelSpec(
        name="colours",
        embedding_dim=DIM,
        image=ImageSpec(height=SIDE, width=SIDE),
        text=TextSpec(context_length=CONTEXT, vocab_size=VOCABULARY),
        model_hash="ab" * 32,
    )
    towers = {tower: ExportedTower.from_file(tower, folder / f"{tower}.onnx") for tower in ("image", "text")}
    Export(path=folder, spec=spec, format="onnx", precision="fp32", towers=towers).write()
    return folder


def run(*arguments: str | Path, folder: Path) -> tuple[dict[str, object], str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return json.loads(done.stdout), done.stderr


def test_an_onnx_export_is_indexed_and_searched_without_torch(export: Path, tmp_path: Path) -> None:
    for name, colour in COLOURS.items():
        draw(tmp_path / "photos" / f"{name}.png", colour, size=40)
    (tmp_path / "export").symlink_to(export)
    document, stderr = run("index", "photos", "--model", "export", "-o", "index", folder=tmp_path)
    assert document["items"] == 3
    assert "imported []" in stderr

    (tmp_path / "elsewhere").mkdir()
    asked = ["search", tmp_path / "index", "something green", "x" * 10_000, "-k", "1"]
    document, stderr = run(*asked, folder=tmp_path / "elsewhere")
    assert document["results"][0]["hits"][0]["item"] == "green.png"  # type: ignore[index]
    assert "imported []" in stderr

    document, stderr = run("search", "index", "--image", "photos/blue.png", "-k", "1", folder=tmp_path)
    assert document["results"][0]["hits"][0]["item"] == "blue.png"  # type: ignore[index]
    assert "imported []" in stderr
