"""The public workflows name what exists. Their form was checked with check-jsonschema (``vendor.github-workflows``)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
yaml = pytest.importorskip("yaml")


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.name}: {name}", job


def commands() -> Iterator[tuple[Path, str]]:
    """The folder and the lines of each step."""
    for _, job in jobs():
        for step in job["steps"]:
            if "run" in step:
                yield ROOT / step.get("working-directory", "."), step["run"]


def test_every_job_ends_and_uses_versions():
    found = dict(jobs())
    assert {name.split(": ")[1] for name in found} >= {"linux", "macos", "windows"}
    for name, job in found.items():
        assert job["timeout-minutes"] <= 60, name
        assert all("@v" in step["uses"] for step in job["steps"] if "uses" in step), name


def test_a_base_installation_can_import_the_tests_of_windows():
    """One that imports an extra at its top fails before its first test."""
    job = dict(jobs())["tests.yml: windows"]
    chosen = [name for step in job["steps"] for name in re.findall(r"tests/\w+\.py", step.get("run", ""))]
    assert chosen
    known = {*sys.stdlib_module_names, "mobileclip_kit", "numpy", "PIL", "pytest"}
    for name in chosen:
        for statement in ast.parse((ROOT / name).read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                modules = (
                    [statement.module] if isinstance(statement, ast.ImportFrom) else [n.name for n in statement.names]
                )
                assert all((module or "").split(".")[0] in known for module in modules), name


def test_every_command_is_sound_and_names_what_exists():
    text = ""
    for folder, run in commands():
        assert folder.is_dir()
        done = subprocess.run(["bash", "-n"], input=run, text=True, capture_output=True, check=False)
        assert done.stderr == "", run
        for name in re.findall(r"[\w./-]+\.(?:py|xcodeproj|sh)\b|tests/\w+|\.ci/run", run):
            assert (folder / name).exists(), name
        text += run + "\n"
    scheme = re.search(r"-scheme (\S+)", text)
    assert scheme is not None
    assert list((ROOT / "ios_demo").rglob(f"{scheme[1]}.xcscheme"))
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{marker}:' in project for marker in re.findall(r"pytest -m (\w+)", text))
    for extras in re.findall(r'-e "\.\[([\w,]+)\]"', text):
        assert all(re.search(rf"^{extra} = ", project, re.M) for extra in extras.split(","))
