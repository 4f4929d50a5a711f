"""What ``pyproject.toml`` declares, what the package imports and what ``extras.py`` says are the same."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mobileclip_kit import __version__, extras
from mobileclip_kit.cli.entry import COMMANDS
from mobileclip_kit.errors import MissingExtraError
from tests.hidden import run_without

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mobileclip_kit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Import name → distribution, where the two differ in more than `-` and `_`.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "coreai": "coreai-core",
    "faiss": "faiss-cpu",
    "google": "protobuf",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
}
# Declared without an import statement, and why.
NOT_IMPORTED = {
    "onnxscript",  # torch.onnx converts with it
    "ninja",  # coreai-opt compiles with it
    "tensorboard",  # torch.utils.tensorboard writes with it
}
# Imported where somebody has installed it: no dependency, see mobileclip_kit/bench/dataset.py.
NOT_DECLARED = {"clip-benchmark"}
# Packages and modules that import an extra's packages at their head; every other module can be imported in a base
# installation, and imports what only some of its functions need inside of them.
MODULES = {
    "bench": ("bench", "train"),  # pages; heat maps
    "cache": ("train",),
    "comparison": ("export",),
    "distillation": ("train",),
    "explain": ("bench", "train"),
    "exporting": ("export",),
    "inherit": ("train",),
    "losses": ("train",),
    "mil": ("export",),
    "networks": ("train",),
    "quickstart": ("bench", "export"),
    "reports": ("bench",),
    "runtime.mil": ("export",),
    "runtime.torch": ("train",),
}
BASE_COMMANDS = {
    "init", "index", "merge", "dump", "search", "tag", "duplicates", "serve", "bundle", "inspect", "check", "doctor",
}  # fmt: skip
LIGHT = ("torch", "faiss", "onnxruntime", "coremltools", "matplotlib")


def distribution(module: str) -> str:
    """The distribution that brings an imported module."""
    name = module.split(".")[0]
    return DISTRIBUTIONS.get(name, name.replace("_", "-"))


def declared(requirements: list[str]) -> set[str]:
    """The distributions of a list of requirements, this project's own extras resolved."""
    found: set[str] = set()
    for requirement in requirements:
        name = re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")
        if name != PROJECT["name"]:
            found.add(name)
            continue
        for extra in requirement.split("[", 1)[1].split("]", 1)[0].split(","):
            found |= declared(PROJECT["optional-dependencies"][extra.strip()])
    return found


BASE = declared(PROJECT["dependencies"])
ALL = BASE | declared(PROJECT["optional-dependencies"]["all"])
# Of formats whose converters bind torch and numpy to older versions; [all] leaves them out.
CONVERTERS = {name for extra in extras.TESTED for name in declared(PROJECT["optional-dependencies"][extra])}
HIDDEN = {name for packages in extras.EXTRAS.values() for name in packages}


@functools.cache
def imported() -> dict[str, set[str]]:
    """Distribution → the modules of the package that import it, at any depth."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "import_module",
                "find_spec",
            ):
                names.update(argument.value for argument in node.args if isinstance(argument, ast.Constant))
        for name in {name.split(".")[0] for name in names} - {"mobileclip_kit"} - set(sys.stdlib_module_names):
            found.setdefault(distribution(name), set()).add(path.relative_to(PACKAGE).as_posix())
    return found


def test_every_imported_package_is_declared():
    undeclared = {name: places for name, places in imported().items() if name not in ALL | CONVERTERS | NOT_DECLARED}
    assert not undeclared


def test_every_declared_package_is_imported():
    assert (ALL | CONVERTERS) - set(imported()) <= NOT_IMPORTED


def test_extras_name_the_packages_that_they_install():
    for extra, packages in extras.EXTRAS.items():
        requirements = [
            each for each in PROJECT["optional-dependencies"][extra] if not each.startswith(PROJECT["name"])
        ]
        assert {distribution(name) for name in packages} == declared(requirements) - BASE, extra
    assert {distribution(name) for name in extras.packages_of("all")} == ALL - BASE
    assert {distribution(name) for name in extras.packages_of("export")} == (
        declared(PROJECT["optional-dependencies"]["export"]) - BASE
    )


def test_dev_brings_everything_that_tests_use():
    assert declared(PROJECT["optional-dependencies"]["dev"]) > ALL - BASE


def test_each_module_needs_no_more_than_its_extra():
    names = sorted(
        ".".join(("mobileclip_kit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if path.name != "__main__.py"
    )
    code = (
        "import importlib, json\nneeded = {}\n"
        f"for name in {names!r}:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n        needed[name] = error.name\n"
        "print(json.dumps(needed))"
    )
    done = run_without(HIDDEN, code)
    assert done.returncode == 0, done.stderr
    needed = {name.removeprefix("mobileclip_kit."): package for name, package in json.loads(done.stdout).items()}
    unlisted = {}
    for name, package in needed.items():
        listed = next((given for prefix, given in MODULES.items() if f"{name}.".startswith(f"{prefix}.")), ())
        if package.split(".")[0] not in {each for extra in listed for each in extras.packages_of(extra)}:
            unlisted[name] = package
    assert not unlisted, "import these packages inside of functions, or list the modules above"
    unused = {prefix for prefix in MODULES if not any(f"{name}.".startswith(f"{prefix}.") for name in needed)}
    assert not unused, "these modules need no extra"


def test_every_command_but_the_base_ones_names_its_extra():
    assert set(COMMANDS) == BASE_COMMANDS | set(extras.COMMANDS)


@pytest.mark.parametrize("arguments", [["distill"], ["quickstart", "-o", "out", "--json"]], ids=lambda each: each[0])
def test_a_command_without_its_extra_is_refused_in_one_sentence(arguments):
    code = f"from mobileclip_kit.cli import main\nmain({arguments!r})"
    done = run_without(HIDDEN, code)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    named = ",".join(extras.COMMANDS[arguments[0]])
    sentence = (
        f'mckit {arguments[0]} needs the extra [{named}]; install it with: pip install -e ".[{named}]" '
        "(in the clone of mckit)"
    )
    assert line == f"error: {sentence}"
    if "--json" in arguments:
        assert json.loads(done.stdout)["error"] == {"kind": "MissingExtraError", "message": sentence, "hint": None}


def test_help_of_a_command_without_its_extra_is_shown():
    done = run_without(HIDDEN, "from mobileclip_kit.cli import main\nmain(['distill', '--help'])")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--teacher" in done.stdout


def test_a_model_that_needs_torch_is_refused_in_a_base_installation(tmp_path):
    code = (
        "from mobileclip_kit.cli import main\n"
        f"main(['index', '.', '--model', 'ViT-B-32:openai', '-o', {str(tmp_path / 'index')!r}])"
    )
    done = run_without(HIDDEN, code)
    assert done.returncode == 2
    assert 'pip install -e ".[train]"' in done.stderr
    assert not (tmp_path / "index").exists()


def test_require_passes_where_everything_is_installed():
    extras.require("A test", "bench")


def test_require_names_the_extras_that_are_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("onnxsim", "sklearn") else object())
    with pytest.raises(MissingExtraError, match=r'^Drawing needs the extra \[export,bench\]; .*"\.\[export,bench\]" '):
        extras.require("Drawing", "train", "export", "bench")


def test_neither_help_nor_a_usage_error_imports_a_heavy_package():
    code = """
import io, json, contextlib, sys
import click
from mobileclip_kit.cli.entry import main, mckit, COMMANDS
calls = [["--help"]]
for name in COMMANDS:
    command = mckit.get_command(click.Context(mckit), name)
    subcommands = [[name, each] for each in getattr(command, "commands", ())]
    calls += [[*call, given] for call in [[name], *subcommands] for given in ("--help", "--no-such-option")]
found = {}
for call in calls:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(call)
        except SystemExit as stop:
            code = stop.code
    loaded = sorted(set(LIGHT) & set(sys.modules))
    if code != (0 if call[-1] == "--help" else 2) or loaded:
        found[" ".join(call)] = [code, loaded]
print(json.dumps(found))
"""
    done = run_without((), f"LIGHT = {LIGHT!r}\n{code}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


def test_the_version_has_a_section_of_the_changelog_and_a_citation() -> None:
    """The line of docs/CONTRIBUTING.md draws the notes of the release."""
    guide = (ROOT / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    line = re.search(r"`(awk .* CHANGELOG\.md)`", guide)
    assert line is not None and f'"{__version__}"' in line[1]
    notes = subprocess.run(line[1], shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "release" in notes and "\n## " not in notes
    assert f"\nversion: {__version__}\n" in (ROOT / ".github" / "CITATION.cff").read_text(encoding="utf-8")
