"""The public API: its names, its examples, and its pages."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import json
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobileclip_kit as mckit
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.progress import Progress
from tests.exports import WORDS
from tests.indexing.fakes import ColourEncoder, draw, draw_many

DOCS = Path(__file__).parent.parent / "docs"
FUNCTIONS = ["build_index", "distill", "export", "load", "open_index", "train", "verify"]
CLASSES = ["Encoder", "Export", "Hit", "Index", "IndexReport", "Progress", "TrainingReport", "Verification"]
ERRORS = [
    "CacheError", "DataError", "ExportError", "ImageError", "IndexFormatError", "MckitError", "MissingExtraError",
    "ModelError", "ModelMismatchError", "OutputError", "ParityError", "ShapeError", "TrainingError",
    "UnsupportedOpError", "UsageError",
]  # fmt: skip
EXAMPLES = [*FUNCTIONS, "Encoder", "Encoder.encode_images", "Encoder.encode_texts", "Index", "Index.search"]
TOWER = {"layers": 1, "width": 32}


def test_the_names_are_these() -> None:
    assert mckit.__all__ == sorted([*FUNCTIONS, *CLASSES, *ERRORS])
    assert set(mckit.__all__) <= set(dir(mckit))
    errors = importlib.import_module("mobileclip_kit.errors")
    assert ERRORS == sorted(name for name, kind in vars(errors).items() if inspect.isclass(kind))


@pytest.mark.parametrize("name", mckit.__all__)
def test_each_name_is_documented_and_typed(name: str) -> None:
    described = getattr(mckit, name)
    assert re.match(r"[A-Z].+\.$", (described.__doc__ or "").split("\n\n")[0].replace("\n", " "))
    if name in FUNCTIONS:
        signature = inspect.signature(described)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values())
        arguments = described.__doc__.split("Args:")[1].split("Returns:")[0]
        assert all(f"{each}: " in arguments for each in signature.parameters), "every argument is described"
        for section in ("Returns:", "Raises:", "Example:"):
            assert section in described.__doc__


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, mobileclip_kit as mckit; dir(mckit)\n"
        "heavy = {'torch', 'faiss', 'numpy', 'PIL', 'onnxruntime', 'open_clip', 'click', 'cattrs'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "import mobileclip_kit.exporting.folder, mobileclip_kit.distillation.recipe\n"
        "print(callable(mckit.export), callable(mckit.distill), sorted({'torch', 'faiss'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True True []"]


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        mckit.exprot  # noqa: B018


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, onnx_export: Export) -> dict[str, Any]:
    """The names that the examples use."""
    folder = tmp_path_factory.mktemp("example")
    draw_many(folder / "photos", 3)
    rows = [f"{path.name},{text}" for path, text in zip(sorted((folder / "photos").iterdir()), WORDS, strict=False)]
    (folder / "photos" / "captions.csv").write_text("\n".join(["image,caption", *rows]) + "\n")
    (folder / "student.json").write_text(json.dumps({"image_size": 32, "patch_size": 16, "head_width": 16} | TOWER))
    (folder / "text.json").write_text(json.dumps({"context_length": 12, "heads": 2} | TOWER))
    mckit.build_index(folder / "photos", onnx_export.path, folder / "index", progress=False).close()
    return {
        "mckit": mckit,
        "np": np,
        "photo": folder / "photos" / "0000.png",
        "captions": folder / "photos" / "captions.csv",
        "index": folder / "index",
        "model": onnx_export.path,
        "teacher": tiny_model_folder,
        "student": folder / "student.json",
        "text": folder / "text.json",
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name: str, example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    described: Any = mckit
    for part in name.split("."):
        described = getattr(described, part)
    parsed = doctest.DocTestParser().get_doctest(described.__doc__, dict(example), name, None, None)
    assert parsed.examples
    told: list[str] = []
    results = doctest.DocTestRunner().run(parsed, out=told.append)
    assert results.failed == 0, "".join(told)


def test_the_page_of_the_api_is_current() -> None:
    assert _docs_module("make_api").render_page() == (DOCS / "api.md").read_text(encoding="utf-8"), (
        "run python docs/make_api.py"
    )


def test_texts_and_paths_are_taken_alike(example: dict[str, Any], tmp_path: Path) -> None:
    index = mckit.build_index(
        str(example["photo"].parent), str(example["model"]), str(tmp_path / "index"), progress=False
    )
    assert index.report is not None and (index.report.items, len(index)) == (3, 3)
    assert "0000.png" in index and "9999.png" not in index and index.items == ["0000.png", "0001.png", "0002.png"]
    by_path, by_text = (index.search(image=form(example["photo"]), k=1) for form in (Path, str))
    assert by_path == by_text and by_path[0].item == "0000.png"
    assert by_path[0].path == example["photo"]
    with mckit.open_index(str(tmp_path / "index"), str(example["model"])) as again:
        assert again.search("a dog", image=example["photo"]) == index.search("a dog", image=example["photo"])


def test_an_unknown_option_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(mckit.UsageError, match="has no option 'bacth_size'. Did you mean batch_size"):
        mckit.build_index(tmp_path, "model", tmp_path / "i", bacth_size=3)
    with pytest.raises(mckit.UsageError, match="mobileclip_kit.distill has no option 'step'. Did you mean steps"):
        mckit.distill(data=tmp_path, out=tmp_path / "s", step=3)
    with pytest.raises(mckit.UsageError, match="writes one precision"):
        mckit.export("model", compare=True)


def test_one_encoder_for_each_core_is_the_librarys_policy(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 40)
    asked: list[int] = []

    class Counting(ColourEncoder):
        def in_parallel(self) -> Any:
            asked.append(1)
            return super().in_parallel()

    mckit.build_index(tmp_path / "photos", Counting(), tmp_path / "i", progress=False)
    assert asked == [1]


@pytest.mark.parametrize("kind", ["shown", "off", "callback"])
def test_progress_is_shown_switched_off_or_handed_over(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_many(tmp_path / "photos", 3)
    seen: list[tuple[str, int, int | None]] = []
    wanted: dict[str, bool | Callable[[Progress], None]] = {
        "shown": True,
        "off": False,
        "callback": lambda progress: seen.append((progress.label, progress.done, progress.total)),
    }
    mckit.build_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", progress=wanted[kind])
    assert ("index" in capsys.readouterr().err) == (kind == "shown")
    assert seen[-1:] == ([("index", 3, 3)] if kind == "callback" else [])


def test_an_index_brings_itself_up_to_date_and_stays_open(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    index = mckit.build_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", progress=False)
    draw(tmp_path / "photos" / "sub" / "red.png", (220, 20, 20))
    assert (index.update().added, len(index)) == (1, 4)
    assert index.search("red", k=1)[0].item == "sub/red.png"
    assert [hit.item for hit in index.search("red", folder="sub")] == ["sub/red.png"]
    assert index.search("red", until="2001-01-01") == []
    assert [hit.item for hit in index.search(like=["sub/red.png"], image=tmp_path / "photos" / "0001.png", k=1)] != []
    with pytest.raises(mckit.UsageError, match="There is no query"):
        index.search()
    with pytest.raises(mckit.UsageError, match="no day that can be searched for"):
        index.search("red", since="yesterday")
    with pytest.raises(mckit.DataError, match="Did you mean 'sub/red.png'"):
        index.search(like="red.png")


def test_a_bundle_is_a_model(coreml_export: Export, onnx_export: Export, tmp_path: Path) -> None:
    from mobileclip_kit.bundle import make_bundle

    make_bundle(tmp_path / "bundle", coreml_export.path)
    encoder = mckit.load(tmp_path / "bundle")
    assert encoder.model_path == str(tmp_path / "bundle")
    cosines = (encoder.encode_texts(WORDS) * mckit.load(onnx_export.path).encode_texts(WORDS)).sum(axis=1)
    assert cosines.min() > 0.999


def test_the_walk_through_the_library_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of docs/library.md, on generated scenes and with the bundled teacher."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert 15 <= sum(bool(line.strip()) for block in blocks for line in block.splitlines()) <= 20
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "library.md", "exec"), names)
    assert names["hits"][0].path.is_file()


def _docs_module(name: str) -> types.ModuleType:
    found = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
