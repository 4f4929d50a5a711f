"""The public API: its names, its examples, and its pages."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobileclip_kit as mckit
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.index.kinds import KINDS
from mobileclip_kit.progress import Progress
from mobileclip_kit.runtime.onnx import OnnxEncoder
from tests.exports import WORDS
from tests.indexing.fakes import ColourEncoder, draw, draw_many

DOCS = Path(__file__).parent.parent / "docs"
FUNCTIONS = ["build_index", "distill", "export", "load", "open_index", "train", "verify"]
CLASSES = [
    "DuplicateGroup",
    "Encoder",
    "Export",
    "Hit",
    "Index",
    "IndexReport",
    "Progress",
    "TagReport",
    "TrainingReport",
    "Verification",
]
ERRORS = [
    "CacheError", "ClusterError", "DataError", "ExportError", "ImageError", "IndexFormatError", "MckitError",
    "MissingExtraError", "ModelError", "ModelMismatchError", "OutputError", "ParityError", "ShapeError",
    "TrainingError", "UnsupportedOpError", "UsageError",
]  # fmt: skip
EXAMPLES = [*FUNCTIONS, "Encoder", "Encoder.encode_images", "Encoder.encode_texts", "Index", "Index.search"]
TOWER = {"layers": 1, "width": 32}


def test_the_names_are_these() -> None:
    assert mckit.__all__ == sorted([*FUNCTIONS, *CLASSES, *ERRORS])
    assert sorted(name for name in dir(mckit) if not name.startswith("__")) == mckit.__all__
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
    with pytest.raises(mckit.UsageError, match="has no option 'porgress'. Did you mean progress"):
        mckit.build_index(tmp_path, "model", tmp_path / "i", porgress=False)
    with pytest.raises(mckit.UsageError, match="mobileclip_kit.distill has no option 'step'. Did you mean steps"):
        mckit.distill(data=tmp_path, out=tmp_path / "s", step=3)
    with pytest.raises(mckit.UsageError, match="writes one precision"):
        mckit.export("model", compare=True)


BUILD = "mobileclip_kit.build_index: "


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mckit.load(None), "mobileclip_kit.load: model is None; it must be a path or a name."),
        (lambda: mckit.load("m", threads=0), "mobileclip_kit.load: threads is 0; it must be at least 1."),
        (lambda: mckit.open_index(3), "mobileclip_kit.open_index: path is 3; it must be a path."),
        (lambda: build(batch_size="8"), f"{BUILD}batch_size is '8'; it must be a whole number."),
        (lambda: build(batch_size=0), f"{BUILD}batch_size is 0; it must be at least 1."),
        (lambda: build(kind="tree"), f"{BUILD}kind is 'tree'; it must be {' or '.join(map(repr, KINDS))}."),
        (lambda: build(progress="no"), f"{BUILD}progress is 'no'; it must be True or False or a function."),
        (lambda: build(model=None), f"{BUILD}model is None; it must be a path or a name or an Encoder."),
        (lambda: mckit.distill(data="d", out="o", steps="5"),
         "mobileclip_kit.distill: steps is '5'; it must be a whole number."),
        (lambda: mckit.distill(data="d", out="o", student="vit-s6-h12"),
         "Give either teacher or cache: vectors come from one of them."),
        (lambda: mckit.train(data="d", out="o", lr=True), "mobileclip_kit.train: lr is True; it must be a number."),
        (lambda: mckit.export("m", threshold=2),
         "mobileclip_kit.export: threshold is 2; it must be at least -1 and at most 1."),
        (lambda: mckit.export("m", min_cosine=float("nan")),
         "mobileclip_kit.export: min_cosine is nan; it must be at least -1 and at most 1."),
        (lambda: mckit.export("m", min_cosine=0.5, threshold=0.6),
         "mobileclip_kit.export: min_cosine and threshold are the same option. Pass one of them."),
        (lambda: mckit.export("m", palettize=6),
         'mobileclip_kit.export has no option \'palettize\'. Pass precision="palette8" or precision="palette6" or '
         'precision="palette4".'),
        (lambda: mckit.export(ColourEncoder()),
         "mobileclip_kit.export: model is a ColourEncoder; it must be a path or a name."),
        (lambda: mckit.export(OnnxEncoder.__new__(OnnxEncoder)),
         "mobileclip_kit.export: model is an OnnxEncoder; it must be a path or a name."),
        (lambda: mckit.export("m", format=None),
         "mobileclip_kit.export: format is None; it must be 'onnx' or 'coreml' or 'coreai' or 'litert'."),
        (lambda: mckit.export("m", format="coreai", max_recall_drop=0.1),
         "max_recall_drop decides what has more bits than the rest; in coreai fp16 nothing has. "
         "Choose a precision of integers or palettes."),
        (lambda: mckit.verify("e", against="m", threshold=0.5, min_cosine=0.5),
         "mobileclip_kit.verify: threshold and min_cosine are the same option. Pass one of them."),
        (lambda: mckit.verify("e", against="m", min_cosine=2),
         "mobileclip_kit.verify: threshold is 2; it must be at least -1 and at most 1."),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_one_sentence_and_nothing_is_made(
    call: Callable[[], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mckit.UsageError) as refused:
        call()
    assert str(refused.value) == said
    assert not list(tmp_path.iterdir())


def build(model: Any = "", **options: Any) -> mckit.Index:
    return mckit.build_index("photos", ColourEncoder() if model == "" else model, "i", **options)


def test_wrong_and_single_arguments_of_a_query(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    index = mckit.build_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", progress=False)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"query": ["red", "blue"]}, r"search: query is \['red', 'blue'\]; it must be a text"),
        ({"query": "red", "k": "3"}, "search: k is '3'; it must be a whole number"),
        ({"query": "red", "k": 0}, "search: k is 0; it must be at least 1"),
        ({"query": "red", "textness": "0.4"}, "search: textness is '0.4'; it must be a number"),
        ({"query": "red", "textness": 0.4}, "^textness needs a textness vector.* pass it with textness_vector"),
        ({"like": 5}, "search: like is 5; it must be a text or a list"),
        ({"like": [5]}, r"search: like\[0\] is 5; it must be a text"),
        ({"query": "red", "since": 5}, "search: since is 5; it must be a date or a text"),
    ]
    for given, said in wrong:
        with pytest.raises(mckit.UsageError, match=said):
            index.search(**given)
    for texts in (5, None, b"red", np.array("red")):
        with pytest.raises(mckit.UsageError, match="encode_texts: texts is"):
            super(ColourEncoder, index.encoder).encode_texts(texts)  # type: ignore[arg-type, misc]
    with pytest.raises(mckit.UsageError, match="update: batch_size is '3'"):
        index.update(batch_size="3")
    assert len(index.encode("a red dog", templates="a photo of {}")) == 1
    assert index.search("red", templates="a photo of {}") == index.search("red", templates=["a photo of {}"])
    index.close()
    index.close()
    with pytest.raises(mckit.UsageError, match="is closed. Open it again with mobileclip_kit.open_index"):
        index.search("red")


def test_vectors_and_items_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    index = mckit.build_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", progress=False)
    vectors = index.encode(["red", "blue"])
    assert index.search_vectors(vectors.tolist()) == index.search_vectors(vectors)  # type: ignore[arg-type]
    for wrong in (None, "red", vectors[0], vectors * np.nan, [["red"]]):
        with pytest.raises(mckit.ShapeError, match="Query vectors must be rows of"):
            index.search_vectors(wrong)  # type: ignore[arg-type]
    assert 3 not in index and None not in index


@pytest.mark.parametrize("form", [str, Path, Image.open, lambda path: (each for each in [path])])
def test_a_single_image_of_any_form_is_a_query(form: Callable[[Path], Any], tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    with mckit.build_index(tmp_path / "photos", ColourEncoder(), tmp_path / "i", progress=False) as index:
        query = index.encode(images=form(tmp_path / "photos" / "0001.png"))
        assert [hit.item for hit in index.search_vectors(query, k=1)[0]] == ["0001.png"]


def test_what_is_no_image_is_said_to_be_none(example: dict[str, Any]) -> None:
    encoder = mckit.load(example["model"])
    closed = Image.open(example["photo"])
    closed.close()
    wrong: list[tuple[Any, type[mckit.MckitError], str]] = [
        (3, mckit.ShapeError, "not an int"),
        (example["photo"].open("rb"), mckit.ShapeError, "not a BufferedReader"),
        (Image.new("RGB", (0, 5)), mckit.ImageError, "The image has no pixels: 0×5"),
        (closed, mckit.ImageError, "0000.png is closed"),
    ]
    for given, kind, said in wrong:
        with pytest.raises(kind, match=said):
            encoder.encode_images(given)
    wrong[1][0].close()
    assert encoder.encode_ids([[0] * 12]).shape == (1, 16)  # type: ignore[arg-type]


def test_an_output_is_never_what_the_function_reads(tiny_model_folder: Path, tmp_path: Path) -> None:
    """``force=True`` with the model as the output must not replace the model by its export or its student."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    draw_many(tmp_path / "photos", 3)
    with pytest.raises(mckit.OutputError, match="is a model folder, so force=True does not replace it"):
        mckit.export(model, model, force=True)
    with pytest.raises(mckit.OutputError, match="is the teacher"):
        mckit.distill(data=tmp_path / "photos", teacher=model, student="vit-s6-h12", out=model, force=True)
    assert sorted(each.name for each in model.iterdir()) == sorted(each.name for each in tiny_model_folder.iterdir())


def test_errors_name_options_as_python_does_and_the_command_line_as_its_own() -> None:
    error = mckit.OutputError("o exists.", hint="Choose another -o or add --force; see `mckit export --force`.")
    assert str(error) == "o exists. Choose another out or add force=True; see `mckit export --force`."
    assert error.hint == "Choose another -o or add --force; see `mckit export --force`."
    error = mckit.UsageError("Add --format onnx --int8, --trim-vocab, --max-recall-drop or --model M, not -people.")
    assert str(error) == (
        "Add format='onnx' precision=\"int8\", trim_vocab=True, max_recall_drop or model=M, not -people."
    )


def test_an_error_of_a_function_names_options_as_python_does(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    draw_many(tmp_path / "photos", 3)
    with pytest.raises(mckit.OutputError) as refused:
        mckit.distill(data=tmp_path / "photos", teacher="ViT-B-32", student="vit-s6-h12", out=tmp_path / "o")
    assert refused.value.hint == "Choose another name, or add force=True to replace it."
    with pytest.raises(mckit.UsageError) as contradicting:
        mckit.distill(data=tmp_path / "photos", student="vit-s6-h12", out=tmp_path / "s")
    assert contradicting.value.message == "Give either teacher or cache: vectors come from one of them."


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
    seen: list[int] = []
    assert (index.update(progress=lambda progress: seen.append(progress.done)).added, len(index)) == (1, 4)
    assert seen[-1] == 1
    with pytest.raises(mckit.UsageError, match="update: images is 3; it must be a path"):
        index.update(3)  # type: ignore[arg-type]
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
