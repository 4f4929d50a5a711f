"""The layers of docs/architecture.md, enforced by reading the imports of every module."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mobileclip_kit"

# Heavy library → the only places that may import it.
HOMES = {
    "open_clip": ["networks/"],
    "timm": ["networks/"],
    "coremltools": ["exporting/", "runtime/coreml.py"],
    "onnxruntime": ["runtime/onnx.py", "runtime/providers.py", "exporting/int8.py"],
    "faiss": ["index/"],
    "accelerate": ["distillation/"],
    "matplotlib": ["explain/"],
    "sklearn": ["explain/", "textness/fit.py"],
    "jinja2": ["reports/"],
    "click": ["cli/"],
    "starlette": ["web/"],
    "uvicorn": ["web/"],
}

# Packages and modules of one layer that may still import each other: (importer, imported), and why.
WITHIN_LAYER = {
    ("distillation", "cache"),  # training replays stored teacher vectors
    ("distillation", "inherit"),  # a student may start from its teacher's weights
    ("exporting", "runtime"),  # verification runs an export as its users will
    ("runtime", "exporting"),  # a runtime opens an export folder through its manifest
    ("bundle", "confidence"),  # a bundle carries the background of its index
    ("bundle", "textness"),  # a bundle carries the textness vector
    ("search", "confidence"),  # hits carry their confidence
    ("indexing", "confidence"),  # an index is written with its background
    ("search", "duplicates"),  # an open index lists its copies
    ("search", "bundle"),  # a bundle's model encodes queries
    ("search", "indexing"),  # an open index brings itself up to date
    ("search", "tagging"),  # an open index tags its images
    ("tagging", "confidence"),  # a tag is a certain hit
    ("search", "textness"),  # a query may carry the textness vector
    ("bench", "textness"),
    ("comparison", "bench"),  # latencies are measured by the bench
    ("__main__", "cli"),  # it is the command line
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def read_layers() -> dict[str, int]:
    """Package or module → layer, from the tree in docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page.split("\nmobileclip_kit/\n", 1)[1].split("```", 1)[0]
    found: dict[str, int] = {}
    layer = None
    for line in tree.splitlines():
        if heading := re.match(r" layer (\d+)", line):
            layer = int(heading[1])
        else:
            entry = re.match(r"  (\w+)(\.py|/) +\S", line)
            assert entry is not None and layer is not None, f"not a layer and not an entry: {line!r}"
            assert entry[1] not in found, f"{entry[1]} is listed twice"
            found[entry[1]] = layer
    return found


LAYERS = read_layers()


def unit_of(module: str) -> str:
    """``mobileclip_kit.exporting.onnx`` → ``exporting``; the public API is ``__init__``."""
    name = module.split(".")[1] if "." in module else "__init__"
    return name if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() else "__init__"


def unit_of_file(path: Path) -> str:
    """The package or module directly below mobileclip_kit that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports_of(path: Path) -> set[str]:
    """Every module name that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "mobileclip_kit":
                names.update(f"mobileclip_kit.{alias.name}" for alias in node.names if alias.name != "__version__")
            else:
                names.add(node.module)
    return names


def units_imported_by(path: Path) -> set[str]:
    """The packages and modules of mobileclip_kit that a file imports."""
    return {unit_of(name) for name in imports_of(path) if name.split(".")[0] == "mobileclip_kit"}


def test_the_tree_of_the_page_is_that_of_the_package() -> None:
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(LAYERS) == there - {"__init__", "__pycache__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    unit = unit_of_file(path)
    if unit == "__init__":  # the public API imports lazily, see tests/test_api.py
        return
    for other in units_imported_by(path) - {unit}:
        if other == "__init__":
            assert unit == "cli", f"{path.name} ({unit}) may not import the public API"
        elif (unit, other) not in WITHIN_LAYER and not LAYERS[unit] == LAYERS[other] == 0:
            assert LAYERS[other] < LAYERS[unit], f"{path.name} ({unit}) may not import {other}"


def test_exceptions_within_a_layer_are_needed() -> None:
    used = {(unit_of_file(path), other) for path in MODULES for other in units_imported_by(path)}
    assert set(WITHIN_LAYER) <= used
    assert all(LAYERS[unit] == LAYERS[other] for unit, other in WITHIN_LAYER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_heavy_library_has_one_home(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    for module in imports_of(path):
        homes = HOMES.get(module.split(".")[0])
        assert homes is None or where.startswith(tuple(homes)), f"{where} may not import {module}"


@pytest.mark.parametrize(("library", "home"), [(library, home) for library, homes in HOMES.items() for home in homes])
def test_every_home_imports_its_library(library: str, home: str) -> None:
    files = [path for path in MODULES if path.relative_to(PACKAGE).as_posix().startswith(home)]
    assert any(library in {name.split(".")[0] for name in imports_of(path)} for path in files)


@pytest.mark.parametrize("name", [name for name, layer in LAYERS.items() if layer == 0])
def test_layer_0_does_not_import_torch(name: str) -> None:
    assert "torch" not in {module.split(".")[0] for module in imports_of(PACKAGE / f"{name}.py")}


def test_help_imports_neither_torch_nor_faiss() -> None:
    code = (
        "import sys\n"
        "from mobileclip_kit.cli.entry import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'faiss', 'numpy', 'onnxruntime', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
