"""The house of docs/architecture.md, enforced by reading the imports of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mobileclip_kit"

# Room → floor. A module may import rooms of lower floors and its own room.
FLOORS = {
    **dict.fromkeys(
        [
            "__init__",
            "errors",
            "files",
            "progress",
            "spec",
            "images",
            "tokenizer",
            "resources",
            "formats",
            "metrics",
            "options",
            "model_names",
            "arrays",
        ],
        0,
    ),
    **dict.fromkeys(["data", "scenes", "networks", "losses", "mil", "index"], 1),
    **dict.fromkeys(["cache", "distillation", "exporting", "runtime", "inherit"], 2),
    **dict.fromkeys(["textness", "indexing", "search", "bench", "bundle", "inspection", "comparison"], 3),
    **dict.fromkeys(["web", "quickstart"], 4),
    **dict.fromkeys(["cli", "__main__"], 5),
}

# Heavy library → the only places that may import it.
HOMES = {
    "open_clip": ["networks/"],
    "timm": ["networks/"],
    "coremltools": ["exporting/", "mil/program.py", "runtime/coreml.py"],
    "onnxruntime": ["runtime/onnx.py", "exporting/int8.py"],
    "faiss": ["index/"],
    "accelerate": ["distillation/"],
    "matplotlib": ["bench/"],
    "sklearn": ["bench/"],
    "click": ["cli/"],
    "starlette": ["web/"],
    "uvicorn": ["web/"],
}

# Rooms of one floor that may still know each other, and why.
NEIGHBOURS = {
    ("distillation", "cache"),  # training replays stored teacher vectors
    ("distillation", "inherit"),  # a student may start from its teacher's weights
    ("exporting", "runtime"),  # verification runs an export as its users will
    ("runtime", "exporting"),  # a runtime opens an export folder through its manifest
    ("bundle", "textness"),  # a bundle carries the textness vector
    ("search", "textness"),  # a query may carry the textness vector
    ("bench", "textness"),
    ("comparison", "bench"),  # latencies are measured by the bench
    ("bench", "search"),
    ("bench", "indexing"),
    ("__main__", "cli"),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """``mobileclip_kit.exporting.onnx`` → ``export``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(path: Path) -> set[str]:
    """Every module name that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert room in FLOORS, f"{room} has no floor: add it to docs/architecture.md and to this table"
    for module in imports_of(path):
        if module.split(".")[0] != "mobileclip_kit":
            continue
        other = room_of(module)
        on_the_ground = FLOORS[other] == FLOORS[room] == 0
        if other == room or on_the_ground or (room, other) in NEIGHBOURS:
            continue
        assert FLOORS[other] < FLOORS[room], f"{path.name} ({room}) may not import {module}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_heavy_library_has_one_home(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    for module in imports_of(path):
        homes = HOMES.get(module.split(".")[0])
        assert homes is None or where.startswith(tuple(homes)), f"{where} may not import {module}"


@pytest.mark.parametrize("floor_zero", [name for name, floor in FLOORS.items() if floor == 0])
def test_ground_floor_knows_no_torch(floor_zero: str) -> None:
    path = PACKAGE / f"{floor_zero}.py"
    if path.exists():
        assert "torch" not in {name.split(".")[0] for name in imports_of(path)}


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
